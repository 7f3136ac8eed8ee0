"""Files of embeddings: safetensors, with what else is known of the video in their metadata.

    audio    (T, A) float16
    visual   (T, V) float16
    avvp     JSON: name, spec, media, warnings, teachers, resampler, content
    sha256   of the JSON and of the two tables

Nothing of a file is executed, and a file that is damaged, or not one of these, is refused.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from mmap import mmap
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ..decode.container.media_facts import MediaFacts
from ..errors import DatasetError, MediaError
from ..files import list_files, open_regular
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape
from ..text_files import parse_json
from .embeddings import Embeddings

SUFFIX = ".safetensors"
FOLDER = "embeddings"  # in a folder of results
MAX_FILE_BYTES = 512 << 20  # a day of CLIP and CLAP has 221 MB
MAX_HEADER_BYTES = 1 << 20
MAX_NAME = 4096  # characters
_DTYPE = "<f2"
_NUMBERS = (int, float)
_TABLES = ("audio", "visual")


def load_embeddings(path: Path | str, *, verify: bool = True) -> Embeddings:
    """Read a file of embeddings.

    Args:
        path: the file, `.safetensors`.
        verify: compare the hash of its content.

    Returns:
        The embeddings; their arrays cannot be written to.

    Raises:
        DatasetError: the file cannot be read, is damaged, or holds something else.
    """
    path = Path(path)
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size > MAX_FILE_BYTES:
                raise DatasetError(f"{escape(path)}: larger than {MAX_FILE_BYTES >> 20} MiB, the most that is read")
            content = file.read(size)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{escape(path)}: cannot be read: {escape(reason)}") from error
    return parse_embeddings(content, path, verify=verify)


def iterate_embeddings(
    folder: Path | str,
    *,
    verify: bool = True,
    damaged: Callable[[DatasetError], object] | None = None,
) -> Iterator[tuple[str, Embeddings]]:
    """Read all embeddings of a folder, one file at a time.

    Args:
        folder: of results, of `avvp parse --output-dir`; or one of embeddings alone, as the one of the user's cache.
        verify: compare the hash of each file's content.
        damaged: called with the error of a file that cannot be used, in place of raising it.

    Yields:
        Name of the video, and its embeddings, sorted by the names of the files.

    Raises:
        DatasetError: a file cannot be used, or the folder cannot be listed.
    """
    for path in embedding_files(folder):
        try:
            embeddings = load_embeddings(path, verify=verify)
        except DatasetError as error:
            if damaged is None:
                raise
            damaged(error)
            continue
        yield embeddings.name, embeddings


def embedding_files(folder: Path | str) -> list[Path]:
    """Return the files of embeddings of a folder, see `iterate_embeddings`; none where there is no such folder.

    Raises:
        DatasetError: it cannot be listed.
    """
    folder = Path(folder)
    try:
        place = inner if (inner := folder / FOLDER).is_dir() else folder
        found = list_files(place, recursive=True) if place.is_dir() else []
    except OSError as error:
        raise DatasetError(f"{escape(folder)}: cannot be listed: {escape(error.strerror or error)}") from error
    return [path for path in found if path.name.endswith(SUFFIX)]


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write a file of embeddings; callers make it whole, by `files.replacing` or a storage.

    Args:
        path: the file to fill.
        embeddings: the content.

    Raises:
        OSError: it cannot be written.
        MediaError: the name or the warnings are longer than a file may have.
    """
    about, tables = _describe(embeddings), _tables(embeddings)
    entries, start = {}, 0
    for name, table in tables.items():
        entries[name] = {"dtype": "F16", "shape": list(table.shape), "data_offsets": [start, start + table.nbytes]}
        start += table.nbytes
    metadata = {"avvp": about, "sha256": _digest(about, *tables.values())}
    header = json.dumps({"__metadata__": metadata, **entries}).encode()
    header += b" " * (-len(header) % 8)
    if len(header) > MAX_HEADER_BYTES or len(embeddings.name) > MAX_NAME:
        raise MediaError(Path(embeddings.media.path), "its name or its warnings are too long to be kept", "name")
    with path.open("wb") as file:
        file.write(len(header).to_bytes(8, "little"))
        file.write(header)
        for table in tables.values():
            file.write(table.data)


def parse_embeddings(content: bytes | mmap, path: Path | str, *, verify: bool = True) -> Embeddings:
    """Read the content of a file of embeddings.

    Args:
        content: of the file, or the file mapped into memory.
        path: of the file, for messages.
        verify: compare the hash.

    Returns:
        The embeddings, whose arrays are views of the content.

    Raises:
        DatasetError: the file is damaged, or holds something else.
    """
    try:
        return _parse(content, verify=verify)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        reason = f"no {escape(error)}" if isinstance(error, KeyError) else escape(error)
        raise DatasetError(f"{escape(path)}: damaged, or not a file of embeddings: {reason[:300]}") from error


def _parse(content: bytes | mmap, *, verify: bool) -> Embeddings:
    length = int.from_bytes(content[:8], "little")
    if length > min(MAX_HEADER_BYTES, len(content) - 8):
        raise ValueError(f"its header claims {length:,} bytes")
    header = _mapping(parse_json(content[8 : 8 + length]))
    metadata, numbers = _mapping(header["__metadata__"]), memoryview(content)[8 + length :]
    tables = [_table(_mapping(header[name]), numbers) for name in _TABLES]
    about = _text(metadata["avvp"])
    if verify and _digest(about, *tables) != metadata["sha256"]:
        raise ValueError("its content is not what was written")
    values = _mapping(parse_json(about.encode()))
    return Embeddings(
        _text(values["name"]),
        *tables,
        spec=FeatureSpec.from_dict(values["spec"]),
        media=_media(_mapping(values["media"])),
        warnings=tuple(_text(warning) for warning in _list(values["warnings"])),
        teachers={name: _text(value) for name, value in _mapping(values["teachers"]).items()},
        resampler=_text(values["resampler"]),
        content=_text(values["content"]),
    )


def _describe(embeddings: Embeddings) -> str:
    values = {
        "name": embeddings.name,
        "spec": embeddings.spec.to_dict(),
        "media": embeddings.media.to_dict(),
        "warnings": list(embeddings.warnings),
        "teachers": dict(embeddings.teachers),
        "resampler": embeddings.resampler,
        "content": embeddings.content,
    }
    return json.dumps(values)


def _tables(embeddings: Embeddings) -> dict[str, NDArray[np.float16]]:
    rows = (embeddings.audio, embeddings.visual)
    return {name: np.ascontiguousarray(table, _DTYPE) for name, table in zip(_TABLES, rows, strict=True)}


def _digest(about: str, *tables: NDArray[np.float16]) -> str:
    digest = hashlib.sha256(about.encode())
    for table in tables:
        digest.update(table.data)
    return digest.hexdigest()


def _table(entry: Mapping[str, Any], numbers: memoryview) -> NDArray[np.float16]:
    shape = [_size(size) for size in _list(entry["shape"])]
    start, end = (_size(place) for place in _list(entry["data_offsets"]))
    if entry["dtype"] != "F16" or len(shape) != 2 or end - start != 2 * math.prod(shape) or end > len(numbers):
        raise ValueError("its tables are not float16, or are cut off")
    return np.frombuffer(numbers[start:end], _DTYPE).reshape(shape)


def _media(values: Mapping[str, Any]) -> MediaFacts:
    """Check the facts of a file, which become a part of results."""
    facts: dict[str, Any] = {field.name: values.get(field.name) for field in fields(MediaFacts)}
    if unknown := values.keys() - facts.keys():
        raise ValueError(f"media has {', '.join(sorted(unknown))}, which is unknown")
    kinds = {field.name: str(field.type) for field in fields(MediaFacts)}
    for name, value in facts.items():
        kind = kinds[name]
        if value is None and "None" in kind:
            continue
        if name == "parsed":
            start, end = (_size(second) for second in _list(value))
            if not start < end <= MAX_MEDIA_SECONDS:
                raise ValueError("media: the part that was parsed is none")
        elif "str" in kind:
            _text(value)
        elif "int" in kind:
            _size(value)
        elif isinstance(value, bool) or not isinstance(value, _NUMBERS) or not 0 <= value < math.inf:
            raise ValueError(f"media: {name} is no number")
    if facts["duration"] > MAX_MEDIA_SECONDS:
        raise ValueError("media: longer than a day")
    return MediaFacts(**facts)


def _mapping(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise TypeError("an object is expected")
    return value


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError("a list is expected")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or len(value) > MAX_HEADER_BYTES:
        raise TypeError("a text is expected")
    return value


def _size(value: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise TypeError("a size is expected")
    return value
