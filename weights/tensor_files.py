"""Check files of tensors before they are read: their sizes, and what their pickles name.

A file of a few hundred bytes can otherwise ask for any amount of memory: by compressed records, by calls of allocating
functions in its pickle, or by tensors whose strides repeat the same numbers.
"""

from __future__ import annotations

import io
import os
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

from .errors import WeightsError
from .inert_pickle import read_operations
from .locate import MAX_FILE_BYTES
from .messages import escape, first_line, shown

MAX_TENSORS = 20_000  # in one file
MAX_KEY = 500  # characters of a tensor's name
MAX_HEADER_BYTES = 16 << 20  # of the header of a safetensors file, and of the pickle of a PyTorch file
_RECORDS_BESIDE_TENSORS = 16  # version, byte order and the like
_LEGACY_PICKLES = 5  # magic number, version, platform, content, keys; the numbers follow
_STORAGES = ("Float", "Double", "Half", "BFloat16", "Long", "Int", "Short", "Char", "Byte", "Bool")
# What weight files name. Among what torch allows besides, some calls allocate memory or change objects.
_GLOBALS = {
    "collections OrderedDict",
    "torch._utils _rebuild_tensor_v2",
    "torch._utils _rebuild_parameter",
    "torch Size",
    "_codecs encode",  # bytes of NumPy numbers
    "numpy dtype",
    "numpy.core.multiarray scalar",
    "numpy._core.multiarray scalar",
    "numpy ndarray",  # states of random number generators
    "numpy.core.multiarray _reconstruct",
    "numpy._core.multiarray _reconstruct",
    *(f"torch {kind}Storage" for kind in _STORAGES),
}
_MODULE_TABLES = {"_parameters", "_modules"}  # attributes of every module
_DAMAGED = (
    OSError, ValueError, zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, EOFError, IndexError,
    KeyError, OverflowError, RuntimeError, MemoryError,
)  # fmt: skip


def check_tensor_file(path: Path) -> None:
    """Check that a file of tensors can be read in memory of about its own size.

    Args:
        path: a .safetensors file, or one of PyTorch, in its present or its old format.

    Raises:
        WeightsError: the file is too large, names other things than tensors, has compressed records, or cannot be read.
    """
    if path.suffix == ".safetensors":
        check_safetensors(path)
    elif path.suffix.lower() == ".h5":
        raise WeightsError(f"{escape(path)}: of Keras' files, only the published one of VGG19 is read, under its name")
    else:
        _check(path, _check_pytorch)


def check_safetensors(path: Path) -> None:
    """Check the sizes of a safetensors file and of its header. Raises WeightsError."""
    _check(path, _check_header)


def _check(path: Path, check: Callable[[io.BufferedReader, int], None]) -> None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise ValueError(f"larger than {MAX_FILE_BYTES >> 30} GiB, the most that a weight file may have")
            check(file, size)
    except _DAMAGED as error:
        raise WeightsError(f"{escape(path)}: damaged, or not a weight file: {first_line(error)}") from error


def _check_header(file: io.BufferedReader, size: int) -> None:
    length = int.from_bytes(file.read(8), "little")
    if length > min(MAX_HEADER_BYTES, size):
        raise ValueError(f"its header claims {length:,} bytes; it has {size:,}, and {MAX_HEADER_BYTES:,} are read")


def _check_pytorch(file: io.BufferedReader, size: int) -> None:
    if file.read(2) == b"PK":
        _check_archive(file, size)
    else:
        file.seek(0)
        _check_pickles(io.BytesIO(file.read(MAX_HEADER_BYTES)), _LEGACY_PICKLES)


def _check_archive(file: io.BufferedReader, size: int) -> None:
    with zipfile.ZipFile(file) as archive:
        records = archive.infolist()
        if len(records) > MAX_TENSORS + _RECORDS_BESIDE_TENSORS:
            raise ValueError(f"{len(records):,} records, more than {MAX_TENSORS:,}")
        if any(record.compress_type != zipfile.ZIP_STORED for record in records):
            raise ValueError("its records are compressed, which PyTorch does not do")
        if sum(record.file_size for record in records) > size:
            raise ValueError("its records are larger than the file")
        for record in records:
            if record.filename.endswith(".pkl"):
                if record.file_size > MAX_HEADER_BYTES:
                    raise ValueError(f"its pickle has {record.file_size:,} bytes, more than {MAX_HEADER_BYTES:,}")
                _check_pickles(io.BytesIO(archive.read(record)), 1)


def _check_pickles(stream: io.BytesIO, count: int) -> None:
    """Raise ValueError unless the pickles one after another name only what weight files need. Nothing is executed."""
    problem, texts = "", set[object]()
    for _ in range(count):
        for name, value in read_operations(stream):
            if name in {"STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}:
                raise ValueError(f"its pickle has the operation {name}, which weight files do not need")
            if name == "GLOBAL" and value not in _GLOBALS:
                problem = problem or f"its pickle names {shown(value)}, which weight files do not need"
            if problem and value in _MODULE_TABLES:
                texts.add(value)
        if texts == _MODULE_TABLES:
            problem = f"a whole pickled module ({problem}); where it is from, save its state_dict() instead"
        if problem:
            raise ValueError(problem)
