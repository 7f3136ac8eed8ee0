"""From a media file to the features a parser reads: the plain road, one file at a time in one process.

The engine of batch runs makes the same features from the same inputs, many files at once.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.profiles import FeatureSpec, feature_spec
from ...extractors.sampling import FRAMES_PER_SEGMENT, Stream
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..preprocess.media_summary import DecodeProgress, MediaFacts
from ..preprocess.network_inputs import NetworkInputs


@dataclass(frozen=True, eq=False)
class FeatureSet:
    """Features of one video of T segments. Raises ValueError where shapes or values are not what they must be.

    A stream that the file lacks is there all the same, as the features of silence or of black frames; `media` says
    that it is missing.
    """

    audio: NDArray[np.float32]  # (T, A)
    visual_2d: NDArray[np.float32]  # (8T, V)
    visual_3d: NDArray[np.float32]  # (T, S)
    spec: FeatureSpec
    duration: float  # seconds
    media: MediaFacts | None = None
    warnings: tuple[str, ...] = field(default=())

    def __post_init__(self) -> None:
        segments, frames = len(self.audio), len(self.audio) * self.spec.frames_per_segment
        wanted = zip((segments, frames, segments), self.spec.dims, strict=True)
        for name, shape in zip(("audio", "visual_2d", "visual_3d"), wanted, strict=True):
            array = getattr(self, name)
            if array.shape != shape or array.dtype != np.float32 or not segments:
                raise ValueError(f"{name} is {array.dtype} {array.shape}, expected float32 {shape}")
            if not np.isfinite(array).all():
                raise ValueError(f"{name} holds values that are not finite")

    @property
    def segments(self) -> int:
        """T."""
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
    """Decode a file once and run one extractor of each stream over it.

    extractors: name -> extractor, on `device`. batch_size: seconds that go through the networks at once; with it,
    and not with the video, grows the memory. decoding: the frame reader and its time limit.
    Raises MediaError for what cannot be decoded at all; what is missing or damaged is in `warnings`. ValueError for
    unknown names and for a decoder that cannot serve the profile.
    """
    spec = feature_spec(profile, extractors)
    networks: dict[Stream, _Rows] = {}
    for extractor in extractors.values():
        networks[extractor.stream] = _Rows(extractor, torch.device(device), batch_size)
    formats = [extractor.input_format for extractor in extractors.values()]
    inputs = NetworkInputs(Path(path), formats, profile=profile, options=decoding, progress=progress)
    for stream, reduced in inputs:
        networks[stream].add(reduced)
    summary = inputs.summary
    rows = {stream: network.finish()[summary.rows[stream]] for stream, network in networks.items()}
    return FeatureSet(
        audio=rows["audio"],
        visual_2d=rows["visual_2d"],
        visual_3d=rows["visual_3d"],
        spec=spec,
        duration=summary.facts.duration,
        media=summary.facts,
        warnings=summary.warnings,
    )


class _Rows:
    """The rows of one network, computed a batch of seconds at a time."""

    def __init__(self, extractor: Extractor, device: torch.device, seconds: int) -> None:
        self._extractor, self._device = extractor, device
        self._size = seconds * (FRAMES_PER_SEGMENT if extractor.stream == "visual_2d" else 1)
        self._waiting: list[NDArray[np.generic]] = []
        self._done: list[NDArray[np.float32]] = []

    def add(self, reduced: NDArray[np.generic]) -> None:
        self._waiting.extend(reduced)
        while len(self._waiting) >= self._size:
            self._compute(self._waiting[: self._size])
            del self._waiting[: self._size]

    def finish(self) -> NDArray[np.float32]:
        """Every row, in the order of the inputs."""
        if self._waiting:
            self._compute(self._waiting)
        return np.concatenate(self._done)

    def _compute(self, inputs: list[NDArray[np.generic]]) -> None:
        with torch.inference_mode():
            batch = self._extractor.prepare(torch.from_numpy(np.stack(inputs)).to(self._device))
            self._done.append(self._extractor(batch).float().cpu().numpy())
