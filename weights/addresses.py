"""Addresses in messages: what they need to be recognized, without the credentials that they may hold."""

from __future__ import annotations

import re

# Path turns "//" into "/"; a password may itself contain "@", ":" or "/", but what follows a port is no password.
# Texts of strangers are searched, too: each pattern looks at a character a bounded number of times.
_USER = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,30}:/{1,3})(?:[^/:\s'\"]*:(?!\d+/)[^\s'\"]*|[^/\s'\"]*)@")
_WITH_USER = re.compile(r"(?<![^\s'\"])[^\s'\"@]*@[^\s'\"]*")  # a run without spaces, from its beginning
_PARAMETER = re.compile(r"(?P<name>[?&;][^=&;?\s]*=)[^&;#\s'\"]+")
_SECRET = re.compile(r"token|key|sig|secret|passw|pwd|auth|credential|session", re.IGNORECASE)
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
    return _PARAMETER.sub(_hide_secret, _WITH_USER.sub(_hide_user, text) if "@" in text else text)


def _hide_user(run: re.Match[str]) -> str:
    """Replace the users of an address; what follows its last "@" holds none."""
    before, _, after = run[0].rpartition("@")
    return _USER.sub(rf"\g<scheme>{_HIDDEN}@", f"{before}@") + after


def _hide_secret(parameter: re.Match[str]) -> str:
    return f"{parameter['name']}{_HIDDEN}" if _SECRET.search(parameter["name"]) else parameter[0]
