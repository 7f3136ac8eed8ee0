"""Reasons why an address gives no media, told from the messages of yt-dlp."""

from __future__ import annotations

import re
from typing import Literal, get_args

from ...weights.addresses import hide_credentials
from ..errors import AVVPError
from ..text import escape

Reason = Literal[
    "private",
    "removed",  # by its owner or with its channel, or it never existed
    "copyright",
    "age-restricted",  # asks for a login
    "region",  # not shown in this country
    "rate-limit",  # the site refuses more requests for now
    "network",
    "disk",  # full, or larger than what is allowed
    "too-short",  # ends before the clip
    "not-media",  # nothing that can be downloaded or decoded
    "other",
]
REASONS: tuple[Reason, ...] = get_args(Reason)
# What a later run need not ask for again: these videos do not come back by themselves.
LASTING: frozenset[Reason] = frozenset({"private", "removed", "copyright", "age-restricted", "region", "too-short"})
_MAX_CAUSE = 300  # characters

# The first that matches counts.
_MESSAGES: tuple[tuple[Reason, str], ...] = (
    ("rate-limit", r"HTTP Error 429|too many requests|rate.?limit|not a bot|temporarily blocked"),
    ("copyright", r"copyright|content id"),
    ("private", r"\bprivate\b|members.only|join this channel"),
    ("age-restricted", r"confirm your age|age.restricted|inappropriate for some users|\bage\b.{0,20}\bverif"),
    (
        "region",
        r"not (made this video )?available in your (country|region|location)|geo.?restrict|blocked it in your",
    ),
    ("not-media", r"unsupported URL|no video formats|requested format is not available|not a valid URL|a list of"),
    (
        "removed",
        r"HTTP Error (404|410)|has been removed|removed by|no longer available|account .{0,60}terminated|"
        r"video (is )?unavailable|does not exist|isn't available|not available|deleted",
    ),
    ("disk", r"no space left|disk quota|larger than"),
    (
        "network",
        r"HTTP Error 5\d\d|timed out|connection|getaddrinfo|name resolution|unreachable|IncompleteRead|"
        r"remote end closed|ssl|TransportError|HTTP Error 403|unable to download|made no progress",
    ),
)


class DownloadError(AVVPError):
    """An address gives no media.

    Attributes:
        address: without credentials.
        cause: the message without the address.
        reason: its category.
    """

    def __init__(self, address: str, cause: str, reason: Reason | None = None) -> None:
        self.address = escape(hide_credentials(address))
        self.cause = escape(hide_credentials(cause)[:_MAX_CAUSE])
        self.reason: Reason = reason or reason_of(cause)
        super().__init__(f"{self.address}: {self.cause}")

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from all arguments: the default passes the message alone."""
        return type(self), (self.address, self.cause, self.reason)


def reason_of(message: str) -> Reason:
    """Return the category of a message of yt-dlp."""
    for reason, text in _MESSAGES:
        if re.search(text, message, re.IGNORECASE):
            return reason
    return "other"
