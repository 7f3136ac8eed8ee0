"""Inputs of a batch run: expand files, folders, patterns and lists into media files with unique ids."""

from __future__ import annotations

import csv
import glob
import os
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path

from ...errors import SetupError
from ...files import MEDIA_SUFFIXES
from ...text import escape

_PATH_COLUMNS = ("path", "file", "video")
_STDIN = "-"
_LISTED_CLASHES = 20


def read_list(source: str) -> list[str]:
    """Read a list of inputs. Relative names start from the working folder.

    Args:
        source: a text file with one name per line; a .csv file with a column path, file or video; or "-", standard
            input as text.

    Returns:
        The names, without empty ones.

    Raises:
        SetupError: the file cannot be read, or has no such column.
    """
    try:
        if source == _STDIN:
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
        present = ", ".join(map(escape, table.fieldnames or ())) or "none"
        raise SetupError(f"{escape(source)}: no column {', '.join(_PATH_COLUMNS)} (found: {present})")
    return [row[column] for row in table if row[column]]


def name_inputs(arguments: Sequence[str], *, recursive: bool = False, keep_tree: bool = False) -> dict[str, Path]:
    """Give every input file an id.

    Args:
        arguments: files, folders and patterns, as `collect_inputs` takes them.
        recursive: include the subfolders of folders.
        keep_tree: the id is the path below the folder argument; by default it is the file's name without suffix.

    Returns:
        Id -> file.

    Raises:
        SetupError: lists arguments without files, or files with the same id.
    """
    paths, problems = collect_inputs(arguments, recursive=recursive)
    if problems:
        raise SetupError("\n  ".join(["some inputs cannot be used:", *problems]))
    folders = [Path(argument) for argument in arguments if Path(argument).is_dir()] if keep_tree else []
    named: dict[str, Path] = {}
    clashes = []
    for path in paths:
        name = _make_id(path, folders)
        if name in named:
            clashes.append(f"{escape(named[name])} and {escape(path)} would both be {escape(name)}")
        named.setdefault(name, path)
    if clashes:
        hint = "rename one of them" if keep_tree else "--keep-tree keeps the folders apart"
        raise SetupError("\n  ".join([f"some files have the same name ({hint}):", *clashes[:_LISTED_CLASHES]]))
    return named


def _make_id(path: Path, folders: Iterable[Path]) -> str:
    for folder in folders:
        if path.is_relative_to(folder):
            return path.relative_to(folder).with_name(path.stem).as_posix()
    return path.stem


def collect_inputs(arguments: Iterable[str], *, recursive: bool = False) -> tuple[list[Path], list[str]]:
    """Expand arguments into files, each listed once.

    Args:
        arguments: files; folders, which stand for the media files in them, chosen by suffix; glob patterns. An
            existing name is never treated as a pattern.
        recursive: include the subfolders of folders; allow ** in patterns.

    Returns:
        The files, and one line for each argument without files.
    """
    files: dict[Path, None] = {}
    problems: list[str] = []
    for argument in arguments:
        try:
            expanded = _expand(argument, recursive=recursive)
        except OSError as error:
            problems.append(f"{escape(argument)}: {error.strerror or error}")
            continue
        if not expanded:
            hint = "" if recursive else " (--recursive includes its subfolders)"
            reason = f"no media files in this folder{hint}" if Path(argument).is_dir() else "no such file"
            problems.append(f"{escape(argument)}: {reason}")
        files |= dict.fromkeys(expanded)
    return list(files), problems


def _expand(argument: str, *, recursive: bool) -> list[Path]:
    path = Path(argument)
    if path.is_dir():
        files = _files_below(path) if recursive else [entry for entry in path.iterdir() if not entry.is_dir()]
        return sorted(file for file in files if file.suffix.lower() in MEDIA_SUFFIXES)
    if os.path.lexists(path):
        return [path]
    matches = glob.glob(argument, recursive=recursive)  # noqa: PTH207 - accepts absolute patterns
    return sorted(Path(match) for match in matches if not Path(match).is_dir())


def _files_below(folder: Path) -> list[Path]:
    """List all files below a folder. An unreadable folder raises OSError; os.walk would skip it."""

    def refuse(error: OSError) -> None:
        raise error

    return [Path(place) / name for place, _, names in os.walk(folder, onerror=refuse) for name in names]
