"""Addresses of the web as inputs: what is one, and how its file is called."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

from ...weights.addresses import hide_credentials
from ..errors import SetupError

_UNNAMED = re.compile(r"[^A-Za-z0-9._-]+")
_VIDEO_ID = re.compile(r"(?:[?&]v=|youtu\.be/|/shorts/|/embed/)([A-Za-z0-9_-]{11})(?![A-Za-z0-9_-])")


def is_address(text: str) -> bool:
    """Return whether a text that the user typed is an address of the web rather than the name of a file."""
    return bool(re.match(r"https?://", text, re.IGNORECASE))


def check_tool() -> None:
    """Check that yt-dlp is installed.

    Raises:
        SetupError: it is not; the message says how to install it.
    """
    if importlib.util.find_spec("yt_dlp") is None:
        raise SetupError("addresses are downloaded by yt-dlp, which is not installed: pip install 'avvp[web]'")


def name_of(address: str) -> str:
    """Return a name for the file of an address: the id of a YouTube video, the last part of the path, or the host.

    Args:
        address: of http or https.

    Returns:
        Letters, digits, dots, dashes and underscores; no suffix, and no leading dot.
    """
    if match := _VIDEO_ID.search(address):
        return match[1]
    place = re.sub(r"[?#].*", "", hide_credentials(address).split("://", 1)[-1]).rstrip("/")
    host, _, path = place.partition("/")
    last = _UNNAMED.sub("_", path.rpartition("/")[2] or host.rpartition("@")[2]).lstrip(".")
    return (Path(last).stem or "video")[:100]
