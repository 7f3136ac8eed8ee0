"""Extract the features of one media file in one process.

The engine of batch runs computes the same features from the same inputs, for many files in parallel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.inputs import INPUT_FORMATS
from ...extractors.profiles import FeatureSpec, feature_spec, get_profile
from ...extractors.sampling import FRAMES_PER_SEGMENT, Stream
from ..decode.container.media_facts import DecodeProgress, MediaFacts
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions, check_options
from ..decode.resampling import DEFAULT_RESAMPLER
from ..errors import MediaError
from ..memory import name_option_when_out_of_memory
from ..preprocess.media_summary import MediaSummary
from ..preprocess.network_inputs import NetworkInputs
from ..preprocess.worker_process import shared_worker
from .batch_memory import check_batch_memory


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one video of T segments; construction raises ValueError for wrong shapes, types or values.

    A stream that the file does not have is represented by the features of silence or of black frames, and `media`
    records that it is missing.
    """

    audio: NDArray[np.float32]  # (T, A)
    visual_2d: NDArray[np.float32]  # (8T, V)
    visual_3d: NDArray[np.float32]  # (T, S)
    spec: FeatureSpec
    duration: float  # seconds of decoded media
    media: MediaFacts | None = None  # None for features that were not extracted from a file
    warnings: tuple[str, ...] = field(default=())  # everything that limits the result
    resampler: str = DEFAULT_RESAMPLER  # audio filter of the clean profile, see `DecodeOptions`

    def __post_init__(self) -> None:
        segments, frames = len(self.audio), len(self.audio) * self.spec.frames_per_segment
        shapes = zip((segments, frames, segments), self.spec.dims, strict=True)
        for name, shape in zip(("audio", "visual_2d", "visual_3d"), shapes, strict=True):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32 or not segments:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} contains NaN or infinity")

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
    progress: DecodeProgress | None = None,
) -> FeatureSet:
    """Decode a file once and run one extractor per stream on it.

    Args:
        path: a media file with audio, video or both.
        extractors: name -> extractor on `device`, one for each stream.
        profile: key in `PROFILES`.
        decoding: decoder, resampler and time limit.
        device: the device of the extractors.
        batch_size: seconds of media in one batch. Memory grows with it and not with the video.
        progress: called with the stage, seconds done and seconds in total (None if the container does not state it).

    Returns:
        The features; `warnings` lists missing and damaged media.

    Raises:
        MediaError: neither audio nor video can be decoded, or features are not finite.
        SetupError: a batch does not fit into memory.
        ValueError: the profile is unknown, the extractors are not one of each stream, or the decoding options do not
            fit the profile.
    """
    spec = feature_spec(profile, extractors)
    networks: dict[Stream, _BatchedExtractor] = {}
    for extractor in extractors.values():
        networks[extractor.stream] = _BatchedExtractor(extractor, torch.device(device), batch_size)
    sizes: dict[Stream, int] = {stream: network.size for stream, network in networks.items()}
    check_batch_memory({extractor.stream: extractor for extractor in extractors.values()}, sizes)
    formats = [extractor.input_format for extractor in extractors.values()]
    if any(INPUT_FORMATS.get(input_format.name) != input_format for input_format in formats):
        # Inputs of a caller's own extractor: their code is known to this process alone.
        reader = NetworkInputs(Path(path), formats, profile=profile, options=decoding, progress=progress)
        for stream, inputs in reader:
            networks[stream].add(inputs)
        summary = reader.summary
    else:
        summary = _decode_apart(Path(path), networks, profile, decoding, progress)
    rows = {stream: network.finish()[summary.rows[stream]] for stream, network in networks.items()}
    for stream, values in rows.items():
        if not np.isfinite(values).all():
            cause = f"its {stream} features are not finite: the parameters of the extractor are damaged or too large"
            raise MediaError(Path(path), cause)
    return FeatureSet(
        audio=rows["audio"],
        visual_2d=rows["visual_2d"],
        visual_3d=rows["visual_3d"],
        spec=spec,
        duration=summary.facts.duration,
        media=summary.facts,
        warnings=summary.warnings,
        resampler=decoding.resampler,
    )


def _decode_apart(
    path: Path,
    networks: Mapping[Stream, _BatchedExtractor],
    profile: str,
    decoding: DecodeOptions,
    progress: DecodeProgress | None,
) -> MediaSummary:
    """Decode in a process of its own, which a damaged file can neither crash nor stop for the caller."""
    check_options(get_profile(profile), decoding)
    with shared_worker(profile, decoding) as worker:
        return worker.decode(
            path, list(networks), lambda stream, inputs: networks[stream].add(inputs.copy()), progress=progress
        )


class _BatchedExtractor:
    """An extractor that collects inputs and computes their rows in batches of `size` inputs."""

    def __init__(self, extractor: Extractor, device: torch.device, seconds: int) -> None:
        self._extractor, self._device = extractor, device
        self.size = seconds * (FRAMES_PER_SEGMENT if extractor.stream == "visual_2d" else 1)
        self._pending: list[NDArray[np.generic]] = []
        self._rows: list[NDArray[np.float32]] = []

    def add(self, inputs: NDArray[np.generic]) -> None:
        """Add inputs (n, *shape); compute every batch that is full."""
        self._pending.extend(inputs)
        while len(self._pending) >= self.size:
            self._compute(self._pending[: self.size])
            del self._pending[: self.size]

    def finish(self) -> NDArray[np.float32]:
        """Compute the last batch; return the rows of all inputs, in their order."""
        if self._pending:
            self._compute(self._pending)
        return np.concatenate(self._rows)

    def _compute(self, inputs: list[NDArray[np.generic]]) -> None:
        with torch.inference_mode(), name_option_when_out_of_memory("--batch-size"):
            batch = self._extractor.prepare(torch.from_numpy(np.stack(inputs)).to(self._device))
            self._rows.append(self._extractor(batch).float().cpu().numpy())
