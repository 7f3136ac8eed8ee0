"""Download a file of Google Drive by gdown, which handles the confirmation page of large files, and resumes."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ..messages import escape, first_line
from ..source import DownloadProgress
from .pace import TIMEOUT, Pace, TooLargeError, TransferError
from .part_files import discard_foreign

DRIVE_FILE, DRIVE_FOLDER = "gdrive", "gdrive-folder"  # kinds of addresses
LIST_SECONDS = 60  # for the names of the files of a folder
_SUFFIX = ".part"  # gdown writes to OUTPUT, 8 random characters, and this
_RANDOM = 8


def download_from_drive(url: str, part: Path, *, limit: int, progress: DownloadProgress | None) -> None:
    """Download a file of Google Drive. gdown speaks https with Google only.

    Args:
        url: "gdrive:ID" of the file, or "gdrive-folder:ID/NAME" of one in a folder.
        part: the file to write; gdown keeps interrupted downloads beside it.
        limit: bytes, the most that are accepted.
        progress: callback with the bytes so far and the total.

    Raises:
        TransferError: Google refuses, sends too much, or is too slow; or the file cannot be written.
    """
    import gdown
    import requests
    from gdown.exceptions import DownloadError
    from urllib3.exceptions import HTTPError

    kind, _, identifier = url.partition(":")
    if kind == DRIVE_FOLDER:
        folder, _, name = identifier.partition("/")
        if not name:
            wanted = escape(part.with_name(part.name.removesuffix(".part")))
            raise TransferError(f"its name in this folder is not published: by a browser, save it as {wanted}")
        identifier = _find_in_folder(folder, name)
    pace, done = Pace(), 0

    def advance(received: int, total: int | None) -> None:
        nonlocal done
        if max(received, total or 0) > limit:
            raise TooLargeError(f"sends {max(received, total or 0)} bytes, more than {limit}; it is cut off")
        pace.add(received - done)
        done = received
        if progress is not None:
            progress(received, total)

    try:
        _discard_planted(part)
        with _time_limit(pace) as cancel:
            gdown.download(
                id=identifier,
                output=str(part),
                quiet=True,
                resume=True,
                use_cookies=False,
                timeout=TIMEOUT,
                progress=advance,
                cancel=cancel,
            )
        if not part.is_file():
            raise TransferError("Google Drive refused the download; try a browser")
        if (size := part.stat().st_size) > limit:
            raise TooLargeError(f"sent {size} bytes, more than {limit}")
    except TooLargeError:
        for path in [part, *_parts_of_gdown(part)]:
            with contextlib.suppress(OSError):
                path.unlink()
        raise
    except (
        DownloadError,
        requests.RequestException,
        HTTPError,
        OSError,
        ValueError,
        KeyError,
        AssertionError,
    ) as error:
        raise TransferError(f"Google Drive refused the download ({first_line(error)}); try a browser") from error


def _find_in_folder(folder: str, name: str) -> str:
    """Ask Google for the identifier of a file of a folder. Raises TransferError."""
    import gdown

    found: list[Any] = []
    errors: list[Exception] = []

    def ask() -> None:
        try:
            found.extend(
                gdown.download_folder(id=folder, quiet=True, use_cookies=False, timeout=TIMEOUT, skip_download=True)
            )
        except Exception as error:  # gdown parses a web page: whatever is wrong with it
            errors.append(error)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(LIST_SECONDS)
    if errors:
        raise TransferError(f"Google Drive does not list the folder ({first_line(errors[0])})") from errors[0]
    if thread.is_alive():
        raise TransferError(f"Google Drive does not list the folder within {LIST_SECONDS} s")
    identifiers = [file.id for file in found if Path(file.path).name == name]
    if len(identifiers) != 1:
        raise TransferError(f"the folder has {len(identifiers)} files called {name}")
    return identifiers[0]


@contextlib.contextmanager
def _time_limit(pace: Pace) -> Iterator[threading.Event]:
    """Yield an event that is set when a limit of time is exceeded; then raise TransferError instead of what ends it."""
    cancel, finished = threading.Event(), threading.Event()
    reasons: list[TransferError] = []

    def watch() -> None:
        try:
            while not finished.wait(pace.remaining):
                pace.check()
        except TransferError as error:
            reasons.append(error)
            cancel.set()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield cancel
    except Exception as error:
        if reasons:
            raise reasons[0] from error
        raise
    finally:
        finished.set()
        watcher.join()


def _discard_planted(part: Path) -> None:
    """Leave at most one interrupted download of gdown, a plain file of this user: gdown follows links."""
    for path in [part, *_parts_of_gdown(part)]:
        discard_foreign(path)
    for path in _parts_of_gdown(part)[1:]:
        path.unlink()


def _parts_of_gdown(part: Path) -> list[Path]:
    length = len(part.name) + _RANDOM + len(_SUFFIX)
    names = (path for path in part.parent.iterdir() if path.name.startswith(part.name) and path.name.endswith(_SUFFIX))
    return sorted(path for path in names if len(path.name) == length)
