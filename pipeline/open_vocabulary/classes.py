"""Read the classes that the user names: `--classes "a, b"`, `@file`, or a TOML file."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from ...models.config import MAX_LABELS
from ...weights.messages import shown
from ..datasets.annotation_cells import label_name_error
from ..errors import SetupError
from ..text import escape
from ..text_files import read_text
from .background import read_background
from .vocabulary import OpenClass, Vocabulary, normalized


def read_vocabulary(classes: str | Sequence[str], *, background: str | None = None, **rule: Any) -> Vocabulary:
    """Read what the user looks for.

    Args:
        classes: names with commas between them; "@FILE", a text file with a name a line, or a TOML file; or a sequence
            of names.
        background: file of the background, or "none"; None for the shipped one.
        **rule: settings of `RuleSettings` in place of the file's.

    Returns:
        Classes, background and rule.

    Raises:
        SetupError: a file cannot be read, a name cannot be one, or is there twice.
    """
    vocabulary = _read(classes)
    found, name = read_background(background)
    return replace(vocabulary, background=found, background_name=name).with_rule(**rule)


def _read(classes: str | Sequence[str]) -> Vocabulary:
    if not isinstance(classes, str):
        return Vocabulary(check_classes(map(OpenClass.named, classes)))
    if classes.startswith("@"):
        return _read_file(Path(classes[1:]))
    names = (name.strip() for name in classes.split(","))
    return Vocabulary(check_classes(OpenClass.named(name) for name in names if name))


def _read_file(path: Path) -> Vocabulary:
    try:
        lines = read_text(path).text.splitlines()
    except (OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: cannot be read: {error}") from error
    names = (line.strip() for line in lines)
    return Vocabulary(check_classes(OpenClass.named(name) for name in names if name and not name.startswith("#")))


def check_classes(classes: Iterable[OpenClass]) -> tuple[OpenClass, ...]:
    """Return the classes. Raises SetupError for none, too many, a name that cannot be one, and one named twice."""
    found: dict[str, OpenClass] = {}
    for item in classes:
        if fault := label_name_error(item.label):
            raise SetupError(f"--classes: {shown(item.label)} cannot be the name of a class: {fault}")
        if (key := normalized(item.label)) in found:
            raise SetupError(f"--classes: {shown(item.label)} is named twice")
        found[key] = item
    if not found:
        raise SetupError('--classes: name at least one, such as --classes "dog barking, applause"')
    if len(found) > MAX_LABELS:
        raise SetupError(f"--classes: {len(found):,} classes are more than {MAX_LABELS:,}")
    return tuple(found.values())
