"""Weight files that a command needs and this machine lacks: ask, and download them before torch is imported."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from ...weights.errors import WeightsError
from ...weights.locate import bundle_paths, describe_demo, search_folders
from ...weights.messages import file_size
from ...weights.remote.fetch import fetch_file
from ...weights.remote.missing import missing_message
from ..text import escape

if TYPE_CHECKING:
    from ...weights.manifest import Bundle, WeightFile
    from .console import Console
    from .options.groups import DownloadOptions

ASSUMED_RATE = 10_000_000  # bytes per second, for the time that is announced


def provide_weights(
    bundle: Bundle, options: DownloadOptions, console: Console, *, check: Callable[[], object] | None = None
) -> None:
    """Download the weight files of a bundle that are missing. On a terminal the user is asked first.

    Args:
        bundle: with the files that are needed.
        options: of the current command.
        console: for the progress, and for what is downloaded.
        check: called before the user is asked, if files are missing: what else could keep the command from its work.

    Raises:
        WeightsError: the user declines, or a file cannot be downloaded; with --offline, if files are missing. The
            message names the bundle that needs none, the files, and their addresses.
    """
    _, missing = bundle_paths(bundle, options.weights_dir)
    if not missing:
        return
    if check is not None:
        check()
    if options.offline:
        raise WeightsError(missing_message(missing, options.weights_dir))
    folders = list(dict.fromkeys(file.folder or search_folders(options.weights_dir)[0] for file in missing))
    _check_space(folders[0], missing)
    size = file_size(sum(file.size for file in missing))
    place = ", ".join(map(escape, folders))
    if not options.yes and sys.stdin.isatty() and sys.stderr.isatty():
        _ask(bundle, missing, options.weights_dir, size, place)
    else:
        console.info(f"downloading {size} of weights to {place}, {_duration(missing)}")
    _download(missing, options.weights_dir, console)
    console.info(f"weights are in {place}")


def _ask(bundle: Bundle, missing: Sequence[WeightFile], weights_dir: Path | None, size: str, place: str) -> None:
    """Ask the user. Raises WeightsError for a no."""
    files = f"{len(missing)} weight file{'s' if len(missing) > 1 else ''}"
    click.echo(f"{escape(bundle.name)} needs {files} not on this machine: {size}, {_duration(missing)}", err=True)
    click.echo(f"without a download: {describe_demo()}", err=True)
    if not click.confirm(f"Download {size} to {place}?", default=True, err=True):
        raise WeightsError(f"nothing was downloaded\n{missing_message(list(missing), weights_dir)}")


def _duration(missing: Sequence[WeightFile]) -> str:
    """Return how long a download takes at the assumed rate."""
    seconds = sum(file.size for file in missing) / ASSUMED_RATE
    time = f"{seconds / 60:.0f} minutes" if seconds >= 120 else f"{max(1, round(seconds))} s"
    return f"about {time} at {ASSUMED_RATE // 10**6} MB/s"


def _check_space(folder: Path, missing: Sequence[WeightFile]) -> None:
    """Raise WeightsError if the files do not fit onto the disk."""
    existing = next(parent for parent in (folder.absolute(), *folder.absolute().parents) if parent.exists())
    needed, free = sum(file.size for file in missing), shutil.disk_usage(existing).free
    if free < needed:
        raise WeightsError(
            f"{escape(folder)}: {file_size(free)} free, and weights need {file_size(needed)}; name another folder with"
            " --weights-dir or AVVP_WEIGHTS_DIR"
        )


def _download(missing: Sequence[WeightFile], weights_dir: Path | None, console: Console) -> None:
    """Download files, with one bar for all of them. Raises WeightsError."""
    total = sum(file.size for file in missing)
    before = 0

    def move(done: int, _size: int | None) -> None:
        console.download_progress(min(before + done, total), total)

    with console:
        for place, file in enumerate(missing):
            move(0, None)
            try:
                fetch_file(file, weights_dir, progress=move)
            except WeightsError as error:
                raise WeightsError(f"{error}\n{missing_message(list(missing[place:]), weights_dir)}") from error
            before += file.size
