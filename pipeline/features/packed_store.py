"""Packed store: thousands of small feature files in one array.

    FOLDER/index.json    format, feature specification, clip ids and lengths, name of the array
    FOLDER/features.npy  (sum of T, A + V + S) float32 or float16: one row per second, clip after clip;
                         features-*.npy where clips are still added by `avvp extract --layout packed`

Reading a clip is one contiguous read, and only clips that are read take memory. The array is not mapped into memory:
where a disk breaks or the file shrinks, a map would end the process.
"""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import json
import os
import secrets
import shutil
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...weights.messages import shown
from ...weights.safe_paths import inside
from ..durable import PART_PREFIX, sync_folder
from ..errors import DatasetError, OutputError
from ..files import check_folder_of, make_folder_of
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape
from ..text_files import read_json
from .npy_files import ArrayHeader, open_array_file, read_header_of, read_values
from .npy_folders import READ_THREADS, FeatureFolders, FeatureSource

INDEX_FILE = "index.json"
ARRAY_FILE = "features.npy"
ARRAY_PREFIX = "features-"
FORMAT_VERSION = 2
DTYPES = {"float32": np.float32, "float16": np.float16}
_TEMPORARY = f"{PART_PREFIX}pack-"  # of folders that are renamed when a store is complete
_ABANDONED = 60.0  # seconds without a change
_READ_AHEAD_BYTES = 256 << 20  # of clips in memory while packing
_READ_AHEAD = 64  # clips, at most


class FeatureStore:
    """Features of a packed store, see `FeatureSource`.

    Attributes:
        root: folder of the store.
        spec: profile, extractors and widths of the features.
    """

    def __init__(self, root: Path) -> None:
        """Open the array and read the index.

        Args:
            root: folder of the store.

        Raises:
            DatasetError: the store is damaged or of a newer format.
        """
        self.root = root
        index = _read_index(root)
        try:
            if type(index["format"]) is not int or not 1 <= index["format"] <= FORMAT_VERSION:
                found = shown(index["format"])
                raise ValueError(f"format {found}, expected {FORMAT_VERSION} or older; update avvp")
            array = index.get("array", ARRAY_FILE)  # format 1 had one fixed name
            if not isinstance(array, str) or Path(array).name != array:
                raise ValueError(f"array {shown(array)}, expected the name of a file in the same folder")
            self._array = inside(root, array)
            self.spec = FeatureSpec.from_dict(index["spec"])
            lengths = _read_lengths(index["ids"], index["lengths"])
        except (KeyError, ValueError) as error:
            raise DatasetError(f"{escape(root / INDEX_FILE)}: not a valid index: {escape(error)}") from error
        stops = list(itertools.accumulate(lengths.values()))
        # Half-open ranges of rows of the array.
        self._ranges = dict(zip(lengths, zip([0, *stops[:-1]], stops, strict=True), strict=True))
        # The file stays open: `avvp extract` may replace it while it is read.
        self._header, self._descriptor = _open_array(self._array, (sum(lengths.values()), sum(self.spec.dims)))
        weakref.finalize(self, os.close, self._descriptor)

    def ids(self) -> frozenset[str]:
        """Return the ids of all clips in the store."""
        return frozenset(self._ranges)

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Look up T of each clip; see `FeatureSource.lengths`."""
        lengths = {name: self._ranges[name][1] - self._ranges[name][0] for name in ids if name in self._ranges}
        missing = [f"{escape(name)}: not in the store {escape(self.root)}" for name in ids if name not in lengths]
        return lengths, missing

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """Copy the features of a clip; see `FeatureSource.read`."""
        start, stop = self._ranges[clip_id]
        width, dtype = self._header.shape[1], self._header.dtype
        offset = self._header.start + start * width * dtype.itemsize
        try:
            rows = read_values(self._descriptor, (stop - start, width), dtype, offset)
        except OSError as error:
            raise DatasetError(f"{escape(self._array)}: cannot be read: {error.strerror or error}") from error
        if not np.isfinite(rows).all():
            raise DatasetError(f"{escape(self._array)}: contains NaN or infinity in clip {escape(clip_id)}")
        return rows

    def release(self) -> None:
        """Do nothing: no memory is held between reads."""


def open_features(path: Path) -> FeatureSource:
    """Open features in either layout: a packed store, or folders of .npy files.

    Args:
        path: folder of the store or of the extractors' folders.

    Returns:
        The features.

    Raises:
        DatasetError: the folder contains neither, or is damaged.
    """
    return FeatureStore(path) if (path / INDEX_FILE).exists() else FeatureFolders(path)


class PackResult(NamedTuple):
    """Result of packing."""

    clips: int  # in the store
    bytes: int  # size of the store
    left_out: tuple[str, ...]  # problems of clips that are not in the store, one message each


def check_target(target: Path) -> None:
    """Check that a store can be created.

    Args:
        target: folder of the new store.

    Raises:
        OutputError: the path exists, or the nearest folder above it that exists is not writable.
    """
    if os.path.lexists(target):
        raise OutputError(f"{escape(target)}: already exists; remove it or choose another name")
    check_folder_of(target)


def pack_features(
    source: FeatureFolders,
    target: Path,
    *,
    dtype: str = "float32",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PackResult:
    """Write a store of all clips of a feature folder. If anything fails, no store is created.

    It is written to a folder beside the target, locked meanwhile, and renamed at the end. What killed runs have left
    there is removed.

    Args:
        source: the feature folder.
        target: folder of the new store.
        dtype: key in `DTYPES`.
        skip_bad: omit clips with errors instead of failing.
        progress: called with the number of clips done and in total.

    Returns:
        Number of clips, size, and problems of the clips that were omitted.

    Raises:
        DatasetError: clips have errors, all listed; with `skip_bad`, only if no clip is left.
        OutputError: the target exists or cannot be written.
    """
    check_target(target)
    make_folder_of(target)
    expected, problems = source.lengths(sorted(source.ids()))
    parent = target.resolve().parent
    try:
        _remove_abandoned(parent)
        with _locked_folder(parent) as temporary:
            lengths: dict[str, int] = {}
            with (temporary / ARRAY_FILE).open("wb") as file:
                write_header(file, dtype, 0, sum(source.spec.dims))
                for done, (clip_id, rows) in enumerate(_read_all(source, expected), 1):
                    problem = rows if isinstance(rows, str) else _too_large(clip_id, rows, dtype)
                    if isinstance(rows, str) or problem:
                        problems.append(problem)
                    else:
                        file.write(rows.astype(DTYPES[dtype], copy=False).tobytes())
                        lengths[clip_id] = len(rows)
                    progress(done, len(expected))
                if not lengths or (problems and not skip_bad):
                    empty = f"{escape(source.root)}: contains no features"
                    raise DatasetError.listing("nothing was packed", problems or [empty])
                file.seek(0)
                write_header(file, dtype, sum(lengths.values()), sum(source.spec.dims))
                size = _flush(file)
            with (temporary / INDEX_FILE).open("wb") as file:
                file.write(describe_store(source.spec, lengths, ARRAY_FILE))
                size += _flush(file)
            sync_folder(temporary)
            temporary.rename(target)
            sync_folder(parent)
    except OSError as error:
        raise OutputError(f"{escape(target)}: cannot be written: {error.strerror or error}") from error
    return PackResult(len(lengths), size, tuple(problems))


@contextlib.contextmanager
def _locked_folder(parent: Path) -> Iterator[Path]:
    """Create a temporary folder, locked as long as the context lasts, and remove it where it is still there."""
    folder = parent / f"{_TEMPORARY}{secrets.token_hex(8)}.part"
    folder.mkdir()
    descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(descriptor)


def _remove_abandoned(parent: Path) -> None:
    """Remove the temporary folders of killed runs: old enough to be locked by now, and not locked."""
    for folder in parent.glob(f"{_TEMPORARY}*.part"):
        with contextlib.suppress(OSError):
            if time.time() - folder.lstat().st_mtime < _ABANDONED or not folder.is_dir() or folder.is_symlink():
                continue
            descriptor = os.open(folder, os.O_RDONLY | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder, ignore_errors=True)
            finally:
                os.close(descriptor)


def _read_all(source: FeatureFolders, lengths: Mapping[str, int]) -> Iterator[tuple[str, NDArray[np.floating] | str]]:
    """Read clips in threads, ahead of the caller; yield each clip's id with its rows or the error message."""

    def attempt(clip_id: str) -> NDArray[np.floating] | str:
        try:
            return source.read(clip_id)
        except DatasetError as error:
            return str(error)

    most_seconds = _READ_AHEAD_BYTES // (4 * sum(source.spec.dims))
    with ThreadPoolExecutor(READ_THREADS) as readers:
        for block in _blocks(lengths, most_seconds):
            yield from zip(block, readers.map(attempt, block), strict=True)


def _blocks(lengths: Mapping[str, int], most_seconds: int) -> Iterator[list[str]]:
    """Divide clips into blocks of at most `_READ_AHEAD` clips and, unless it is a single clip, so many seconds."""
    block: list[str] = []
    seconds = 0
    for clip_id, length in lengths.items():
        if block and (len(block) == _READ_AHEAD or seconds + length > most_seconds):
            yield block
            block, seconds = [], 0
        block.append(clip_id)
        seconds += length
    if block:
        yield block


def _too_large(clip_id: str, rows: NDArray[np.floating], dtype: str) -> str:
    """Return an error message if the type cannot represent the values, else an empty string."""
    largest = float(np.abs(rows).max())
    if largest <= float(np.finfo(DTYPES[dtype]).max):
        return ""
    return f"{escape(clip_id)}: value {largest:g} exceeds the range of {dtype}; pack it as float32"


def describe_store(spec: FeatureSpec, lengths: Mapping[str, int], array: str) -> bytes:
    """Encode the index of a store.

    Args:
        spec: profile, extractors and widths of the features.
        lengths: clip id -> T, in the order of the array's rows.
        array: name of the array's file.

    Returns:
        JSON, the content of `INDEX_FILE`.
    """
    index = {
        "format": FORMAT_VERSION,
        "spec": spec.to_dict(),
        "ids": list(lengths),
        "lengths": list(lengths.values()),
        "array": array,
    }
    return json.dumps(index).encode()


def write_header(file: IO[bytes], dtype: str, rows: int, width: int) -> None:
    """Write the .npy header of a store's array.

    numpy pads the header to fit any number of rows, so it can be overwritten when the number is known.

    Args:
        file: binary file, at its start.
        dtype: key in `DTYPES`.
        rows: sum of T.
        width: A + V + S.
    """
    description = {"descr": np.dtype(DTYPES[dtype]).str, "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, description)


def _flush(file: IO[Any]) -> int:
    """Flush and fsync a file, return its size in bytes."""
    file.flush()
    os.fsync(file.fileno())
    return os.fstat(file.fileno()).st_size


def _read_index(root: Path) -> dict[str, Any]:
    path = root / INDEX_FILE
    try:
        index = read_json(path)
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {escape(error)}") from error
    if not isinstance(index, dict):
        raise DatasetError(f"{escape(path)}: not the index of a packed store")
    return index


def _read_lengths(ids: object, lengths: object) -> dict[str, int]:
    """Return clip id -> T, in the order of the index. Raises ValueError."""
    if not isinstance(ids, list) or not isinstance(lengths, list) or len(ids) != len(lengths) or not ids:
        raise ValueError("clip ids and lengths do not match: expected two lists of the same length")
    if unusable := [name for name in ids if not isinstance(name, str) or not name]:
        raise ValueError(f"a clip id is {shown(unusable[0])}, expected a name")
    if len(set(ids)) != len(ids):
        raise ValueError("clip ids and lengths do not match: an id is there twice")
    if wrong := [length for length in lengths if type(length) is not int or not 1 <= length <= MAX_MEDIA_SECONDS]:
        raise ValueError(
            f"clip ids and lengths do not match: a length of {shown(wrong[0])}, expected 1 to {MAX_MEDIA_SECONDS}"
        )
    return dict(zip(ids, lengths, strict=True))


def _open_array(path: Path, shape: tuple[int, int]) -> tuple[ArrayHeader, int]:
    """Check the array of a store; return its header and a descriptor of the file. Raises DatasetError."""
    with open_array_file(path) as descriptor:
        header = read_header_of(path, descriptor)
        if header.shape != shape or header.dtype not in DTYPES.values() or header.fortran_order:
            raise DatasetError(f"{escape(path)}: {header.dtype} {header.shape}, but the index states {shape}")
        size = os.fstat(descriptor).st_size
        if size != header.size:
            raise DatasetError(f"{escape(path)}: {size} bytes, expected {header.size}")
        return header, os.dup(descriptor)
