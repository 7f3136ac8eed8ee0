"""Inputs of networks from clips of the user: what quantization is calibrated on."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..errors import MediaError, SetupError
from ..features.extract import decode_inputs
from ..files import hash_file
from ..preprocess.base import is_groups
from ..text import first_few

MAX_CLIPS = 1000  # that a network is calibrated on
MAX_INPUTS = 300  # of each network
CLIP_SECONDS = 60  # of each clip that are decoded

Progress = Callable[[str, int, int], None]  # called with what is done, how many are done, and of how many


@dataclass(frozen=True, eq=False)
class CalibrationInputs:
    """Inputs of each network.

    Attributes:
        inputs: stream -> (n, *shape), as `InputFormat.reduce` makes them.
        clips: sha256 of the clips that they are from, in their order.
        failed: clips that cannot be decoded -> why.
    """

    inputs: Mapping[Stream, NDArray[Any]]
    clips: tuple[str, ...]
    failed: Mapping[Path, str]


def spread(paths: Sequence[Path], count: int) -> list[Path]:
    """Choose files that are spread evenly over a list.

    Args:
        paths: the list.
        count: files to choose; all if there are not as many.

    Returns:
        The files in the order of the list.
    """
    chosen = np.linspace(0, len(paths) - 1, min(count, len(paths))).round().astype(int)
    return [paths[index] for index in dict.fromkeys(chosen.tolist())]


def split_clips(paths: Sequence[Path], calibrate: int, check: int) -> tuple[list[Path], list[Path]]:
    """Choose clips to calibrate on and others to compare on, both spread evenly over a list.

    Args:
        paths: the list, not empty.
        calibrate: clips to calibrate on, at least 1.
        check: clips to compare on. Where the list has fewer clips, both get their share, the first at least one.

    Returns:
        The two parts.
    """
    chosen = spread(paths, calibrate + check)
    wanted = max(1, round(len(chosen) * calibrate / (calibrate + check)))
    calibration = spread(chosen, wanted)
    return calibration, [path for path in chosen if path not in set(calibration)]


def collect_inputs(
    clips: Sequence[Path],
    extractors: Mapping[str, Extractor],
    *,
    profile: str,
    wanted: int | None = None,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    progress: Progress = lambda *_: None,
) -> CalibrationInputs:
    """Decode the first minute of clips and keep a random part of their inputs, the same at every call.

    Args:
        clips: media files. Those that cannot be decoded are left out, and listed in the result.
        extractors: name -> extractor, whose inputs are collected.
        profile: key in `PROFILES`.
        wanted: clips after which to stop; None is all.
        decoding: decoder, resampler and time limit.
        progress: called after each clip.

    Returns:
        At most `MAX_INPUTS` inputs of each network, as many of each clip.

    Raises:
        SetupError: no clip can be decoded.
    """
    wanted = min(wanted or len(clips), len(clips), MAX_CLIPS)
    formats = [extractor.input_format for extractor in extractors.values()]
    kept: dict[Stream, list[NDArray[Any]]] = {form.stream: [] for form in formats}
    used: list[str] = []
    failed: dict[Path, str] = {}
    for path in clips:
        if len(used) == wanted:
            break
        samples: dict[Stream, _Sample] = {
            form.stream: _Sample(-(-MAX_INPUTS // wanted), seed=len(used)) for form in formats
        }

        def put(stream: Stream, inputs: NDArray[Any], samples: Mapping[Stream, _Sample] = samples) -> None:
            if not is_groups(inputs):
                samples[stream].add(inputs)

        try:
            decode_inputs(path, formats, put, profile=profile, decoding=first_minute(decoding))
            used.append(hash_file(path))
        except (MediaError, OSError) as error:
            failed[path] = error.cause if isinstance(error, MediaError) else error.strerror or str(error)
            continue
        for stream, sample in samples.items():
            kept[stream].extend(sample.values)
        progress("decoding clips", len(used), wanted)
    if not used:
        causes = first_few([f"{path.name}: {cause}" for path, cause in failed.items()])
        raise SetupError(f"none of {len(clips)} clips can be decoded to calibrate networks on ({causes})")
    inputs: dict[Stream, NDArray[Any]] = {
        stream: np.stack([values[index] for index in _evenly(len(values))]) for stream, values in kept.items()
    }
    return CalibrationInputs(inputs, tuple(used), failed)


def first_minute(decoding: DecodeOptions) -> DecodeOptions:
    """Return the same options for the seconds of a clip that are used."""
    return replace(decoding, start=0.0, end=float(CLIP_SECONDS))


def _evenly(count: int) -> list[int]:
    return np.linspace(0, count - 1, min(count, MAX_INPUTS)).astype(int).tolist()


class _Sample:
    """A random part of inputs that arrive one after the other, in their order: each is kept with equal probability."""

    def __init__(self, size: int, *, seed: int) -> None:
        self._size, self._rng = size, np.random.default_rng(seed)
        self._seen = 0
        self._kept: dict[int, NDArray[Any]] = {}  # position -> input

    @property
    def values(self) -> list[NDArray[Any]]:
        """The inputs that are kept."""
        return [self._kept[position] for position in sorted(self._kept)]

    def add(self, inputs: NDArray[Any]) -> None:
        """Add inputs (n, *shape); they may change afterwards."""
        for one in inputs:
            if len(self._kept) < self._size:
                self._kept[self._seen] = one.copy()
            elif self._rng.integers(self._seen + 1) < self._size:  # Vitter's algorithm R
                del self._kept[sorted(self._kept)[self._rng.integers(self._size)]]
                self._kept[self._seen] = one.copy()
            self._seen += 1
