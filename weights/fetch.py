"""Download weight files: resume interrupted downloads, verify, then rename into place."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .errors import WeightsError
from .locate import readable_url, search_folders, verify_file
from .manifest import WeightFile
from .source import DownloadProgress

TIMEOUT = 30  # seconds to connect, and between two reads
BLOCK = 1 << 18  # bytes per read


def fetch_file(
    file: WeightFile, weights_dir: Path | None = None, *, progress: DownloadProgress | None = None
) -> tuple[Path, str]:
    """Download a file into the first of the search folders and verify it.

    An interrupted download is resumed from its `.part` file. A file that is already there is only verified.

    Args:
        file: of the manifest; its addresses are tried in order.
        weights_dir: the folder to download to; None for the first of the default folders.
        progress: callback during the download.

    Returns:
        The path of the file and its sha256.

    Raises:
        WeightsError: every address fails, the folder cannot be created, or the content is not the expected file.
    """
    target = search_folders(weights_dir)[0] / file.name
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"{target.parent}: cannot be created: {error.strerror}") from error
    with _exclusive_lock(target.parent):
        if target.is_file():  # another process has downloaded it meanwhile
            return target, verify_file(file, target)
        return _fetch_to(file, target, part, progress)


def _fetch_to(file: WeightFile, target: Path, part: Path, progress: DownloadProgress | None) -> tuple[Path, str]:
    failures: list[str] = []
    for url in file.urls:
        try:
            if url.startswith("gdrive:"):
                _download_from_drive(url.removeprefix("gdrive:"), part, progress)
            else:
                _download(url, part, progress)
        except _TransferError as error:
            failures.append(f"{readable_url(url)}: {error}")
            continue
        try:
            digest = verify_file(file, part)
        except WeightsError as error:
            part.unlink()
            failures.append(f"{readable_url(url)}: not the expected file ({str(error).split(': ', 1)[1]})")
            continue
        part.replace(target)
        return target, digest
    raise WeightsError(f"{file.name} could not be downloaded: {'; '.join(failures)}")


@contextlib.contextmanager
def _exclusive_lock(folder: Path) -> Iterator[None]:
    """Let one process at a time download into a folder: two must not write the same file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems do not support locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _TransferError(Exception):
    """Failure of one address; the next one is tried."""


def _download(url: str, part: Path, progress: DownloadProgress | None) -> None:
    import requests

    received = part.stat().st_size if part.exists() else 0
    # Servers that compress in transit would make the sizes, and a resumed download, wrong.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={received}-"} if received else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            if response.status_code == requests.codes.requested_range_not_satisfiable and received:
                if response.headers.get("Content-Range", "").endswith(f"/{received}"):
                    return  # the file is complete
                part.unlink()  # longer than the file: not a part of it
                _download(url, part, progress)
                return
            response.raise_for_status()
            if response.status_code != requests.codes.partial_content:
                received = 0  # the server does not resume: start over
            total = _total(response, received)
            with part.open("r+b" if received else "wb") as file:
                file.seek(received)
                file.truncate()
                for block in response.iter_content(BLOCK):
                    file.write(block)
                    received += len(block)
                    if progress is not None:
                        progress(received, total)
            if total is not None and received < total:
                raise _TransferError(
                    f"connection lost after {received} of {total} bytes; run the command again to resume"
                )
    except requests.RequestException as error:
        raise _TransferError(f"{type(error).__name__}; run the command again to resume") from error
    except OSError as error:
        raise _TransferError(f"cannot write {part}: {error.strerror}") from error


def _total(response: Any, received: int) -> int | None:
    length = response.headers.get("Content-Length")
    return received + int(length) if length else None


def _download_from_drive(identifier: str, part: Path, progress: DownloadProgress | None) -> None:
    """Download from Google Drive by gdown, which handles the confirmation page of large files, and resumes."""
    import gdown
    import requests
    from gdown.exceptions import DownloadError

    try:
        gdown.download(id=identifier, output=str(part), quiet=True, resume=True, timeout=TIMEOUT, progress=progress)
    except (DownloadError, requests.RequestException, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise _TransferError(f"Google Drive refused the download ({reason}); try a browser") from error
    if not part.is_file():
        raise _TransferError("Google Drive refused the download; try a browser")
