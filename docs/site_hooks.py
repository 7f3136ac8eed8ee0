"""Hooks of `make docs`: links from a page to files outside of docs/ become their names."""

from __future__ import annotations

import re
from typing import Any

_OUTSIDE = re.compile(r"\[([^\]]+)\]\(\.\./([^)#]+)[^)]*\)")


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace links that leave the folder of the pages: the site has no such files.

    Args:
        markdown: text of a page.

    Returns:
        The text with `[README](../README.md)` as "README (`README.md`)".
    """
    return _OUTSIDE.sub(r"\1 (`\2`)", markdown)
