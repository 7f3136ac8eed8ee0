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
from ..text_files import read_bytes
from .background import read_background
from .class_files import CLASS_FILE_SUFFIX, parse_names, parse_vocabulary
from .vocabulary import RULE_NAMES, OpenClass, Vocabulary, normalized


def read_vocabulary(
    classes: str | Sequence[str], *, background: str | None = None, usual_rule: str = RULE_NAMES[0], **rule: Any
) -> Vocabulary:
    """Read what the user looks for.

    Args:
        classes: names with commas between them; "@FILE", a text file with a name a line, or a TOML file; or a sequence
            of names.
        background: file of the background, or "none"; None for the shipped one.
        usual_rule: name of the rule where neither the file nor `rule` names one.
        **rule: settings of `RuleSettings` in place of the file's.

    Returns:
        Classes, background and rule.

    Raises:
        SetupError: a file cannot be read, a setting cannot be, a name cannot be one, or is there twice.
    """
    found, name = read_background(background)
    try:
        vocabulary = _read(classes, usual_rule, **rule)
    except (OSError, ValueError) as error:
        is_file = isinstance(classes, str) and classes.startswith("@")
        where = escape(classes[1:] or "@") if is_file else "--classes"
        raise SetupError(f"{where}: {escape(error)}") from error
    return replace(vocabulary, background=found, background_name=name)


def _read(classes: str | Sequence[str], usual_rule: str, **rule: Any) -> Vocabulary:
    """Return the classes without a background. Raises OSError, ValueError."""
    if not isinstance(classes, str):
        named = list(classes)
        if wrong := [name for name in named if not isinstance(name, str)]:
            raise ValueError(f"{shown(wrong[0])} is not the name of a class: expected a text")
    elif not classes.startswith("@"):
        named = [name.strip() for name in classes.split(",") if name.strip()]
    else:
        content = read_bytes(path := Path(classes[1:]))
        if path.suffix.lower() == CLASS_FILE_SUFFIX:
            vocabulary = parse_vocabulary(content, usual_rule=usual_rule, **rule)
            return replace(vocabulary, classes=check_classes(vocabulary.classes))
        named = parse_names(content)
    return Vocabulary(check_classes(map(OpenClass.named, named))).with_rule(**{"name": usual_rule, **rule})


def check_classes(classes: Iterable[OpenClass]) -> tuple[OpenClass, ...]:
    """Return the classes. Raises ValueError for none, too many, a name that cannot be one, and one named twice."""
    found: dict[str, OpenClass] = {}
    for item in classes:
        for name in (item.label, *item.also):
            if fault := label_name_error(name, commas=True):
                raise ValueError(f"{shown(name)} cannot be the name of a class: {fault}")
        if (key := normalized(item.label)) in found:
            same = "" if (first := found[key].label) == item.label else f", as {shown(first)}"
            raise ValueError(f"{shown(item.label)} is named twice{same}")
        found[key] = item
    if not found:
        raise ValueError('name at least one class, such as --classes "dog barking, applause"')
    if len(found) > MAX_LABELS:
        raise ValueError(f"{len(found):,} classes are more than {MAX_LABELS:,}")
    return tuple(found.values())
