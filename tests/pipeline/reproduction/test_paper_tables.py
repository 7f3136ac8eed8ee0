"""The paper's scores: copied right, and consistent with each other."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.evaluation.evaluate import Evaluation, Subset
from avvp.pipeline.metrics import LevelScores, Scores
from avvp.pipeline.reproduction import time_estimate
from avvp.pipeline.reproduction.paper_tables import PAPER_TABLES, PaperRun
from avvp.pipeline.reproduction.reproduce import Experiment
from avvp.pipeline.reproduction.result_tables import result_tables
from avvp.pipeline.reproduction.time_estimate import TimeEstimate
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.setup import TrainingPlan, open_data
from support.paths import SHARED
from support.run_folders import write_data
from support.training import make_job

RUNS = [run for table in PAPER_TABLES.values() for run in table.runs]
PAPER = SHARED / "PAPER.md"
NOT_MEANS = {("MA", 0), ("MM-Pyr", 1), ("DHHN", 1)}  # as printed by their own papers; see the caveats of the systems


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_data(tmp_path_factory.mktemp("data"))


@pytest.mark.parametrize("run", [run for run in RUNS if len(run.paper) >= 10], ids=lambda run: run.name)
def test_type_and_mean_follow_from_the_other_scores(run: PaperRun) -> None:
    """Type@AV is the mean of A, V and AV; the last column is the mean of the ten; to the rounding of a decimal."""
    for number, level in enumerate((run.paper[:5], run.paper[5:10])):
        if (run.name, number) not in NOT_MEANS:
            assert level[3] == pytest.approx(sum(level[:3]) / 3, abs=0.1001)
    if len(run.paper) == 11:
        assert run.paper[10] == pytest.approx(sum(run.paper[:10]) / 10, abs=0.0501)


def test_means_of_subsets_and_classes() -> None:
    for run in PAPER_TABLES["table3"].runs:
        assert list(run.paper_parts) == ["overlapping", "non_overlapping"]
        for scores in run.paper_parts.values():
            assert scores[5] == pytest.approx(sum(scores[:5]) / 5, abs=0.0501)
    for run in PAPER_TABLES["fig3"].runs:
        assert tuple(run.paper_parts) == (*LLP_LABELS, "mean")
        for modality in (0, 1):
            mean = sum(run.paper_parts[label][modality] for label in LLP_LABELS) / len(LLP_LABELS)
            assert run.paper_parts["mean"][modality] == pytest.approx(mean, abs=0.0501)


@pytest.mark.skipif(not PAPER.is_file(), reason=f"no copy of the paper's tables at {PAPER}")
def test_scores_are_those_of_the_paper() -> None:
    """Each of our rows is a row, or the first or last columns of one, in the tables as printed."""
    printed = [re.findall(r"(?<![\w.])\d+\.\d(?![\w.])", line) for line in PAPER.read_text().splitlines()]
    rows = [tuple(map(float, row)) for row in printed]
    for run in RUNS:
        assert len(run.paper) < 10 or any(run.paper == row[-len(run.paper) :] for row in rows), run.name
    for run in PAPER_TABLES["table3"].runs:
        subsets = run.paper_parts
        assert (*subsets["non_overlapping"], *subsets["overlapping"]) in rows
    localizers = PAPER_TABLES["table5"].runs
    for supervision in ("full", "weak"):
        for decoder in ("DCH", "LEAP"):
            names = [f"{system} + {decoder}, {supervision}" for system in ("AVE", "PSP", "CMBS")]
            assert sum((run.paper for run in localizers if run.name in names), ()) in rows
    mmil, leap = (run.paper_parts for run in PAPER_TABLES["fig3"].runs)
    for label in mmil:
        assert (mmil[label][0], leap[label][0], mmil[label][1], leap[label][1]) in rows


def make_evaluation(labels: tuple[str, ...]) -> Evaluation:
    """Every score is 50; the first class has NaN where it cannot be scored, the last does not occur."""
    level = LevelScores(50.0, 50.0, 50.0, 50.0, 50.0)
    audio_only = LevelScores(40.0, math.nan, math.nan, 40.0, 40.0)
    classes: dict[str, Scores | None] = dict.fromkeys(labels, Scores(level, level))
    classes |= {labels[0]: Scores(audio_only, audio_only), labels[-1]: None}
    three_clips, no_clips = Subset(3, Scores(level, level)), Subset(0, None)
    return Evaluation("test", "x", labels, three_clips, three_clips, no_clips, classes)


def test_table3_prints_the_paper_s_subsets_beside_ours() -> None:
    table = PAPER_TABLES["table3"]
    evaluation = make_evaluation(("a", "b"))
    (result,) = result_tables(Experiment("table3", table, ()), [(run, evaluation) for run in table.runs])
    assert result.header[-2:] == ("mean", "ev mean")
    rows = {row[0]: row[1:] for row in result.rows}
    assert len(rows) == 16
    assert rows["MM-Pyr + LEAP, overlapping (3): ours"] == ("50.0",) * 12
    assert rows["MM-Pyr + LEAP, non-overlapping (0): ours"] == ("-",) * 12
    assert rows["MM-Pyr + LEAP, overlapping: paper"] == (
        *["-"] * 5,
        "52.4",
        "46.2",
        "50.7",
        "49.7",
        "50.0",
        "-",
        "49.8",
    )
    assert rows["HAN + MMIL, non-overlapping: paper"][5:10] == ("66.7", "69.6", "57.1", "64.5", "56.6")


def test_fig3_prints_the_paper_s_classes_beside_ours() -> None:
    table = PAPER_TABLES["fig3"]
    evaluation = make_evaluation(("Dog", "Speech", "Whale", "Cat"))
    mmil, leap = result_tables(Experiment("fig3", table, ()), [(run, evaluation) for run in table.runs])
    assert (mmil.title, leap.title) == ("fig3: MM-Pyr + MMIL", "fig3: MM-Pyr + LEAP")
    assert leap.header == ("class", "A", "V", "AV", "Type", "Event", "A paper", "V paper")
    assert leap.rows == (
        ("Dog", "40.0", "-", "-", "40.0", "40.0", "47.5", "71.1"),
        ("Speech", *["50.0"] * 5, "41.7", "0.0"),
        ("Whale", *["50.0"] * 5, "-", "-"),
        ("Cat", *["-"] * 5, "21.1", "48.8"),
        ("mean", "46.7", "50.0", "50.0", "46.7", "46.7", "55.5", "56.9"),
    )
    assert mmil.rows[0][-2:] == ("40.7", "70.8")


def test_time_of_a_table_follows_what_is_measured(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A clip of the second run costs twice as much; 20 training clips, and 6 for validation, which take a third."""
    monkeypatch.setattr(time_estimate, "_clip_flops", lambda plan, _: 300.0 if plan.recipe.name == "one" else 600.0)
    plan = TrainingPlan(annotations=data / "annotations", features=data / "features", recipe=load_recipe("han"))
    changed = [replace(plan, recipe=replace(plan.recipe, name=name)) for name in ("one", "two")]
    roots = [tmp_path / "one", tmp_path / "two"]
    table = PAPER_TABLES["table2"]
    plans = tuple(zip(table.runs[:2], changed, roots, strict=True))
    estimate = TimeEstimate(Experiment("table2", table, plans), dict.fromkeys(roots, open_data(plan)))
    epochs = plan.recipe.training.epochs
    assert estimate.flops == pytest.approx(22 * 300 * epochs + 22 * 600 * epochs)
    assert (estimate.seconds, estimate.runs) == (None, 2)
    estimate.finish_epoch(roots[0], 2.0)  # 3,300 FLOP per second
    assert estimate.seconds == pytest.approx(2.0 * (epochs - 1) + 4.0 * epochs)
    estimate.finish_epoch(roots[1], 8.0)  # half as fast as expected
    assert estimate.seconds == pytest.approx(4.0 * (epochs - 1) + 8.0 * (epochs - 1))


def test_measuring_steps_changes_nothing(tmp_path: Path, data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_estimate, "_MEASURED_SECONDS", 0.0)
    job = make_job(data, tmp_path / "run", "training.batch_size=8")
    plan = TrainingPlan(annotations=data / "annotations", features=data / "features", recipe=job.recipe)
    table = PAPER_TABLES["table2"]
    experiment = Experiment("table2", table, ((table.runs[0], plan, job.root),))
    estimate = TimeEstimate(experiment, {job.root: open_data(plan)})
    state = torch.random.get_rng_state()
    estimate.measure(job)
    assert estimate.steps == 3
    assert estimate.seconds is not None
    assert estimate.seconds > 0
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not list(job.root.iterdir())
