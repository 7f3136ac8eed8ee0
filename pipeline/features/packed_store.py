"""Packed store: thousands of small feature files in one memory-mapped array.

    FOLDER/index.json    format, feature specification, clip ids and lengths, name of the array
    FOLDER/features.npy  (sum of T, A + V + S) float32 or float16: one row per second, clip after clip;
                         features-*.npy where clips are still added by `avvp extract --layout packed`

Reading a clip is one contiguous read, and only clips that are read take memory.
"""

from __future__ import annotations

import json
import mmap
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ..errors import DatasetError, OutputError
from ..files import check_writable
from ..text import escape
from ..text_files import read_json
from .npy_folders import READ_THREADS, FeatureFolders, FeatureSource, read_header

INDEX_FILE = "index.json"
ARRAY_FILE = "features.npy"
ARRAY_PREFIX = "features-"
FORMAT_VERSION = 2
DTYPES = {"float32": np.float32, "float16": np.float16}
_READ_AHEAD = 64  # clips in memory while packing


class FeatureStore:
    """Features of a packed store, see `FeatureSource`.

    Attributes:
        root: folder of the store.
        spec: profile, extractors and widths of the features.
    """

    def __init__(self, root: Path) -> None:
        """Map the array and read the index.

        Args:
            root: folder of the store.

        Raises:
            DatasetError: the store is damaged or of a newer format.
        """
        self.root = root
        index = _read_index(root)
        try:
            if index["format"] not in {1, FORMAT_VERSION}:
                raise ValueError(f"format {index['format']}, expected {FORMAT_VERSION} or older; update avvp")
            array = index.get("array", ARRAY_FILE)  # format 1 had one fixed name
            if not isinstance(array, str) or Path(array).name != array:
                raise ValueError(f"array {array!r}, expected the name of a file in the same folder")
            self.spec = FeatureSpec.from_dict(index["spec"])
            lengths = np.asarray(index["lengths"], np.int64)
            ids = [str(clip_id) for clip_id in index["ids"]]
            if lengths.shape != (len(ids),) or len(set(ids)) != len(ids) or (lengths < 1).any():
                raise ValueError("clip ids and lengths do not match")
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{escape(root / INDEX_FILE)}: not a valid index: {escape(error)}") from error
        stops = np.cumsum(lengths)
        ranges = zip((stops - lengths).tolist(), stops.tolist(), strict=True)
        self._ranges: dict[str, tuple[int, int]] = dict(zip(ids, ranges, strict=True))  # half-open, rows of the array
        self._array = root / array
        self._map, self._rows = _map_array(self._array, (int(lengths.sum()), sum(self.spec.dims)))

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
        rows = np.array(self._rows[start:stop])
        if not np.isfinite(rows).all():
            raise DatasetError(f"{escape(self._array)}: contains NaN or infinity in clip {escape(clip_id)}")
        return rows

    def release(self) -> None:
        """Free the memory of clips that were read; their pages stay in the system's cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


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
        OutputError: the path exists, or its parent folder does not exist or is not writable.
    """
    if os.path.lexists(target):
        raise OutputError(f"{escape(target)}: already exists; remove it or choose another name")
    check_writable(target.resolve().parent)


def pack_features(
    source: FeatureFolders,
    target: Path,
    *,
    dtype: str = "float32",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PackResult:
    """Write a store of all clips of a feature folder. If anything fails, no store is created.

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
    expected, problems = source.lengths(sorted(source.ids()))
    temporary = None
    try:
        temporary = Path(tempfile.mkdtemp(dir=target.resolve().parent, prefix=f".{target.name}-", suffix=".part"))
        lengths: dict[str, int] = {}
        with (temporary / ARRAY_FILE).open("wb") as file:
            write_header(file, dtype, 0, sum(source.spec.dims))
            for done, (clip_id, rows) in enumerate(_read_all(source, list(expected)), 1):
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
        temporary.chmod(0o755)
        temporary.rename(target)
        temporary = None
    except OSError as error:
        raise OutputError(f"{escape(target)}: cannot be written: {error.strerror or error}") from error
    finally:
        if temporary is not None:
            shutil.rmtree(temporary, ignore_errors=True)
    return PackResult(len(lengths), size, tuple(problems))


def _read_all(source: FeatureFolders, ids: Sequence[str]) -> Iterator[tuple[str, NDArray[np.floating] | str]]:
    """Read clips in threads, ahead of the caller; yield each clip's id with its rows or the error message."""

    def attempt(clip_id: str) -> NDArray[np.floating] | str:
        try:
            return source.read(clip_id)
        except DatasetError as error:
            return str(error)

    with ThreadPoolExecutor(READ_THREADS) as readers:
        for first in range(0, len(ids), _READ_AHEAD):
            block = ids[first : first + _READ_AHEAD]
            yield from zip(block, readers.map(attempt, block), strict=True)


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


def _map_array(path: Path, shape: tuple[int, int]) -> tuple[mmap.mmap, NDArray[np.floating]]:
    header = read_header(path)
    if header.shape != shape or header.dtype not in DTYPES.values() or header.fortran_order:
        raise DatasetError(f"{escape(path)}: {header.dtype} {header.shape}, but the index states {shape}")
    size = header.dtype.itemsize * shape[0] * shape[1]
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapped) != header.start + size:
        raise DatasetError(f"{escape(path)}: {len(mapped)} bytes, expected {header.start + size}")
    return mapped, np.ndarray(shape, header.dtype, buffer=mapped, offset=header.start)
