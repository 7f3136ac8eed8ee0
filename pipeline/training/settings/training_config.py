"""Settings of training: the table [training] of a recipe."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any

import torch

from ....models.denoising import WARM_UPS
from ....weights.messages import shown
from ...evaluation.selection import DEFAULT_SELECTION, SELECTIONS
from ...precisions import AUTO, TRAINING_PRECISIONS

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
LR_SCHEDULES = ("step", "milestones", "cosine")
MAX_SEED = 2**32 - 1
MAX_EPOCHS = 10_000  # the log of all epochs is in each state file, a kilobyte for an epoch
MAX_BATCH_SIZE = 1 << 16  # clips in a batch
MAX_LEARNING_RATE = 100.0  # far above what any optimizer here survives
MAX_FACTOR = 1e6  # weight decay, clip_norm, step_factor
MAX_MILESTONES = 100
MAX_FILE_NAME = 4096  # characters
DENOISING = ("none", "labels", "batches")
# Settings that older versions lack.
_ADDED_FIELDS = ("step_at", "noisy_clips", "select", "patience", "denoise", "removed_labels", "noise_ratios",
                 "denoise_warmup", "recombine", "audio_guide_rate", "visual_guide_rate")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """Settings of training.

    Raises:
        ValueError: a value is out of range.
    """

    epochs: int = 30
    batch_size: int = 32
    optimizer: str = "adam"
    learning_rate: float = 1e-4
    beta1: float = 0.9
    beta2: float = 0.999
    weight_decay: float = 0.0
    schedule: str = "step"  # of the learning rate
    step_epochs: int = 10  # step: every so many epochs the rate is multiplied by step_factor
    step_at: tuple[int, ...] = ()  # milestones: after these numbers of epochs
    step_factor: float = 0.1
    warmup_epochs: int = 0  # cosine: epochs of linear growth
    final_learning_rate: float = 1e-6  # cosine: rate of the last epoch
    clip_norm: float = 0.0  # maximum norm of all gradients together; 0: no clipping
    # Of the forward pass; losses, parameters and optimizer stay in float32. "auto" until it is chosen, see
    # `settle_precision`.
    precision: str = "fp32"
    seed: int = 1
    noisy_clips: bool = False  # avel: train on the clips of the split "noisy", which have no event, too
    select: str = DEFAULT_SELECTION  # score on the validation clips by which the best epoch is chosen
    patience: int = 0  # epochs without a better one after which training ends; 0: all epochs are trained
    denoise: str = "none"  # of weak labels: "labels" are removed once (MA), in "batches" by noise ratios (JoMoLD)
    removed_labels: str = ""  # "labels": file with them; by default those of the recipe's stage that relabels
    noise_ratios: str = ""  # "batches": file with them, or "llp"; by default those of the recipe's stage that estimates
    denoise_warmup: str = "published"  # "batches": growth of the ratios, see `denoising.warmed_ratio`
    # DHHN's guides (model.guides): factors of the learning rate of each.
    audio_guide_rate: float = 1.0
    visual_guide_rate: float = 1.0
    recombine: float = 0.0  # avvp: share of the clips of a batch that get the picture of another one, at most 1

    def __post_init__(self) -> None:
        choices = {"optimizer": OPTIMIZERS, "schedule": LR_SCHEDULES, "precision": (*TRAINING_PRECISIONS, AUTO),
                   "select": SELECTIONS, "denoise": DENOISING, "denoise_warmup": WARM_UPS}  # fmt: skip
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ValueError(f"{name} is {shown(getattr(self, name))}, not one of {', '.join(allowed)}")
        counts = {
            "epochs": (1, MAX_EPOCHS), "batch_size": (1, MAX_BATCH_SIZE), "step_epochs": (1, MAX_EPOCHS),
            "warmup_epochs": (0, MAX_EPOCHS), "seed": (0, MAX_SEED), "patience": (0, MAX_EPOCHS),
        }  # fmt: skip
        largest = {"learning_rate": MAX_LEARNING_RATE, "final_learning_rate": MAX_LEARNING_RATE}
        for name, value in vars(self).items():
            if name in counts:
                low, high = counts[name]
                if not low <= value <= high:
                    raise ValueError(f"{name} is {shown(value)}; it must be at least {low} and at most {high}")
            elif isinstance(value, float) and not 0 <= value <= largest.get(name, MAX_FACTOR):
                raise ValueError(
                    f"{name} is {value}; it must be a number that is not negative, at most"
                    f" {largest.get(name, MAX_FACTOR):g}"
                )
        if self.learning_rate == 0 or max(self.beta1, self.beta2) >= 1:
            raise ValueError("learning_rate must be above 0, beta1 and beta2 below 1")
        for name, needed in (("removed_labels", "labels"), ("noise_ratios", "batches")):
            if getattr(self, name) and self.denoise != needed:
                raise ValueError(f'{name} is for denoise = "{needed}"')
            if "\0" in getattr(self, name) or len(getattr(self, name)) > MAX_FILE_NAME:
                raise ValueError(f"{name} is not the name of a file")
        if self.recombine > 1:
            raise ValueError(f"recombine is {self.recombine}, a share of the clips; it must be at most 1")
        _check_milestones(self.step_at, is_used=self.schedule == "milestones")

    def rate(self, epoch: int) -> float:
        """Return the learning rate of an epoch.

        Args:
            epoch: from 0.

        Returns:
            The rate. "step" is PyTorch's StepLR, "milestones" its MultiStepLR. "cosine" grows linearly to learning_rate
            until `warmup_epochs`, then falls along half a cosine to final_learning_rate in the last epoch.

        Source:
            "cosine": the published program of VALOR.
        """
        if self.schedule == "step":
            return self.learning_rate * self.step_factor ** (epoch // self.step_epochs)
        if self.schedule == "milestones":
            return self.learning_rate * self.step_factor ** sum(epoch >= milestone for milestone in self.step_at)
        current = epoch + 1  # VALOR counts from 1
        if current < self.warmup_epochs:
            return self.learning_rate * current / self.warmup_epochs
        progress = (current - self.warmup_epochs) / max(self.epochs - self.warmup_epochs, 1)
        span = self.learning_rate - self.final_learning_rate
        return self.final_learning_rate + 0.5 * span * (1 + math.cos(math.pi * progress))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping. Settings that older versions lack are left out where they have no effect."""
        defaults = {entry.name: entry.default for entry in fields(self)}
        added = {name: defaults[name] for name in _ADDED_FIELDS}
        return {name: value for name, value in asdict(self).items() if name not in added or value != added[name]}


def _check_milestones(step_at: Sequence[int], *, is_used: bool) -> None:
    """Raise ValueError unless epochs are in ascending order, and there are some where the schedule uses them."""
    if bool(step_at) != is_used:
        raise ValueError(
            'schedule = "milestones" needs step_at, such as step_at = [10, 20]'
            if is_used
            else 'step_at is for schedule = "milestones"; for another, set step_at = []'
        )
    ascending = all(first < second for first, second in pairwise(step_at))
    if not ascending or len(step_at) > MAX_MILESTONES or any(not 1 <= epoch <= MAX_EPOCHS for epoch in step_at):
        raise ValueError(
            f"step_at is {shown(list(step_at))}; expected at most {MAX_MILESTONES} numbers of epochs, from 1 to"
            f" {MAX_EPOCHS}, in ascending order"
        )
