"""The input of a command that parses one: a file, standard input, or an address, which is downloaded."""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ...weights.addresses import hide_credentials
from ..download.addresses import check_tool, is_address, name_of
from ..download.spool import STDIN_NAME, spooled
from ..errors import OutputError
from ..files import make_folder
from ..text import escape

if TYPE_CHECKING:
    from ..timeline import Timeline
    from .console import Console
    from .options.media_options import WebOptions

STDIN = "-"


@dataclass(frozen=True)
class SingleInput:
    """An input that has become a file.

    Attributes:
        path: the file to decode.
        shown: what results and messages call it.
        address: from which it was downloaded, without credentials; empty for other inputs.
    """

    path: Path
    shown: Path
    address: str = ""

    @property
    def is_kept(self) -> bool:
        """Whether the file stays where it is."""
        return self.path == self.shown

    @property
    def note(self) -> str:
        """What a page says in place of a player for a file that does not stay; empty for one that does."""
        if self.is_kept:
            return ""
        if self.address:
            return "The video was downloaded and is not kept. --keep-download FOLDER keeps it, --embed-video embeds it."
        return "The video came from standard input and is not kept. --embed-video embeds it."

    def name_media(self, timeline: Timeline) -> Timeline:
        """Let a timeline name the input instead of a temporary file, and the address it came from."""
        if self.path == self.shown and not self.address:
            return timeline
        provenance: Mapping[str, Any] = timeline.provenance
        if self.address:
            provenance = {**provenance, "address": self.address}
        return replace(timeline, media={**timeline.media, "path": str(self.shown)}, provenance=provenance)


def is_local(argument: str) -> bool:
    """Return whether an input is the name of a file, and not standard input or an address."""
    return argument != STDIN and not is_address(argument)


def planned_name(argument: str) -> Path:
    """Return the name of an input that is no file yet, and check what can be checked before it is one.

    Args:
        argument: "-" or an address.

    Returns:
        A name without folder.

    Raises:
        click.UsageError: standard input is a terminal, or closed.
        SetupError: yt-dlp is not installed.
    """
    if argument != STDIN:
        check_tool()
        return Path(name_of(argument))
    if sys.stdin is None or sys.stdin.closed:
        raise click.UsageError("- is standard input, which is closed")
    if sys.stdin.isatty():
        raise click.UsageError("- is standard input, and that is a terminal; pipe a media file into it")
    return Path(STDIN_NAME)


@contextlib.contextmanager
def open_input(argument: str, planned: Path, options: WebOptions, console: Console) -> Iterator[SingleInput]:
    """Make an input a file: read standard input, or download an address.

    Args:
        argument: as typed by the user.
        planned: the file, or the name of `planned_name`.
        options: of the current command.
        console: for the progress.

    Yields:
        The file. What is temporary is removed at the end.

    Raises:
        DownloadError, MediaError, OutputError, SetupError: there is nothing to decode.
    """
    if is_local(argument):
        yield SingleInput(planned, planned)
    elif argument == STDIN:
        with contextlib.ExitStack() as stack:
            with console:
                progress = console.byte_progress("reading standard input")
                path = stack.enter_context(spooled(sys.stdin.buffer, progress=lambda done: progress(done, None)))
            yield SingleInput(path, planned)
    else:
        from ..download.fetch import fetch

        with tempfile.TemporaryDirectory(prefix=".avvp-web-", dir=_parent(options.keep_download)) as name:
            with console:
                progress = console.byte_progress(f"downloading {planned}")
                fetched = fetch(argument, Path(name), options.fetch_options(), progress=progress)
            shown = planned.with_name(planned.name + fetched.suffix)
            path, kept = fetched.rename(Path(name) / shown.name), shown
            if options.keep_download is not None:
                path = kept = _keep(path, options.keep_download)
                console.info(f"{escape(kept)} is kept")
            yield SingleInput(path, kept, escape(hide_credentials(argument)))


def _parent(keep: Path | None) -> Path | None:
    """Return the folder for the temporary folder: on the disk on which the file stays. Raises OutputError."""
    if keep is not None:
        make_folder(keep)
    return keep


def _keep(path: Path, folder: Path) -> Path:
    """Give a downloaded file its name in a folder. Raises OutputError where there is one of this name."""
    target = folder / path.name
    if os.path.lexists(target):
        raise OutputError(f"{escape(target)}: exists; parse it, or keep the download in another folder")
    try:
        path.rename(target)
    except OSError as error:
        raise OutputError(f"{escape(target)}: cannot be written: {error.strerror or error}") from error
    return target
