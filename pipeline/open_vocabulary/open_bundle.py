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
from .vocabulary import OpenClass, RuleSettings, Vocabulary

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
    vocabulary = read_vocabulary(classes, background=background, **rule)
    if bundle.is_adapted:
        vocabulary = as_trained(vocabulary, background)
    vocabulary = with_valor_thresholds(vocabulary, bundle.extractors)
    return replace(bundle, classes=vocabulary.to_dict())


def as_trained(vocabulary: Vocabulary, background: str | None = None) -> Vocabulary:
    """Return a vocabulary as a temporal adapter was trained: by the rule ov-avel, compared with "other" alone.

    Args:
        vocabulary: whose rule is kept where it is not the default one.
        background: that the user names; None for that of the training.

    Returns:
        The vocabulary.
    """
    if vocabulary.rule == RuleSettings():
        vocabulary = vocabulary.with_rule(name=ADAPTED_RULE)
    if background is not None:
        return vocabulary
    return replace(vocabulary, background=(OpenClass.named(OTHER),), background_name=OTHER)
