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
from .vocabulary import OpenClass, Vocabulary

ADAPTED_RULE = "ov-avel"  # that temporal adapters are trained for
OTHER = "other"  # that they are trained with, in the place of a background


def with_classes(bundle: Bundle, classes: str | Sequence[str], *, background: str | None = None, **rule: Any) -> Bundle:
    """Return a bundle that looks for classes by their names.

    Args:
        bundle: an open one.
        classes: as `read_vocabulary` takes them.
        background: file of the background, or "none"; None for the shipped one, or for that of its training.
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
    return replace(bundle, classes=read_classes(bundle, classes, background=background, **rule).to_dict())


def read_classes(
    bundle: Bundle, classes: str | Sequence[str], *, background: str | None = None, **rule: Any
) -> Vocabulary:
    """Read classes for an open bundle. One with a temporal adapter decides as it was trained, if nothing else is named.

    Args:
        bundle: an open one.
        classes: as `read_vocabulary` takes them.
        background: file of the background, or "none"; None for the shipped one, or for that of its training.
        **rule: settings of `RuleSettings`.

    Returns:
        What it looks for.

    Raises:
        SetupError: the classes cannot be read.
    """
    if not bundle.is_adapted:
        vocabulary = read_vocabulary(classes, background=background, **rule)
        return with_valor_thresholds(vocabulary, bundle.extractors)
    vocabulary = read_vocabulary(classes, background=background, usual_rule=ADAPTED_RULE, **rule)
    if background is not None:
        return vocabulary
    return replace(vocabulary, background=(OpenClass.named(OTHER),), background_name=OTHER)
