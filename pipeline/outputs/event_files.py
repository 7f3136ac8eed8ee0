"""Event files that a person names: one by one or by the folder."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..errors import SetupError, printable
from ..files import FAILURES_FILE
from ..timeline import Timeline
from .formats import find_format, read_events


def find_event_files(arguments: Iterable[Path]) -> list[Path]:
    """The files themselves; of a folder those in it whose form can be read, one for each group that belongs together.

    Raises SetupError for a folder without any, and for what is not there.
    """
    found: dict[Path, None] = {}
    for argument in arguments:
        if argument.is_dir():
            inside = _in_folder(argument)
            if not inside:
                raise SetupError(f"{printable(argument)}: no files of events in this folder")
            found |= dict.fromkeys(inside)
        elif argument.is_file():
            found[argument] = None
        else:
            raise SetupError(f"{printable(argument)}: no such file")
    return list(found)


def _in_folder(folder: Path) -> list[Path]:
    groups: dict[tuple[str, str], Path] = {}
    for path in sorted(folder.iterdir()):
        known = find_format(path)
        if known is None or known[0].read is None or path.name.startswith(".") or path.name == FAILURES_FILE:
            continue
        if path.is_file():
            form, _, base = known
            groups.setdefault((form.name, base.rstrip("._-")), path)
    return sorted(groups.values())


def read_all(paths: Iterable[Path]) -> dict[str, Timeline]:
    """The timelines of files by name. Raises FormatError, and SetupError where two have the same name."""
    found: dict[str, Timeline] = {}
    places: dict[str, Path] = {}
    for path in paths:
        for timeline in read_events(path):
            if timeline.name in found:
                both = f"{printable(places[timeline.name])} and {printable(path)}"
                raise SetupError(f"{both}: two timelines are called {printable(timeline.name)}; name one of them")
            found[timeline.name], places[timeline.name] = timeline, path
    return found
