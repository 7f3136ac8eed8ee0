"""Experiments of the LEAP paper: train the runs of a table and score them."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...weights.messages import shown
from ...weights.source import ANYWHERE, WeightSource
from ..errors import FeatureMismatchError, SetupError
from ..evaluation.evaluate import Evaluation
from ..evaluation.evaluate_parser import ParserEvaluator
from ..evaluation.localization import LocalizationEvaluation
from ..inference.bundle import load_parser
from ..training.measured_precision import is_open
from ..training.recipe import Recipe, load_recipe
from ..training.run_folder import CONFIG_FILE, STATE_FILE, lock_run, read_config
from ..training.setup import (
    VALIDATION,
    PlanData,
    TrainingPlan,
    complete_bundle,
    data_needs,
    open_data,
    prepare_job,
    start_run,
)
from ..training.stages.run_stages import StageCallbacks, StageRuns, run_earlier_stages, stage_folder
from ..training.train_parser import TrainingCallbacks, restore_run, train_epochs
from ..training.training_state import load_training_state
from .paper_tables import PAPER_TABLES, PaperRun, PaperTable
from .systems import PSEUDO, SYSTEMS

_TEST = "test"  # split that is scored
_SYSTEM = ("model.system", "model.supervision", "model.decoder")  # what the recipes of a table differ in
_NOT_COMPARED = {"model.heads", "model.dropout"}  # settings that differ between encoders; users may set them


ExperimentData = dict[Path, PlanData]  # folder of a run -> its data


@dataclass(frozen=True)
class Experiment:
    """A table of the paper with a user's data: a plan and a folder for every run.

    A folder is named after the settings that its run changes, so that tables that share a run train it once.
    """

    name: str
    table: PaperTable
    plans: tuple[tuple[PaperRun, TrainingPlan, Path], ...]

    @property
    def select(self) -> str:
        """The split that chooses the best epoch of each run."""
        return self.plans[0][1].select


def make_experiment(
    name: str,
    plan: TrainingPlan,
    recipe: str,
    root: Path,
    *,
    changes: tuple[str, ...] = (),
    encoders: Mapping[str, str] | None = None,
    supervision: str | None = None,
    systems: Collection[str] = (),
) -> Experiment:
    """Plan the runs of a table.

    Args:
        name: key of `PAPER_TABLES`.
        plan: the data, and the label embeddings of all runs that do not name others.
        recipe: name or file of the recipe that runs start from, unless the table names theirs.
        root: folder for the runs.
        changes: settings of the recipe to change in all runs, "table.key=value".
        encoders: "bert" and "clip" -> sources of label embeddings, see `load_label_embeddings`.
        supervision: "full" or "weak" for the runs with it; None for all runs.
        systems: names of the runs to train, of a table of systems; none for all that can be.

    Returns:
        The experiment; nothing is written.

    Raises:
        SetupError: the table, a system or a setting is unknown, a change sets what the table compares, or systems need
            pseudo labels and the plan has none.
    """
    if name not in PAPER_TABLES:
        raise SetupError(f"unknown table {name!r}; known: {', '.join(PAPER_TABLES)}")
    runs = [run for run in PAPER_TABLES[name].runs if run.trained]
    chosen = [run for run in runs if supervision is None or run.supervision == supervision]
    if PAPER_TABLES[name].rows == "systems":
        chosen = _choose_systems(chosen, systems, plan)
    compared = {change.partition("=")[0] for run in chosen for change in run.changes}
    compared.update(_SYSTEM if any(run.recipe for run in chosen) else ())
    if clash := sorted((compared - _NOT_COMPARED) & {change.partition("=")[0].strip() for change in changes}):
        raise SetupError(f"{name} compares {', '.join(clash)}; it cannot be set for every run")
    plans = []
    for run in chosen:
        start = run.recipe or recipe
        embeddings = plan.label_embeddings if run.embeddings is None else (encoders or {})[run.embeddings]
        settings = [change.partition(".")[2] for change in (*run.changes, *changes)]
        selection = [] if plan.select == VALIDATION else [f"select-{plan.select}"]
        folder = "+".join([Path(start).stem, *settings, *([run.embeddings] if run.embeddings else []), *selection])
        run_plan = replace(plan, recipe=load_recipe(start, (*run.changes, *changes)), label_embeddings=embeddings)
        if is_open(run_plan.recipe):
            raise SetupError(f"{name} compares runs of one precision: name it in training.precision, fp32 or bf16")
        plans.append((run, run_plan, root / folder))
    return Experiment(name, PAPER_TABLES[name], tuple(plans))


def _choose_systems(runs: list[PaperRun], systems: Collection[str], plan: TrainingPlan) -> list[PaperRun]:
    """Return the runs of these systems. Raises SetupError."""
    known = {run.name: run for run in runs}
    if unknown := [name for name in systems if name not in known]:
        raise SetupError(f"{shown(unknown[0])} is not a system that is trained here; known: {', '.join(known)}")
    chosen = [known[name] for name in known if not systems or name in systems]
    lacking = [run.name for run in chosen if PSEUDO in SYSTEMS[run.name].needs]
    if lacking and plan.pseudo_labels is None:
        others = [run.name for run in chosen if run.name not in lacking]
        hint = f"; or train the others: {_flags(others)}" if others else ""
        raise SetupError(f"{', '.join(lacking)} need pseudo labels: name them with --pseudo-labels{hint}")
    return chosen


def open_experiment(experiment: Experiment) -> ExperimentData:
    """Read the data of all runs, see `open_data`; those that train on the same clips and labels share it.

    Args:
        experiment: of `make_experiment`.

    Returns:
        Folder of each run -> its data.

    Raises:
        DatasetError: files are missing or invalid.
        FeatureMismatchError: the features are not those that networks of a recipe read.
    """
    opened: dict[tuple[object, ...], PlanData] = {}
    data: ExperimentData = {}
    for run, plan, root in experiment.plans:
        needs = data_needs(plan.recipe)
        if needs not in opened:
            try:
                opened[needs] = open_data(plan, tuple(dict.fromkeys((*plan.splits, _TEST))))
            except FeatureMismatchError as error:
                raise FeatureMismatchError(f"{error}{_without(experiment, run)}") from error
        data[root] = opened[needs]
    return data


def _without(experiment: Experiment, run: PaperRun) -> str:
    """Say how to leave a run out of a table of systems; nothing for other tables."""
    others = [other.name for other, _, _ in experiment.plans if other is not run]
    if experiment.table.rows != "systems" or not others:
        return ""
    return f"; or train the others: {_flags(others)}"


def _flags(systems: Collection[str]) -> str:
    return " ".join(f"--system {shown(name)}" for name in systems)


def check_experiment(
    experiment: Experiment, data: ExperimentData, *, device: torch.device, source: WeightSource = ANYWHERE
) -> None:
    """Check everything that could fail in any of the runs, before the first is trained.

    Args:
        experiment: of `make_experiment`.
        data: of `open_experiment`.
        device: for training.
        source: of the published label embeddings.

    Raises:
        DatasetError: the val or test split is missing.
        SetupError: label embeddings cannot be loaded, or a folder holds a run of another plan.
    """
    for _, plan, root in experiment.plans:
        for split in (plan.select, _TEST):
            data[root].annotations.split(split)
        job = prepare_job(plan, data[root], root, device=device, source=source)
        StageRuns(job, plan, data[root], source).check()
        if (root / CONFIG_FILE).exists() and TrainingPlan.from_dict(read_config(root)) != plan:
            raise SetupError(f"{root}: holds a run of another plan; remove it or choose another --output")


def count_epochs(plan: TrainingPlan) -> int:
    """Return how many epochs a run and its stages have."""
    stages = [plan.recipe.of_stage(stage) for stage in plan.recipe.stages[:-1] if stage.kind == "train"]
    return sum(recipe.training.epochs for recipe in (*stages, plan.recipe))


def epochs_left(plan: TrainingPlan, root: Path) -> int:
    """Return how many epochs of a run and its stages are left, at most. Raises SetupError if a state cannot be read."""
    stages = enumerate(plan.recipe.stages[:-1])
    folders = [(stage_folder(root, index, stage), stage) for index, stage in stages if stage.kind == "train"]
    of_stages = (_epochs_left(plan.recipe.of_stage(stage), folder) for folder, stage in folders)
    return _epochs_left(plan.recipe, root) + sum(of_stages)


def _epochs_left(recipe: Recipe, root: Path) -> int:
    """Return the epochs that are left of one training; none where it has ended early."""
    if not (root / STATE_FILE).exists():
        return recipe.training.epochs
    state = load_training_state(root)
    return 0 if state.is_finished(recipe.training) else recipe.training.epochs - state.epochs


def _stage_callbacks(
    name: str,
    plan: TrainingPlan,
    root: Path,
    callbacks: Callable[[str, TrainingPlan, Path], TrainingCallbacks],
    progress: Callable[[str], Callable[[int, int], None]],
) -> StageCallbacks:
    """Return the callbacks of the stages of a run, whose epochs count as those of the run."""
    return StageCallbacks(
        training=lambda title, recipe: callbacks(f"{name}, {title}", replace(plan, recipe=recipe), root),
        progress=lambda title: progress(f"{name}, {title}"),
    )


def run_experiment(
    experiment: Experiment,
    data: ExperimentData,
    *,
    device: torch.device,
    source: WeightSource = ANYWHERE,
    callbacks: Callable[[str, TrainingPlan, Path], TrainingCallbacks],
    progress: Callable[[str], Callable[[int, int], None]],
) -> list[tuple[PaperRun, Evaluation | LocalizationEvaluation]]:
    """Train the runs that are not finished, and score the best epoch of each on the test split.

    Args:
        experiment: of `make_experiment`, checked by `check_experiment`.
        data: of `open_experiment`.
        device: for training and scoring.
        source: of weight files.
        callbacks: called with name, plan and folder of a run; returns the callbacks of its training.
        progress: of scoring, see `ParserEvaluator`.

    Returns:
        Every run with its scores, by the thresholds of its parser's configuration, or those that it tunes on the
        validation split.

    Raises:
        SetupError: a run cannot be started or resumed.
        TrainingError: training diverged.
        OutputError: a folder cannot be written.
    """
    results: list[tuple[PaperRun, Evaluation | LocalizationEvaluation]] = []
    for run, plan, root in experiment.plans:
        job = prepare_job(plan, data[root], root, device=device, source=source)
        lock = lock_run(root) if (root / CONFIG_FILE).exists() else start_run(job, plan, source)
        with lock:
            complete_bundle(job, plan, source)
            if _epochs_left(plan.recipe, root):
                reports = _stage_callbacks(run.name, plan, root, callbacks, progress)
                job = run_earlier_stages(job, plan, data[root], source=source, callbacks=reports)
                run_callbacks = callbacks(run.name, plan, root)
                train_epochs(restore_run(job, run_callbacks), run_callbacks)
        trusted = replace(source, trust=(*source.trust, *plan.recipe.trust))  # the run is the user's recipe
        loaded = load_parser(str(root), source=trusted, device=str(device))
        evaluator = ParserEvaluator(loaded, plan.annotations, plan.features, progress=progress)
        thresholds = loaded.thresholds if run.tuning is None else evaluator.tune(run.tuning)
        results.append((run, evaluator.evaluate(_TEST, thresholds)))
    return results
