"""TOML in every supported Python: the standard library has it from 3.11 on."""

from __future__ import annotations

import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib


def parse_toml(text: str) -> dict[str, Any]:
    """The content of a TOML document. Raises ValueError for anything else."""
    return tomllib.loads(text)
