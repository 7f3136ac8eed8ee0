"""Build what a recipe names: the network, the loss and the decision, of this program or of other packages."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

from torch import Tensor

from ...models.config import ParserConfig
from ...models.localizers.config import LocalizerConfig
from ...models.losses import OWN_LOSSES, Objective, objective_terms
from ...models.open.adapter import AdapterConfig
from ...models.teacher import TeacherConfig
from ...weights.parts import Part
from ..errors import SetupError
from ..inference.decisions import Decision, load_decision
from ..inference.networks import TrainedConfig, TrainedNetwork
from ..text import escape
from .batches.build import build_hooks
from .batches.hooks import NO_HOOKS, BatchHooks
from .recipe import Recipe
from .tasks import Loss, task_of


class RecipeParts(NamedTuple):
    """Loss and decision of a recipe."""

    loss: Loss
    decision: Decision | None  # of the scores on the validation clips; teachers and adapters have none
    others: tuple[Part, ...]  # those that are of other packages
    hooks: BatchHooks = NO_HOOKS  # what it does to batches


def load_parts(recipe: Recipe, config: TrainedConfig) -> RecipeParts:
    """Load the loss and the decision of a recipe, and try those of other packages.

    Args:
        recipe: with the packages that it may name.
        config: of its network.

    Returns:
        The loss and the decision.

    Raises:
        SetupError: a part cannot be loaded, or does not do what it must.
    """
    try:
        loss, loss_part = task_of(recipe).load_loss(recipe, config)
        decision, decision_part = None, None
        if not isinstance(config, TeacherConfig | AdapterConfig):
            decision, decision_part = load_decision(config, recipe.trust)
    except (ValueError, SetupError) as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error
    parts = tuple(part for part in (loss_part, decision_part) if part is not None)
    return RecipeParts(loss, decision, parts, build_hooks(recipe.objective, recipe.training.recombine))


def loss_of_epoch(recipe: Recipe, loss: Loss, epoch: int) -> Loss:
    """Return the loss of an epoch, from 0: that of `load_parts`, with the settings that the objective has then."""
    objective = recipe.objective
    if not isinstance(objective, Objective) or objective.loss not in OWN_LOSSES:
        return loss
    return partial(objective_terms, objective=objective.at(epoch))


def build_recipe_network(recipe: Recipe, config: TrainedConfig, label_embeddings: Tensor | None) -> TrainedNetwork:
    """Build the network of a recipe, see `build_parser`, `build_localizer`, `TemporalTeacher` and `TemporalAdapter`.

    Args:
        recipe: with the packages that it may name.
        config: of its network.
        label_embeddings: float, required when `config.needs_label_embeddings`: (C, W), for localizers a row for each
            of `config.embedding_labels`, for teachers and adapters the text features.

    Returns:
        The network, in training mode on the CPU.

    Raises:
        SetupError: a part of another package cannot be built, or does not do what it must.
    """
    try:
        return task_of(recipe).build(recipe, config, label_embeddings)
    except ValueError as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error


def check_parts(recipe: Recipe, config: TrainedConfig, label_embeddings: Tensor | None) -> None:
    """Check all parts of other packages that a recipe names; arguments and errors as for `build_recipe_network`."""
    load_parts(recipe, config)
    if isinstance(config, ParserConfig) and config.has_other_parts:
        build_recipe_network(recipe, config, label_embeddings)


def embedding_labels(config: TrainedConfig) -> tuple[str, ...]:
    """Return the names of a network's label embeddings: its classes; also the background, or "other"."""
    return config.embedding_labels if isinstance(config, LocalizerConfig | AdapterConfig) else config.labels
