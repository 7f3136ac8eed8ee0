"""Read features in LLP's layout: one folder per extractor, one .npy file per clip.

    FOLDER/vggish/<id>.npy       (T, A)
    FOLDER/res152/<id>.npy       (kT, V), k frames per second
    FOLDER/r2plus1d_18/<id>.npy  (T, S)
    FOLDER/features.json         the FeatureSpec; without it, the published LLP features are assumed

Folders are named by extractor; ResNet-152's is `res152`. Any floating-point type is read. NaN, infinity, integers,
objects (which would have to be unpickled) and truncated files are errors that name the file.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ..errors import DatasetError
from ..files import list_files
from ..text import escape
from ..text_files import read_json

SPEC_FILE = "features.json"
PUBLISHED_SPEC = FeatureSpec("llp", 1, ("vggish", "resnet152", "r2plus1d_18"), (128, 2048, 512))
_FOLDER_NAMES = {"resnet152": "res152"}  # where the published folder has another name than the extractor
# numpy parses headers with `ast`, which in Python 3.11 sometimes fails when two threads use it at the same time.
_header_lock = Lock()
READ_THREADS = 8  # more threads than cores are useful: reading small files is bound by latency


class FeatureSource(Protocol):
    """Features of many clips, one row per second: audio, visual 2-d (mean of the frames), visual 3-d, concatenated.

    The mean over the frames of a second does not change a parser's result: its first layer for them is affine and is
    followed by a mean.

    Attributes:
        spec: profile, extractors and widths of the features.
    """

    spec: FeatureSpec

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
            (T, A + V + S).

        Raises:
            DatasetError: a value is NaN or infinite, or a file cannot be read.
        """
        ...

    def release(self) -> None:
        """Free the memory that reading has used."""
        ...


class ArrayHeader(NamedTuple):
    """Header of a .npy file."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int  # offset of the first value in bytes


def read_header(path: Path) -> ArrayHeader:
    """Read the header of a .npy file and check that the file is not truncated.

    Args:
        path: the file.

    Returns:
        Shape, memory order, type and offset.

    Raises:
        DatasetError: the file is missing, truncated, not a .npy file, or contains pickled objects.
    """
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            with _header_lock:
                shape, fortran_order, dtype = read(file)
            header = ArrayHeader(shape, fortran_order, dtype, file.tell())
    except FileNotFoundError:
        raise DatasetError(f"{escape(path)}: no such file") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DatasetError(f"{escape(path)}: not a .npy file: {escape(reason)}") from error
    if dtype.hasobject:
        raise DatasetError(f"{escape(path)}: contains pickled objects, which are never loaded")
    expected = header.start + dtype.itemsize * math.prod(shape)
    if path.stat().st_size < expected:
        raise DatasetError(f"{escape(path)}: truncated, {path.stat().st_size} of {expected} bytes")
    return header


def read_array(path: Path) -> NDArray[Any]:
    """Read a .npy file without unpickling.

    Args:
        path: the file.

    Returns:
        Its array.

    Raises:
        DatasetError: see `read_header`; or the values cannot be read.
    """
    header = read_header(path)
    try:
        values = np.fromfile(path, header.dtype, math.prod(header.shape), offset=header.start)
        return values.reshape(header.shape, order="F" if header.fortran_order else "C")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {escape(error)}") from error


class FeatureFolders:
    """Features of a folder in LLP's layout, see `FeatureSource`.

    Attributes:
        root: the folder.
        spec: from `features.json`, or the published one.
        folders: those of the extractors, in the order of `spec.extractors`.
    """

    def __init__(self, root: Path) -> None:
        """Read the specification.

        Args:
            root: the folder.

        Raises:
            DatasetError: the folder, or the folder of an extractor, is missing, or the specification is invalid.
        """
        self.root = root
        self.spec = read_spec(root)
        self.folders = [root / folder_name(name) for name in self.spec.extractors]
        if missing := [folder for folder in self.folders if not folder.is_dir()]:
            names = ", ".join(escape(folder.name) for folder in missing)
            raise DatasetError(f"{escape(root)}: no feature folder {names} in it")

    def ids(self) -> frozenset[str]:
        """Return the clips with a file in any folder; `lengths` reports those with a file missing elsewhere.

        Hidden files and folders are left out. Raises DatasetError where a folder cannot be listed.
        """
        try:
            files = [(folder, path) for folder in self.folders for path in list_files(folder, recursive=True)]
        except OSError as error:
            raise DatasetError(f"{escape(error.filename)}: cannot be listed: {error.strerror}") from error
        return frozenset(
            path.relative_to(folder).as_posix().removesuffix(".npy")
            for folder, path in files
            if path.name.endswith(".npy")
        )

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Check the headers of clips; see `FeatureSource.lengths`."""
        with ThreadPoolExecutor(READ_THREADS) as readers:
            checked = list(readers.map(self._check, ids))
        lengths = {clip_id: result for clip_id, result in zip(ids, checked, strict=True) if isinstance(result, int)}
        return lengths, [problem for result in checked if not isinstance(result, int) for problem in result]

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """Read the features of a clip as float32; see `FeatureSource.read`."""
        parts: list[NDArray[np.floating]] = []
        for folder in self.folders:
            path = folder / f"{clip_id}.npy"
            rows = read_array(path).astype(np.float32, copy=False)
            if not np.isfinite(rows).all():
                raise DatasetError(f"{escape(path)}: contains NaN or infinity")
            parts.append(rows)
        audio, frames, clips = parts
        per_second = frames.reshape(len(audio), -1, frames.shape[1]).mean(axis=1)
        return np.concatenate([audio, per_second, clips], axis=1)

    def release(self) -> None:
        """Do nothing: no memory is held between reads."""

    def _check(self, clip_id: str) -> int | list[str]:
        """Return T, or the problems of the clip's files."""
        problems: list[str] = []
        rows: list[int] = []
        for folder, width, rate in zip(self.folders, self.spec.dims, (1, self.spec.frames_per_segment, 1), strict=True):
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
            else:
                rows.append(header.shape[0] // rate)
        if not problems and len(set(rows)) > 1:
            seconds = ", ".join(f"{folder.name} {count}" for folder, count in zip(self.folders, rows, strict=True))
            problems.append(f"{escape(clip_id)}: its files have different numbers of seconds: {seconds}")
        return problems or rows[0]


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
