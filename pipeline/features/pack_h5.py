"""Pack the published features of AVE, HDF5 files with a row for each clip, without holding them in memory.

The published files hold float64: 7.7 GiB of feature maps and 40 MiB of sound for 4,143 clips. Rows are read, rounded
and written one after the other.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import PROFILES, FeatureSpec
from ..errors import DatasetError
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape
from .h5_files import H5Rows
from .packing import PackResult, write_store

MAP_SHAPE = (7, 7, 512)  # rows, columns, channels of VGG19's last maps
_AUDIO_DIM = 128
_DATASET = "avadataset"  # name in the published files
_PROFILE = PROFILES["ave"]
PUBLISHED_SPEC = FeatureSpec(
    _PROFILE.name,
    _PROFILE.version,
    ("vggish", "vgg19"),
    (_AUDIO_DIM, math.prod(MAP_SHAPE)),
    _PROFILE.frames_per_segment,
    streams=_PROFILE.streams,
)


@dataclass(frozen=True, eq=False)
class H5Features:
    """Two open files of the same N clips. A context manager, which closes them.

    Attributes:
        visual: (N, T, 7, 7, 512) feature maps.
        audio: (N, T, 128).
        names: of the clips, in the order of the rows.
    """

    visual: H5Rows
    audio: H5Rows
    names: tuple[str, ...]

    def __enter__(self) -> H5Features:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.visual.close()
        self.audio.close()

    @property
    def seconds(self) -> int:
        """Sum of the seconds of all clips."""
        return math.prod(self.audio.shape[:2])


def open_h5_features(visual: Path, audio: Path, names: Sequence[str], listed_in: str) -> H5Features:
    """Open two files and check their shapes.

    Args:
        visual: HDF5 file of feature maps.
        audio: HDF5 file of the sound.
        names: of the clips, in the order of the rows.
        listed_in: what has these names, for messages.

    Returns:
        The files, to be closed by the caller.

    Raises:
        DatasetError: a file cannot be read, has another shape, or another number of clips.
        SetupError: h5py is not installed.
    """
    with contextlib.ExitStack() as files:
        maps = files.enter_context(H5Rows(visual, _DATASET, "features"))
        sound = files.enter_context(H5Rows(audio, _DATASET, "features"))
        _check(maps, sound, len(names), listed_in)
        files.pop_all()
        return H5Features(maps, sound, tuple(names))


def _check(visual: H5Rows, audio: H5Rows, clips: int, listed_in: str) -> None:
    """Check the shapes of two files. Raises DatasetError."""
    expected = {visual: ("visual", MAP_SHAPE), audio: ("audio", (_AUDIO_DIM,))}
    for rows, (what, shape) in expected.items():
        if rows.shape[2:] == shape:
            continue
        sizes = ", ".join(map(str, shape))
        text = f"{escape(rows.path)}: shape {rows.shape}, expected {what} features (N, T, {sizes})"
        if any(rows.shape[2:] == other for _, other in expected.values()):
            text += "; the visual file comes first, then the audio file"
        raise DatasetError(text)
    found = f"{escape(audio.path)}: {audio.shape[0]} clips of {audio.shape[1]} s"
    if audio.shape[:2] != visual.shape[:2]:
        raise DatasetError(f"{found}, but {escape(visual.path)} has {visual.shape[0]} of {visual.shape[1]} s")
    if audio.shape[0] != clips:
        raise DatasetError(f"{found}, but {listed_in} has {clips}: row by row, they must be the same clips")
    if not 1 <= audio.shape[1] <= MAX_MEDIA_SECONDS:
        raise DatasetError(f"{found}, expected 1 s to {MAX_MEDIA_SECONDS // 3600} hours")


def pack_h5(
    target: Path,
    parts: Sequence[H5Features],
    *,
    dtype: str = "float16",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PackResult:
    """Write a store of published features. If anything fails, no store is created.

    Args:
        target: folder of the new store.
        parts: the clips of the data set, and others with different names; each can be read once.
        dtype: key in `DTYPES`.
        skip_bad: omit clips with NaN or infinity, or values that the type cannot hold, instead of failing.
        progress: called with the number of clips done and in total.

    Returns:
        Number of clips, size, and problems of the clips that were omitted.

    Raises:
        DatasetError: values cannot be read, or clips have errors.
        OutputError: as `write_store`.
    """
    return write_store(
        target,
        PUBLISHED_SPEC,
        (clip for part in parts for clip in _clips(part)),
        (sum(len(part.names) for part in parts), sum(part.seconds for part in parts)),
        dtype=dtype,
        skip_bad=skip_bad,
        progress=progress,
    )


def _clips(part: H5Features) -> Iterator[tuple[str, NDArray[np.floating] | str]]:
    """Yield the name of each clip with its rows (T, 128 + 25088), or why it has none."""
    for name, sound, maps in zip(part.names, _rows(part.audio), _rows(part.visual), strict=True):
        rows = np.concatenate([sound, maps.reshape(len(maps), -1)], axis=1)
        yield name, rows if np.isfinite(rows).all() else f"{escape(name)}: contains NaN or infinity"


def _rows(rows: H5Rows) -> Iterator[NDArray[np.floating]]:
    for block in rows.blocks():
        yield from block
