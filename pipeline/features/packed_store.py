"""The packed store: thousands of small feature files as one memory-mapped array.

    FOLDER/index.json    format, feature specification, clip ids and lengths, name of the array
    FOLDER/features.npy  (sum of T, A + V + S) float32 or float16: a row for each second of each clip, clip after clip;
                         features-*.npy where clips are still added by `avvp extract --layout packed`

What a training step needs of a clip is one contiguous read, and only what is read is in memory.
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
from .npy_folders import READ_THREADS, FeatureFolders, FeatureSource, read_header

INDEX_FILE = "index.json"
ARRAY_FILE = "features.npy"
ARRAY_PREFIX = "features-"
FORMAT_VERSION = 2
DTYPES = {"float32": np.float32, "float16": np.float16}
_AT_ONCE = 64  # clips in memory while packing


class FeatureStore:
    """A packed store, open for reading. Raises DatasetError where it is damaged or of a newer format."""

    def __init__(self, root: Path) -> None:
        self.root = root
        index = _read_index(root)
        try:
            if index["format"] not in {1, FORMAT_VERSION}:
                raise ValueError(f"format {index['format']}, this program reads {FORMAT_VERSION}")
            array = index.get("array", ARRAY_FILE)  # format 1 had one name for it
            if not isinstance(array, str) or Path(array).name != array:
                raise ValueError(f"array {array!r}, expected the name of a file beside it")
            self.spec = FeatureSpec.from_dict(index["spec"])
            lengths = np.asarray(index["lengths"], np.int64)
            ids = [str(clip_id) for clip_id in index["ids"]]
            if lengths.shape != (len(ids),) or len(set(ids)) != len(ids) or (lengths < 1).any():
                raise ValueError("clip ids and lengths do not go together")
        except (KeyError, TypeError, ValueError) as error:
            raise DatasetError(f"{escape(root / INDEX_FILE)}: cannot be understood: {escape(error)}") from error
        stops = np.cumsum(lengths)
        places = zip((stops - lengths).tolist(), stops.tolist(), strict=True)
        self._places: dict[str, tuple[int, int]] = dict(zip(ids, places, strict=True))
        self._array = root / array
        self._map, self._rows = _map_array(self._array, (int(lengths.sum()), sum(self.spec.dims)))

    def ids(self) -> frozenset[str]:
        """The clips in the store."""
        return frozenset(self._places)

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """T of each clip, and a line for each that is not in the store."""
        found = {name: self._places[name][1] - self._places[name][0] for name in ids if name in self._places}
        missing = [f"{escape(name)}: not in the store {escape(self.root)}" for name in ids if name not in found]
        return found, missing

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """(T, A + V + S), a copy. Raises DatasetError for values that are not finite."""
        start, stop = self._places[clip_id]
        rows = np.array(self._rows[start:stop])
        if not np.isfinite(rows).all():
            where = escape(self._array)
            raise DatasetError(f"{where}: holds values that are not finite, in clip {escape(clip_id)}")
        return rows

    def release(self) -> None:
        """Give back the memory of what was read; the pages stay in the system's cache."""
        if hasattr(mmap, "MADV_DONTNEED"):
            self._map.madvise(mmap.MADV_DONTNEED)


def open_features(path: Path) -> FeatureSource:
    """Features in either form: a packed store or folders of .npy files. Raises DatasetError."""
    return FeatureStore(path) if (path / INDEX_FILE).exists() else FeatureFolders(path)


class PackResult(NamedTuple):
    """What became of the files."""

    clips: int
    bytes: int
    left_out: tuple[str, ...]  # what is wrong with the clips that are not in the store


def check_target(target: Path) -> None:
    """Raises OutputError where a store of this name cannot be made."""
    if os.path.lexists(target):
        raise OutputError(f"{escape(target)}: exists already; remove it or choose another name")
    check_writable(target.resolve().parent)


def pack_features(
    source: FeatureFolders,
    target: Path,
    *,
    dtype: str = "float32",
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> PackResult:
    """Write a store of every clip; the target appears whole or not at all.

    skip_bad: leave out clips that cannot be used. Raises DatasetError listing them otherwise, and where no clip is
    left; OutputError where the target exists or cannot be written.
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
                empty = f"{escape(source.root)}: holds no features"
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
    """Each clip and its rows, or what is wrong with it; some clips are read ahead."""

    def attempt(clip_id: str) -> NDArray[np.floating] | str:
        try:
            return source.read(clip_id)
        except DatasetError as error:
            return str(error)

    with ThreadPoolExecutor(READ_THREADS) as readers:
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            yield from zip(some, readers.map(attempt, some), strict=True)


def _too_large(clip_id: str, rows: NDArray[np.floating], dtype: str) -> str:
    """What is wrong where the type cannot hold a value; empty where it can."""
    largest = float(np.abs(rows).max())
    if largest <= float(np.finfo(DTYPES[dtype]).max):
        return ""
    return f"{escape(clip_id)}: holds {largest:g}, more than {dtype} can; pack it as float32"


def describe_store(spec: FeatureSpec, lengths: Mapping[str, int], array: str) -> bytes:
    """The index of a store: T of each clip in the order of the array's rows, and the array's file."""
    index = {
        "format": FORMAT_VERSION,
        "spec": spec.to_dict(),
        "ids": list(lengths),
        "lengths": list(lengths.values()),
        "array": array,
    }
    return json.dumps(index).encode()


def write_header(file: IO[bytes], dtype: str, rows: int, width: int) -> None:
    """numpy leaves room in it for any number of rows, so that it can be written again when they are counted."""
    description = {"descr": np.dtype(DTYPES[dtype]).str, "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, description)


def _flush(file: IO[Any]) -> int:
    file.flush()
    os.fsync(file.fileno())
    return os.fstat(file.fileno()).st_size


def _read_index(root: Path) -> dict[str, Any]:
    path = root / INDEX_FILE
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {escape(error)}") from error
    if not isinstance(index, dict):
        raise DatasetError(f"{escape(path)}: not the index of a store")
    return index


def _map_array(path: Path, shape: tuple[int, int]) -> tuple[mmap.mmap, NDArray[np.floating]]:
    header = read_header(path)
    if header.shape != shape or header.dtype not in DTYPES.values() or header.fortran_order:
        raise DatasetError(f"{escape(path)}: {header.dtype} {header.shape}, but the index speaks of {shape}")
    size = header.dtype.itemsize * shape[0] * shape[1]
    with path.open("rb") as file:
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    if len(mapped) != header.start + size:
        raise DatasetError(f"{escape(path)}: {len(mapped)} bytes, expected {header.start + size}")
    return mapped, np.ndarray(shape, header.dtype, buffer=mapped, offset=header.start)
