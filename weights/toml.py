"""TOML in every supported Python: the standard library has it from 3.11 on."""

from __future__ import annotations

import json
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML document. Raises ValueError for anything else."""
    return tomllib.loads(text)


def toml_string(text: str) -> str:
    """A quoted TOML string, for values and keys. What is no text (lone surrogates) is replaced."""
    clean = text.encode("utf-8", "replace").decode("utf-8")
    return json.dumps(clean, ensure_ascii=False).replace("\x7f", "\\u007F")
