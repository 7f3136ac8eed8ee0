"""Messages on standard error: progress bars, timelines, notes."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn

from ...weights.messages import file_size
from ..text import escape

if TYPE_CHECKING:
    from ..decode.container.media_facts import DecodeProgress
    from ..timeline import GroundTruth, Timeline


class TimeLeft:
    """Estimate of the time that the rest of a bar takes, from all that has been done since it began.

    It counts down between two updates. (rich's own column uses the updates of the last 30 seconds: where one file takes
    longer, it never has two of them.)
    """

    def __init__(self) -> None:
        self._began: float | None = None
        self._at_start = self._done = 0.0
        self._total: float | None = None
        self._end: float | None = None  # on the clock

    def update(self, done: float, total: float | None) -> None:
        """Note what is done, in any unit; `total` is None if unknown. Another total, or less done, begins anew."""
        now = time.monotonic()
        if self._began is None or done < self._done or total != self._total:
            self._began, self._at_start = now, done
        self._done, self._total, progress = done, total, done - self._at_start
        self._end = None if total is None or progress <= 0 else now + (now - self._began) * (total - done) / progress

    def __str__(self) -> str:
        """Return hours, minutes and seconds, or an empty text where nothing can be said."""
        if self._end is None:
            return ""
        minutes, seconds = divmod(max(0, round(self._end - time.monotonic())), 60)
        return f"{minutes // 60}:{minutes % 60:02d}:{seconds:02d} left"


class Console:
    """Printer of messages. As a context manager it shows a progress bar, if standard error is a terminal.

    Args:
        quiet: print nothing.
        verbose: print details, too.
    """

    def __init__(self, *, quiet: bool, verbose: bool = False) -> None:
        self._quiet = quiet
        self._verbose = verbose and not quiet
        self._rich = RichConsole(stderr=True, highlight=False, markup=False, emoji=False)
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[unit]}", markup=False),
            TextColumn("{task.fields[left]}", style="progress.remaining"),
        )
        hidden = quiet or not self._rich.is_terminal
        self._bars = Progress(*columns, console=self._rich, transient=True, disable=hidden)
        self._task: TaskID | None = None
        self._left = TimeLeft()  # kept when a printed line replaces the bar, as after each file

    def __enter__(self) -> Console:
        if not self._bars.disable:  # rich before 15 prints an empty line at the end of bars that were never shown
            self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_bar()
        if not self._bars.disable:
            self._bars.stop()

    @property
    def is_terminal(self) -> bool:
        """Whether standard error is a terminal."""
        return self._rich.is_terminal

    def detail(self, text: str) -> None:
        """Print a line if --verbose is given."""
        if self._verbose:
            self._rich.print(escape(text), style="dim", soft_wrap=True)

    def info(self, text: str) -> None:
        """Print a line unless --quiet is given."""
        self._remove_bar()
        if not self._quiet:
            self._rich.print(escape(text), soft_wrap=True)

    def busy(self, description: str) -> None:
        """Show a bar without an end, for work of unknown length.

        Args:
            description: text before the bar.
        """
        self._remove_bar()
        self.move_bar(description, 0, None, "")

    def clear(self) -> None:
        """Remove the bar, before something is written to the terminal by other means."""
        self._remove_bar()

    def count_progress(self, description: str) -> Callable[[int, int], None]:
        """Make a callback that moves a bar.

        Args:
            description: text before the bar.

        Returns:
            A function of the number of items done and in total.
        """

        def move(done: int, total: int) -> None:
            self.move_bar(description, done, total, f"{done}/{total}")
            if done == total:
                self._remove_bar()

        return move

    def decode_progress(self, path: Path) -> DecodeProgress:
        """Make a callback that moves the bar of one media file.

        Args:
            path: the file.

        Returns:
            A function of the stage, the seconds done and the seconds in total (None if unknown).
        """
        name = escape(path.name)

        def move(stage: str, done: float, total: float | None) -> None:
            seconds = f"{done:.0f} s" if total is None else f"{done:.0f}/{max(done, total):.0f} s"
            self.move_bar(f"{name}: {stage}", done, None if total is None else max(done, total), seconds)

        return move

    def byte_progress(self, description: str) -> Callable[[int, int | None], None]:
        """Make a callback that moves a bar of bytes.

        Args:
            description: text before the bar.

        Returns:
            A function of the bytes done and in total (None if unknown).
        """

        def move(done: int, total: int | None) -> None:
            size = file_size(done) if total is None else f"{file_size(done)} of {file_size(total)}"
            self.move_bar(description, done, total, size)

        return move

    def download_progress(self, done: int, total: int | None) -> None:
        """Move the bar of a download.

        Args:
            done: bytes.
            total: bytes; None if the server does not report it.
        """
        self.byte_progress("downloading weights")(done, total)

    def print_result(self, path: Path, timeline: Timeline, seconds: float, truth: GroundTruth | None = None) -> None:
        """Print the timeline of one file.

        Args:
            path: the file.
            timeline: its events.
            seconds: how long parsing took.
            truth: printed beside the timeline.
        """
        from ..outputs.terminal import print_timeline

        self._remove_bar()
        if not self._quiet:
            print_timeline(timeline, self._rich, truth)
        media = timeline.media
        self.detail(
            f"{path}: {media['format']}, frames by {media['decoder']}: {media['frames_decoded']} decoded,"
            f" {media['frames_damaged']} damaged; {seconds:.1f} s"
        )

    def move_bar(self, description: str, done: float, total: float | None, unit: str) -> None:
        """Show the bar, or move it.

        Args:
            description: text before the bar.
            done: items so far.
            total: items in total; None if unknown.
            unit: text after the bar.
        """
        self._left.update(done, total)
        if self._task is None:
            self._task = self._bars.add_task(description, total=total, completed=int(done), unit=unit, left=self._left)
        self._bars.update(self._task, description=description, completed=done, total=total, unit=unit)

    def _remove_bar(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
            self._bars.refresh()  # else the next line is printed above what was shown before
