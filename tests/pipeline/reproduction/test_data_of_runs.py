"""Runs of a table share data only where their recipes read them alike."""

from __future__ import annotations

from pathlib import Path

from avvp.pipeline.reproduction.reproduce import make_experiment, open_experiment
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.setup import TrainingPlan, data_needs
from support.llp_like import FRAMES, generate
from support.llp_like import Recipe as Data


def test_networks_that_read_frames_get_them(tmp_path: Path) -> None:
    """CMPAE has the clips and labels of HAN, and reads each frame of a second."""
    dims = (3, 5, 4)
    generate(tmp_path, Data({"train": 4, "val": 2, "test": 2}, labels=("Speech", "Dog"), dims=dims))
    plan = TrainingPlan(annotations=tmp_path / "annotations", features=tmp_path / "features", recipe=load_recipe("han"))
    experiment = make_experiment("table4", plan, "han", tmp_path / "runs", systems=("HAN", "MA", "CMPAE"))
    data = open_experiment(experiment)
    clips = {run.name: data[root].clips["train"] for run, _, root in experiment.plans}
    assert clips["MA"] is clips["HAN"]
    rows = [clips[name].features.read(clips[name].ids[0]).shape for name in ("HAN", "CMPAE")]
    assert rows == [(10, 3 + 5 + 4), (10, 3 + FRAMES * 5 + 4)]


def test_needs_are_those_of_labels_and_features() -> None:
    soft = load_recipe("uwav")
    assert data_needs(load_recipe("han")) == data_needs(load_recipe("mmpyr"))
    assert data_needs(load_recipe("valor")) == data_needs(load_recipe("leap-published"))
    assert data_needs(load_recipe("valor")) != data_needs(soft)
    assert data_needs(soft) != data_needs(load_recipe("uwav", ["objective.soft_temperature=1"]))
    assert data_needs(load_recipe("ave")) != data_needs(load_recipe("ave-weak"))
