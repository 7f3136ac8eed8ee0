"""Classes that a request names, in place of those that the server was started with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...errors import AVVPError, SetupError
from ...open_vocabulary.classes import read_vocabulary
from ...open_vocabulary.vocabulary import Vocabulary
from .limits import MAX_CLASS_CHARACTERS, MAX_CLASSES

NO_OTHERS = "this server finds the classes that its networks were trained on, and no others"


class ClassesError(AVVPError):
    """The classes of a request cannot be looked for."""


def read_classes(value: object, vocabulary: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Read the classes of a request.

    Args:
        value: names with commas between them, or a list of names; nothing for those of the server. A name is never
            that of a file.
        vocabulary: of the server, see `Vocabulary.to_dict`; None if its classes are those of a trained network.

    Returns:
        The names; none for those of the server.

    Raises:
        ClassesError: the server finds no other classes, or the value is something else.
    """
    if value is None or (isinstance(value, str) and not value.strip()):
        return ()
    if vocabulary is None:
        raise ClassesError(NO_OTHERS)
    names = [name.strip() for name in value.split(",")] if isinstance(value, str) else value
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ClassesError('expected "classes" to be names with commas between them, or a list of names')
    names = tuple(name for name in names if name)
    if any(name.startswith("@") for name in names):
        raise ClassesError("a request names classes; files of classes are for --classes when the server is started")
    if len(names) > MAX_CLASSES:
        raise ClassesError(f"{len(names):,} classes are more than {MAX_CLASSES}, the most that a request may name")
    if any(len(name) > MAX_CLASS_CHARACTERS for name in names):
        raise ClassesError(f"a class has more than {MAX_CLASS_CHARACTERS} characters")
    try:
        return read_vocabulary(names).labels
    except SetupError as error:
        raise ClassesError(str(error).removeprefix("--")) from error


def other_vocabulary(classes: tuple[str, ...], vocabulary: Mapping[str, Any]) -> Vocabulary:
    """Return the vocabulary of a server with other classes, which have the thresholds of its rule.

    Args:
        classes: of `read_classes`.
        vocabulary: of the server.
    """
    known = Vocabulary.from_dict(vocabulary)
    return known.with_classes(read_vocabulary(classes).classes)


def names_of(vocabulary: Mapping[str, Any] | None) -> list[str] | None:
    """Return the names of the classes of a server, None if they are those of a trained network."""
    return None if vocabulary is None else list(Vocabulary.from_dict(vocabulary).labels)
