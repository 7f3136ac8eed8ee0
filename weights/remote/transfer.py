"""Download one address over https into a file, from where an earlier download was interrupted.

A thread reads from the network, so that a server that sends its headers or its body byte by byte cannot hold the caller
longer than the limits in `pace` allow; only the caller writes to the file.
"""

from __future__ import annotations

import contextlib
import ipaddress
import os
import queue
import re
import threading
from collections.abc import Generator
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NamedTuple
from urllib.parse import urljoin, urlsplit

from ..messages import shown
from ..source import DownloadProgress
from .pace import TIMEOUT, Pace, RefusedError, TooLargeError, TransferError
from .part_files import open_part

if TYPE_CHECKING:
    import requests

MAX_REDIRECTS = 5
_BLOCK = 1 << 16  # bytes per read
_QUEUED = 8  # blocks that wait to be written
_LENGTH = re.compile(r"[0-9]{1,18}")
_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")
_RESUME = "run the command again to resume"


class _Expected(NamedTuple):
    """What is known about a file: its exact size, and the most bytes that are accepted."""

    size: int | None
    limit: int


def download(
    url: str,
    part: Path,
    *,
    size: int | None,
    limit: int,
    progress: DownloadProgress | None,
    token: str | None = None,
) -> None:
    """Download a file.

    Args:
        url: https; plain http is accepted from this machine itself only (127.0.0.0/8, ::1, localhost).
        part: the incomplete file; what it already holds is not downloaded again.
        size: exact size in bytes, None if it is not known.
        limit: bytes, the most that are accepted.
        progress: callback with the bytes so far and the total.
        token: sent to the server of `url`, not to those that it redirects to; None for none.

    Raises:
        TransferError: the server cannot be reached, breaks off, is too slow, sends another size, or redirects to an
            address that is not https; or the file cannot be written. The message does not name the address.
    """
    pace, expected = Pace(), _Expected(size, limit)
    try:
        with open_part(part) as file:
            start = file.seek(0, os.SEEK_END)
            if start > limit or not _transfer(_receive(url, start, pace, token), file, start, expected, progress):
                _transfer(_receive(url, 0, pace, token), file, 0, expected, progress)
    except TooLargeError:
        with contextlib.suppress(OSError):
            part.unlink()
        raise
    except OSError as error:
        raise TransferError(f"cannot write {part.name}: {error.strerror or error}") from error


def _transfer(
    answer: Generator[Any], file: IO[bytes], start: int, expected: _Expected, progress: DownloadProgress | None
) -> bool:
    """Write what the server sends from byte `start` on; return False if it cannot continue there."""
    with contextlib.closing(answer) as received:
        response = next(received)
        if start and response.status_code == 416:  # the range is not satisfiable: complete, or not a part of the file
            return response.headers.get("Content-Range") == f"bytes */{start}"
        if response.status_code == 206 and start:
            if not _continues(response, start, expected.size):
                return False
        elif response.status_code == 200:
            start = 0  # the server does not resume
        else:
            raise RefusedError(response.status_code)
        total = _total(response, start, expected)
        done, most = start, expected.limit if total is None else total
        file.seek(start)
        file.truncate()
        for block in received:
            done += len(block)
            if done > most:
                raise TooLargeError(f"sends more than {most} bytes; it is cut off")
            file.write(block)
            if progress is not None and block:
                progress(done, total)
    if total is not None and done < total:
        raise TransferError(f"connection lost after {done} of {total} bytes; {_RESUME}")
    return True


def _total(response: Any, start: int, expected: _Expected) -> int | None:
    """Return the size of the file: the known one or the announced one. Raises TransferError if they contradict."""
    encoding = response.headers.get("Content-Encoding", "identity")
    if encoding.strip().lower() not in {"", "identity"}:
        raise TransferError(f"sends the file encoded as {shown(encoding)}, which was not asked for")
    length = _length(response)
    announced = None if length is None else start + length
    if announced is None:
        return expected.size
    if expected.size not in {None, announced}:
        raise TransferError(f"announces {announced} bytes, expected {expected.size}: not the expected file")
    if announced > expected.limit:
        raise TransferError(f"announces {announced} bytes, more than {expected.limit}: not the expected file")
    return announced


def _length(response: Any) -> int | None:
    value = response.headers.get("Content-Length")
    if value is None or "Transfer-Encoding" in response.headers:  # with it, the length has no meaning
        return None
    if not _LENGTH.fullmatch(value.strip()):
        raise TransferError(f"sends the Content-Length {shown(value)}, which is not a number of bytes")
    return int(value)


def _continues(response: Any, start: int, size: int | None) -> bool:
    """Return whether a partial answer is the rest of the file from byte `start` on."""
    value, length = response.headers.get("Content-Range"), _length(response)
    if value is None:  # against the standard, but the rest of a known size can be nothing else
        return size is not None and length is not None and start + length == size
    found = _RANGE.fullmatch(value.strip())
    if found is None:
        return False
    first, last = int(found[1]), int(found[2])
    totals = {last + 1} | ({int(found[3])} if found[3] != "*" else set()) | ({size} if size is not None else set())
    return first == start <= last and totals == {last + 1} and length in {None, last + 1 - first}


def _receive(url: str, start: int, pace: Pace, token: str | None) -> Generator[Any]:
    """Yield the response, then the blocks of its body.

    Raises:
        TransferError: from the thread that reads, or because a limit of time is exceeded.
    """
    results: queue.Queue[Any] = queue.Queue(_QUEUED)
    stopped = threading.Event()
    threading.Thread(target=_read, args=(url, start, results, stopped, token), daemon=True).start()
    try:
        while True:
            pace.check()
            try:
                result = results.get(timeout=pace.remaining)
            except queue.Empty:
                continue
            if result is None:
                return
            if isinstance(result, TransferError):
                raise result
            if isinstance(result, Exception):
                raise TransferError(f"{type(result).__name__}; {_RESUME}") from result
            if isinstance(result, bytes):
                pace.add(len(result))
            yield result
    finally:
        stopped.set()


def _read(url: str, start: int, results: queue.Queue[Any], stopped: threading.Event, token: str | None) -> None:
    """Put the response, the blocks of its body and None into a queue; or the exception that ends it."""
    import requests

    def put(result: Any) -> None:
        while not stopped.is_set():
            with contextlib.suppress(queue.Full):
                results.put(result, timeout=1)
                return

    try:
        with requests.Session() as session, _open(session, url, start, token) as response:
            put(response)
            while not stopped.is_set() and (block := response.raw.read(_BLOCK, decode_content=False)):
                put(block)
        put(None)
    except Exception as error:  # raised again in the thread that waits for it
        put(error)


def _open(session: requests.Session, url: str, start: int, token: str | None) -> requests.Response:
    """Send the request and follow redirects; the body is not read."""
    import requests

    origin = urlsplit(url)[:2]

    def authorize(request: requests.PreparedRequest) -> requests.PreparedRequest:
        if urlsplit(request.url or "")[:2] == origin:
            request.headers["Authorization"] = f"Bearer {token}"
        return request

    # Servers that compress in transit would make the sizes, and a resumed download, wrong.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={start}-"} if start else {})
    for _ in range(MAX_REDIRECTS + 1):
        if not is_safe(url):
            raise TransferError("not an https address")
        # Not by `session.get`, which reads the body of a redirect, of any length, even if it is not to follow it.
        settings = session.merge_environment_settings(url, {}, stream=True, verify=None, cert=None)
        request = session.prepare_request(
            requests.Request("GET", url, headers=headers, auth=authorize if token else None)
        )
        response = session.get_adapter(url).send(request, timeout=TIMEOUT, **settings)
        target = session.get_redirect_target(response)
        if target is None:
            return response
        response.close()
        try:
            was_https, url = url.startswith("https:"), urljoin(url, target)
        except ValueError as error:
            raise TransferError(f"redirects to {shown(target)}, which is not an address") from error
        if not is_safe(url) or (was_https and not url.startswith("https:")):
            raise TransferError(f"redirects to {shown(url)}, which is not https")
    raise TransferError(f"redirects more than {MAX_REDIRECTS} times")


def is_safe(url: str) -> bool:
    """Return whether an address is https, or plain http of this machine; `url` may be any text."""
    try:
        parts = urlsplit(url)
        host = parts.hostname or ""
        if parts.scheme == "https":
            return bool(host)
        return parts.scheme == "http" and (host == "localhost" or ipaddress.ip_address(host).is_loopback)
    except ValueError:
        return False
