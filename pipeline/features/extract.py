"""Extract the features of one media file in one process.

The engine of batch runs computes the same features from the same inputs, for many files in parallel.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.inputs import InputFormat
from ...extractors.profiles import FeatureSpec, feature_spec, get_profile
from ...extractors.sampling import ALL_STREAMS, POOLED_STREAMS, Stream, rows_per_segment
from ..decode.container.media_facts import DecodeProgress, MediaFacts
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions, check_options
from ..decode.resampling import DEFAULT_RESAMPLER
from ..descriptions import describe, describe_columns
from ..errors import MediaError
from ..preprocess.base import is_groups
from ..preprocess.input_kinds import KINDS
from ..preprocess.media_summary import MediaSummary
from ..preprocess.worker_process import DecodeWorker, shared_worker
from ..text import escape
from .batch_memory import check_batch_memory
from .batched_extractor import BatchedExtractor
from .compute_lanes import Batches, WaitingInputs

NO_ROWS: NDArray[np.float32] = np.zeros((0, 0), np.float32)  # of a stream that features do not have
NO_ROWS.flags.writeable = False

_POOLED_BATCH = 4  # of 16 pictures of a second: those of VGG19 take eight times the memory of ResNet-152's

LendWorker = Callable[[str, DecodeOptions], AbstractContextManager[DecodeWorker]]


@dataclass(frozen=True, eq=False, repr=False)
class FeatureSet:
    """Features of one video of T segments; construction raises ValueError for wrong shapes, types or values.

    It has the streams of its `spec`; the others are `NO_ROWS`, arrays without values.

    A stream that the file does not have is represented by the features of silence or of black frames, and `media`
    records that it is missing.
    """

    audio: NDArray[np.float32]  # (T, A)
    visual_2d: NDArray[np.float32]  # (8T, V); of CLIP (T, V)
    visual_3d: NDArray[np.float32]  # (T, S)
    spec: FeatureSpec
    duration: float  # seconds of decoded media
    media: MediaFacts | None = None  # None for features that were not extracted from a file
    warnings: tuple[str, ...] = field(default=())  # everything that limits the result
    resampler: str = DEFAULT_RESAMPLER  # audio filter of the clean profile, see `DecodeOptions`
    # (T, M): rows, columns and channels of a map, flattened
    visual_map: NDArray[np.float32] = field(default_factory=lambda: NO_ROWS)

    def __post_init__(self) -> None:
        segments = len(self.audio)
        for name in ALL_STREAMS:
            if name not in self.spec.streams and getattr(self, name).size:
                raise ValueError(
                    f"{name} is not among the streams of the specification, {', '.join(self.spec.streams)}"
                )
        for (name, array), rate, width in zip(self.arrays().items(), self.spec.rates, self.spec.dims, strict=True):
            shape = (segments * rate, width)
            if array.shape != shape or array.dtype != np.float32 or not segments:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} contains NaN or infinity")

    def arrays(self) -> dict[Stream, NDArray[np.float32]]:
        """Return the features by stream, in the order of `spec.streams`, which is that of a network's arguments."""
        return {stream: getattr(self, stream) for stream in self.spec.streams}

    def __repr__(self) -> str:
        arrays = self.arrays()
        shapes = zip(arrays, map(str, (array.shape for array in arrays.values())), self.spec.extractors, strict=True)
        name = "features" if self.media is None else escape(self.media.path)
        title = f"FeatureSet of {name}: {self.duration:.1f} s, profile {self.spec.profile}"
        return describe(title, describe_columns(shapes), warnings=self.warnings)

    @property
    def segments(self) -> int:
        """T, the number of seconds."""
        return len(self.audio)


def extract_features(
    path: Path | str,
    extractors: Mapping[str, Extractor],
    *,
    profile: str = "llp",
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    device: torch.device | str = "cpu",
    batch_size: int = 4,
    batches: Batches | None = None,
    progress: DecodeProgress | None = None,
) -> FeatureSet:
    """Decode a file once and run one extractor per stream on it.

    Args:
        path: a media file with audio, video or both.
        extractors: name -> extractor on `device`, one for each stream.
        profile: key in `PROFILES`.
        decoding: decoder, resampler, time limit, and `start` and `end` of a part of the file: the features are then
            those of its seconds.
        device: the device of the extractors.
        batch_size: seconds of media in one batch, a quarter of those of maps. Memory grows with it and not with the
            video.
        batches: how they are computed, in place of `batch_size`; None computes them in this thread.
        progress: called with the stage, seconds done and seconds in total (None if the container does not state it).

    Returns:
        The features; `warnings` lists missing and damaged media.

    Raises:
        MediaError: neither audio nor video can be decoded, or features are not finite.
        SetupError: a batch does not fit into memory.
        ValueError: the profile is unknown, the extractors are not one of each stream, or the decoding options do not
            fit the profile.
    """
    if batches is None:
        frames = get_profile(profile).rows_per_segment
        sizes: dict[Stream, int] = {
            stream: batch_size * (_POOLED_BATCH if stream in POOLED_STREAMS else rows_per_segment(stream, frames))
            for stream in ALL_STREAMS
        }
        batches = Batches(sizes)
    computation = FeatureComputation(extractors, profile=profile, device=device, batches=batches)
    with computation.cancelling():
        summary = decode_inputs(
            Path(path),
            computation.formats,
            lambda stream, inputs: computation.add(stream, inputs.copy()),
            profile=profile,
            decoding=decoding,
            progress=progress,
        )
        return computation.finish(Path(path), summary, resampler=decoding.resampler, progress=progress)


class FeatureComputation:
    """Extractors with the inputs of one file in progress: add its inputs in their order, then finish.

    Attributes:
        formats: of the inputs to add.
    """

    def __init__(
        self,
        extractors: Mapping[str, Extractor],
        *,
        profile: str,
        device: torch.device | str,
        batches: Batches,
        computing: Callable[[], AbstractContextManager[None]] = nullcontext,
    ) -> None:
        """Start with no inputs.

        Args:
            extractors: name -> extractor on `device`, one for each stream.
            profile: key in `PROFILES`.
            device: the device of the extractors.
            batches: their sizes, and what computes them.
            computing: makes the context in which each batch is computed where there are no lanes.

        Raises:
            SetupError: a batch does not fit into memory.
            ValueError: the profile is unknown, or the extractors are not one of each stream.
        """
        self._spec = feature_spec(profile, extractors)
        threads = 1 if batches.lanes is None else batches.lanes.count
        waiting = WaitingInputs(threads)
        self._networks: dict[Stream, BatchedExtractor] = {
            extractor.stream: BatchedExtractor(extractor, torch.device(device), batches, waiting, computing)
            for extractor in extractors.values()
        }
        by_stream: dict[Stream, Extractor] = {extractor.stream: extractor for extractor in extractors.values()}
        check_batch_memory(by_stream, batches.sizes, threads=threads)
        self.formats: tuple[InputFormat, ...] = tuple(extractor.input_format for extractor in extractors.values())

    def add(self, stream: Stream, inputs: NDArray[Any]) -> None:
        """Add inputs (n, *shape) of a stream, which may not change afterwards; compute every batch that is full.

        Groups of inputs, see `InputReader`, are added like inputs.
        """
        if is_groups(inputs):
            self._networks[stream].add_groups(inputs)
        else:
            self._networks[stream].add(inputs)

    def finish(
        self,
        path: Path,
        summary: MediaSummary,
        *,
        resampler: str = DEFAULT_RESAMPLER,
        progress: DecodeProgress | None = None,
    ) -> FeatureSet:
        """Compute the last batches and put the rows into the order of time.

        Args:
            path: of the file, for the message.
            summary: of the decoded file.
            resampler: that its audio was decoded with.
            progress: called with the stage "features" at once and several times a second; its exceptions are raised.

        Returns:
            The features.

        Raises:
            MediaError: they are not finite.
            LanesClosedError: the lanes were closed meanwhile.
            SetupError: a batch does not fit into memory.
        """
        for network in self._networks.values():
            network.end()
        duration = summary.facts.duration

        def report() -> None:
            if progress is not None:
                batches = sum(network.batches for network in self._networks.values())
                done = sum(network.batches_done for network in self._networks.values())
                progress("features", duration * done / max(1, batches), duration)

        report()  # also of a file whose rows are there before anybody waits
        rows = {stream: network.rows(report)[summary.rows[stream]] for stream, network in self._networks.items()}
        for stream, values in rows.items():
            if not np.isfinite(values).all():
                cause = (
                    f"its {stream} features are not finite: the parameters of the extractor are damaged or too large"
                )
                raise MediaError(path, cause)
        return FeatureSet(
            audio=rows["audio"],
            visual_2d=rows.get("visual_2d", NO_ROWS),
            visual_3d=rows.get("visual_3d", NO_ROWS),
            visual_map=rows.get("visual_map", NO_ROWS),
            spec=self._spec,
            duration=summary.facts.duration,
            media=summary.facts,
            warnings=summary.warnings,
            resampler=resampler,
        )

    @contextmanager
    def cancelling(self) -> Iterator[None]:
        """Compute no more of this file after an error within the context: the lanes are free for others."""
        try:
            yield
        except BaseException:
            for network in self._networks.values():
                network.cancel()
            raise


def decode_inputs(
    path: Path,
    formats: Sequence[InputFormat],
    put: Callable[[Stream, NDArray[Any]], None],
    *,
    profile: str,
    decoding: DecodeOptions,
    progress: DecodeProgress | None = None,
    lend: LendWorker = shared_worker,
) -> MediaSummary:
    """Decode a file once and build network inputs.

    It is decoded in a process of its own, which a damaged file can neither crash nor stop for the caller. Inputs of a
    caller's own extractor, whose code is known to this process alone, are built here.

    Args:
        path: a media file.
        formats: of the inputs, one of each stream.
        put: called with the stream and each array of inputs (n, *shape), which it must copy, or of groups, see
            `InputReader`.
        profile: key in `PROFILES`.
        decoding: decoder, resampler and time limit.
        progress: called with the stage, seconds done and seconds in total.
        lend: lends a decode worker for a profile and options.

    Returns:
        Rows, facts and warnings of the file.

    Raises:
        MediaError: the file cannot be decoded.
        ValueError: the profile is unknown, or the decoding options do not fit it.
    """
    kind = KINDS[get_profile(profile).inputs]
    if any(kind.formats.get(input_format.stream) != input_format for input_format in formats):
        reader = kind.reader(path, formats, profile=profile, options=decoding, progress=progress)
        for stream, inputs in reader:
            put(stream, inputs)
        return reader.summary
    check_options(get_profile(profile), decoding)
    with lend(profile, decoding) as worker:
        streams: list[Stream] = [input_format.stream for input_format in formats]
        return worker.decode(path, streams, put, start=decoding.start, end=decoding.end, progress=progress)
