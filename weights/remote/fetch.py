"""Download weight files: resume interrupted downloads, verify, then rename into place."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

from ..errors import WeightsError
from ..locate import MAX_FILE_BYTES, search_folders, verify_file
from ..manifest import WeightFile
from ..messages import escape, first_line
from ..safe_paths import is_file
from ..source import DownloadProgress
from .drive import DRIVE_FILE, DRIVE_FOLDER, download_from_drive
from .hub import SCHEME, download_from_hub
from .missing import readable_url
from .pace import TransferError
from .transfer import download

_ROUNDING = 2  # a file of approximately known size may have as many times that size
_LEAST_LIMIT = 1 << 20  # bytes


def fetch_file(
    file: WeightFile, weights_dir: Path | None = None, *, progress: DownloadProgress | None = None
) -> tuple[Path, str]:
    """Download a file into the first of the search folders and verify it.

    An interrupted download is resumed from its `.part` file. A file that is already there is only verified.

    Args:
        file: of the manifest, or of a bundle's `downloads`; its addresses are tried in order.
        weights_dir: the folder to download to; None for the first of the default folders. A file of a hub has its own.
        progress: callback during the download.

    Returns:
        The path of the file and its sha256.

    Raises:
        WeightsError: every address fails, the folder cannot be created, or the content is not the expected file.
    """
    target = (file.folder or search_folders(weights_dir)[0]) / file.name
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _exclusive_lock(target.parent):
            if is_file(target):  # another process has downloaded it meanwhile
                return target, verify_file(file, target)
            return target, _fetch_to(file, target, progress)
    except (OSError, ValueError) as error:  # ValueError: the name contains a NUL
        raise WeightsError(f"{escape(target.parent)}: cannot be created or written: {first_line(error)}") from error


def _fetch_to(file: WeightFile, target: Path, progress: DownloadProgress | None) -> str:
    """Download from the first address that gives the expected file; return its sha256."""
    part = target.with_name(target.name + ".part")
    limit = _limit(file)
    failures: list[str] = []
    for url in file.urls:
        try:
            if url.startswith((f"{DRIVE_FILE}:", f"{DRIVE_FOLDER}:")):
                download_from_drive(url, part, limit=limit, progress=progress)
            elif url.startswith(SCHEME):
                download_from_hub(url, part, size=file.bytes, limit=limit, progress=progress)
            else:
                download(url, part, size=file.bytes, limit=limit, progress=progress)
        except TransferError as error:
            failures.append(f"{escape(readable_url(url))}: {error}")
            continue
        try:
            digest = verify_file(file, part)
        except WeightsError as error:
            part.unlink()
            reason = str(error).removeprefix(f"{escape(part)}: ")
            failures.append(f"{escape(readable_url(url))}: not the expected file ({reason})")
            continue
        part.replace(target)
        return digest
    if not file.urls:
        raise WeightsError(f"{file.name} is shipped with the program, but is not there: reinstall it")
    raise WeightsError(f"{file.name} could not be downloaded: {'; '.join(failures)}")


def _limit(file: WeightFile) -> int:
    """Return the most bytes that a file may have."""
    return min(file.bytes or max(file.size * _ROUNDING, _LEAST_LIMIT), MAX_FILE_BYTES)


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
