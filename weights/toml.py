"""Read and write TOML on every supported Python; tomllib is in the standard library since 3.11."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from .unicode import TextError, decode_unicode, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def read_toml(path: Path) -> dict[str, Any]:
    """Read a TOML file, see `parse_toml`. Raises TextError, whose message does not name the file."""
    return parse_toml(read_bytes(path))


def parse_toml(content: bytes | str) -> dict[str, Any]:
    """Parse a TOML document.

    Args:
        content: the document; bytes are UTF-8, UTF-16 or UTF-32, with or without a byte order mark.

    Returns:
        Its tables and values.

    Raises:
        TextError: the content is not text or not TOML. The message does not name the file.
    """
    text = decode_unicode(content) if isinstance(content, bytes) else content
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TextError(str(error)) from error
    except (ValueError, RecursionError) as error:  # Python's limits for integers, dates and nested tables
        raise TextError("a number or a date is out of range, or tables are nested too deeply") from error


def toml_string(text: str) -> str:
    """Quote a string for TOML, as a value or a key.

    Args:
        text: any string; lone surrogates are replaced by question marks.

    Returns:
        The string in double quotes, escaped.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007F")
