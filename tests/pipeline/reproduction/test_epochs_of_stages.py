"""Tables count the epochs of the stages of a run, too."""

from __future__ import annotations

from pathlib import Path

from avvp.pipeline.reproduction.reproduce import count_epochs, epochs_left
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.setup import TrainingPlan, open_data, prepare_job, start_run
from avvp.pipeline.training.stages.run_stages import run_earlier_stages
from avvp.pipeline.training.train_parser import restore_run, train_epochs
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.training import CPU


def test_epochs_of_stages_count(tmp_path: Path) -> None:
    generate(tmp_path, Data({"train": 8, "val": 2, "test": 2}, labels=("Speech", "Dog", "Car"), dims=(3, 5, 4)))
    small = ["model.hidden_dim=8", "model.feedforward_dim=8", "training.epochs=3", "stage.noisy.training.epochs=2"]
    recipe = load_recipe("ma", small)
    plan = TrainingPlan(annotations=tmp_path / "annotations", features=tmp_path / "features", recipe=recipe)
    root = tmp_path / "run"
    assert (count_epochs(plan), epochs_left(plan, root)) == (5, 5)
    data = open_data(plan)
    job = prepare_job(plan, data, root, device=CPU)
    with start_run(job, plan):
        run_earlier_stages(job, plan, data)
    assert epochs_left(plan, root) == 3


def test_no_epochs_are_left_of_a_training_that_has_ended_early(tmp_path: Path) -> None:
    """The scores of the later epochs are not better: nothing is learned at this rate."""
    generate(tmp_path, Data({"train": 8, "val": 2, "test": 2}, labels=("Speech", "Dog", "Car"), dims=(3, 5, 4)))
    small = ["model.hidden_dim=8", "model.feedforward_dim=8", "training.epochs=9", "training.patience=1"]
    recipe = load_recipe("han", [*small, "training.select=each_modality", "training.learning_rate=1e-30"])
    plan = TrainingPlan(annotations=tmp_path / "annotations", features=tmp_path / "features", recipe=recipe)
    root = tmp_path / "run"
    job = prepare_job(plan, open_data(plan), root, device=CPU)
    with start_run(job, plan):
        state = train_epochs(restore_run(job))
    assert (state.epochs, epochs_left(plan, root)) == (2, 0)
