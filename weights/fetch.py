"""Downloading weight files: resumed when cut off, verified, then renamed into place."""

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

TIMEOUT = 30  # seconds without an answer or a byte
BLOCK = 1 << 18


def fetch_file(
    file: WeightFile, weights_dir: Path | None = None, *, progress: DownloadProgress | None = None
) -> tuple[Path, str]:
    """Download a file into the first of the search folders and verify it; returns its path and sha256.

    What an earlier, interrupted download left (`.part`) is continued. Raises WeightsError where no address answers,
    the disk refuses, or what arrived is not the file.
    """
    target = search_folders(weights_dir)[0] / file.name
    part = target.with_name(target.name + ".part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WeightsError(f"{target.parent}: cannot be created: {error.strerror}") from error
    with _only_one_in(target.parent):
        if target.is_file():  # another process was faster
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
            failures.append(f"{readable_url(url)}: what it sends is not the file ({str(error).split(': ', 1)[1]})")
            continue
        part.replace(target)
        return target, digest
    raise WeightsError(f"{file.name} could not be downloaded: {'; '.join(failures)}")


@contextlib.contextmanager
def _only_one_in(folder: Path) -> Iterator[None]:
    """Downloads into one folder wait for each other: two processes must not write the same file."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # some network file systems have no locks
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class _TransferError(Exception):
    """One address failed; another may do."""


def _download(url: str, part: Path, progress: DownloadProgress | None) -> None:
    import requests

    have = part.stat().st_size if part.exists() else 0
    # Servers that compress in transit would make the sizes, and a resumed download, wrong.
    headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
    try:
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as answer:
            if answer.status_code == requests.codes.requested_range_not_satisfiable and have:
                if answer.headers.get("Content-Range", "").endswith(f"/{have}"):
                    return  # it is all there
                part.unlink()  # longer than the file: of something else
                _download(url, part, progress)
                return
            answer.raise_for_status()
            if answer.status_code != requests.codes.partial_content:
                have = 0  # the server starts over
            total = _total(answer, have)
            with part.open("r+b" if have else "wb") as file:
                file.seek(have)
                file.truncate()
                for block in answer.iter_content(BLOCK):
                    file.write(block)
                    have += len(block)
                    if progress is not None:
                        progress(have, total)
            if total is not None and have < total:
                raise _TransferError(f"cut off after {have} of {total} bytes; run the command again to continue")
    except requests.RequestException as error:
        raise _TransferError(f"{type(error).__name__}; run the command again to continue") from error
    except OSError as error:
        raise _TransferError(f"cannot write {part}: {error.strerror}") from error


def _total(answer: Any, have: int) -> int | None:
    length = answer.headers.get("Content-Length")
    return have + int(length) if length else None


def _download_from_drive(identifier: str, part: Path, progress: DownloadProgress | None) -> None:
    """Google Drive asks for a confirmation before large files; gdown knows its ways, and resumes."""
    import gdown
    import requests
    from gdown.exceptions import DownloadError

    try:
        gdown.download(id=identifier, output=str(part), quiet=True, resume=True, timeout=TIMEOUT, progress=progress)
    except (DownloadError, requests.RequestException, OSError) as error:
        reason = str(error).strip().split("\n", 1)[0] or type(error).__name__
        raise _TransferError(f"Google Drive did not hand it over ({reason}); try a browser") from error
    if not part.is_file():
        raise _TransferError("Google Drive did not hand it over; try a browser")
