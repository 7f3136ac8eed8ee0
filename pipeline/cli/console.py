"""Messages on standard error: progress bars, timelines, notes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from rich.console import Console as RichConsole
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from ..text import escape

if TYPE_CHECKING:
    from ..decode.container.media_facts import DecodeProgress
    from ..timeline import GroundTruth, Timeline


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
            TextColumn("{task.fields[unit]}"),
            TimeRemainingColumn(),
        )
        hidden = quiet or not self._rich.is_terminal
        self._bars = Progress(*columns, console=self._rich, transient=True, disable=hidden)
        self._task: TaskID | None = None

    def __enter__(self) -> Console:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove_bar()
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
        if self._task is None:
    def byte_progress(self, description: str) -> Callable[[int, int | None], None]:
        """Make a callback that moves a bar of bytes.

        Args:
            description: text before the bar.

        Returns:
            A function of the bytes done and in total (None if unknown).
        """

        def move(done: int, total: int | None) -> None:
            size = file_size(done) if total is None else f"{done // 10**6}/{file_size(total)}"
            self.move_bar(description, done, total, size)

        return move

            self._task = self._bars.add_task(description, total=total, unit=unit)
        self._bars.update(self._task, description=description, completed=done, total=total, unit=unit)

    def _remove_bar(self) -> None:
        if self._task is not None:
            self._bars.remove_task(self._task)
            self._task = None
