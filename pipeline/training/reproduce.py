"""Experiments of the LEAP paper: train the runs of a table, score them, print the paper's scores beside ours."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...models.parser import build_parser
from ...weights.source import ANYWHERE, WeightSource
from ..errors import SetupError
from ..evaluation.evaluate import Evaluation
from ..evaluation.evaluate_parser import ParserEvaluator
from ..evaluation.tables import SCORE_HEADER, Table, class_table, score_cells
from ..inference.bundle import load_parser
from ..inference.thresholds import Thresholds
from ..metrics import SCORE_NAMES
from .model_info import ModuleStats, count_parts
from .paper_tables import PAPER_TABLES, PaperRun, PaperTable
from .recipe import load_recipe
from .run_folder import CONFIG_FILE, STATE_FILE, lock_run, read_config
from .setup import PlanData, TrainingPlan, complete_bundle, prepare_job, start_run
from .train_parser import TrainingCallbacks, restore_run, train_epochs
from .training_state import load_training_state

_NOT_COMPARED = {"model.heads", "model.dropout"}  # settings that differ between encoders; users may set them
_NO_SCORE = "-"


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


def plan_table(experiment: Experiment, data: PlanData, flops_per_second: float) -> Table:
    """Make a table of the runs, their progress and the cost of the remaining epochs.

    Args:
        experiment: of `make_experiment`.
        data: of its plans.
        flops_per_second: of this machine, see `matmul_rate`.

    Returns:
        A table with a row for each run.

    Raises:
        SetupError: the state of a run cannot be read.
    """
    rows, remaining = [], 0.0
    for run, plan, root in experiment.plans:
        epochs = plan.recipe.training.epochs
        done = _epochs_done(root)
        cost = _training_flops(plan, data) * max(epochs - done, 0) / epochs
        remaining += cost
        rows.append((run.name, root.name, f"{done}/{epochs}", f"{cost / 1e12:,.1f}"))
    hours = remaining / flops_per_second / 3600
    note = (
        f"{remaining / 1e12:,.1f} TFLOP to go: {hours:.2g} h if training reached all of the"
        f" {flops_per_second / 1e9:,.0f} GFLOP/s that matrix products reach here; expect two to three times that."
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
    callbacks: Callable[[str, TrainingPlan], TrainingCallbacks],
    progress: Callable[[str], Callable[[int, int], None]],
) -> list[tuple[PaperRun, Evaluation]]:
    """Train the runs that are not finished, and score the best epoch of each on the test split.

    Args:
        experiment: of `make_experiment`, checked by `check_experiment`.
        data: of its plans.
        device: for training and scoring.
        source: of weight files.
        callbacks: called with the name and the plan of a run; returns the callbacks of its training.
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
                run_callbacks = callbacks(run.name, plan)
                train_epochs(restore_run(job, run_callbacks), run_callbacks)
        loaded = load_parser(str(root), source=source, device=str(device))
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


def _training_flops(plan: TrainingPlan, data: PlanData) -> float:
    """Return the FLOP of all epochs; the backward pass counts twice the forward pass."""
    clips = data.clips["train"]
    labels, dims, longest = data.annotations.labels, clips.features.spec.dims, int(clips.lengths.max())
    config = plan.recipe.parser_config(labels, dims, longest, None)
    embeddings = torch.zeros(len(labels), config.label_embedding_dim) if config.needs_label_embeddings else None
    parts: list[ModuleStats] = count_parts(build_parser(config, embeddings))
    multiply_adds = sum(part.multiply_adds for part in parts)
    return 3.0 * 2 * multiply_adds * len(clips) * plan.recipe.training.epochs
