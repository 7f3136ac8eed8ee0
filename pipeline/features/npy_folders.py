"""Read features in LLP's layout: one folder per extractor, one .npy file per clip.

    FOLDER/vggish/<id>.npy       (T, A)
    FOLDER/res152/<id>.npy       (kT, V), k frames per second
    FOLDER/r2plus1d_18/<id>.npy  (T, S)
    FOLDER/features.json         the FeatureSpec; without it, the published LLP features are assumed

Folders are named by extractor; ResNet-152's is `res152`, those of CLIP and CLAP are `CLIP/features` and
`CLAP/features`. Any floating-point type is read. NaN, infinity, integers, objects (which would have to be unpickled)
and truncated files are errors that name the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...weights.safe_paths import inside
from ..errors import DatasetError
from ..files import list_files
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape
from ..text_files import read_json
from .npy_files import read_header, read_row_blocks

SPEC_FILE = "features.json"
PUBLISHED_SPEC = FeatureSpec("llp", 1, ("vggish", "resnet152", "r2plus1d_18"), (128, 2048, 512))
# Where the published folder has another name than the extractor; VALOR's are also those of `avvp pseudo-label`.
_FOLDER_NAMES = {
    "resnet152": "res152", "clip": "CLIP/features", "clap": "CLAP/features",
    "clip_tiny": "CLIP/features", "clap_tiny": "CLAP/features",
}  # fmt: skip
_BLOCK_SECONDS = 60  # that are read at once
READ_THREADS = 8  # more threads than cores are useful: reading small files is bound by latency


class FeatureSource(Protocol):
    """Features of many clips, one row per second: the streams of `spec` side by side.

    Frames of a second are their mean, unless `frames`. For a stem that is affine up to the mean of a second, the
    mean of the features gives the same; a stem with an activation before it (`ParserConfig.needs_frames`) needs frames.

    Attributes:
        spec: profile, extractors and widths of the features.
        frames: a row has all frames of the second, one after the other, in place of their mean.
    """

    spec: FeatureSpec
    frames: bool

    def ids(self) -> frozenset[str]:
        """Return the ids of all clips that have features."""
        ...

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Check the headers of clips, without reading values.

        Args:
            ids: of clips.

        Returns:
            Clip id -> T for clips without an error, and one message for each error.
        """
        ...

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """Read the features of a clip.

        Args:
            clip_id: a clip that `lengths` found no error in.

        Returns:
            (T, sum of `spec.row_widths(frames=frames)`).

        Raises:
            DatasetError: a value is NaN or infinite, or a file cannot be read.
        """
        ...

    def release(self) -> None:
        """Free the memory that reading has used."""
        ...


class FeatureFolders:
    """Features of a folder in LLP's layout, see `FeatureSource`.

    Attributes:
        root: the folder.
        spec: from `features.json`, or the published one.
        frames: whether rows have all frames of a second.
        folders: those of the extractors, in the order of `spec.extractors`.
    """

    def __init__(self, root: Path, *, frames: bool = False) -> None:
        """Read the specification.

        Args:
            root: the folder.
            frames: read all frames of a second in place of their mean.

        Raises:
            DatasetError: the folder, or the folder of an extractor, is missing, or the specification is invalid.
        """
        self.root = root
        self.frames = frames
        self.spec = read_spec(root)
        self.folders = _find_folders(root, self.spec)

    def ids(self) -> frozenset[str]:
        """Return the clips with a file in any folder; `lengths` reports those with a file missing elsewhere.

        Hidden files and folders are left out, and files that came after the first call of this method or of `lengths`.
        Raises DatasetError where a folder cannot be listed.
        """
        return self._present

    @cached_property
    def _present(self) -> frozenset[str]:
        # Names of clips come from other files, too: none that is not listed here is opened.
        return frozenset().union(*map(list_clips, self.folders))

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Check the headers of clips; see `FeatureSource.lengths`."""
        self.ids()  # lists the folders here, and not in a thread
        with ThreadPoolExecutor(READ_THREADS) as readers:
            checked = list(readers.map(self._check, ids))
        lengths = {clip_id: result for clip_id, result in zip(ids, checked, strict=True) if isinstance(result, int)}
        return lengths, [problem for result in checked if not isinstance(result, int) for problem in result]

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """Read the features of a clip as float32; see `FeatureSource.read`."""
        try:
            return np.concatenate(
                [
                    _read_seconds(folder / f"{clip_id}.npy", rate, frames=self.frames)
                    for folder, rate in zip(self.folders, self.spec.rates, strict=True)
                ],
                axis=1,
            )
        except ValueError as error:
            raise DatasetError(f"{escape(clip_id)}: its files do not fit together: {escape(error)}") from error

    def release(self) -> None:
        """Do nothing: no memory is held between reads."""

    def _check(self, clip_id: str) -> int | list[str]:
        """Return T, or the problems of the clip's files."""
        if clip_id not in self._present:
            return [f"{escape(f'{folder}/{clip_id}.npy')}: no such file" for folder in self.folders]
        problems: list[str] = []
        rows: list[int] = []
        for folder, width, rate in zip(self.folders, self.spec.dims, self.spec.rates, strict=True):
            path = folder / f"{clip_id}.npy"
            try:
                header = read_header(path)
            except DatasetError as error:
                problems.append(str(error))
                continue
            if header.dtype.kind != "f":
                problems.append(f"{escape(path)}: type {header.dtype}, expected a floating-point type")
            elif len(header.shape) != 2 or header.shape[1] != width or not header.shape[0] or header.shape[0] % rate:
                expected = f"({f'{rate}T' if rate > 1 else 'T'}, {width})"
                problems.append(f"{escape(path)}: shape {header.shape}, expected {expected}")
            elif header.shape[0] > MAX_MEDIA_SECONDS * rate:
                problems.append(f"{escape(path)}: more than {MAX_MEDIA_SECONDS // 3600} hours")
            else:
                rows.append(header.shape[0] // rate)
        if not problems and len(set(rows)) > 1:
            seconds = ", ".join(f"{folder.name} {count}" for folder, count in zip(self.folders, rows, strict=True))
            problems.append(f"{escape(clip_id)}: its files have different numbers of seconds: {seconds}")
        return problems or rows[0]


def list_clips(folder: Path) -> frozenset[str]:
    """List the clips that have a .npy file in a folder.

    Files and folders may be links: they are entries of the user's own folder, not names that a file holds.

    Args:
        folder: is searched with the folders below it, without hidden files and folders.

    Returns:
        Paths below the folder, without suffix.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    try:
        files = [path for path in list_files(folder, recursive=True) if path.name.endswith(".npy")]
    except OSError as error:
        raise DatasetError(f"{escape(error.filename)}: cannot be listed: {error.strerror}") from error
    return frozenset(path.relative_to(folder).as_posix().removesuffix(".npy") for path in files)


def _find_folders(root: Path, spec: FeatureSpec) -> list[Path]:
    """Return the folders of the extractors, which exist. Raises DatasetError."""
    try:
        folders = [inside(root, folder_name(name)) for name in spec.extractors]
    except ValueError as error:
        raise DatasetError(f"{escape(root / SPEC_FILE)}: extractor {escape(error)}") from error
    if missing := [folder for folder in folders if not folder.is_dir()]:
        names = ", ".join(escape(folder.name) for folder in missing)
        raise DatasetError(f"{escape(root)}: no feature folder {names} in it")
    return folders


def _read_seconds(path: Path, rate: int, *, frames: bool) -> NDArray[np.float32]:
    """Read features with some rows per second, in float32; return a row for each second: their mean, or all of them.

    The frames of an hour take 236 MB, so they are averaged as they are read.
    """
    seconds: list[NDArray[np.float32]] = []
    for block in read_row_blocks(path, _BLOCK_SECONDS * rate):
        with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, and refused
            rows = block.astype(np.float32, copy=False)
        if not np.isfinite(rows).all():
            raise DatasetError(f"{escape(path)}: contains NaN or infinity")
        seconds.append(join_frames(rows, rate, frames=frames))
    return np.concatenate(seconds)


def join_frames(rows: NDArray[np.float32], rate: int, *, frames: bool) -> NDArray[np.float32]:
    """Make one row of the rows of each second.

    Args:
        rows: (rate x n, width), frame after frame.
        rate: rows per second.
        frames: put them side by side, (n, rate x width); else take their mean, (n, width).

    Returns:
        A row for each second.
    """
    if rate == 1:
        return rows
    return rows.reshape(len(rows) // rate, -1) if frames else rows.reshape(-1, rate, rows.shape[1]).mean(axis=1)


def folder_name(extractor: str) -> str:
    """Return the name of the folder with an extractor's files."""
    return _FOLDER_NAMES.get(extractor, extractor)


def read_spec(root: Path) -> FeatureSpec:
    """Read the specification of a feature folder.

    Args:
        root: the folder.

    Returns:
        The content of `features.json`; without that file, `PUBLISHED_SPEC`.

    Raises:
        DatasetError: the folder does not exist, or the file is not a specification.
    """
    path = root / SPEC_FILE
    if not root.is_dir():
        raise DatasetError(f"{escape(root)}: no such feature folder")
    if not path.exists():
        return PUBLISHED_SPEC
    try:
        return FeatureSpec.from_dict(read_json(path))
    except (ValueError, TypeError) as error:
        raise DatasetError(f"{escape(path)}: not a feature specification: {escape(error)}") from error
