"""Which names a server answers to, and which pages may change something on it."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterable

_LOCAL_NAMES = ("localhost",)


def is_loopback(host: str) -> bool:
    """Return whether only this machine can reach what listens on a host."""
    if host in _LOCAL_NAMES:
        return True
    address = _address(host)
    return address is not None and address.is_loopback


class HostNames:
    """The names of a server.

    A page of another site can let its own name lead to this machine (DNS rebinding) and then read the answers of its
    servers; its requests carry its name. So a server answers to its own names only. Numbers need no resolution: on a
    server that others may reach, every address is its own.

    Args:
        host: that the server listens on.
        allowed: further names, of a proxy or a container.
    """

    def __init__(self, host: str, allowed: Iterable[str] = ()) -> None:
        self._local = is_loopback(host)
        names = {host, *allowed}
        names |= set(_LOCAL_NAMES) if self._local else {socket.gethostname(), *_LOCAL_NAMES}
        self._names = {name.lower().rstrip(".") for name in names}

    def accepts(self, header: str) -> bool:
        """Return whether a `Host` header names this server; the port is not looked at: a proxy has another one."""
        name = host_name(header)
        if name is None:
            return False
        if name in self._names:
            return True
        address = _address(name)
        return address is not None and (address.is_loopback or not self._local)


def host_name(header: str) -> str | None:
    """Return the name in a `Host` header, without its port, in lower case; None where it is none."""
    text = header.strip().lower()
    if text.startswith("["):
        name, bracket, port = text[1:].partition("]")
        if not bracket or _address(name) is None or (port and not _is_port(port)):
            return None
        return name
    name, colon, port = text.partition(":")
    if not name or (colon and not _is_port(f":{port}")) or any(sign in name for sign in "/@?#\\ "):
        return None
    return name.rstrip(".")


def same_origin(origin: str, host: str) -> bool:
    """Return whether an `Origin` header names the server that a `Host` header names; "null" does not.

    The scheme is not compared: behind a proxy with TLS, the server itself has none.
    """
    scheme, separator, rest = origin.strip().partition("://")
    return bool(separator) and scheme.lower() in {"http", "https"} and rest.lower() == host.strip().lower()


def _is_port(text: str) -> bool:
    return text.startswith(":") and text[1:].isdecimal() and len(text) <= 6


def _address(text: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
