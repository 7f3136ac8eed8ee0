"""Train a parser on extracted features."""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ...models.config import ParserConfig
from ...models.losses import objective_terms
from ...models.parser import AVParser, build_parser
from ..datasets.clips import Batch, SplitDataset
from ..datasets.loader import epoch_seed, iterate_batches, shuffled
from ..devices import ComputePrecision
from ..errors import SetupError, TrainingError
from ..evaluation.evaluate import score_clips
from ..files import exclusive_lock
from ..text import escape, first_few
from .recipe import OPTIMIZERS, Recipe, TrainingConfig
from .run_folder import BEST_FILE, LAST_FILE, TrainingState, load_state, save_state, write_log, write_parser


@dataclass(frozen=True)
class TrainingCallbacks:
    """Callbacks that report the progress of training.

    Attributes:
        step: called after each batch with the epoch (from 1), the clips done in it, their total, and the mean of each
            loss term so far.
        epoch: called after each epoch with its record, as in log.jsonl.
    """

    step: Callable[[int, int, int, Mapping[str, float]], None] = lambda *_: None
    epoch: Callable[[Mapping[str, Any]], None] = lambda _: None


@dataclass(frozen=True)
class TrainingJob:
    """What to train on what."""

    recipe: Recipe
    config: ParserConfig
    label_embeddings: Tensor | None  # (C, W); None if the parser needs none
    clips: SplitDataset  # training clips
    validation: SplitDataset | None
    root: Path  # folder of the run, see `run_folder`
    device: torch.device


def train(job: TrainingJob, callbacks: TrainingCallbacks | None = None) -> TrainingState:
    """Train from the last complete epoch of the run to the last epoch of the recipe.

    The best epoch has the highest segment-level Type@AV on the validation clips; of equal ones, the later. Without
    validation clips it is the last. On a CPU, a run that was stopped and resumed ends with the same parameters, bit for
    bit, as one that was not: the order of the clips and the dropout of an epoch depend on the seed and its number only.

    Args:
        job: of `prepare_job`; the folder of the run exists.
        callbacks: for the progress.

    Returns:
        The state of the finished run, as saved in its folder.

    Raises:
        TrainingError: the loss or the parameters are not finite. The last complete epoch stays saved.
        SetupError: the data or the saved state do not fit the recipe, or another process trains in the folder.
        OutputError: a file cannot be written.

    Source:
        The choice of the best epoch: the published program of LEAP.
    """
    check_job(job)
    with exclusive_lock(job.root):
        return _train(job, callbacks or TrainingCallbacks())


def _train(job: TrainingJob, callbacks: TrainingCallbacks) -> TrainingState:
    config = job.recipe.training
    torch.manual_seed(config.seed)
    parser = build_parser(job.config, job.label_embeddings).to(job.device)
    optimizer = make_optimizer(config, parser)
    scaler = GradScaler(job.device.type, enabled=config.precision == "fp16")
    state = _restore(job, parser, optimizer, scaler)

    for epoch in range(state.epochs, config.epochs):
        started = time.monotonic()
        torch.manual_seed(epoch_seed(config.seed, epoch))
        for group in optimizer.param_groups:
            group["lr"] = config.rate(epoch)
        parser.train()
        means = _RunningMeans()
        order = shuffled(len(job.clips), config.seed, epoch)
        for batch in iterate_batches(job.clips, order, config.batch_size, pin=job.device.type == "cuda"):
            terms = training_step(parser, batch.to(job.device), job.recipe, optimizer, scaler)
            if not math.isfinite(sum(terms.values())):
                raise TrainingError(_describe_bad_loss(job, state, means.clips, batch, terms))
            means.add(terms, len(batch.filenames))
            callbacks.step(epoch + 1, means.clips, len(job.clips), means.values())
        seconds = time.monotonic() - started
        if not all(bool(parameter.isfinite().all()) for parameter in parser.parameters()):
            raise TrainingError(_describe_divergence(job, state, "its last update left parameters that are not finite"))

        scores = score_clips(parser, job.validation, job.device) if job.validation is not None else None
        epoch_score = float(epoch) if scores is None else scores.segment.type_av
        is_best = epoch_score >= state.best_score
        if is_best:
            state.best_score, state.best_epoch = epoch_score, epoch + 1
        state.epochs = epoch + 1
        state.scaler = scaler.state_dict()
        record = {
            "epoch": epoch + 1,
            "learning_rate": config.rate(epoch),
            "seconds": round(seconds, 3),
            "clips_per_second": round(len(job.clips) / seconds, 1),
            "losses": means.values(),
            "validation": scores.to_dict() if scores is not None else None,
            "best": is_best,
        }
        state.log.append(record)
        _save(job, parser, optimizer, state)
        callbacks.epoch(record)
    return state


def _restore(job: TrainingJob, parser: AVParser, optimizer: torch.optim.Optimizer, scaler: GradScaler) -> TrainingState:
    """Load the last complete epoch of the run. Raises SetupError if the data have changed since it was started."""
    state = load_state(job.root, parser, optimizer)
    fingerprint = "-".join(data_fingerprint(clips) for clips in (job.clips, job.validation) if clips is not None)
    if state.epochs and state.data != fingerprint:
        raise SetupError("the training or validation clips, or their labels, are not those this run was started with")
    state.data = fingerprint
    if state.scaler:
        scaler.load_state_dict(state.scaler)
    return state


def training_step(
    parser: AVParser,
    batch: Batch,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
) -> dict[str, float]:
    """Update the parameters once, unless the loss is NaN or infinite.

    Args:
        parser: in training mode.
        batch: on the parser's device.
        recipe: for the objective, the precision and gradient clipping.
        optimizer: of the parser's parameters.
        scaler: of gradients in fp16; disabled for other precisions.

    Returns:
        The weighted terms of the loss.
    """
    config = recipe.training
    dtype = ComputePrecision(config.precision).dtype
    with torch.autocast(batch.audio.device.type, dtype, config.precision != "fp32"):
        output = parser(batch.audio, batch.visual_2d, batch.visual_3d, lengths=batch.lengths)
    terms = objective_terms(output, batch.targets, recipe.objective)
    stacked = torch.stack(list(terms.values()))
    values = dict(zip(terms, stacked.detach().tolist(), strict=True))
    if not math.isfinite(sum(values.values())):
        return values
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(stacked.sum()).backward()
    if config.clip_norm:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parser.parameters(), config.clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return values


class _RunningMeans:
    """Mean of each loss term over the clips of an epoch so far."""

    def __init__(self) -> None:
        self.clips = 0
        self._sums: dict[str, float] = {}

    def add(self, terms: Mapping[str, float], clips: int) -> None:
        self.clips += clips
        for name, value in {**terms, "total": sum(terms.values())}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * clips

    def values(self) -> dict[str, float]:
        return {name: value / self.clips for name, value in self._sums.items()}


def make_optimizer(config: TrainingConfig, parser: AVParser) -> torch.optim.Optimizer:
    """Make the optimizer of a parser's parameters, one of `OPTIMIZERS`."""
    return OPTIMIZERS[config.optimizer](
        parser.parameters(),
        lr=config.learning_rate,
        betas=(config.beta1, config.beta2),
        weight_decay=config.weight_decay,
        fused=True,  # one pass over the parameters instead of a dozen
    )


def _save(job: TrainingJob, parser: AVParser, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Write the files of an epoch, the state last: a run resumed from the previous state writes the others again."""
    spec, latest = job.clips.features.spec, state.log[-1]
    record = {"recipe": job.recipe.to_dict(), **{key: latest[key] for key in ("epoch", "losses", "validation")}}
    if latest["best"]:
        write_parser(job.root / BEST_FILE, parser, spec, record)
    write_parser(job.root / LAST_FILE, parser, spec, record)
    write_log(job.root, state)
    save_state(job.root, parser, optimizer, state)


def check_job(job: TrainingJob) -> None:
    """Check that a recipe can be trained on its data and device. Raises SetupError if not."""
    if job.recipe.objective.needs_segment_labels and job.clips.labels is None:
        raise SetupError(
            f"recipe {job.recipe.name} needs segment-level pseudo labels: set --pseudo-labels to their folder, or"
            " choose a recipe for weak labels (han, mmpyr)"
        )
    objective = job.recipe.objective
    other_weights = (objective.audio_weight, objective.visual_weight, objective.audio_segment_weight,
              objective.visual_segment_weight, objective.similarity_weight)  # fmt: skip
    if job.config.decoder == "leap" and objective.union == "published" and not any(other_weights):
        raise SetupError(
            "LEAP's published union has no gradient, and every other loss has weight 0: set union = 'soft'"
        )
    if job.recipe.training.precision == "fp16" and job.device.type == "cpu":
        raise SetupError("fp16 needs a GPU; on a CPU use bf16 or fp32")


def data_fingerprint(clips: SplitDataset) -> str:
    """Hash what identifies a split: names, lengths and labels of its clips, in order.

    Args:
        clips: of the split.

    Returns:
        16 hexadecimal digits.
    """
    digest = hashlib.sha256("\n".join(clips.filenames).encode(errors="surrogateescape"))
    for array in (clips.lengths, clips.video_labels, *(clips.labels or (None, None))):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _describe_bad_loss(
    job: TrainingJob, state: TrainingState, clips: int, batch: Batch, terms: Mapping[str, float]
) -> str:
    bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value)) or "total"
    names = first_few(batch.filenames)
    return _describe_divergence(
        job, state, f"the loss is not finite (term {bad}) after {clips} clips, in the batch of {names}"
    )


def _describe_divergence(job: TrainingJob, state: TrainingState, problem: str) -> str:
    last = escape(job.root / LAST_FILE)
    saved = f"{last} is of epoch {state.epochs}" if state.epochs else "nothing was saved"
    return f"epoch {state.epochs + 1}: {problem}; {saved}. A smaller learning rate, clip_norm or fp32 may help"
