"""The experiments of the LEAP paper as grids of runs, with the paper's figures beside ours."""

from __future__ import annotations

from collections.abc import Callable, Mapping
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
from .model_info import ModuleStats, count_parts
from .recipe import load_recipe
from .run_folder import CONFIG_FILE, STATE_FILE, load_training_state, read_config
from .setup import PlanData, TrainingPlan, prepare_job, start_run
from .train_parser import TrainingCallbacks, train

# Ten scores, segment then event level (A V AV Type Event), or their mean alone, as the paper prints them.
_HAN_MMIL = (61.5, 65.5, 58.8, 61.9, 60.6, 55.2, 61.7, 52.3, 56.4, 53.5)
_HAN_LEAP = (62.7, 65.6, 59.3, 62.5, 61.8, 56.4, 63.1, 54.1, 57.8, 55.0, 59.8)
_MMPYR_MMIL = (61.0, 66.3, 59.3, 62.2, 60.6, 54.5, 63.0, 53.9, 57.1, 53.0)
_MMPYR_LEAP = (64.8, 67.7, 61.8, 64.8, 63.6, 59.2, 64.9, 56.5, 60.2, 57.4, 62.1)

_HAN = ("model.encoder=han", "model.heads=1", "model.dropout=0.1")
_NO_SIMILARITY = ("objective.similarity_weight=0.0",)
_MMIL = ("model.decoder=mmil", *_NO_SIMILARITY)  # the same pseudo labels; the similarity loss is LEAP's own
_MAY_BE_SET = {"model.heads", "model.dropout"}  # what comes with HAN, and is not what a table compares


@dataclass(frozen=True)
class PaperRun:
    """One run of a grid: changes to the recipe, and what the paper found."""

    name: str
    changes: tuple[str, ...] = ()
    paper: tuple[float, ...] = ()  # ten scores and their mean; ten scores; or the mean alone
    embeddings: str | None = None  # kind of label embeddings, where it is not the plan's own: "bert", "clip"


@dataclass(frozen=True)
class PaperTable:
    """One table or figure of the paper."""

    title: str
    cells: tuple[PaperRun, ...]
    shows: str = "whole"  # "whole", "subsets" (Table 3) or "classes" (Fig. 3)


_DECODERS = (
    PaperRun("HAN + MMIL", (*_HAN, *_MMIL), _HAN_MMIL),
    PaperRun("HAN + LEAP", _HAN, _HAN_LEAP),
    PaperRun("MM-Pyr + MMIL", _MMIL, _MMPYR_MMIL),
    PaperRun("MM-Pyr + LEAP", (), _MMPYR_LEAP),
)
_MMPYR_ONLY = (PaperRun("MM-Pyr + MMIL", _MMIL), PaperRun("MM-Pyr + LEAP"))
PAPER_TABLES = {
    "table1": PaperTable(
        "Number of LEAP blocks, and kind of label embeddings (without the similarity loss)",
        (
            PaperRun("1 block", (*_NO_SIMILARITY, "model.leap_blocks=1"), (61.0,)),
            PaperRun("2 blocks, GloVe", _NO_SIMILARITY, (61.3,)),
            PaperRun("4 blocks", (*_NO_SIMILARITY, "model.leap_blocks=4"), (61.4,)),
            PaperRun("2 blocks, BERT", _NO_SIMILARITY, (60.9,), "bert"),
            PaperRun("2 blocks, CLIP", _NO_SIMILARITY, (61.1,), "clip"),
        ),
    ),
    "table2": PaperTable("Decoders: MMIL and LEAP on two encoders", _DECODERS),
    "table3": PaperTable("Clips with and without overlapping events", _MMPYR_ONLY, "subsets"),
    "table6": PaperTable(
        "Weight of the similarity loss (lambda)",
        tuple(
            PaperRun(f"lambda {weight}", changes, (paper,))
            for weight, changes, paper in (
                (0.5, ("objective.similarity_weight=0.5",), 61.8),
                (1.0, (), 62.1),
                (2.0, ("objective.similarity_weight=2.0",), 61.5),
            )
        ),
    ),
    "table7": PaperTable(
        "Which LEAP block predicts (without the similarity loss)",
        tuple(
            PaperRun(f"{which} block", (*_NO_SIMILARITY, *changes), (paper,))
            for which, changes, paper in (
                ("first", ("model.leap_prediction=first",), 60.7),
                ("last", (), 61.3),
                ("average", ("model.leap_prediction=average",), 60.8),
            )
        ),
    ),
    "table8": PaperTable(
        "Learnable queries in place of label embeddings",
        (
            PaperRun("HAN, learned queries", (*_HAN, "model.label_queries=learned"), (59.4,)),
            PaperRun("HAN, label embeddings", _HAN, _HAN_LEAP),
            PaperRun("MM-Pyr, learned queries", ("model.label_queries=learned",), (61.8,)),
            PaperRun("MM-Pyr, label embeddings", (), _MMPYR_LEAP),
        ),
    ),
    "fig3": PaperTable("Each class alone, event level", _MMPYR_ONLY, "classes"),
}


@dataclass(frozen=True)
class Experiment:
    """A grid on a person's data: every cell with its plan and the folder of its run.

    Folders are named by what a run changes, so that tables that share a run train it once.
    """

    name: str
    grid: PaperTable
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
    """The runs of a table. plan: data and defaults; recipe and changes: what every cell starts from; encoders: the
    label embeddings that stand for "bert" and "clip". Raises SetupError for an unknown table or setting.
    """
    if name not in PAPER_TABLES:
        raise SetupError(f"unknown table {name!r}; known: {', '.join(PAPER_TABLES)}")
    compared = {change.partition("=")[0] for cell in PAPER_TABLES[name].cells for change in cell.changes}
    if clash := sorted((compared - _MAY_BE_SET) & {change.partition("=")[0].strip() for change in changes}):
        raise SetupError(f"{name} compares {', '.join(clash)}; it cannot be set for every run")
    plans = []
    for cell in PAPER_TABLES[name].cells:
        embeddings = plan.label_embeddings if cell.embeddings is None else (encoders or {})[cell.embeddings]
        parts = [*(change.partition(".")[2] for change in (*cell.changes, *changes))]
        folder = "+".join([Path(recipe).stem, *parts, *([cell.embeddings] if cell.embeddings else [])])
        own = replace(plan, recipe=load_recipe(recipe, (*cell.changes, *changes)), label_embeddings=embeddings)
        plans.append((cell, own, root / folder))
    return Experiment(name, PAPER_TABLES[name], tuple(plans))


def check_study(study: Experiment, data: PlanData, *, device: torch.device, source: WeightSource = ANYWHERE) -> None:
    """Whatever can be wrong with any of the runs, before the first is trained.

    Raises SetupError: no test split, label embeddings that cannot be had, a folder with a run of another plan.
    """
    for split in ("val", "test"):
        data.annotations.split(split)
    for _, plan, root in study.plans:
        prepare_job(plan, data, root, device=device, source=source)
        if (root / CONFIG_FILE).exists() and TrainingPlan.from_dict(read_config(root)) != plan:
            raise SetupError(f"{root}: holds a run of another plan; remove it or choose another --output")


def plan_table(study: Experiment, data: PlanData, flops_per_second: float) -> Table:
    """What will be trained, what is done already, and what the rest costs at a rate of this machine."""
    rows, left = [], 0.0
    for cell, plan, root in study.plans:
        schedule = plan.recipe.training
        done = load_training_state(root).epochs if (root / STATE_FILE).exists() else 0
        cost = _training_flops(plan, data) * max(schedule.epochs - done, 0) / schedule.epochs
        left += cost
        rows.append((cell.name, root.name, f"{done}/{schedule.epochs}", f"{cost / 1e12:,.1f}"))
    hours = left / flops_per_second / 3600
    note = (
        f"{left / 1e12:,.1f} TFLOP to go: {hours:.2g} h if training reached all of the {flops_per_second / 1e9:,.0f}"
        " GFLOP/s that matrix products reach here; count on two to three times that."
    )
    header = ("run", "folder", "epochs", "TFLOP")
    return Table(f"{study.name}: {study.grid.title}", header, tuple(rows), (note,))


def run_study(
    study: Experiment,
    data: PlanData,
    *,
    device: torch.device,
    source: WeightSource = ANYWHERE,
    hooks: Callable[[str, TrainingPlan], TrainingCallbacks],
    progress: Callable[[str], Callable[[int, int], None]],
) -> list[tuple[PaperRun, Evaluation]]:
    """Train what is not trained yet, going on where a run stopped, and score every best epoch on the test split."""
    results = []
    for cell, plan, root in study.plans:
        job = prepare_job(plan, data, root, device=device, source=source)
        if not (root / CONFIG_FILE).exists():
            start_run(job, plan, source)
        train(job, hooks(cell.name, plan))
        loaded = load_parser(str(root), source=source, device=str(device))
        judge = ParserEvaluator(loaded, plan.annotations, plan.features, progress=progress)
        uniform = Thresholds.uniform(data.annotations.labels)
        results.append((cell, judge.evaluate("test", uniform)))
    return results


def result_tables(study: Experiment, results: list[tuple[PaperRun, Evaluation]]) -> list[Table]:
    """Ours beside the paper's."""
    if study.grid.shows == "classes":
        return [replace(class_table(found), title=f"{study.name}: {cell.name}") for cell, found in results]
    rows: list[tuple[str, ...]] = []
    for cell, found in results:
        if study.grid.shows == "subsets":
            for name, subset in (("overlapping", found.overlapping), ("non-overlapping", found.non_overlapping)):
                rows.append((f"{cell.name}, {name} ({subset.clips})", *score_cells(subset.scores)))
        else:
            rows.append((f"{cell.name}: ours", *score_cells(found.scores)))
            rows.append((f"{cell.name}: paper", *_paper_cells(cell.paper)))
    clips = results[0][1].whole.clips
    note = f"Test split, {clips} clips, every threshold at 0.5, best epoch by the validation split's Type@AV."
    title = f"{study.name}: {study.grid.title}"
    return [Table(title, ("run", *SCORE_HEADER), tuple(rows), (note,))]


def _paper_cells(paper: tuple[float, ...]) -> tuple[str, ...]:
    """The ten scores and their mean; a row that the paper prints less of is filled up with dashes."""
    columns = len(SCORE_HEADER)
    if len(paper) == 1:
        return (*["-"] * (columns - 1), f"{paper[0]:.1f}")
    return (*(f"{value:.1f}" for value in paper), *["-"] * (columns - len(paper)))


def _training_flops(plan: TrainingPlan, data: PlanData) -> float:
    """Forward, and twice that backward, over all epochs."""
    clips = data.clips["train"]
    labels, dims, longest = data.annotations.labels, clips.features.spec.dims, int(clips.lengths.max())
    config = plan.recipe.parser_config(labels, dims, longest, None)
    embeddings = torch.zeros(len(labels), config.label_embedding_dim) if config.needs_label_embeddings else None
    parts: list[ModuleStats] = count_parts(build_parser(config, embeddings))
    multiply_adds = sum(part.multiply_adds for part in parts)
    return 3.0 * 2 * multiply_adds * len(clips) * plan.recipe.training.epochs
