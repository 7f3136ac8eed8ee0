"""An open bundle with the classes that the user names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from ...weights.manifest import OPEN_BUNDLE, Bundle
from ...weights.messages import shown
from ..errors import SetupError
from .classes import read_vocabulary
from .valor_thresholds import with_valor_thresholds


def with_classes(bundle: Bundle, classes: str | Sequence[str], *, background: str | None = None, **rule: Any) -> Bundle:
    """Return a bundle that looks for classes by their names.

    Args:
        bundle: an open one.
        classes: as `read_vocabulary` takes them.
        background: file of the background, or "none"; None for the shipped one.
        **rule: settings of `RuleSettings`.

    Returns:
        The bundle with the vocabulary.

    Raises:
        SetupError: the bundle was trained for classes of its own, or the classes cannot be read.
    """
    if not bundle.is_open:
        raise SetupError(
            f"the classes of bundle {shown(bundle.name)} are those that it was trained on; --classes finds others with"
            f" --weights {OPEN_BUNDLE}, and --keep-classes keeps some of its own"
        )
    vocabulary = read_vocabulary(classes, background=background, **rule)
    vocabulary = with_valor_thresholds(vocabulary, bundle.extractors)
    return replace(bundle, classes=vocabulary.to_dict())
