"""Time that the runs of a table take, from steps that are measured."""

from __future__ import annotations

import contextlib
import time
from pathlib import Path

import numpy as np
import torch
from torch.amp.grad_scaler import GradScaler

from ...weights.source import ANYWHERE, WeightSource
from ..clock import format_clock
from ..datasets.loader import iterate_batches, shuffled
from ..evaluation.tables import Table
from ..training.model_info import count_parts
from ..training.recipe_parts import build_recipe_network, embedding_labels, load_parts
from ..training.setup import PlanData, TrainingPlan, prepare_job
from ..training.step import StepRecorder, make_optimizer
from ..training.tasks import network_config
from ..training.train_parser import TrainingJob
from .reproduce import Experiment, ExperimentData, count_epochs, epochs_left

_LEAST_STEPS = 3  # that are measured, after those that warm up
_MOST_STEPS = 200
_MEASURED_SECONDS = 2.0


class TimeEstimate:
    """Estimate of the time that the remaining epochs of a table take.

    It starts from steps that were measured, and follows the epochs that are trained. Runs that have not been measured
    are taken to compute as many FLOP per second as the one that was measured last.
    """

    def __init__(self, experiment: Experiment, data: ExperimentData) -> None:
        """Count the FLOP of an epoch of each run: training, and scoring of the validation clips.

        Args:
            experiment: of `make_experiment`.
            data: of `open_experiment`.

        Raises:
            SetupError: the state of a run cannot be read.
        """
        self.steps = self.epochs = 0  # that were measured, and that were trained since
        self._clip_flops = {root: _clip_flops(plan, data[root]) for _, plan, root in experiment.plans}
        # The backward pass counts twice the forward pass, which is all that a validation clip takes.
        splits = {root: (data[root].clips["train"], data[root].clips.get(experiment.select, ())) for root in data}
        self._flops = {
            root: (len(train) + len(chosen) / 3) * self._clip_flops[root] for root, (train, chosen) in splits.items()
        }
        self._left = {root: epochs_left(plan, root) for _, plan, root in experiment.plans}
        self._rate: float | None = None  # FLOP per second

    def measure(self, job: TrainingJob) -> None:
        """Take a few steps as a run does, with a parser of its own; nothing is written.

        Args:
            job: of a run of the table.

        Raises:
            TrainingError: memory is exhausted, or a loss of another package fails.
            DatasetError: features cannot be read.
        """
        config = job.recipe.training
        size = min(config.batch_size, len(job.clips))
        order = np.resize(shuffled(len(job.clips), config.seed, 0), size * _MOST_STEPS)
        with torch.random.fork_rng(devices=[job.device] if job.device.type == "cuda" else []):
            parser = build_recipe_network(job.recipe, job.config, job.label_embeddings).to(job.device).train()
            loss, optimizer = load_parts(job.recipe, job.config).loss, make_optimizer(config, parser)
            scaler, recorder = GradScaler(job.device.type, enabled=config.precision == "fp16"), StepRecorder()
            first = -1 if job.device.type == "cuda" else 0  # a GPU's second step is recorded, which takes long
            step, started, now = 0, 0.0, 0.0
            with contextlib.closing(iterate_batches(job.clips, order, size)) as batches:
                for step, batch in enumerate(batches, first):  # those up to 0 warm up
                    recorder.step(parser, batch.to(job.device), job.recipe, optimizer, scaler, loss=loss)
                    now = time.perf_counter()
                    started = started if step > 0 else now
                    if step >= _LEAST_STEPS and now - started >= _MEASURED_SECONDS:
                        break
        self.steps = step
        self._rate = step * size * self._clip_flops[job.root] / (now - started)

    def finish_epoch(self, root: Path, seconds: float) -> None:
        """Note an epoch of a run.

        Args:
            root: folder of the run.
            seconds: that the epoch took, with scoring and saving.
        """
        self._left[root] -= 1
        self.epochs += 1
        self._rate = self._flops[root] / max(seconds, 1e-6)

    def finish_run(self, root: Path) -> None:
        """Note that a run is finished, perhaps before its last epoch."""
        self._left[root] = 0

    @property
    def runs(self) -> int:
        """Number of runs that are not finished."""
        return sum(epochs > 0 for epochs in self._left.values())

    @property
    def flops(self) -> float:
        """FLOP of all remaining epochs."""
        return sum(self._flops[root] * epochs for root, epochs in self._left.items())

    @property
    def seconds(self) -> float | None:
        """Seconds of all remaining epochs; None before anything is measured."""
        return None if self._rate is None else self.flops / self._rate

    def remaining_of(self, root: Path) -> float:
        """Return the FLOP of the remaining epochs of a run."""
        return self._flops[root] * self._left[root]


def estimate_time(
    experiment: Experiment, data: ExperimentData, *, device: torch.device, source: WeightSource = ANYWHERE
) -> TimeEstimate:
    """Measure some steps of the first run that is not finished.

    Args:
        experiment: of `make_experiment`, checked by `check_experiment`.
        data: of `open_experiment`.
        device: for training.
        source: of the published label embeddings.

    Returns:
        The estimate for the table; without a measurement if all runs are finished.

    Raises:
        SetupError: the state of a run cannot be read.
        TrainingError: a step fails.
    """
    estimate = TimeEstimate(experiment, data)
    for _, plan, root in experiment.plans:
        if estimate.remaining_of(root):
            estimate.measure(prepare_job(plan, data[root], root, device=device, source=source))
            break
    return estimate


def plan_table(experiment: Experiment, estimate: TimeEstimate) -> Table:
    """Make a table of the runs, their progress and the cost of the remaining epochs.

    Args:
        experiment: of `make_experiment`.
        estimate: of `estimate_time`.

    Returns:
        A table with a row for each run.

    Raises:
        SetupError: the state of a run cannot be read.
    """
    rows = []
    for run, plan, root in experiment.plans:
        cost = f"{estimate.remaining_of(root) / 1e12:,.1f}"
        epochs = count_epochs(plan)
        rows.append((run.name, root.name, f"{epochs - epochs_left(plan, root)}/{epochs}", cost))
    if estimate.seconds is None:
        note = "All runs are finished."
    else:
        note = (
            f"{estimate.flops / 1e12:,.1f} TFLOP to go, about {format_clock(estimate.seconds, hour_digits=1)} (hours,"
            f" minutes, seconds) at the pace of {estimate.steps} steps that were measured now."
        )
    notes = [note]
    if left_out := [run.name for run in experiment.table.runs if not run.trained]:
        notes.append(f"Printed with the paper's figures only: {', '.join(left_out)}.")
    header = ("run", "folder", "epochs", "TFLOP")
    return Table(f"{experiment.name}: {experiment.table.title}", header, tuple(rows), tuple(notes))


def _clip_flops(plan: TrainingPlan, data: PlanData) -> float:
    """Return the FLOP of a training step for one clip; the backward pass counts twice the forward pass."""
    clips = data.clips["train"]
    labels, longest = data.annotations.labels, int(clips.lengths.max())
    config = network_config(plan.recipe, labels, clips.features.spec, longest, None)
    shape = len(embedding_labels(config)), config.label_embedding_dim
    embeddings = torch.zeros(shape) if config.needs_label_embeddings else None
    parts = count_parts(build_recipe_network(plan.recipe, config, embeddings))
    return 3.0 * 2 * sum(part.multiply_adds for part in parts)
