"""The media of Label Studio's tasks: a file of the folder, or one fetched from the one host that the user has named.

The addresses in tasks come from whoever may edit a project. A server that fetched any of them could be sent to other
machines of its network (SSRF), so the host is always that of `--label-studio`, whatever an address says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import parse_qs, quote, unquote, urlsplit

from ...weights.messages import shown
from ..errors import AVVPError, SetupError
from ..text import escape
from .jobs.limits import UPLOAD_SECONDS

_LOCAL_FILES = "/data/local-files/"  # Label Studio's address of files on its own disk
_PORTS = {"http": 80, "https": 443}
_CHUNK = 1 << 18  # bytes
_CONNECT_SECONDS = 10
_SAFE = "%/:=&?~!$'()*+,;@-._"  # signs that stay as they are in an address
_KEYS = ("video", "audio")  # of a task's data, in this order


class MediaAddressError(AVVPError):
    """The media of a task cannot be had."""


@dataclass(frozen=True)
class TaskMedia:
    """Where the media of a task are. At least one is given.

    Attributes:
        name: of a file in the folder of this server; empty for none.
        url: on the host of Label Studio; empty for none.
    """

    name: str = ""
    url: str = ""

    @property
    def file_name(self) -> str:
        """The name of the file."""
        return PurePosixPath(unquote(urlsplit(self.url).path)).name if self.url else self.name


@dataclass(frozen=True)
class LabelStudioHost:
    """The Label Studio that media may be fetched from.

    Attributes:
        origin: scheme, host and port, such as "http://localhost:8080".
        key: access token of a user; empty for none.
    """

    origin: str
    key: str = field(default="", repr=False)

    @classmethod
    def parse(cls, url: str, key: str = "") -> LabelStudioHost:
        """Make a host of an address that the user has typed. Raises SetupError."""
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise SetupError(f"--label-studio {shown(url)}: not an address") from error
        if parts.scheme not in _PORTS or not parts.hostname or parts.username is not None:
            raise SetupError(f"--label-studio {shown(url)}: expected an address such as http://localhost:8080")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{parts.scheme}://{host}:{port or _PORTS[parts.scheme]}", key)

    def address(self, value: str) -> str:
        """Return the address of a file on this host, made anew of path and query; empty where it is elsewhere."""
        try:
            parts = urlsplit(value)
            port = parts.port or _PORTS.get(parts.scheme)
        except ValueError:
            return ""
        if parts.scheme or parts.netloc:
            host = urlsplit(self.origin)
            if (parts.scheme, parts.hostname, port) != (host.scheme, host.hostname, host.port) or parts.username:
                return ""
        if not parts.path.startswith("/"):
            return ""
        return self.origin + quote(parts.path, _SAFE) + (f"?{quote(parts.query, _SAFE)}" if parts.query else "")

    def fetch(self, url: str) -> Iterator[bytes]:
        """Fetch a file of this host, without following redirects.

        Args:
            url: of `address`.

        Yields:
            Its content.

        Raises:
            MediaAddressError: the host cannot be reached, or does not send the file.
        """
        import requests

        assert url.startswith(f"{self.origin}/")
        headers = {"Authorization": f"Token {self.key}"} if self.key else {}
        try:
            with requests.Session() as session:
                session.trust_env = False  # neither proxies nor passwords of ~/.netrc
                with session.get(
                    url, headers=headers, stream=True, allow_redirects=False, timeout=(_CONNECT_SECONDS, UPLOAD_SECONDS)
                ) as response:
                    if response.status_code != 200:
                        raise MediaAddressError(f"{escape(url)}: Label Studio answers {response.status_code}")
                    yield from response.iter_content(_CHUNK)
        except requests.RequestException as error:
            raise MediaAddressError(f"{escape(url)}: cannot be fetched: {type(error).__name__}") from error


def find_media(task: Any, host: LabelStudioHost | None) -> TaskMedia:
    """Find the media of a task.

    Args:
        task: of a request of Label Studio.
        host: that media may be fetched from; None for none.

    Returns:
        Where they are. A file that Label Studio serves from its own disk may be in the folder of this server, too.

    Raises:
        MediaAddressError: the task names no media, or media elsewhere.
    """
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise MediaAddressError("a task without data")
    texts = [value for value in data.values() if isinstance(value, str)]
    value = next((data[key] for key in _KEYS if isinstance(data.get(key), str)), texts[0] if len(texts) == 1 else "")
    if not value or len(value) > 4_096:
        raise MediaAddressError('a task whose data have neither "video" nor "audio"')
    path, _, query = value.partition("?")
    try:
        url = "" if host is None else host.address(value)
        names = parse_qs(query, max_num_fields=8).get("d", []) if path == _LOCAL_FILES else []
    except ValueError as error:  # too many fields, or text that cannot be encoded
        raise MediaAddressError(f"{shown(value)} is not an address") from error
    if path == _LOCAL_FILES:
        if not names and not url:
            raise MediaAddressError(f"{shown(value)} names no file")
        return TaskMedia(name="".join(names[:1]), url=url)
    if "://" not in value and not value.startswith("/"):
        return TaskMedia(name=value)
    if not url:
        hint = "only files of the folder are read, and of the host of --label-studio"
        raise MediaAddressError(f"{shown(value)} is neither: {hint}")
    return TaskMedia(url=url)
