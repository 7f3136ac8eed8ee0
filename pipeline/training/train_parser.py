"""Training a parser on extracted features. The loop reads from top to bottom."""

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
    """How training tells of itself."""

    # epoch (from 1), clips done and in all in this epoch, mean of each loss term so far
    step: Callable[[int, int, int, Mapping[str, float]], None] = lambda *_: None
    epoch: Callable[[Mapping[str, Any]], None] = lambda _: None  # the epoch's record, as in log.jsonl


@dataclass(frozen=True)
class TrainingJob:
    """What to train on what, and the folder of the run (see run_folder)."""

    recipe: Recipe
    config: ParserConfig
    label_embeddings: Tensor | None
    clips: SplitDataset
    validation: SplitDataset | None
    root: Path
    device: torch.device


def train(job: TrainingJob, hooks: TrainingCallbacks | None = None) -> TrainingState:
    """Train from where the run stands to the recipe's last epoch.

    The best epoch has the highest segment-level Type@AV on the validation clips, the later of two equals (published
    program); without validation clips it is the last. On a CPU, a run that was stopped and continued ends with the
    same parameters, bit for bit, as one that was not: the order of the clips and the dropout of an epoch follow from
    the seed and its number alone.
    Raises TrainingError for a loss that is no number; SetupError for data or a state that do not fit the recipe.
    """
    check_job(job)
    with exclusive_lock(job.root):
        return _train(job, hooks or TrainingCallbacks())


def _train(job: TrainingJob, hooks: TrainingCallbacks) -> TrainingState:
    recipe, schedule, clips = job.recipe, job.recipe.training, job.clips
    torch.manual_seed(schedule.seed)
    parser = build_parser(job.config, job.label_embeddings).to(job.device)
    optimizer = make_optimizer(schedule, parser)
    progress = load_state(job.root, parser, optimizer)
    fingerprint = "-".join(data_fingerprint(part) for part in (clips, job.validation) if part is not None)
    if progress.epochs and progress.data != fingerprint:
        raise SetupError("the training or validation clips, or their labels, are not those this run was started with")
    progress.data = fingerprint
    scaler = GradScaler(job.device.type, enabled=schedule.precision == "fp16")
    if progress.scaler:
        scaler.load_state_dict(progress.scaler)

    for epoch in range(progress.epochs, schedule.epochs):
        started = time.monotonic()
        torch.manual_seed(epoch_seed(schedule.seed, epoch))
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate(epoch)
        parser.train()
        means = _RunningMeans()
        order = shuffled(len(clips), schedule.seed, epoch)
        for batch in iterate_batches(clips, order, schedule.batch_size, pin=job.device.type == "cuda"):
            terms = training_step(parser, batch.to(job.device), recipe, optimizer, scaler)
            if not math.isfinite(sum(terms.values())):
                raise TrainingError(_no_number(job, progress, means.clips, batch, terms))
            means.add(terms, len(batch.filenames))
            hooks.step(epoch + 1, means.clips, len(clips), means.values())
        seconds = time.monotonic() - started
        if not all(bool(parameter.isfinite().all()) for parameter in parser.parameters()):
            raise TrainingError(_diverged(job, progress, "its last update left parameters that are no numbers"))

        scores = score_clips(parser, job.validation, job.device) if job.validation is not None else None
        judged = float(epoch) if scores is None else scores.segment.type_av
        is_best = judged >= progress.best_score
        if is_best:
            progress.best_score, progress.best_epoch = judged, epoch + 1
        progress.epochs = epoch + 1
        progress.scaler = scaler.state_dict()
        record = {
            "epoch": epoch + 1,
            "learning_rate": schedule.rate(epoch),
            "seconds": round(seconds, 3),
            "clips_per_second": round(len(clips) / seconds, 1),
            "losses": means.values(),
            "validation": scores.to_dict() if scores is not None else None,
            "best": is_best,
        }
        progress.log.append(record)
        _save(job, parser, optimizer, progress)
        hooks.epoch(record)
    return progress


def training_step(
    parser: AVParser,
    batch: Batch,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    scaler: GradScaler,
) -> dict[str, float]:
    """One update of the parameters, unless the loss is no number. Returns the weighted loss terms."""
    schedule = recipe.training
    dtype = ComputePrecision(schedule.precision).dtype
    with torch.autocast(batch.audio.device.type, dtype, schedule.precision != "fp32"):
        output = parser(batch.audio, batch.visual_2d, batch.visual_3d, lengths=batch.lengths)
    terms = objective_terms(output, batch.targets, recipe.objective)
    stacked = torch.stack(list(terms.values()))
    values = dict(zip(terms, stacked.detach().tolist(), strict=True))
    if not math.isfinite(sum(values.values())):
        return values
    optimizer.zero_grad(set_to_none=True)
    scaler.scale(stacked.sum()).backward()
    if schedule.clip_norm:
        scaler.unscale_(optimizer)
        torch.nn.utils.clip_grad_norm_(parser.parameters(), schedule.clip_norm)
    scaler.step(optimizer)
    scaler.update()
    return values


class _RunningMeans:
    """Mean of each loss term over the clips so far."""

    def __init__(self) -> None:
        self.clips = 0
        self._sums: dict[str, float] = {}

    def add(self, terms: Mapping[str, float], clips: int) -> None:
        self.clips += clips
        for name, value in {**terms, "total": sum(terms.values())}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * clips

    def values(self) -> dict[str, float]:
        return {name: value / self.clips for name, value in self._sums.items()}


def make_optimizer(schedule: TrainingConfig, parser: AVParser) -> torch.optim.Optimizer:
    """Adam or AdamW as the schedule has it."""
    return OPTIMIZERS[schedule.optimizer](
        parser.parameters(),
        lr=schedule.learning_rate,
        betas=(schedule.beta1, schedule.beta2),
        weight_decay=schedule.weight_decay,
        fused=True,  # one pass over the parameters instead of a dozen
    )


def _save(job: TrainingJob, parser: AVParser, optimizer: torch.optim.Optimizer, progress: TrainingState) -> None:
    """The state comes last: what was written before it, a run that goes on from the old state writes again."""
    spec, latest = job.clips.features.spec, progress.log[-1]
    record = {"recipe": job.recipe.to_dict(), **{key: latest[key] for key in ("epoch", "losses", "validation")}}
    if latest["best"]:
        write_parser(job.root / BEST_FILE, parser, spec, record)
    write_parser(job.root / LAST_FILE, parser, spec, record)
    write_log(job.root, progress)
    save_state(job.root, parser, optimizer, progress)


def check_job(job: TrainingJob) -> None:
    """Raises SetupError where the recipe cannot be trained on these data or this device."""
    if job.recipe.objective.needs_segment_labels and job.clips.labels is None:
        raise SetupError(
            f"recipe {job.recipe.name} learns from pseudo labels by second; give their folder with --pseudo-labels,"
            " or take a recipe for weak labels (han, mmpyr)"
        )
    objective = job.recipe.objective
    others = (objective.audio_weight, objective.visual_weight, objective.audio_segment_weight,
              objective.visual_segment_weight, objective.similarity_weight)  # fmt: skip
    if job.config.decoder == "leap" and objective.union == "published" and not any(others):
        raise SetupError(
            "LEAP's published union has no gradient, and every other loss has weight 0: set union = 'soft'"
        )
    if job.recipe.training.precision == "fp16" and job.device.type == "cpu":
        raise SetupError("fp16 needs a GPU; on a CPU use bf16 or fp32")


def data_fingerprint(clips: SplitDataset) -> str:
    """What makes two splits the same: names, lengths and labels, in order."""
    digest = hashlib.sha256("\n".join(clips.filenames).encode(errors="surrogateescape"))
    for array in (clips.lengths, clips.video_labels, *(clips.labels or (None, None))):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _no_number(job: TrainingJob, progress: TrainingState, clips: int, batch: Batch, terms: Mapping[str, float]) -> str:
    bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value)) or "total"
    names = first_few(batch.filenames)
    what = f"the loss is no number (term {bad}) after {clips} clips, in the batch of {names}"
    return _diverged(job, progress, what)


def _diverged(job: TrainingJob, progress: TrainingState, what: str) -> str:
    last = escape(job.root / LAST_FILE)
    kept = f"{last} is of epoch {progress.epochs}" if progress.epochs else "nothing was saved"
    return f"epoch {progress.epochs + 1}: {what}; {kept}. A smaller learning rate, clip_norm or fp32 may help"
