"""Build what a recipe names: the parser, the loss and the decision, of this program or of other packages."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from ...models.config import ParserConfig
from ...models.loss_parts import Loss, load_loss, try_loss
from ...models.parser import AVParser, build_parser
from ...weights.parts import Part
from ..errors import SetupError
from ..inference.decisions import Decision, load_decision
from ..text import escape
from .recipe import Recipe


class RecipeParts(NamedTuple):
    """Loss and decision of a recipe."""

    loss: Loss
    decision: Decision  # of the scores on the validation clips
    others: tuple[Part, ...]  # those that are of other packages


def load_parts(recipe: Recipe, config: ParserConfig) -> RecipeParts:
    """Load the loss and the decision of a recipe, and try those of other packages.

    Args:
        recipe: with the packages that it may name.
        config: of its parser.

    Returns:
        The loss and the decision.

    Raises:
        SetupError: a part cannot be loaded, or does not do what it must.
    """
    try:
        loss, loss_part = load_loss(recipe.objective, recipe.trust)
        if loss_part is not None:
            try_loss(loss, recipe.objective, config)
        decision, decision_part = load_decision(config, recipe.trust)
    except (ValueError, SetupError) as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error
    return RecipeParts(loss, decision, tuple(part for part in (loss_part, decision_part) if part is not None))


def build_recipe_parser(recipe: Recipe, config: ParserConfig, label_embeddings: Tensor | None) -> AVParser:
    """Build the parser of a recipe, see `build_parser`.

    Args:
        recipe: with the packages that it may name.
        config: of its parser.
        label_embeddings: (C, W) float, required when `config.needs_label_embeddings`.

    Returns:
        The parser, in training mode on the CPU.

    Raises:
        SetupError: a part of another package cannot be built, or does not do what it must.
    """
    try:
        return build_parser(config, label_embeddings, trust=recipe.trust)
    except ValueError as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error


def check_parts(recipe: Recipe, config: ParserConfig, label_embeddings: Tensor | None) -> None:
    """Check all parts of other packages that a recipe names; arguments and errors as for `build_recipe_parser`."""
    load_parts(recipe, config)
    if config.has_other_parts:
        build_recipe_parser(recipe, config, label_embeddings)
