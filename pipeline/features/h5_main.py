"""Main function of the process that reads HDF5 files for `h5_files`: one dataset, row after row, to standard output.

``{"name": ..., "shape": [...]}`` comes first, then ``{"rows": n}`` before the bytes of each block of n rows (float32 or
int64, see `VALUES`). ``{"failed": cause}`` ends the stream; ``{"alive": true}`` shows that work goes on.

libhdf5 is not made for files of strangers. It runs here, where it can be killed, with little memory, and unable to open
any other file: links, virtual datasets and external storage name others, and filters are programs.
"""

from __future__ import annotations

import codecs
import itertools
import math
import resource
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from ...weights.process_limits import limit_memory, lower_limit
from ..child_output import MessageWriter
from ..decode.process import die_with_parent
from ..text import first_few

if TYPE_CHECKING:
    import h5py

MAX_MEMORY = 2 << 30  # bytes that this process may take for a file
MAX_NAMES = 100  # members of a file that are looked at
MAX_ROW_BYTES = 256 << 20  # of a row, and of a chunk, in which compressed values are stored
_BLOCK_BYTES = 32 << 20  # of the rows that are read at once
# What is read: kinds of numpy's types, and the type in which it is handed on.
VALUES = {"features": ("f", np.dtype(np.float32)), "indices": ("iu", np.dtype(np.int64))}


class H5Error(Exception):
    """Why a file is not used; the message, without the file's name, is for users."""


def main(descriptor: str, name: str, kind: str) -> None:
    """Write the rows of a dataset to standard output.

    Args:
        descriptor: number of an open descriptor of the file.
        name: of the dataset; where the file has no such name and a single dataset, that is read.
        kind: key in `VALUES`.
    """
    die_with_parent()
    import h5py

    codecs.lookup("ascii")  # for names and types; later it could not be imported
    writer = MessageWriter()
    try:
        with h5py.File(f"/proc/self/fd/{descriptor}", "r", locking=False) as file:
            _limit_resources()
            dataset = _find_dataset(file, name)
            _check(dataset, *VALUES[kind])
            writer.send({"name": str(dataset.name).removeprefix("/"), "shape": list(dataset.shape)})
            for rows in _blocks(dataset, VALUES[kind][1]):
                writer.send({"rows": len(rows)}, [np.ascontiguousarray(rows).data.cast("B")])
    except H5Error as error:
        writer.send({"failed": str(error)})
    except MemoryError:
        writer.send({"failed": f"takes more than {MAX_MEMORY >> 30} GiB of memory to read"})
    except (OSError, RuntimeError, ValueError, TypeError, KeyError) as error:  # whatever h5py makes of libhdf5's errors
        writer.send({"failed": _cause(error)})


def _limit_resources() -> None:
    """Allow no more memory than `MAX_MEMORY`, and no other file."""
    limit_memory(MAX_MEMORY)
    lower_limit(resource.RLIMIT_NOFILE, 0)  # files that are open stay open


def _find_dataset(file: h5py.File, wanted: str) -> h5py.Dataset:
    """Return the dataset of a name, or the only one of a file. Raises H5Error."""
    import h5py

    names = list(itertools.islice(file, MAX_NAMES + 1))
    if len(names) > MAX_NAMES:
        raise H5Error(f"has more than {MAX_NAMES} members, expected the dataset {wanted}")
    name = wanted if wanted in names else names[0] if len(names) == 1 else None
    if name is None:
        found = f"it has {first_few(names)}" if names else "it is empty"
        raise H5Error(f"has no dataset {wanted}; {found}")
    if not isinstance(file.get(name, getlink=True), h5py.HardLink):
        raise H5Error(f"{first_few([name])} is a link, which is not followed; expected a dataset")
    dataset = file[name]
    if not isinstance(dataset, h5py.Dataset):
        raise H5Error(f"{first_few([name])} is a group, expected a dataset")
    return dataset


def _check(dataset: h5py.Dataset, kinds: str, dtype: np.dtype[Any]) -> None:
    """Check that the values are numbers that are all in this file. Raises H5Error."""
    if dataset.is_virtual or dataset.external:
        raise H5Error("its values are in other files (a virtual dataset or external storage), which are not opened")
    if dataset.shape is None or not dataset.shape:
        raise H5Error("holds no array")
    if dataset.dtype.kind not in kinds or dataset.dtype.itemsize > 8:
        expected = "floating-point numbers" if dtype.kind == "f" else "whole numbers"
        raise H5Error(f"holds values of the type {dataset.dtype}, expected {expected}")
    largest = max(_row_bytes(dataset), math.prod(dataset.chunks or ()) * dataset.dtype.itemsize)
    if largest > MAX_ROW_BYTES:
        raise H5Error(f"its rows, or its chunks, have more than {MAX_ROW_BYTES >> 20} MiB")
    if not dataset.size:
        return
    if dataset.chunks is None:
        complete = dataset.id.get_storage_size() >= dataset.size * dataset.dtype.itemsize
    else:
        sizes = zip(dataset.shape, dataset.chunks, strict=True)
        complete = dataset.id.get_num_chunks() >= math.prod(-(-length // chunk) for length, chunk in sizes)
    if not complete:
        raise H5Error("lacks values: it was not written to its end")


def _blocks(dataset: h5py.Dataset, dtype: np.dtype[Any]) -> Iterator[np.ndarray]:
    """Yield blocks of rows: of whole chunks, which are decompressed once, where they fit."""
    chunk = dataset.chunks[0] if dataset.chunks else 1
    rows = max(
        1, _BLOCK_BYTES // _row_bytes(dataset) // chunk * chunk, min(chunk, MAX_ROW_BYTES // _row_bytes(dataset))
    )
    for first in range(0, len(dataset), rows):
        with np.errstate(over="ignore"):  # what float32 cannot hold becomes infinite, and is refused where it is used
            yield dataset[first : first + rows].astype(dtype, copy=False)


def _row_bytes(dataset: h5py.Dataset) -> int:
    return max(1, math.prod(dataset.shape[1:]) * dataset.dtype.itemsize)


def _cause(error: Exception) -> str:
    """Say in a line what libhdf5 complains about."""
    text = str(error)
    if "truncated file" in text:
        return "truncated: it is shorter than it says"
    if "signature not found" in text:
        return "not an HDF5 file"
    return f"cannot be read as HDF5: {text.splitlines()[0] if text else type(error).__name__}"
