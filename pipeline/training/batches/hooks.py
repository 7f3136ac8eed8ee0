"""What a recipe does to a batch: before the parser, before the losses, and beside them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ...datasets.clips import Batch
from ...inference.networks import Network, NetworkOutput

_EPOCH_SEEDS = 1_000_003  # more batches than an epoch has


class StepContext(NamedTuple):
    """Where in the training a batch is, and the random numbers of its hooks, which depend on nothing else."""

    epoch: int  # from 0
    step: int  # of the epoch, from 0
    steps: int  # of an epoch
    generator: torch.Generator  # on the CPU


def step_context(seed: int, epoch: int, step: int, steps: int) -> StepContext:
    """Make the context of a batch, the same whenever a run is resumed.

    Args:
        seed: of the epoch, see `loader.epoch_seed`.
        epoch: from 0.
        step: from 0.
        steps: of an epoch.

    Returns:
        The context.
    """
    generator = torch.Generator().manual_seed(seed * _EPOCH_SEEDS + step)
    return StepContext(epoch, step, steps, generator)


@dataclass(frozen=True)
class BatchHooks:
    """Functions that a recipe adds to a training step; None for those that it does not have.

    Attributes:
        augment: batch, context -> batch that the parser reads.
        relabel: parser in training mode, batch, context -> targets that the losses read; called before the forward
            pass.
        extra_terms: parser, its output, batch, context -> weighted loss terms, added to those of the objective.
    """

    augment: Callable[[Batch, StepContext], Batch] | None = None
    relabel: Callable[[Network, Batch, StepContext], Any] | None = None
    extra_terms: Callable[[Network, NetworkOutput, Batch, StepContext], dict[str, Tensor]] | None = None

    def before(self, parser: Network, batch: Batch, context: StepContext) -> Batch:
        """Return the batch that parser and losses read."""
        if self.augment is not None:
            batch = self.augment(batch, context)
        if self.relabel is not None:
            batch = batch._replace(targets=self.relabel(parser, batch, context))
        return batch

    def terms(self, parser: Network, output: NetworkOutput, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """Return the additional loss terms."""
        return {} if self.extra_terms is None else self.extra_terms(parser, output, batch, context)


NO_HOOKS = BatchHooks()
