"""What stands below tables of scores: by which thresholds clips were decided, and what chose the epoch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.evaluation.evaluate import Evaluation, Subset
from avvp.pipeline.metrics import LevelScores, Scores
from avvp.pipeline.reproduction.reproduce import make_experiment
from avvp.pipeline.reproduction.result_tables import result_tables
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.setup import TrainingPlan


@pytest.mark.parametrize(
    ("select", "words"),
    [
        ("segment.type_av", "best epoch by the segment-level Type@AV on the validation split"),
        ("event.audio", "best epoch on the validation split by event.audio (training.select)"),
        ("last", "the last epoch"),
    ],
)
def test_the_note_says_what_chose_the_epoch(select: str, words: str) -> None:
    recipe = load_recipe("leap-published")
    plan = TrainingPlan(annotations=Path("annotations"), features=Path("features"), recipe=recipe)
    experiment = make_experiment("table6", plan, "leap-published", Path("runs"), changes=(f"training.select={select}",))
    level = LevelScores(50.0, 50.0, 50.0, 50.0, 50.0)
    whole = Subset(3, Scores(level, level))
    evaluation = Evaluation("test", "parser", ("Dog",), whole, replace(whole), replace(whole), {})
    (table,) = result_tables(experiment, [(run, evaluation) for run, _, _ in experiment.plans])
    assert table.notes == (f"Test split, 3 clips, with the thresholds of each recipe; {words}.",)
