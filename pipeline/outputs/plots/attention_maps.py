"""LEAP's attention maps of one video, and their files of arrays."""

from __future__ import annotations

import io
import os
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...errors import FormatError
from ...features.npy_files import parse_array
from ...files import open_regular
from ...timeline import MAX_LABEL_LENGTH, MAX_LABELS

MAP_SUFFIXES = (".npz", ".png", ".svg", ".pdf")  # of files of maps: arrays, and plots
MAX_ATTENTION_BYTES = 1 << 26  # of a file of arrays
MAX_ATTENTION_CELLS = 1 << 24  # values of an array: blocks x classes x seconds
MAX_MEMBERS = 16  # of the zip archive that a file of arrays is
_OF_MODALITIES = ("audio_logits", "visual_logits", "audio_weights", "visual_weights")
_FUSED = ("fused_logits", "fused_weights")
_DIRECTORY_ENTRY = b"PK\x01\x02"


@dataclass(frozen=True, eq=False, repr=False)
class AttentionMaps:
    """Label-to-segment attention on one video. Raises ValueError for arrays of other shapes.

    A parser, and a localizer with a decoder for each modality, has maps of audio and of visual segments; a localizer
    with one decoder has those of fused segments. The others are None.

    In a video longer than the parser's window, each second has the mean over the windows that contain it. The weights
    of a class sum to 1 over the seconds of one window, not over such a video.
    """

    labels: tuple[str, ...]  # C class names
    audio_logits: NDArray[np.float32] | None = None  # (blocks, C, T), before the softmax
    visual_logits: NDArray[np.float32] | None = None
    audio_weights: NDArray[np.float32] | None = None  # (blocks, C, T), after the softmax, in [0, 1]
    visual_weights: NDArray[np.float32] | None = None
    fused_logits: NDArray[np.float32] | None = None
    fused_weights: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        arrays = self.arrays()
        if tuple(arrays) not in {_OF_MODALITIES, _FUSED}:
            raise ValueError(f"expected {', '.join(_OF_MODALITIES)}, or {' and '.join(_FUSED)}")
        shape = next(iter(arrays.values())).shape
        for name, array in arrays.items():
            if array.ndim != 3 or array.shape != shape or array.shape[1] != len(self.labels) or not array.size:
                expected = f"(blocks, {len(self.labels)}, seconds), equal in all arrays"
                raise ValueError(f"{name} is {array.shape}, expected {expected}")

    def __repr__(self) -> str:
        return f"AttentionMaps (blocks, classes, seconds) {self.shape}: {', '.join(self.arrays())}"

    @property
    def shape(self) -> tuple[int, int, int]:
        """Blocks, C and T."""
        blocks, classes, seconds = next(iter(self.arrays().values())).shape
        return blocks, classes, seconds

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that there are by name."""
        return {name: array for name, array in vars(self).items() if name != "labels" and array is not None}

    def logits(self) -> dict[str, NDArray[np.float32]]:
        """Return the logits by "audio" and "visual", or "fused"."""
        return self._of("_logits")

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights by "audio" and "visual", or "fused"."""
        return self._of("_weights")

    def _of(self, suffix: str) -> dict[str, NDArray[np.float32]]:
        return {name.removesuffix(suffix): array for name, array in self.arrays().items() if name.endswith(suffix)}


def maps_to_npz(maps: AttentionMaps) -> bytes:
    """Return the content of a file of arrays: `labels` and those of `AttentionMaps`, without pickle."""
    content = io.BytesIO()
    arrays: dict[str, Any] = {"labels": np.array(maps.labels, dtype=np.str_), **maps.arrays()}
    np.savez_compressed(content, **arrays)
    return content.getvalue()


def read_maps(path: Path) -> AttentionMaps:
    """Read a file of arrays of any origin; nothing is unpickled.

    Args:
        path: a file that `maps_to_npz` made.

    Returns:
        Its maps.

    Raises:
        FormatError: the file cannot be read, is too large, or holds something else.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            content = file.read(MAX_ATTENTION_BYTES + 1)
        if len(content) > MAX_ATTENTION_BYTES:
            raise ValueError(f"has more than {MAX_ATTENTION_BYTES >> 20} MiB")
        return _parse(content)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, RuntimeError) as error:
        cause = getattr(error, "strerror", None) or error
        raise FormatError(path, f"is not attention that avvp parse --explain wrote: {cause}") from error


def _parse(content: bytes) -> AttentionMaps:
    """Raise ValueError, or an error of zipfile, for anything but the arrays of `AttentionMaps`."""
    if content.count(_DIRECTORY_ENTRY) > MAX_MEMBERS:  # zipfile would make an object of each
        raise ValueError(f"more than {MAX_MEMBERS} arrays")
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        held = set(archive.namelist())
        kinds = _FUSED if f"{_FUSED[0]}.npy" in held else _OF_MODALITIES
        if missing := {f"{name}.npy" for name in ("labels", *kinds)}.difference(held):
            raise ValueError(f"there is no {min(missing)}")
        labels, *arrays = (_read_member(archive, f"{name}.npy") for name in ("labels", *kinds))
    if labels.ndim != 1 or labels.dtype.kind != "U" or not 0 < len(labels) <= MAX_LABELS:
        raise ValueError("labels are not a list of names")
    if len(set(labels.tolist())) < len(labels):
        raise ValueError("labels has a class twice")
    if any(array.dtype != np.float32 or not np.isfinite(array).all() for array in arrays):
        raise ValueError("expected finite numbers of 32 bits")
    return AttentionMaps(tuple(map(str, labels.tolist())), **dict(zip(kinds, arrays, strict=True)))


def _read_member(archive: zipfile.ZipFile, name: str) -> NDArray[Any]:
    most = 4 * max(MAX_ATTENTION_CELLS, MAX_LABELS * MAX_LABEL_LENGTH)  # bytes: numbers and characters have four
    with archive.open(name) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"{name} has more than {most >> 20} MiB")
    return parse_array(content)
