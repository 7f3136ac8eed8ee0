"""Download one address with yt-dlp, in a process of its own that is killed when it hangs or takes too much."""

from __future__ import annotations

import contextlib
import os
import queue
import re
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

from ...weights.safe_paths import is_file
from ..decode.process import python_program
from ..errors import SetupError
from ..text import escape
from .addresses import check_tool
from .disk import MAX_DOWNLOAD_BYTES, check_free, folder_bytes, free_bytes
from .reasons import DownloadError, Reason

STALLED_SECONDS = 120  # without a byte or a message, after which a download counts as hung
MAX_ADDRESS = 4_096  # characters of an address
_WATCH = 0.5  # seconds between two looks at the size of what has arrived
_SOCKET_SECONDS = 30  # without an answer
_KEPT_LINES = 50  # of messages
_MAX_LINE = 1 << 16  # bytes of a message
_NAME = "media"  # of the file, whatever the site calls it
_UNFINISHED = {".part", ".ytdl", ".temp"}
_PROGRESS = "[avvp]"
_ADDRESS = re.compile(r"https?://[^\s\x00-\x1f\x7f]+", re.IGNORECASE)
_NUMBER = re.compile(r"\d{1,18}(\.\d{1,9})?")

FetchProgress = Callable[[int, "int | None"], None]  # bytes so far, and in total if the server states them


@dataclass(frozen=True)
class FetchOptions:
    """How addresses are downloaded.

    Attributes:
        max_height: pixels; the largest video up to this height is chosen, or else the smallest.
        max_bytes: the most that is downloaded of one address.
        cookies: a file of cookies in Netscape's format; it is not changed.
        rate: bytes per second at most; None is as fast as it goes.
        stalled: seconds without a byte or a message after which the download is given up.
    """

    max_height: int = 720
    max_bytes: int = MAX_DOWNLOAD_BYTES
    cookies: Path | None = None
    rate: int | None = None
    stalled: float = STALLED_SECONDS


DEFAULT_FETCH = FetchOptions()


def fetch(
    address: str,
    folder: Path,
    options: FetchOptions = DEFAULT_FETCH,
    *,
    progress: FetchProgress = lambda _done, _total: None,
    stop: threading.Event | None = None,
) -> Path:
    """Download the media of one address.

    yt-dlp reads no configuration, starts no program but ffmpeg, which may open local files only, and a JavaScript
    runtime, and writes into `folder` alone; it loads the plugins that the user has installed. The address is passed on
    its standard input, so other users of the machine do not see it.

    Args:
        address: http or https; a direct address of media, or a page of a site that yt-dlp knows, with one video.
        folder: an existing folder, empty, for the file alone.
        options: size, height and rate limits, cookies.
        progress: called with the bytes so far, and in total.
        stop: another thread sets it to end the download.

    Returns:
        The file, in `folder`.

    Raises:
        DownloadError: there is no media at the address, or it cannot be downloaded.
        SetupError: yt-dlp is not installed, the disk is full, or the cookies cannot be read.
    """
    if len(address) > MAX_ADDRESS or not _ADDRESS.fullmatch(address):
        raise DownloadError(address, "is not an address of the form https://host/path", "not-media")
    check_tool()
    check_free(folder)
    with (
        _copied_cookies(options.cookies) as cookies,
        _Child(address, _arguments(options, cookies), folder) as child,
    ):
        outcome = child.wait(options, progress, stop or threading.Event())
    if outcome.stopped is not None:
        raise DownloadError(address, *outcome.stopped)
    files = [path for path in folder.iterdir() if path.name.startswith(f"{_NAME}.") and is_file(path)]
    if outcome.status or len(files) != 1 or files[0].suffix in _UNFINISHED:
        raise DownloadError(address, _explain(outcome.lines, outcome.status, len(files)))
    return files[0]


def _arguments(options: FetchOptions, cookies: Path | None) -> list[str]:
    from ..decode.ffmpeg import ffmpeg_binary

    # Downloads that ffmpeg would make over the network (rtmp, mms) are not chosen: it may open local files only.
    http, hls = "[protocol^=http]", "[protocol^=m3u8]"
    choices = (f"bv*{http}+ba{http}", f"b{http}", f"b{hls}", f"b*{http}", f"b*{hls}")
    arguments = [
        "--ignore-config", "--no-cache-dir", "--no-exec", "--no-update", "--no-mtime", "--restrict-filenames",
        "--no-playlist", "--match-filters", "!playlist_index & !is_live",
        "--newline", "--progress", "--color", "no_color",
        "--progress-template", f"download:{_PROGRESS} %(progress.downloaded_bytes)s %(progress.total_bytes)s",
        "--format", "/".join(choices), "--format-sort", f"res:{options.max_height}",
        "--max-filesize", str(options.max_bytes),
        "--socket-timeout", str(_SOCKET_SECONDS), "--retries", "3", "--fragment-retries", "3",
        "--downloader", "m3u8:native", "--downloader", "dash:native",
        "--ffmpeg-location", ffmpeg_binary(),
        "--downloader-args", "ffmpeg_i:-protocol_whitelist file",
        "--postprocessor-args", "ffmpeg_i:-protocol_whitelist file",
        "--output", f"{_NAME}.%(ext)s", "--batch-file", "-",
    ]  # fmt: skip
    if options.rate is not None:
        arguments += ["--limit-rate", str(options.rate)]
    if cookies is not None:
        arguments += ["--cookies", str(cookies)]
    return arguments


@contextlib.contextmanager
def _copied_cookies(source: Path | None) -> Iterator[Path | None]:
    """Give a copy of a file of cookies that only this user can read: yt-dlp writes to it. Raises SetupError."""
    if source is None:
        yield None
        return
    with tempfile.TemporaryDirectory(prefix="avvp-cookies-") as name:
        copy = Path(name) / "cookies.txt"
        try:
            shutil.copyfile(source, copy)
            copy.chmod(0o600)
        except OSError as error:
            raise SetupError(f"{escape(source)}: cannot be read: {error.strerror or error}") from error
        yield copy


class _Outcome(NamedTuple):
    status: int
    lines: list[str]  # the last messages
    stopped: tuple[str, Reason] | None  # why the download was stopped here


class _Child:
    """Running yt-dlp; a context manager, on exit it and what it has started are killed."""

    def __init__(self, address: str, arguments: list[str], folder: Path) -> None:
        self._folder = folder
        self._process = subprocess.Popen(
            python_program("download.tool_main", *arguments),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=folder,
            start_new_session=True,  # Ctrl-C goes to the parent only, and ffmpeg is killed with it
        )
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self._reader = threading.Thread(target=self._read_lines, daemon=True)
        self._reader.start()
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended already; its messages say why
            self._process.stdin.write(f"{address}\n".encode())
            self._process.stdin.close()

    def __enter__(self) -> _Child:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._reader.join()
        assert self._process.stdout is not None
        self._process.stdout.close()

    def wait(self, options: FetchOptions, progress: FetchProgress, stop: threading.Event) -> _Outcome:
        """Wait for the end, and watch over sizes and time."""
        lines: deque[str] = deque(maxlen=_KEPT_LINES)
        heard = looked = time.monotonic()
        size = 0
        while True:
            with contextlib.suppress(queue.Empty):
                line = self._lines.get(timeout=_WATCH)
                if line is None:
                    return _Outcome(self._process.wait(), list(lines), None)
                heard = time.monotonic()
                if line.startswith(_PROGRESS):
                    progress(*_read_progress(line))
                else:
                    lines.append(line)
            if stop.is_set():
                return _Outcome(0, [], ("was stopped", "other"))
            if time.monotonic() - looked < _WATCH:
                continue
            looked, before, size = time.monotonic(), size, folder_bytes(self._folder)
            heard = looked if size != before else heard
            if size > options.max_bytes:
                return _Outcome(0, [], (f"is larger than {options.max_bytes:,} bytes", "disk"))
            if not free_bytes(self._folder):
                return _Outcome(0, [], ("the disk is full", "disk"))
            if looked - heard > options.stalled:
                return _Outcome(0, [], (f"made no progress for {options.stalled:g} s", "network"))

    def _read_lines(self) -> None:
        assert self._process.stdout is not None
        while raw := self._process.stdout.readline(_MAX_LINE):
            self._lines.put(raw.decode("utf-8", "replace").strip())
        self._lines.put(None)


def _read_progress(line: str) -> tuple[int, int | None]:
    numbers = [int(float(part)) if _NUMBER.fullmatch(part) else None for part in line.split()[1:3]]
    done, total = (*numbers, None, None)[:2]
    return done or 0, total


def _explain(lines: list[str], status: int, files: int) -> str:
    """Return the reason in the messages of yt-dlp why there is not exactly one file."""
    errors = [line.removeprefix("ERROR: ") for line in lines if line.startswith("ERROR: ")]
    if errors:
        cause = re.sub(r"^\[[\w:+-]+\] (\S+: )?", "", errors[-1])
        return cause.partition(" (caused by ")[0]  # which says the same again
    text = " ".join(lines)
    if "playlist_index" in text:
        return "is a list of videos; give the addresses of its videos"
    if "is_live" in text:
        return "is live; only recordings can be parsed"
    if "larger than max-filesize" in text:
        return "is larger than what may be downloaded"
    if files > 1:
        return "video and sound could not be merged"
    ended = f"was killed by signal {-status}" if status < 0 else f"ended with status {status}"
    return f"yt-dlp {ended}" + (f": {lines[-1]}" if lines else "")
