"""Write packed stores: completely, or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...weights.messages import file_size
from ..durable import PART_PREFIX, sync_folder
from ..errors import DatasetError, OutputError
from ..files import check_folder_of, make_folder_of
from ..text import escape
from .npy_folders import READ_THREADS, FeatureFolders
from .packed_store import ARRAY_FILE, DTYPES, INDEX_FILE, describe_store, write_header

_TEMPORARY = f"{PART_PREFIX}pack-"  # of folders that are renamed when a store is complete
_ABANDONED = 60.0  # seconds without a change
_READ_AHEAD_BYTES = 256 << 20  # of clips in memory while packing
_READ_AHEAD = 64  # clips, at most


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
        source: the feature folder; with `frames`, the store has them, too.
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
    if not expected and not problems:
        raise DatasetError(f"{escape(source.root)}: contains no features")
    return write_store(
        target,
        source.spec,
        _read_all(source, expected),
        (len(expected), sum(expected.values())),
        dtype=dtype,
        problems=problems,
        skip_bad=skip_bad,
        progress=progress,
        frames=source.frames,
    )


def write_store(
    target: Path,
    spec: FeatureSpec,
    clips: Iterable[tuple[str, NDArray[np.floating] | str]],
    size: tuple[int, int],
    *,
    dtype: str,
    problems: Sequence[str] = (),
    skip_bad: bool = False,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    frames: bool = False,
) -> PackResult:
    """Write a store, or nothing; see `pack_features`.

    Args:
        target: folder of the new store.
        spec: of the features.
        clips: id and rows of each clip, (T, sum of `spec.row_widths(frames=frames)`), or why it has none.
        size: number of clips and the sum of their seconds, where all have rows.
        dtype: key in `DTYPES`.
        problems: of clips that are not in `clips`, one message each.
        skip_bad: omit clips with errors instead of failing.
        progress: called with the number of clips done and in total.
        frames: whether rows have all frames of a second.

    Returns:
        Number of clips, size, and problems of the clips that were omitted.

    Raises:
        DatasetError: as `pack_features`.
        OutputError: the target exists, is too large for its disk, or cannot be written.
    """
    check_target(target)
    make_folder_of(target)
    found = list(problems)
    parent = target.resolve().parent
    width = sum(spec.row_widths(frames=frames))
    try:
        _remove_abandoned(parent)
        _check_space(target, parent, size[1] * width * np.dtype(DTYPES[dtype]).itemsize)
        with _locked_folder(parent) as temporary:
            lengths: dict[str, int] = {}
            with (temporary / ARRAY_FILE).open("wb") as file:
                write_header(file, dtype, 0, width)
                for done, (clip_id, rows) in enumerate(clips, 1):
                    problem = rows if isinstance(rows, str) else _too_large(clip_id, rows, dtype)
                    if isinstance(rows, str) or problem:
                        found.append(problem)
                    else:
                        file.write(rows.astype(DTYPES[dtype], copy=False).tobytes())
                        lengths[clip_id] = len(rows)
                    progress(done, size[0])
                if not lengths or (found and not skip_bad):
                    raise DatasetError.listing("nothing was packed", found or ["there are no clips"])
                file.seek(0)
                write_header(file, dtype, sum(lengths.values()), width)
                written = _flush(file)
            with (temporary / INDEX_FILE).open("wb") as file:
                file.write(describe_store(spec, lengths, ARRAY_FILE, frames=frames))
                written += _flush(file)
            sync_folder(temporary)
            temporary.rename(target)
            sync_folder(parent)
    except OSError as error:
        raise OutputError(f"{escape(target)}: cannot be written: {error.strerror or error}") from error
    return PackResult(len(lengths), written, tuple(found))


def _check_space(target: Path, parent: Path, size: int) -> None:
    """Raise OutputError where a store of so many bytes does not fit on the disk; or an OSError."""
    if size > (free := shutil.disk_usage(parent).free):
        raise OutputError(f"{escape(target)}: needs {file_size(size)}, and its disk has {file_size(free)} left")


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

    most_seconds = _READ_AHEAD_BYTES // (4 * sum(source.spec.row_widths(frames=source.frames)))
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


def _flush(file: IO[Any]) -> int:
    """Flush and fsync a file, return its size in bytes."""
    file.flush()
    os.fsync(file.fileno())
    return os.fstat(file.fileno()).st_size
