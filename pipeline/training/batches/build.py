"""The hooks of a recipe: what its settings do to batches, and loss terms that depend on more than an output."""

from __future__ import annotations

from torch import Tensor

from ....models.decoder_output import ParserOutput
from ....models.losses import Objective, Targets, labelled_rows
from ....models.parser import AVParser
from ...datasets.clips import Batch
from ...inference.networks import NetworkOutput, TrainedNetwork
from .hooks import NO_HOOKS, BatchHooks, StepContext
from .mixup import mixup_terms
from .mutual import mutual_terms
from .recombine import pair_across, recombine


def build_hooks(objective: object, recombine_share: float) -> BatchHooks:
    """Build the hooks of a recipe.

    Args:
        objective: of any task; of video parsing, its contrast across videos changes batches, and mixup and mutual
            learning are loss terms.
        recombine_share: share of the clips that get the picture of another one, see `recombine`.

    Returns:
        The hooks; none for a recipe that uses none of these.
    """
    if not isinstance(objective, Objective):
        return NO_HOOKS
    return BatchHooks(
        augment=_augmentation(recombine_share, objective),
        extra_terms=_extra_terms(objective) if objective.mixup_alpha or objective.mutual_weight else None,
    )


def rows_per_clip(objective: object) -> int:
    """Return how many rows of features a clip has in the largest batches: 2 with the contrast across videos."""
    return 2 if isinstance(objective, Objective) and objective.across_weight else 1


def _augmentation(share: float, objective: Objective):
    if not share and not objective.across_weight:
        return None

    def augment(batch: Batch, context: StepContext) -> Batch:
        if share:
            batch = recombine(batch, share, context.generator, weak=objective.targets == "weak")
        if objective.across_weight and context.epoch >= objective.across_after:
            batch = pair_across(batch, context.generator)
        return batch

    return augment


def _extra_terms(objective: Objective):
    def extra_terms(
        parser: TrainedNetwork, output: NetworkOutput, batch: Batch, context: StepContext
    ) -> dict[str, Tensor]:
        assert isinstance(parser, AVParser)
        assert isinstance(output, ParserOutput)
        assert isinstance(batch.targets, Targets)
        output = labelled_rows(output, batch.targets)
        terms: dict[str, Tensor] = {}
        if objective.mutual_weight:
            terms |= mutual_terms(output, batch.targets, objective.mutual_weight, context.step)
        if objective.mixup_alpha:
            current = objective.at(context.epoch)
            terms |= mixup_terms(parser, output, batch.targets, current, context.generator)
        return terms

    return extra_terms
