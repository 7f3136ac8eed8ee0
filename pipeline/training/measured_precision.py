"""Choice of the precision of training where a recipe says "auto": the faster of fp32 and bf16 on this machine."""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch.amp.grad_scaler import GradScaler

from ..computing.machine import this_machine
from ..computing.speed_file import Measurement, Speed, recall, remember
from ..datasets.clips import Batch
from ..datasets.loader import iterate_batches
from ..devices import ComputePrecision
from ..errors import DatasetError, SetupError, TrainingError
from ..precisions import AUTO, TORCH
from .recipe import Recipe
from .recipe_parts import build_recipe_network, load_parts
from .settings.stage import Stage
from .setup import TrainingPlan
from .step import StepRecorder, make_optimizer, training_step
from .train_parser import TrainingJob

MAX_LOSS_ERROR = 0.02  # of bf16's loss against that of fp32, relative, of the same batch without dropout
_PRECISIONS = ("fp32", "bf16")
_WORTH = 1.05  # times as fast as fp32 that bf16 must be
_SECONDS = 1.5  # of all steps that are measured
_LEAST_ROUNDS = 2


def settle_precision(plan: TrainingPlan, job: TrainingJob) -> tuple[TrainingPlan, TrainingJob, str]:
    """Replace "auto" in a plan by the precision that trains faster here. A run that is resumed has none any more.

    Steps of the job are measured for a second or two, and remembered for the machine and the settings. In several
    processes the first one chooses for all.

    Args:
        plan: of the run.
        job: of `prepare_job`.

    Returns:
        The plan and the job with the precision, and a line for the user, or nothing.

    Raises:
        DatasetError: features cannot be read.
    """
    recipe = plan.recipe
    if not is_open(recipe):
        return plan, job, ""
    chosen = "", ""
    with job.ranks.together(DatasetError):
        if job.ranks.is_first:
            chosen = _choose(job)
    name, reason = job.ranks.send_to_all(chosen)
    recipe = replace(
        recipe,
        training=replace(recipe.training, precision=name) if recipe.training.precision == AUTO else recipe.training,
        stages=tuple(_settled(stage, name) for stage in recipe.stages),
    )
    return replace(plan, recipe=recipe), replace(job, recipe=recipe), reason


def is_open(recipe: Recipe) -> bool:
    """Return whether the precision of a recipe, or of one of its stages, is to be chosen."""
    return AUTO in (recipe.training.precision, *(_stage_precision(stage) for stage in recipe.stages))


def _stage_precision(stage: Stage) -> Any:
    return stage.tables.get("training", {}).get("precision")


def _settled(stage: Stage, name: str) -> Stage:
    if _stage_precision(stage) != AUTO:
        return stage
    return replace(stage, tables={**stage.tables, "training": {**stage.tables["training"], "precision": name}})


def _choose(job: TrainingJob) -> tuple[str, str]:
    """Return the precision, and a line for the user."""
    try:
        ComputePrecision("bf16").prepare(job.device)
    except SetupError as error:
        return "fp32", f"training in fp32: {error}"
    machine = this_machine(job.device, torch.get_num_threads())
    subject = f"training {_identify(job)}"
    measured = recall(machine, subject)
    measurement = measured or remember(machine, subject, *_measure(job))
    when = "measured before" if measured else "measured now, and remembered"
    speeds = {speed.precision: speed for speed in measurement.speeds if speed.error <= MAX_LOSS_ERROR}
    if len(speeds) < len(_PRECISIONS):
        return "fp32", f"training in fp32: {_describe_failure(measurement)} ({when})"
    gain = speeds["bf16"].rate / speeds["fp32"].rate
    name = "bf16" if gain >= _WORTH else "fp32"
    return name, f"training in {name}: a step in bf16 is {gain:.2f} times as fast as in fp32 ({when})"


def _describe_failure(measurement: Measurement) -> str:
    for speed in measurement.speeds:
        if speed.error > MAX_LOSS_ERROR:
            return f"the loss in {speed.precision} differs by {speed.error:.1%}"
    return next(iter(measurement.failed.values()), "bf16 was not measured")


def _identify(job: TrainingJob) -> str:
    """Return a hash of what the time of a step depends on."""
    training = job.recipe.training
    size, spec = _size(job), job.clips.features.spec
    settings = [
        job.config.to_dict(), job.recipe.objective.to_dict(), size, int(job.clips.lengths[:size].max()),
        spec.frames_per_segment, training.optimizer, training.clip_norm, training.recombine, job.ranks.count,
    ]  # fmt: skip
    return hashlib.sha256(json.dumps(settings, sort_keys=True, default=str).encode()).hexdigest()[:16]


def _size(job: TrainingJob) -> int:
    return min(job.recipe.training.batch_size, len(job.clips))


def _measure(job: TrainingJob) -> tuple[list[Speed], dict[str, str]]:
    """Measure steps in each precision in turn; return also why others cannot be taken."""
    size = _size(job)
    with contextlib.closing(iterate_batches(job.clips, np.arange(size), size)) as batches:
        batch = next(iter(batches)).to(job.device)
    losses: dict[str, float] = {}
    failed: dict[str, str] = {}
    steps: dict[str, _Steps] = {}
    with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
        for name in _PRECISIONS:
            try:
                steps[name] = _Steps(job, batch, name)
                losses[name] = steps[name].loss_without_dropout()
                for _ in range(2 if job.device.type == "cuda" else 1):  # warms up; on a GPU the second is recorded
                    steps[name].take()
            except (RuntimeError, MemoryError, TrainingError) as error:
                failed[name] = str(error).split("\n", 1)[0][:500] or type(error).__name__
                steps.pop(name, None)
        best = dict.fromkeys(steps, float("inf"))
        for _ in _rounds() if steps else ():
            for name, one in steps.items():
                best[name] = min(best[name], one.take())
    exact = losses.get("fp32", float("nan"))
    speeds = [Speed(TORCH, name, 1 / best[name], abs(losses[name] - exact) / max(abs(exact), 1e-30)) for name in steps]
    return speeds, failed


def _rounds() -> Iterator[int]:
    started, count = time.perf_counter(), 0
    while count < _LEAST_ROUNDS or time.perf_counter() - started < _SECONDS:
        yield count
        count += 1


class _Steps:
    """Steps of training in one precision as a run takes them, of a network of its own."""

    def __init__(self, job: TrainingJob, batch: Batch, precision: str) -> None:
        recipe = replace(job.recipe, training=replace(job.recipe.training, precision=precision), stages=())
        torch.manual_seed(recipe.training.seed)
        self._network = build_recipe_network(recipe, job.config, job.label_embeddings).to(job.device)
        self._optimizer = make_optimizer(recipe.training, self._network)
        self._scaler = GradScaler(job.device.type, enabled=False)
        self._loss, self._recorder = load_parts(recipe, job.config).loss, StepRecorder()
        self._recipe, self._batch, self._device = recipe, batch, job.device
        self._alone = job.ranks.count == 1

    def loss_without_dropout(self) -> float:
        """Return the total loss of the first step."""
        self._network.eval()
        return sum(self._step(training_step).values())

    def take(self) -> float:
        """Return the seconds of a step."""
        self._network.train()
        before = time.perf_counter()
        self._step(self._recorder.step if self._alone else training_step)
        if self._device.type == "cuda":
            torch.cuda.synchronize(self._device)
        return time.perf_counter() - before

    def _step(self, take: Callable[..., dict[str, float]]) -> dict[str, float]:
        return take(self._network, self._batch, self._recipe, self._optimizer, self._scaler, loss=self._loss)
