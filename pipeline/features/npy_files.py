"""Read .npy files of any origin: nothing is unpickled or evaluated, and no more is allocated than the file holds.

numpy's own reader parses the header with `ast`, whose memory and recursion a header of a few kilobytes can exhaust, and
trusts the length that the file states. Here the header is matched by a pattern, and sizes are compared with the file.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...weights.messages import shown
from ..errors import DatasetError
from ..files import open_regular
from ..text import escape

MAX_HEADER_BYTES = 10_000  # of the header's text; numpy writes about 100
MAX_DIMENSIONS = 8  # of an array
_MAX_DIGITS = 15  # of a dimension
_MAGIC = b"\x93NUMPY"
_LENGTH_BYTES = {1: 2, 2: 4, 3: 4}  # version -> bytes of the header's length
_KINDS = "biufcSU"  # of numpy's types: booleans, integers, floating-point and complex numbers, text
_INTEGER = rf"\d{{1,{_MAX_DIGITS}}}L?"  # Python 2 wrote the L
_ENTRY = re.compile(
    r"\s*(?P<quote>['\"])(?P<key>descr|fortran_order|shape)(?P=quote)\s*:\s*"
    r"(?:(?P<value_quote>['\"])(?P<descr>[<>|=]?[A-Za-z]\d{0,4})(?P=value_quote)"
    r"|(?P<order>True|False)"
    rf"|\((?P<shape>\s*(?:{_INTEGER}\s*,\s*){{0,{MAX_DIMENSIONS}}}(?:{_INTEGER}\s*)?)\))"
    r"\s*(?P<end>,|(?=\}))"
)
_OBJECTS = re.compile(r"['\"][<>|=]?O\d{0,4}['\"]")


class ArrayHeader(NamedTuple):
    """Header of a .npy file."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int  # offset of the first value in bytes

    @property
    def size(self) -> int:
        """Bytes of header and values."""
        return self.start + self.dtype.itemsize * math.prod(self.shape)


@contextmanager
def open_array_file(path: Path) -> Iterator[int]:
    """Open a file for reading.

    Args:
        path: the file, or a link to it.

    Yields:
        Its descriptor.

    Raises:
        DatasetError: it is missing, or a pipe or a device, which may have neither beginning nor end; or an OSError
            within the context.
    """
    try:
        descriptor = open_regular(path)
    except FileNotFoundError:
        raise DatasetError(f"{escape(path)}: no such file") from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DatasetError(f"{escape(path)}: cannot be opened: {getattr(error, 'strerror', error)}") from error
    try:
        yield descriptor
    except OSError as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {error.strerror or error}") from error
    finally:
        os.close(descriptor)


def read_header(path: Path) -> ArrayHeader:
    """Read the header of a .npy file and check that the file is not truncated.

    Args:
        path: the file.

    Returns:
        Shape, memory order, type and offset.

    Raises:
        DatasetError: the file is missing, truncated, not a .npy file of numbers, or contains pickled objects.
    """
    with open_array_file(path) as descriptor:
        return read_header_of(path, descriptor)


def read_header_of(path: Path, descriptor: int) -> ArrayHeader:
    """Read the header of an open file, see `read_header`. path: for messages."""
    content = os.pread(descriptor, MAX_HEADER_BYTES + 12, 0)
    try:
        header = parse_header(content)
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: {error}") from error
    if (size := os.fstat(descriptor).st_size) < header.size:
        raise DatasetError(f"{escape(path)}: truncated, {size} of {header.size} bytes")
    return header


def parse_header(content: bytes) -> ArrayHeader:
    """Parse the header of a .npy file.

    Args:
        content: of the file, at least the first `MAX_HEADER_BYTES` + 12 bytes, or all of a shorter one.

    Returns:
        Shape, memory order, type and offset.

    Raises:
        ValueError: it is not the header of an array of numbers. The message does not name the file.
    """
    version = content[6] if content.startswith(_MAGIC) and len(content) > 7 else 0
    if version not in _LENGTH_BYTES or content[7]:
        raise ValueError("not a .npy file: it does not begin like one")
    begin = 8 + _LENGTH_BYTES[version]
    start = begin + int.from_bytes(content[8:begin], "little")
    if start - begin > MAX_HEADER_BYTES:
        raise ValueError(f"not a .npy file: its header is longer than {MAX_HEADER_BYTES} bytes")
    if len(content) < start:
        raise ValueError("not a .npy file: its header is truncated")
    text = content[begin:start].decode("latin-1").strip()
    fields = _match_fields(text)
    if fields is None:
        if _OBJECTS.search(text):
            raise ValueError("contains pickled objects, which are never loaded")
        raise ValueError(f"not a .npy file of numbers: its header is {shown(text)}")
    shape = tuple(int(length.strip().rstrip("L")) for length in fields["shape"].split(",") if length.strip())
    try:
        dtype = np.dtype(fields["descr"])
    except TypeError:
        raise ValueError(f"not a .npy file of numbers: its type is {fields['descr']!r}") from None
    if dtype.hasobject:
        raise ValueError("contains pickled objects, which are never loaded")
    if dtype.kind not in _KINDS or not dtype.itemsize:
        raise ValueError(f"holds values of the type {dtype}, expected numbers")
    return ArrayHeader(shape, fields["order"] == "True", dtype, start)


def _match_fields(text: str) -> dict[str, str] | None:
    """Return the three fields of a header as text, None where it has others."""
    fields: dict[str, str] = {}
    place = 1
    while text.startswith("{") and len(fields) < 3 and (match := _ENTRY.match(text, place)):
        name = {"fortran_order": "order"}.get(match["key"], match["key"])
        if match[name] is None or name in fields:
            return None
        fields[name] = match[name]
        place = match.end()
    return fields if len(fields) == 3 and text[place:].strip() == "}" else None


def read_array(path: Path) -> NDArray[Any]:
    """Read a .npy file without unpickling.

    Args:
        path: the file.

    Returns:
        Its array.

    Raises:
        DatasetError: see `read_header`; or the values cannot be read.
    """
    with open_array_file(path) as descriptor:
        header = read_header_of(path, descriptor)
        values = read_values(descriptor, (math.prod(header.shape),), header.dtype, header.start)
    try:
        return values.reshape(header.shape, order="F" if header.fortran_order else "C")
    except ValueError as error:  # without values a shape may be of any size
        raise DatasetError(f"{escape(path)}: cannot be read: {error}") from error


def parse_array(content: bytes) -> NDArray[Any]:
    """Read an array from the content of a .npy file.

    Args:
        content: of the file.

    Returns:
        Its array, which is read-only.

    Raises:
        ValueError: as `parse_header`, or the content is truncated. The message does not name the file.
    """
    header = parse_header(content)
    if len(content) < header.size:
        raise ValueError(f"truncated, {len(content)} of {header.size} bytes")
    values = np.frombuffer(content, header.dtype, math.prod(header.shape), header.start)
    return values.reshape(header.shape, order="F" if header.fortran_order else "C")


def read_row_blocks(path: Path, rows: int) -> Iterator[NDArray[Any]]:
    """Read a .npy file of two dimensions in blocks of rows.

    Args:
        path: the file.
        rows: in a block; the last block may have fewer. A file in Fortran order is read as one block.

    Yields:
        (n, W) arrays.

    Raises:
        DatasetError: as `read_array`.
    """
    with open_array_file(path) as descriptor:
        header = read_header_of(path, descriptor)
        if header.fortran_order or len(header.shape) != 2:
            yield read_array(path)
            return
        count, width = header.shape
        for first in range(0, count, rows):
            offset = header.start + first * width * header.dtype.itemsize
            yield read_values(descriptor, (min(rows, count - first), width), header.dtype, offset)


def read_values(descriptor: int, shape: tuple[int, ...], dtype: np.dtype[Any], offset: int) -> NDArray[Any]:
    """Read values from a file. Unlike with a memory map, a broken disk is an error here, and does not end the process.

    Args:
        descriptor: of the file.
        shape: of the array, in C order.
        dtype: of the values.
        offset: of the first value in bytes.

    Returns:
        A new array.

    Raises:
        OSError: the values cannot be read, or the file ends before.
    """
    values = np.empty(shape, dtype)
    waiting = values.reshape(-1).view(np.uint8).data if values.size else memoryview(b"")
    while waiting:
        count = os.preadv(descriptor, [waiting], offset)
        if not count:
            raise OSError("it ends too early; was it changed meanwhile?")
        waiting, offset = waiting[count:], offset + count
    return values
