"""Read and write TOML on every supported Python; tomllib is in the standard library since 3.11."""

from __future__ import annotations

import json
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse_toml(text: str) -> dict[str, Any]:
    """Parse a TOML document.

    Args:
        text: the document.

    Returns:
        Its tables and values.

    Raises:
        ValueError: the text is not valid TOML.
    """
    return tomllib.loads(text)


def toml_string(text: str) -> str:
    """Quote a string for TOML, as a value or a key.

    Args:
        text: any string; lone surrogates are replaced by question marks.

    Returns:
        The string in double quotes, escaped.
    """
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007F")
