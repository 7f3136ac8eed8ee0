"""Progress of calls that decode files: a callback of the caller, or a bar on the terminal."""

from __future__ import annotations

import contextlib
import sys
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

from ..decode.container.media_facts import DecodeProgress
from ..text import escape


@dataclass(frozen=True)
class Progress:
    """State of one file of a call.

    Attributes:
        source: path of the file, or name of the arrays.
        file: its number in the call, from 1.
        files: how many there are; None where the caller's iterable does not tell.
        stage: `audio`, `video` or `frames` while it is decoded, `features` while the networks compute the rest, `done`
            when its result is there, `failed` when it has none.
        seconds: of this stage so far.
        duration: seconds in total; None where the container does not state it.
    """

    source: str
    file: int
    files: int | None
    stage: Literal["audio", "video", "frames", "features", "done", "failed"] | str
    seconds: float
    duration: float | None


ProgressCallback = Callable[[Progress], None]


class FileProgress:
    """Reports of one call, passed on one at a time: files are decoded in several threads."""

    def __init__(self, callback: ProgressCallback | None, files: int | None) -> None:
        """Keep the callback.

        Args:
            callback: None for no reports.
            files: how many files the call has; None if unknown.
        """
        self._callback, self._files = callback, files
        self._lock = threading.Lock()

    def of_decoding(self, source: str, file: int) -> DecodeProgress | None:
        """Return a callback for the decoder of one file; None for no reports."""
        if self._callback is None:
            return None
        return lambda stage, seconds, duration: self._report(source, file, stage, seconds, duration)

    def finish(self, source: str, file: int, *, failed: bool = False) -> None:
        """Report that a file has its result, or none."""
        self._report(source, file, "failed" if failed else "done", 0.0, None)

    def _report(self, source: str, file: int, stage: str, seconds: float, duration: float | None) -> None:
        if self._callback is not None:
            with self._lock:
                self._callback(Progress(source, file, self._files, stage, seconds, duration))


@contextlib.contextmanager
def follow(progress: ProgressCallback | bool, files: int | None) -> Iterator[FileProgress]:
    """Make the reports of a call.

    Args:
        progress: a callback, True for a bar on standard error, or False.
        files: how many files the call has; None if unknown.

    Yields:
        The reports; the bar is removed at the end.
    """
    if not isinstance(progress, bool):
        yield FileProgress(progress, files)
    elif not progress:
        yield FileProgress(None, files)
    else:
        with _bar(files) as callback:
            yield FileProgress(callback, files)


@contextlib.contextmanager
def _bar(files: int | None) -> Iterator[ProgressCallback]:
    """Show a bar on standard error: seconds of a single file, or files of many."""
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bar

    console = Console(stderr=True, force_jupyter=False)
    columns = (TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.fields[unit]}"))
    # Text that the caller prints goes above the bar, unless it goes elsewhere.
    above = sys.stdout.isatty() and console.is_terminal
    with Bar(
        *columns,
        TimeElapsedColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
        redirect_stdout=above,
        redirect_stderr=above,
    ) as bar:
        task = bar.add_task("loading", total=files if files != 1 else None, unit="")
        finished = 0

        def move(report: Progress) -> None:
            nonlocal finished
            name = escape(PurePath(report.source).name)
            ended = report.stage in {"done", "failed"}
            finished += ended
            if report.files == 1 and not ended:
                total = None if report.duration is None else max(report.duration, report.seconds)
                bar.update(
                    task,
                    description=f"{name}: {report.stage}",
                    completed=report.seconds,
                    total=total,
                    unit=f"{report.seconds:.0f} s",
                )
            elif ended and report.files != 1:
                count = f"{finished}" if report.files is None else f"{finished}/{report.files}"
                bar.update(task, description=f"{name}: {report.stage}", completed=finished, unit=f"{count} files")

        yield move
