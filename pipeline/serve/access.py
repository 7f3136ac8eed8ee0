"""Who may use the server: a token, a link that signs a browser in once, and its cookie."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import threading

from .jobs.limits import MIN_TOKEN


class Access:
    """The token of a server; without one, everybody who reaches it may use it.

    Args:
        token: at least `MIN_TOKEN` characters; None for a server without one.
        port: of the server, for the name of the cookie: browsers send cookies to all ports of a host.

    Attributes:
        cookie: name of the cookie.
        code: of the link that signs one browser in; empty where it has been used, or there is no token.
    """

    def __init__(self, token: str | None, port: int) -> None:
        self._token = token
        self.cookie = f"avvp_session_{port}"
        self.code = secrets.token_urlsafe(32) if token is not None else ""
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether no token is needed."""
        return self._token is None

    @property
    def session(self) -> str:
        """The value of the cookie: whoever knows the token can compute it, nobody else."""
        assert self._token is not None
        return hmac.new(self._token.encode(), b"avvp session", hashlib.sha256).hexdigest()

    def is_token(self, text: str) -> bool:
        """Return whether a text is the token, in a time that does not depend on it."""
        return self._token is not None and hmac.compare_digest(text.encode(), self._token.encode())

    def use_code(self, code: str) -> bool:
        """Return whether this is the code of the link; from now on it is not."""
        with self._lock:
            if not self.code or not hmac.compare_digest(code.encode(), self.code.encode()):
                return False
            self.code = ""
            return True

    def allows(self, authorization: str, cookies: str) -> bool:
        """Return whether a request may be answered.

        Args:
            authorization: header of the request: `Bearer TOKEN`, or `Basic` with the token as the password, which is
                what Label Studio sends.
            cookies: header of the request.
        """
        if self._token is None:
            return True
        scheme, _, value = authorization.partition(" ")
        if scheme.lower() == "bearer":
            return self.is_token(value.strip())
        if scheme.lower() == "basic":
            return self.is_token(_password(value))
        sent = (part.strip().partition("=") for part in cookies.split(";"))
        return any(
            name == self.cookie and hmac.compare_digest(text.encode(), self.session.encode()) for name, _, text in sent
        )


def _password(credentials: str) -> str:
    try:
        return base64.b64decode(credentials.strip(), validate=True).decode().partition(":")[2]
    except (binascii.Error, UnicodeDecodeError):
        return ""


def new_token() -> str:
    """Return a random token of 256 bits."""
    return secrets.token_urlsafe(32)


def token_fault(token: str) -> str:
    """Return why a text cannot be a token; an empty string where it can."""
    if len(token) < MIN_TOKEN:
        return f"a token has at least {MIN_TOKEN} characters, this one has {len(token)}"
    if not token.isascii() or not token.isprintable() or " " in token:
        return "a token is of printable ASCII characters without spaces"
    return ""
