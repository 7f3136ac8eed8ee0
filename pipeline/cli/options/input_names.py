"""Ids of inputs: unique names, under which their results are written."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from ...errors import SetupError
from ...files import safe_file_name
from ...text import escape

_LISTED_CLASHES = 20
_NOT_NAMES = {"", ".", ".."}


@dataclass(frozen=True)
class NamingRules:
    """How a file's path becomes its id.

    Attributes:
        folders: the folders that inputs were found in.
        keep_tree: the id is the path below its folder; else it is the file's name alone.
        keep_suffix: the id ends with the file's suffix.
    """

    folders: Sequence[Path] = ()
    keep_tree: bool = False
    keep_suffix: bool = False

    def name(self, path: Path) -> str:
        """Return the id of a file. It leads nowhere outside of the folder that results are written to."""
        name = path.name if self.keep_suffix or path.stem in _NOT_NAMES else path.stem
        if name in _NOT_NAMES:
            name = safe_file_name(str(path))
        for folder in self.folders if self.keep_tree else ():
            if path.is_relative_to(folder):
                above = path.relative_to(folder).parts[:-1]
                if ".." not in above:
                    return "/".join([*above, name])
        return name


def assign_ids(paths: Iterable[Path], rules: NamingRules) -> dict[str, Path]:
    """Give every file an id.

    Args:
        paths: files. Two names of one file that would have the same id count once.
        rules: how ids are made.

    Returns:
        Id -> file.

    Raises:
        SetupError: different files would have the same id; the message says what helps.
    """
    files, clashes = _find_clashes(paths, rules)
    if not clashes:
        return files
    lines = [
        f"{escape(first)} and {escape(second)} would both be {escape(rules.name(second))}" for first, second in clashes
    ]
    if len(lines) > _LISTED_CLASHES:
        lines[_LISTED_CLASHES:] = [f"... and {len(lines) - _LISTED_CLASHES} more"]
    raise SetupError("\n  ".join([f"some files have the same name ({_advise(clashes, rules)}):", *lines]))


def _find_clashes(paths: Iterable[Path], rules: NamingRules) -> tuple[dict[str, Path], list[tuple[Path, Path]]]:
    files: dict[str, Path] = {}
    clashes: list[tuple[Path, Path]] = []
    for path in paths:
        first = files.setdefault(rules.name(path), path)
        if first != path and not _is_same_file(first, path):
            clashes.append((first, path))
    return files, clashes


def _is_same_file(first: Path, second: Path) -> bool:
    try:
        return first.samefile(second)
    except OSError:  # broken links
        return False


def _advise(clashes: Sequence[tuple[Path, Path]], rules: NamingRules) -> str:
    """Return what keeps the clashing files apart: the fewest options that do, or else another way."""
    paths = list(dict.fromkeys(path for clash in clashes for path in clash))
    changes: Mapping[str, tuple[NamingRules, str]] = {
        "--keep-tree": (NamingRules(rules.folders, True, rules.keep_suffix), "keeps the folders apart"),
        "--keep-suffix": (NamingRules(rules.folders, rules.keep_tree, True), "keeps files with other suffixes apart"),
        "--keep-tree and --keep-suffix": (NamingRules(rules.folders, True, True), "together keep them apart"),
    }
    for flags, (changed, effect) in changes.items():
        if changed != rules and not _find_clashes(paths, changed)[1]:
            return f"{flags} {effect}"
    folder = Path(os.path.commonpath([path.absolute().parent for path in paths]))
    for keep_suffix in (False, True):
        rules = NamingRules([folder], keep_tree=True, keep_suffix=keep_suffix)
        if len(folder.parts) > 1 and not _find_clashes([path.absolute() for path in paths], rules)[1]:
            flags = "--recursive --keep-tree" + (" --keep-suffix" if keep_suffix else "")
            return f"rename one of them, or name the folder above them, {escape(folder)}, with {flags}"
    return "rename one of them"
