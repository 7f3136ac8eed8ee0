"""Read annotations for a command, with notices about their text on standard error."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ...datasets.annotations import Annotations


def read_user_annotations(folder: Path, *, quiet: bool = False) -> Annotations:
    """Read the annotations of a data set and report files in encodings that are not Unicode.

    Args:
        folder: of the annotations.
        quiet: report nothing.

    Returns:
        The annotations; without a list of classes, of the classes that their files name, see `find_labels`.

    Raises:
        DatasetError: the annotations cannot be used.
    """
    from ...datasets.annotations import read_annotations
    from ...datasets.named_labels import find_labels

    annotations = read_annotations(folder, labels=find_labels(folder))
    print_notices(annotations.notices, quiet=quiet)
    return annotations


def print_notices(notices: Iterable[str], *, quiet: bool = False) -> None:
    """Print notices about files that were read, one per line, on standard error."""
    from ...text import escape

    for notice in () if quiet else notices:
        click.echo(escape(notice), err=True)
