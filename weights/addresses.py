"""Addresses in messages: what they need to be recognized, without the credentials that they may hold."""

from __future__ import annotations

import re

# Path turns "//" into "/"; a password may itself contain "@", ":" or "/", but what follows a port is no password.
_USER = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]*:/{1,3})(?:[^/:\s'\"]*:(?!\d+/)[^\s'\"]*|[^/\s'\"]*)@")
_SECRET = re.compile(
    r"(?P<name>[?&;][^=&;\s]*(?:token|key|sig|secret|passw|pwd|auth|credential|session)[^=&;\s]*=)[^&;#\s'\"]+",
    re.IGNORECASE,
)
_HIDDEN = "***"


def hide_credentials(text: str) -> str:
    """Replace user names, passwords and secret parameters of the addresses in a text.

    Args:
        text: a message that may hold addresses, such as "s3://user:password@host/folder?token=abc".

    Returns:
        The text with "***" in their place.
    """
    if ":/" not in text:
        return text
    return _SECRET.sub(rf"\g<name>{_HIDDEN}", _USER.sub(rf"\g<scheme>{_HIDDEN}@", text))
