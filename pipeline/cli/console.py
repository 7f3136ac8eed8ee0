"""Messages for the person at the terminal, all on stderr: progress, timelines, notes."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..text import escape

if TYPE_CHECKING:
    from ..preprocess.media_summary import DecodeProgress
    from ..timeline import GroundTruth, Timeline


class Console:
    """A context manager: while it is entered, and if stderr is a terminal, a progress bar may be shown."""

    def __init__(self, *, quiet: bool, verbose: bool) -> None:
        # A name that no encoding can print must not end the run.
        if isinstance(sys.stderr, io.TextIOWrapper):
            sys.stderr.reconfigure(errors="backslashreplace")
        self.quiet = quiet
        self.verbose = verbose and not quiet
        self.console = RichConsole(stderr=True, highlight=False, markup=False, emoji=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
        )
        hidden = quiet or not self.console.is_terminal
        self._bars = Progress(*columns, console=self.console, transient=True, disable=hidden)
        self._task: TaskID | None = None

    def __enter__(self) -> Console:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._clear()
        self._bars.stop()

    def note(self, text: str) -> None:
        """A line for those who asked for more."""
        if self.verbose:
            self.console.print(escape(text), style="dim", soft_wrap=True)

    def say(self, text: str) -> None:
        """A line for everybody who did not ask for silence."""
        self._clear()
        if not self.quiet:
            self.console.print(escape(text), soft_wrap=True)

    def count(self, description: str) -> Callable[[int, int], None]:
        """The callback that moves a bar of things done and in all."""

        def move(done: int, total: int) -> None:
            self.show(description, done, total, f"{done}/{total}")
            if done == total:
                self._clear()

        return move

    def progress(self, path: Path) -> DecodeProgress:
        """The callback that moves the bar of one file."""
        name = escape(path.name)

        def show(stage: str, done: float, total: float | None) -> None:
            seconds = f"{done:.0f} s" if total is None else f"{done:.0f}/{max(done, total):.0f} s"
            self.show(f"{name}: {stage}", done, None if total is None else max(done, total), seconds)

        return show

    def download(self, done: int, total: int | None) -> None:
        """Move the bar of a download: bytes so far, bytes in all."""
        size = f"{done >> 20} MiB" if total is None else f"{done >> 20}/{total >> 20} MiB"
        self.show("downloading weights", done, total, size)

    def finished(self, path: Path, timeline: Timeline, seconds: float, truth: GroundTruth | None = None) -> None:
        """Show the result of one file, beside the truth where it is known."""
        from ..outputs.terminal import print_timeline

        self._clear()
        if not self.quiet:
            print_timeline(timeline, self.console, truth)
        media = timeline.media
        self.note(
            f"{path}: {media['format']}, frames by {media['decoder']}: {media['frames_decoded']} decoded,"
            f" {media['frames_damaged']} damaged; {seconds:.1f} s"
        )

    def show(self, description: str, done: float, total: float | None, unit: str) -> None:
        """Put up the bar, or move it."""
        if self._task is None:
            self._task = self._bars.add_task(description, total=total, unit=unit)
        self._bars.update(self._task, description=description, completed=done, total=total, unit=unit)

    def _clear(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
