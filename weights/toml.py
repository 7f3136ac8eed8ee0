"""Read and write TOML on every supported Python; tomllib is in the standard library since 3.11."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from .unicode import TextError, decode_unicode, read_bytes

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


MAX_TOML = 1 << 20  # characters of a TOML file; its parser takes seconds for as many
MAX_KEY_PARTS = 4  # of a dotted key; the parser takes memory with the square of their number
_TOKEN = re.compile(
    r"""
    (?P<string> \"{3} (?:[^\\] | \\.)*? \"{3,5} | '{3} .*? '{3,5} | "(?:[^"\\\n] | \\.)*" | '[^'\n]*' )
    | (?P<open> ["'] )  # a string without end: what follows is not TOML
    | (?P<dot> \. )
    | (?P<end> [=,\[\]{}\n] | \#[^\n]* )
    """,
    re.VERBOSE | re.DOTALL,
)


def read_toml(path: Path, *, limit: int = MAX_TOML) -> dict[str, Any]:
    """Read a TOML file, see `parse_toml`. Raises TextError, whose message does not name the file."""
    return parse_toml(read_bytes(path), limit=limit)


def parse_toml(content: bytes | str, *, limit: int = MAX_TOML) -> dict[str, Any]:
    """Parse a TOML document.

    Args:
        content: the document; bytes are UTF-8, UTF-16 or UTF-32, with or without a byte order mark.
        limit: characters that are accepted.

    Returns:
        Its tables and values.

    Raises:
        TextError: the content is not text or not TOML, or exceeds a limit. The message does not name the file.
    """
    text = decode_unicode(content) if isinstance(content, bytes) else content
    if len(text) > limit:
        raise TextError(f"{len(text):,} characters, more than {limit:,}, the most that are read of such a file")
    _check_keys(text)
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise TextError(str(error)) from error
    except (ValueError, RecursionError) as error:  # Python's limits for integers, dates and nested tables
        raise TextError("a number or a date is out of range, or tables are nested too deeply") from error


def _check_keys(text: str) -> None:
    """Raise TextError for a key with many dots; strings and comments may have any number of them."""
    dots = 0
    for token in _TOKEN.finditer(text):
        if token.lastgroup == "dot":
            dots += 1
            if dots >= MAX_KEY_PARTS:
                line = text.count("\n", 0, token.start()) + 1
                raise TextError(f"a dotted key has more than {MAX_KEY_PARTS} parts (line {line})")
        elif token.lastgroup == "end":
            dots = 0
        elif token.lastgroup == "open":
            return


def toml_string(text: str) -> str:
    """Quote a string for TOML, as a value or a key.

    Args:
        text: any string; lone surrogates are replaced by question marks.

    Returns:
        The string in double quotes, escaped.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007F")
