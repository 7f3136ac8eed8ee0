"""Inputs of a command: expand files, folders, patterns and lists into media files."""

from __future__ import annotations

import glob
import os
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import click

from ....weights.addresses import hide_credentials
from ...download.addresses import is_address
from ...errors import SetupError
from ...files import MEDIA_SUFFIXES, access_problem, list_files, safe_file_name, walk_folder
from ...text import escape
from .input_names import NamingRules, assign_ids

_ANY_FOLDERS = "**"  # in patterns
_LISTED_SUFFIXES = 5
_SHOWN_PATH = 200  # characters


@dataclass
class FoundInputs:
    """What arguments stand for.

    Attributes:
        files: each once, in order.
        problems: arguments without files, with the reasons.
        folders: arguments that are folders.
        left_out: visible files of these folders that are not media, by suffix.
        left_out_of: folders of `left_out`.
    """

    files: dict[Path, None] = field(default_factory=dict)
    problems: dict[str, str] = field(default_factory=dict)
    folders: list[Path] = field(default_factory=list)
    left_out: Counter[str] = field(default_factory=Counter)
    left_out_of: list[str] = field(default_factory=list)

    def note(self, kind: str = "media") -> str:
        """Return a line about the files that were left out because they are not of a kind, empty if there are none."""
        count, places = self.left_out.total(), len(self.left_out_of)
        if not count:
            return ""
        ranked = sorted(self.left_out.items(), key=lambda item: (-item[1], item[0]))
        shown = [f"{number} {escape(suffix) or 'without suffix'}" for suffix, number in ranked[:_LISTED_SUFFIXES]]
        if others := sum(number for _, number in ranked[_LISTED_SUFFIXES:]):
            shown.append(f"{others} others")
        files = f"{count} file{'s' if count > 1 else ''}"
        where = escape(self.left_out_of[0]) if places == 1 else f"{places} folders"
        return f"left out {files} of {where} that {'are' if count > 1 else 'is'} not {kind}: {', '.join(shown)}"


@dataclass(frozen=True)
class NamedInputs:
    """Inputs of a batch run by id.

    Attributes:
        files: files, which may be broken links.
        unusable: names of a list that lead to no file, with the reasons. They fail alone.
    """

    files: dict[str, Path]
    unusable: dict[str, tuple[Path, str]] = field(default_factory=dict)


def name_inputs(
    arguments: Sequence[str],
    listed: Sequence[str] = (),
    *,
    recursive: bool = False,
    keep_tree: bool = False,
    keep_suffix: bool = False,
    quiet: bool = False,
) -> NamedInputs:
    """Give every input file an id.

    Args:
        arguments: files, folders and patterns, as `find_inputs` takes them.
        listed: the same, from a list: names without files do not keep the others from being used.
        recursive: include the subfolders of folders.
        keep_tree: the id is the path below the folder argument; by default it is the file's name.
        keep_suffix: the id includes the file's suffix.
        quiet: do not report which files of folders were left out.

    Returns:
        The inputs.

    Raises:
        SetupError: lists arguments without files, or files with the same id.
    """
    found = find_inputs(arguments, recursive=recursive)
    refused = set(found.problems)
    find_inputs(listed, recursive=recursive, found=found)
    if not quiet:
        print_note(found)
    if refused:
        raise SetupError("\n  ".join(["some inputs cannot be used:", *describe_problems(found, refused)]))
    rules = NamingRules(found.folders, keep_tree, keep_suffix)
    files = assign_ids(found.files, rules)
    return NamedInputs(files, _name_unusable(found.problems, rules, files))


def _name_unusable(problems: dict[str, str], rules: NamingRules, taken: Collection[str]) -> dict[str, tuple[Path, str]]:
    """Give names that lead to no file ids that no file has."""
    named: dict[str, tuple[Path, str]] = {}
    for text, reason in problems.items():
        path, shown = Path(text), hide_credentials(text)  # ids are journalled
        name = rules.name(Path(shown))
        if name in taken or name in named:
            name = safe_file_name(shown)
        while name in taken or name in named:
            name += "_"
        named[name] = path, reason
    return named


def collect_inputs(
    arguments: Iterable[str],
    *,
    recursive: bool = False,
    suffixes: Collection[str] = MEDIA_SUFFIXES,
    kind: str = "media",
    quiet: bool = True,
) -> tuple[list[Path], list[str]]:
    """Expand arguments into files, each listed once.

    Args:
        arguments: as `find_inputs` takes them.
        recursive: include the subfolders of folders; allow ** in patterns.
        suffixes: of the files of folders to take.
        kind: what files with these suffixes are called in the note about the others.
        quiet: do not report which files of folders were left out.

    Returns:
        The files, and one line for each argument without files.
    """
    found = find_inputs(arguments, recursive=recursive, suffixes=suffixes)
    if not quiet:
        print_note(found, kind)
    return list(found.files), describe_problems(found, found.problems)


def describe_problems(found: FoundInputs, arguments: Iterable[str]) -> list[str]:
    """Return a line for each of these arguments that has a problem, in order."""
    chosen = set(arguments)
    return [f"{escape(_shorten(text))}: {reason}" for text, reason in found.problems.items() if text in chosen]


def print_note(found: FoundInputs, kind: str = "media") -> None:
    """Print what was left out of folders to standard error, see `FoundInputs.note`."""
    if note := found.note(kind):
        click.echo(note, err=True)


def find_inputs(
    arguments: Iterable[str],
    *,
    recursive: bool = False,
    suffixes: Collection[str] = MEDIA_SUFFIXES,
    found: FoundInputs | None = None,
) -> FoundInputs:
    """Expand arguments into files.

    Args:
        arguments: files; folders, which stand for the files in them that are not hidden, chosen by suffix; glob
            patterns. An existing name is never treated as a pattern.
        recursive: include the subfolders of folders, links to folders too; allow ** in patterns.
        suffixes: of the files of folders to take, lower-case.
        found: add to these; by default to none.

    Returns:
        Files, problems, and what was left out.
    """
    found = FoundInputs() if found is None else found
    for argument in arguments:
        try:
            path = Path(argument)
            if path.is_dir():
                reason = _add_folder(argument, found, recursive=recursive, suffixes=suffixes)
            else:
                files = [path] if os.path.lexists(path) else _match_files(argument, recursive=recursive)
                found.files |= dict.fromkeys(files)
                reason = "" if files else _alone(argument) or access_problem(path) or "no such file"
        except (OSError, ValueError) as error:
            reason = _describe_error(error, argument)
        if reason:
            found.problems.setdefault(argument, reason)
    return found


def _alone(argument: str) -> str:
    """Return how an input that is no name of a file can be parsed; an empty string for a name."""
    if argument == "-":
        return "standard input is parsed alone, by avvp-parse -"
    return "an address is parsed alone, by avvp-parse; avvp download fetches many" if is_address(argument) else ""


def _add_folder(argument: str, found: FoundInputs, *, recursive: bool, suffixes: Collection[str]) -> str:
    """Add the files of a folder; return why there are none, else an empty string."""
    folder = Path(argument)
    files = list_files(folder, recursive=recursive)
    chosen = [file for file in files if file.suffix.lower() in suffixes]
    found.folders.append(folder)
    if len(chosen) < len(files) and argument not in found.left_out_of:
        found.left_out_of.append(argument)
        found.left_out += Counter(file.suffix.lower() for file in files if file.suffix.lower() not in suffixes)
    found.files |= dict.fromkeys(chosen)
    if chosen:
        return ""
    return "no media files in this folder" + ("" if recursive else " (--recursive includes its subfolders)")


def _match_files(pattern: str, *, recursive: bool) -> list[Path]:
    """Return the files that a pattern matches, sorted; hidden ones only if it names their dot."""
    return sorted({path for path in map(Path, _expand_pattern(pattern, recursive=recursive)) if not path.is_dir()})


def _expand_pattern(pattern: str, *, recursive: bool) -> Iterable[str]:
    """Expand a pattern. `glob` alone would recurse for **, follow links in circles, and refuse deep trees."""
    parts = pattern.split("/")
    if not recursive or _ANY_FOLDERS not in parts:
        yield from glob.glob(pattern)  # noqa: PTH207 - accepts absolute patterns
        return
    place = parts.index(_ANY_FOLDERS)
    above, rest = "/".join(parts[:place]), "/".join(parts[place + 1 :]) or "*"
    tops = glob.glob(above) if above else ["/" if pattern.startswith("/") else "."]  # noqa: PTH207
    for top in filter(os.path.isdir, tops):
        for folder, _ in walk_folder(Path(top)):
            yield from _expand_pattern(f"{glob.escape(str(folder))}/{rest}", recursive=True)


def _describe_error(error: OSError | ValueError, argument: str) -> str:
    if not isinstance(error, OSError):
        return f"not a name of a file ({error})"
    reason = error.strerror or str(error)
    place = error.filename
    if place is None or Path(os.fsdecode(place)) == Path(argument):
        return reason
    return f"{reason} ({escape(_shorten(os.fsdecode(place)))})"


def _shorten(path: str) -> str:
    """Cut a path that is longer than a message can show."""
    return path if len(path) <= _SHOWN_PATH else f"{path[: _SHOWN_PATH // 2]}...{path[-_SHOWN_PATH // 2 :]}"
