"""Stages in recipes: what they may hold, and how they change the recipe's tables."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.training.recipe import load_recipe, make_recipe, with_epochs
from avvp.pipeline.training.settings.stage import MAX_STAGES
from avvp.pipeline.training.settings.training_config import TrainingConfig
from avvp.weights.toml import parse_toml
from support.paths import ROOT

STAGED = ("ma", "ma-fixed", "jomold", "cmpae", "cvcms")
WEAK = {
    "targets": "weak", "video_targets": "weak",
    "audio_segment_weight": 0.0, "visual_segment_weight": 0.0, "similarity_weight": 0.0,
}  # fmt: skip
FIRST = {"kind": "train", "name": "first"}
LAST = {"kind": "train", "name": "last"}


def staged(*stages: Any, **training: Any) -> dict[str, Any]:
    return {"name": "own", "objective": WEAK, "training": training, "stage": list(stages)}


@pytest.mark.parametrize("name", STAGED)
def test_shipped_stages(name: str) -> None:
    recipe = load_recipe(name)
    assert [stage.kind for stage in recipe.stages][::2] == ["train", "train"]
    assert make_recipe(recipe.to_dict()) == recipe
    first = recipe.of_stage(recipe.stages[0])
    assert (first.stages, first.training.denoise) == ((), "none")
    assert recipe.training.denoise == ("batches" if name in {"jomold", "cmpae"} else "labels")
    assert first.name == f"{name}-{recipe.stages[0].name}"


@pytest.mark.parametrize("name", ["jomold", "cmpae"])
def test_noise_is_estimated_by_jomold_s_estimator(name: str) -> None:
    recipe, estimator = load_recipe(name), load_recipe("jomold-estimator")
    first = recipe.of_stage(recipe.stages[0])
    assert first.training == estimator.training
    assert first.objective == estimator.objective
    ours = {key: value for key, value in first.model.items() if key in estimator.model}
    assert ours == estimator.model


def test_ma_fixed_differs_in_the_labels_of_the_video() -> None:
    ma, fixed = load_recipe("ma"), load_recipe("ma-fixed")
    assert ma.objective == replace(fixed.objective, video_targets="audio")
    assert (ma.model, ma.training, ma.stages) == (fixed.model, fixed.training, fixed.stages)


def test_cvcms_labels_are_denoised_by_ma() -> None:
    recipe, ma = load_recipe("cvcms"), load_recipe("ma-fixed")
    first, theirs = (one.of_stage(one.stages[0]) for one in (recipe, ma))
    assert first.objective == theirs.objective
    assert first.training == theirs.training
    assert recipe.stages[1] == ma.stages[1]


@pytest.mark.parametrize(
    ("document", "message"),
    [
        (staged(FIRST), "the last of several stages"),
        (staged(FIRST, {**LAST, "training": {"epochs": 1}}), "without tables of its own"),
        (staged(FIRST, {"kind": "relabel", "name": "b"}), "the last of several stages"),
        (staged({"kind": "estimate", "name": "a"}, LAST), "the first stage must train"),
        (staged(FIRST, {**LAST, "name": "first"}), "two stages have the name first"),
        (staged({**FIRST, "name": "../x"}, LAST), "small letters, digits and hyphens"),
        (staged({**FIRST, "name": 3}, LAST), "small letters, digits and hyphens"),
        (staged({**FIRST, "kind": "guess"}, LAST), "not one of train, estimate, relabel"),
        (staged({**FIRST, "below": 1}, LAST), "unknown setting 'below'"),
        (staged({**FIRST, "model": 3}, LAST), "expected a table"),
        (staged({**FIRST, "training": {"epochs": 0}}, LAST), "own-first: epochs is 0"),
        (staged(FIRST, {"kind": "estimate", "name": "b", "batch_size": 0}, LAST), "from 1 to 65536"),
        (staged(FIRST, {"kind": "relabel", "name": "b", "below": "x"}, LAST), "expected a number above 0"),
        (staged(*[{**FIRST, "name": f"n{index}"} for index in range(MAX_STAGES)], LAST), "at most 8 tables"),
        (staged(3, LAST), "expected a table"),
        ({**staged(), "stage": "x"}, "at most 8 tables"),
        (staged(FIRST, LAST, denoise="labels"), 'needs a stage of kind "relabel"'),
        (staged(FIRST, LAST, denoise="batches"), 'needs a stage of kind "estimate"'),
        (staged({**FIRST, "training": {"denoise": "labels"}}, {"kind": "relabel", "name": "b"}, LAST, denoise="labels"),
         'own-first: training.denoise = "labels" needs a stage of kind "relabel" before it'),
        (staged(noise_ratios="llp"), 'noise_ratios is for denoise = "batches"'),
        (staged(select="best"), "not one of segment.audio"),
        (staged(denoise="all"), "not one of none, labels, batches"),
        (staged(denoise_warmup="slow"), "not one of published, ramp, none"),
    ],
)  # fmt: skip
def test_bad_stages_are_refused(document: dict[str, Any], message: str) -> None:
    with pytest.raises(SetupError, match=message):
        make_recipe(document)


def test_stages_that_nothing_reads_are_left_out() -> None:
    assert load_recipe("ma", ["training.denoise=none"]).stages == ()
    assert load_recipe("jomold", ["training.denoise=none"]).stages == ()


def test_stages_are_for_parsers() -> None:
    for changes in (["training.select=last"], ["training.denoise=labels"]):
        with pytest.raises(SetupError, match="are for task avvp"):
            load_recipe("psp", changes)


def test_settings_of_a_stage_can_be_changed() -> None:
    changes = [
        "stage.estimator.training.epochs=2", "stage.estimator.model.dropout=0.3", "stage.ratios.batch_size=8",
        "training.epochs=5",
    ]  # fmt: skip
    recipe = load_recipe("jomold", changes)
    first = recipe.of_stage(recipe.stages[0])
    assert (first.training.epochs, first.model["dropout"], recipe.training.epochs) == (2, 0.3, 5)
    assert recipe.stages[1].settings["batch_size"] == 8
    for change in ("stage.nobody.batch_size=8", "stage.ratios=8", "stage.ratios"):
        with pytest.raises(SetupError, match="not a change like"):
            load_recipe("jomold", [change])
    with pytest.raises(SetupError, match="none in this recipe"):
        load_recipe("han", ["stage.ratios.batch_size=8"])


def test_a_file_replaces_the_stages_that_would_find_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_recipe("jomold", ["training.noise_ratios=llp"]).stages == ()
    (tmp_path / "own.csv").write_text("")
    monkeypatch.chdir(tmp_path)
    recipe = load_recipe("ma", ["training.removed_labels=own.csv"])
    assert recipe.stages == ()
    assert recipe.training.removed_labels == str(tmp_path / "own.csv")


def test_stages_keep_their_epochs_when_a_run_is_prolonged() -> None:
    recipe = with_epochs(load_recipe("ma"), 20)
    assert recipe.training.epochs == 20
    assert recipe.of_stage(recipe.stages[0]).training.epochs == 12
    assert make_recipe(recipe.to_dict()) == recipe


def test_recipes_without_the_new_settings_are_written_as_before() -> None:
    assert {"select", "denoise", "patience", "noise_ratios"}.isdisjoint(TrainingConfig().to_dict())
    assert "stage" not in load_recipe("han").to_dict()


def test_the_documented_stages_are_a_recipe() -> None:
    page = (ROOT / "docs" / "denoising.md").read_text(encoding="utf-8")
    block = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert block is not None
    recipe = make_recipe({**load_recipe("ma").to_dict(), **parse_toml(block[1])})
    assert [stage.kind for stage in recipe.stages] == ["train", "relabel", "train"]
    assert all(f"`{name}`" in page for name in STAGED)
