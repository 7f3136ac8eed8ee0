"""Experiments of the LEAP paper: train the runs of a table, score them, print the paper's scores beside ours."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch.amp.grad_scaler import GradScaler

from ...weights.source import ANYWHERE, WeightSource
from ..clock import format_clock
from ..datasets.loader import iterate_batches, shuffled
from ..errors import SetupError
from ..evaluation.evaluate import Evaluation
from ..evaluation.evaluate_parser import ParserEvaluator
from ..evaluation.tables import SCORE_HEADER, Table, class_table, score_cells
from ..inference.bundle import load_parser
from ..inference.thresholds import Thresholds
from ..metrics import SCORE_NAMES
from .model_info import count_parts
from .paper_tables import PAPER_TABLES, PaperRun, PaperTable
from .recipe import load_recipe
from .recipe_parts import build_recipe_parser, load_parts
from .run_folder import CONFIG_FILE, STATE_FILE, lock_run, read_config
from .setup import PlanData, TrainingPlan, complete_bundle, prepare_job, start_run
from .train_parser import (
    TrainingCallbacks,
    TrainingJob,
    make_optimizer,
    restore_run,
    train_epochs,
    training_step,
)
from .training_state import load_training_state

_NOT_COMPARED = {"model.heads", "model.dropout"}  # settings that differ between encoders; users may set them
_NO_SCORE = "-"
_LEAST_STEPS = 3  # that are measured, after one that warms up
_MOST_STEPS = 200
_MEASURED_SECONDS = 2.0


@dataclass(frozen=True)
class Experiment:
    """A table of the paper with a user's data: a plan and a folder for every run.

    A folder is named after the settings that its run changes, so that tables that share a run train it once.
    """

    name: str
    table: PaperTable
    plans: tuple[tuple[PaperRun, TrainingPlan, Path], ...]


def make_experiment(
    name: str,
    plan: TrainingPlan,
    recipe: str,
    root: Path,
    *,
    changes: tuple[str, ...] = (),
    encoders: Mapping[str, str] | None = None,
) -> Experiment:
    """Plan the runs of a table.

    Args:
        name: key of `PAPER_TABLES`.
        plan: the data, and the label embeddings of all runs that do not name others.
        recipe: name or file of the recipe that all runs start from.
        root: folder for the runs.
        changes: settings of the recipe to change in all runs, "table.key=value".
        encoders: "bert" and "clip" -> sources of label embeddings, see `load_label_embeddings`.

    Returns:
        The experiment; nothing is written.

    Raises:
        SetupError: the table or a setting is unknown, or a change sets what the table compares.
    """
    if name not in PAPER_TABLES:
        raise SetupError(f"unknown table {name!r}; known: {', '.join(PAPER_TABLES)}")
    compared = {change.partition("=")[0] for run in PAPER_TABLES[name].runs for change in run.changes}
    if clash := sorted((compared - _NOT_COMPARED) & {change.partition("=")[0].strip() for change in changes}):
        raise SetupError(f"{name} compares {', '.join(clash)}; it cannot be set for every run")
    plans = []
    for run in PAPER_TABLES[name].runs:
        embeddings = plan.label_embeddings if run.embeddings is None else (encoders or {})[run.embeddings]
        settings = [change.partition(".")[2] for change in (*run.changes, *changes)]
        folder = "+".join([Path(recipe).stem, *settings, *([run.embeddings] if run.embeddings else [])])
        run_plan = replace(plan, recipe=load_recipe(recipe, (*run.changes, *changes)), label_embeddings=embeddings)
        plans.append((run, run_plan, root / folder))
    return Experiment(name, PAPER_TABLES[name], tuple(plans))


def check_experiment(
    experiment: Experiment, data: PlanData, *, device: torch.device, source: WeightSource = ANYWHERE
) -> None:
    """Check everything that could fail in any of the runs, before the first is trained.

    Args:
        experiment: of `make_experiment`.
        data: of its plans.
        device: for training.
        source: of the published label embeddings.

    Raises:
        DatasetError: the val or test split is missing.
        SetupError: label embeddings cannot be loaded, or a folder holds a run of another plan.
    """
    for split in ("val", "test"):
        data.annotations.split(split)
    for _, plan, root in experiment.plans:
        prepare_job(plan, data, root, device=device, source=source)
        if (root / CONFIG_FILE).exists() and TrainingPlan.from_dict(read_config(root)) != plan:
            raise SetupError(f"{root}: holds a run of another plan; remove it or choose another --output")


class TimeEstimate:
    """Estimate of the time that the remaining epochs of a table take.

    It starts from steps that were measured, and follows the epochs that are trained. Runs that have not been measured
    are taken to compute as many FLOP per second as the one that was measured last.
    """

    def __init__(self, experiment: Experiment, data: PlanData) -> None:
        """Count the FLOP of an epoch of each run: training, and scoring of the validation clips.

        Args:
            experiment: of `make_experiment`.
            data: of its plans.

        Raises:
            SetupError: the state of a run cannot be read.
        """
        self.steps = self.epochs = 0  # that were measured, and that were trained since
        self._clip_flops = {root: _clip_flops(plan, data) for _, plan, root in experiment.plans}
        # The backward pass counts twice the forward pass, which is all that a validation clip takes.
        clips = len(data.clips["train"]) + len(data.clips.get("val", ())) / 3
        self._flops = {root: clips * flops for root, flops in self._clip_flops.items()}
        self._left = {
            root: max(plan.recipe.training.epochs - _epochs_done(root), 0) for _, plan, root in experiment.plans
        }
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
            parser = build_recipe_parser(job.recipe, job.config, job.label_embeddings).to(job.device).train()
            loss, optimizer = load_parts(job.recipe, job.config).loss, make_optimizer(config, parser)
            scaler = GradScaler(job.device.type, enabled=config.precision == "fp16")
            step, started, now = 0, 0.0, 0.0
            with contextlib.closing(iterate_batches(job.clips, order, size)) as batches:
                for step, batch in enumerate(batches):  # the first warms up
                    training_step(parser, batch.to(job.device), job.recipe, optimizer, scaler, loss=loss)
                    now = time.perf_counter()
                    started = started or now
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
    experiment: Experiment, data: PlanData, *, device: torch.device, source: WeightSource = ANYWHERE
) -> TimeEstimate:
    """Measure some steps of the first run that is not finished.

    Args:
        experiment: of `make_experiment`, checked by `check_experiment`.
        data: of its plans.
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
            estimate.measure(prepare_job(plan, data, root, device=device, source=source))
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
        rows.append((run.name, root.name, f"{_epochs_done(root)}/{plan.recipe.training.epochs}", cost))
    if estimate.seconds is None:
        note = "All runs are finished."
    else:
        note = (
            f"{estimate.flops / 1e12:,.1f} TFLOP to go, about {format_clock(estimate.seconds, hour_digits=1)} (hours,"
            f" minutes, seconds) at the pace of {estimate.steps} steps that were measured now."
        )
    header = ("run", "folder", "epochs", "TFLOP")
    return Table(f"{experiment.name}: {experiment.table.title}", header, tuple(rows), (note,))


def _epochs_done(root: Path) -> int:
    return load_training_state(root).epochs if (root / STATE_FILE).exists() else 0


def run_experiment(
    experiment: Experiment,
    data: PlanData,
    *,
    device: torch.device,
    source: WeightSource = ANYWHERE,
    callbacks: Callable[[str, TrainingPlan, Path], TrainingCallbacks],
    progress: Callable[[str], Callable[[int, int], None]],
) -> list[tuple[PaperRun, Evaluation]]:
    """Train the runs that are not finished, and score the best epoch of each on the test split.

    Args:
        experiment: of `make_experiment`, checked by `check_experiment`.
        data: of its plans.
        device: for training and scoring.
        source: of weight files.
        callbacks: called with name, plan and folder of a run; returns the callbacks of its training.
        progress: of scoring, see `ParserEvaluator`.

    Returns:
        Every run with its scores; all thresholds are 0.5.

    Raises:
        SetupError: a run cannot be started or resumed.
        TrainingError: training diverged.
        OutputError: a folder cannot be written.
    """
    results = []
    for run, plan, root in experiment.plans:
        job = prepare_job(plan, data, root, device=device, source=source)
        lock = lock_run(root) if (root / CONFIG_FILE).exists() else start_run(job, plan, source)
        with lock:
            complete_bundle(job, plan, source)
            if _epochs_done(root) < plan.recipe.training.epochs:
                run_callbacks = callbacks(run.name, plan, root)
                train_epochs(restore_run(job, run_callbacks), run_callbacks)
        trusted = replace(source, trust=(*source.trust, *plan.recipe.trust))  # the run is the user's recipe
        loaded = load_parser(str(root), source=trusted, device=str(device))
        evaluator = ParserEvaluator(loaded, plan.annotations, plan.features, progress=progress)
        results.append((run, evaluator.evaluate("test", Thresholds.uniform(data.annotations.labels))))
    return results


def result_tables(experiment: Experiment, results: list[tuple[PaperRun, Evaluation]]) -> list[Table]:
    """Make tables of our scores beside the paper's.

    Args:
        experiment: of `make_experiment`.
        results: of `run_experiment`.

    Returns:
        One table; for Fig. 3, one for each run.
    """
    if experiment.table.rows == "classes":
        return [_class_table(f"{experiment.name}: {run.name}", run, evaluation) for run, evaluation in results]
    header: tuple[str, ...] = ("run", *SCORE_HEADER)
    rows: list[tuple[str, ...]] = []
    for run, evaluation in results:
        if experiment.table.rows == "subsets":
            rows += _subset_rows(run, evaluation)
        else:
            rows.append((f"{run.name}: ours", *score_cells(evaluation.scores)))
            rows.append((f"{run.name}: paper", *_format(run.paper, len(SCORE_HEADER))))
    clips = results[0][1].whole.clips
    notes = [f"Test split, {clips} clips, every threshold at 0.5, best epoch by the validation split's Type@AV."]
    if experiment.table.rows == "subsets":
        header = (*header, "ev mean")
        notes.append("The paper prints event-level scores only; 'ev mean' is the mean of the five.")
    return [Table(f"{experiment.name}: {experiment.table.title}", header, tuple(rows), tuple(notes))]


def _subset_rows(run: PaperRun, evaluation: Evaluation) -> list[tuple[str, ...]]:
    """Return the rows of a run in Table 3: ours and the paper's of each subset, with the mean of the event level."""
    levels = len(SCORE_NAMES)
    rows: list[tuple[str, ...]] = []
    subsets = (
        ("overlapping", "overlapping", evaluation.overlapping),
        ("non-overlapping", "non_overlapping", evaluation.non_overlapping),
    )
    for title, key, subset in subsets:
        paper = _format(run.paper_parts[key], levels + 1)
        event_scores = [] if subset.scores is None else [getattr(subset.scores.event, name) for name in SCORE_NAMES]
        rows.append(
            (
                f"{run.name}, {title} ({subset.clips}): ours",
                *score_cells(subset.scores),
                *_format(_mean(event_scores), 1),
            )
        )
        rows.append((f"{run.name}, {title}: paper", *[_NO_SCORE] * levels, *paper[:levels], _NO_SCORE, paper[levels]))
    return rows


def _mean(scores: Iterable[float]) -> tuple[float, ...]:
    """Return the mean of the scores that are not NaN; nothing if there are none."""
    known = [score for score in scores if not math.isnan(score)]
    return (sum(known) / len(known),) if known else ()


def _class_table(title: str, run: PaperRun, evaluation: Evaluation) -> Table:
    """Return the class table with the paper's audio and visual scores, and a row of means over the classes."""
    table = class_table(evaluation)
    rows = [
        (*row, *_format(run.paper_parts.get(label, ()), 2))
        for label, row in zip(evaluation.classes, table.rows, strict=True)
    ]
    present = [scores.event for scores in evaluation.classes.values() if scores is not None]
    means = [_format(_mean(getattr(scores, name) for scores in present), 1)[0] for name in SCORE_NAMES]
    rows.append(("mean", *means, *_format(run.paper_parts["mean"], 2)))
    note = "The paper's mean is over the 25 classes of LLP, ours over the classes that occur."
    header = (*table.header, "A paper", "V paper")
    return Table(title, header, tuple(rows), (*table.notes, note))


def _format(scores: tuple[float, ...], columns: int) -> tuple[str, ...]:
    """Format scores with one decimal, and fill the row with dashes."""
    return (*(f"{score:.1f}" for score in scores), *[_NO_SCORE] * (columns - len(scores)))


def _clip_flops(plan: TrainingPlan, data: PlanData) -> float:
    """Return the FLOP of a training step for one clip; the backward pass counts twice the forward pass."""
    clips = data.clips["train"]
    labels, dims, longest = data.annotations.labels, clips.features.spec.dims, int(clips.lengths.max())
    config = plan.recipe.parser_config(labels, dims, longest, None)
    embeddings = torch.zeros(len(labels), config.label_embedding_dim) if config.needs_label_embeddings else None
    parts = count_parts(build_recipe_parser(plan.recipe, config, embeddings))
    return 3.0 * 2 * sum(part.multiply_adds for part in parts)
