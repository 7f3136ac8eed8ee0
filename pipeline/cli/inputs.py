"""The videos of a batch run: from what a person names to an id for each file."""

from __future__ import annotations

import csv
import glob
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import SetupError
from ..files import MEDIA_SUFFIXES
from ..text import escape

_PATH_COLUMNS = ("path", "file", "video")


def read_list(source: str) -> list[str]:
    """Inputs named in a text file, one a line, in a .csv file with a column path, file or video, or, for "-", on
    standard input. Relative names start from the working folder. Raises SetupError."""
    try:
        if source == "-":
            text = sys.stdin.read()
        else:
            text = Path(source).read_text(encoding="utf-8-sig", errors="surrogateescape")
    except OSError as error:
        raise SetupError(f"{escape(source)}: cannot be read: {error.strerror}") from error
    if not source.lower().endswith(".csv"):
        return [line for line in text.splitlines() if line.strip()]
    table = csv.DictReader(text.splitlines())
    column = next((name for name in table.fieldnames or () if name.strip().lower() in _PATH_COLUMNS), None)
    if column is None:
        found = ", ".join(map(escape, table.fieldnames or ())) or "none"
        raise SetupError(f"{escape(source)}: no column {', '.join(_PATH_COLUMNS)} (found: {found})")
    return [row[column] for row in table if row[column]]


def name_inputs(arguments: Sequence[str], *, recursive: bool = False, keep_tree: bool = False) -> dict[str, Path]:
    """Files by id. The id is the file's name without its suffix; keep_tree: its path below the folder that was named.

    Raises SetupError listing names that lead nowhere, and files that would have the same id.
    """
    paths, problems = collect_inputs(arguments, recursive=recursive)
    if problems:
        raise SetupError("\n  ".join(["some inputs cannot be used:", *problems]))
    folders = [Path(argument) for argument in arguments if Path(argument).is_dir()] if keep_tree else []
    named: dict[str, Path] = {}
    clashes = []
    for path in paths:
        name = _identify(path, folders)
        if name in named:
            clashes.append(f"{escape(named[name])} and {escape(path)} would both be {escape(name)}")
        named.setdefault(name, path)
    if clashes:
        hint = "rename one of them" if keep_tree else "--keep-tree keeps the folders apart"
        raise SetupError("\n  ".join([f"some files have the same name ({hint}):", *clashes[:20]]))
    return named


def _identify(path: Path, folders: Iterable[Path]) -> str:
    for folder in folders:
        if path.is_relative_to(folder):
            return path.relative_to(folder).with_name(path.stem).as_posix()
    return path.stem


def collect_inputs(arguments: Iterable[str], *, recursive: bool = False) -> tuple[list[Path], list[str]]:
    """The files that arguments name, and what is wrong with those that name none.

    A folder stands for the media files in it (by suffix; with `recursive`, in all below it), a pattern for the files
    it matches. A name that exists is never taken for a pattern. No file is returned twice.
    """
    found: dict[Path, None] = {}
    problems: list[str] = []
    for argument in arguments:
        try:
            files = _expand(argument, recursive=recursive)
        except OSError as error:
            problems.append(f"{escape(argument)}: {error.strerror or error}")
            continue
        if not files:
            hint = "" if recursive else " (--recursive also looks in the folders below)"
            what = f"no media files in this folder{hint}" if Path(argument).is_dir() else "no such file"
            problems.append(f"{escape(argument)}: {what}")
        found |= dict.fromkeys(files)
    return list(found), problems


def _expand(argument: str, *, recursive: bool) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        inside = _files_below(path) if recursive else [entry for entry in path.iterdir() if not entry.is_dir()]
        return sorted(file for file in inside if file.suffix.lower() in MEDIA_SUFFIXES)
    if os.path.lexists(path):
        return [path]
    matches = glob.glob(argument, recursive=recursive)  # noqa: PTH207 - takes absolute patterns
    return sorted(Path(match) for match in matches if not Path(match).is_dir())


def _files_below(folder: Path) -> list[Path]:
    """Every file in a folder and below. Raises OSError for a folder that cannot be read, rather than skip it."""

    def refuse(error: OSError) -> None:
        raise error

    return [Path(place) / name for place, _, names in os.walk(folder, onerror=refuse) for name in names]
