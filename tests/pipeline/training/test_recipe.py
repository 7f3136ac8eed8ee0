"""Recipes: what ships, what may be changed, how the learning rate goes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from avvp.extractors.profiles import FeatureSpec
from avvp.models.config import ParserConfig
from avvp.models.labels import LLP_LABELS
from avvp.models.losses import Objective
from avvp.models.parser import parser_shapes
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC
from avvp.pipeline.training.recipe import (
    DEFAULT_RECIPE,
    Recipe,
    list_recipes,
    load_recipe,
    make_recipe,
)
from avvp.pipeline.training.settings.training_config import TrainingConfig
from avvp.pipeline.training.tasks import network_config

# Encoder, decoder, epochs, batch size, learning rate, seed: as published.
SHIPPED = {
    "leap-published": ("mmpyr", "leap", 30, 32, 1e-4, 1),
    "leap-paper": ("mmpyr", "leap", 20, 32, 1e-4, 1),
    "han": ("han", "mmil", 40, 16, 3e-4, 1),
    "mmpyr": ("mmpyr", "mmil", 40, 16, 1e-4, 1),
    "valor": ("han", "mmil", 60, 64, 1e-4, 1000),
    "valor-plus": ("han", "mmil", 60, 64, 3e-4, 64),
    "valor-plus-plus": ("han", "mmil", 60, 64, 3e-4, 87),
    "uwav": ("han", "mmil", 80, 64, 1e-4, 20_000),
    "uwav-clip": ("han", "mmil", 80, 64, 1e-4, 20_000),
    "leap-uwav": ("mmpyr", "leap", 30, 32, 1e-4, 1),
    "mgn": ("mgn", "groups", 40, 16, 3e-4, 1),
    "ma": ("han", "mmil", 12, 16, 3e-4, 1),
    "dhhn": ("han", "mmil", 10, 64, 3e-4, 1),
    "dhhn-refined": ("han", "mmil", 5, 64, 3e-4, 1),
    "ma-fixed": ("han", "mmil", 12, 16, 3e-4, 1),
    "jomold-estimator": ("han", "mmil", 25, 128, 5e-4, 6),
    "jomold": ("han", "mmil", 25, 128, 5e-4, 6),
    "cmpae": ("han", "evidence", 20, 128, 5e-4, 0),
    "cvcms": ("han", "classwise", 40, 64, 7e-5, 0),
    "demo": ("mmpyr", "leap", 50, 32, 1e-3, 2),
}


def configure(recipe: Recipe, dims: tuple[int, ...], segments: int, width: int | None) -> ParserConfig:
    config = network_config(recipe, LLP_LABELS, replace(PUBLISHED_SPEC, dims=dims), segments, width)
    assert isinstance(config, ParserConfig)
    return config


def losses_of(recipe: Recipe) -> tuple[str, str]:
    assert isinstance(recipe.objective, Objective)
    return recipe.objective.union, recipe.objective.similarity


@pytest.mark.parametrize("name", SHIPPED)
def test_shipped_recipes(name: str) -> None:
    recipe = load_recipe(name)
    config = configure(recipe, (128, 2048, 512), 10, 300)
    training = recipe.training
    found = (
        config.encoder,
        config.decoder,
        training.epochs,
        training.batch_size,
        training.learning_rate,
        training.seed,
    )
    assert found == SHIPPED[name]
    assert recipe.description
    assert make_recipe(recipe.to_dict()) == recipe


def test_all_shipped_recipes_are_known_here() -> None:
    parsers = [name for name in list_recipes() if load_recipe(name).task == "avvp"]
    assert parsers == sorted(SHIPPED)
    assert DEFAULT_RECIPE in SHIPPED


def test_leap_paper_and_leap_published_differ_in_known_settings() -> None:
    paper, published = load_recipe("leap-paper"), load_recipe("leap-published")
    assert losses_of(paper) == ("soft", "eiou")
    assert losses_of(published) == ("published", "published")
    assert (paper.model["leap_variant"], published.model["leap_variant"]) == ("paper", "published")


def test_valor_s_configuration() -> None:
    recipe = load_recipe("valor")
    config = configure(recipe, (128, 2048, 512), 10, None)
    assert (config.han_order, config.heads, config.feedforward_dim, config.dropout) == ("sequential", 8, 1024, 0.1)
    training = recipe.training
    assert (training.optimizer, training.weight_decay, training.beta1, training.clip_norm) == ("adamw", 1e-3, 0.5, 1.0)


@pytest.mark.parametrize("name", ["valor-plus", "valor-plus-plus"])
def test_valor_plus_is_a_narrower_and_deeper_valor(name: str) -> None:
    recipe, valor = load_recipe(name), load_recipe("valor")
    config = configure(recipe, (512, 768, 512), 10, None)
    assert (config.hidden_dim, config.layers, config.heads, config.feedforward_dim) == (256, 4, 8, 1024)
    assert recipe.training.final_learning_rate == 3e-6
    rates = {"learning_rate": 1e-4, "final_learning_rate": 1e-6, "seed": 1000}
    assert replace(recipe.training, **rates) == valor.training
    assert recipe.objective == valor.objective


def test_features_without_clips_of_frames_fit_parsers_alone() -> None:
    spec = FeatureSpec("clip-clap", 1, ("clap", "clip"), (512, 768), 1, 48_000, ("audio", "visual_2d"))
    config = network_config(load_recipe("uwav-clip"), LLP_LABELS, spec, 10, None)
    assert isinstance(config, ParserConfig)
    assert config.stream_dims == {"audio": 512, "visual_2d": 768}
    shapes = parser_shapes(config)
    assert shapes["stem.visual.weight"] == (512, 768)
    assert shapes["stem.audio.0.weight"] == (1024, 512)
    assert load_recipe("uwav-clip").objective == load_recipe("uwav").objective


def test_steps_are_those_of_torch() -> None:
    schedule = TrainingConfig(learning_rate=1.0, step_epochs=10, step_factor=0.1)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    reference = torch.optim.lr_scheduler.StepLR(optimizer, 10, 0.1)
    for epoch in range(35):
        assert schedule.rate(epoch) == pytest.approx(optimizer.param_groups[0]["lr"])
        optimizer.step()
        reference.step()


def test_warm_up_and_cosine_by_hand() -> None:
    """VALOR counts epochs from 1: a tenth of the rate in the first, all of it in the tenth, 1e-6 in the last."""
    training = load_recipe("valor").training
    assert training.rate(0) == pytest.approx(1e-5)
    assert training.rate(9) == pytest.approx(1e-4)
    assert training.rate(34) == pytest.approx((1e-4 + 1e-6) / 2)  # half way from 10 to 60
    assert training.rate(59) == pytest.approx(1e-6)


def test_changes(tmp_path: Path) -> None:
    changes = ["training.epochs=5", "model.leap_blocks=4", "objective.union=soft", 'objective.similarity="eiou"']
    recipe = load_recipe("leap-published", [*changes, "training.learning_rate=1"])
    assert recipe.training.epochs == 5
    assert recipe.model["leap_blocks"] == 4
    assert losses_of(recipe) == ("soft", "eiou")
    assert recipe.training.learning_rate == 1.0
    own = tmp_path / "own.toml"
    own.write_text('[model]\nencoder = "han"\nheads = 2\n')
    assert load_recipe(str(own)).name == "own"
    assert load_recipe(str(own)).model == {"encoder": "han", "heads": 2}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.epochs=0", "at least 1"),
        ("training.epochs=two", "training.epochs is 'two', expected int"),
        ("training.epochs=2.5", "training.epochs is 2.5, expected int"),
        ("training.optimizer=sgd", "not one of adam, adamw"),
        ("training.learning_rate=0", "above 0"),
        ("training.learning_rate=nan", "not negative"),
        ("training.wings=2", "unknown setting training.wings; known: epochs"),
        ("model.labels=2", "unknown setting model.labels"),
        ("objective.union=x", "union is 'x'"),
        ("wings.x=2", "unknown table wings"),
        ("name.x=2", "unknown table name; known: model, objective, training"),
        ("model.leap_blocks=2.5", "model.leap_blocks is 2.5, expected int"),
        ("training.seed=99999999999999999999", "at most 4294967295"),
        ("training.epochs=5\nbatch_size=3", "is more than one change"),
        ("epochs=2", "not a change like training.epochs=5"),
        ("training.epochs", "not a change like training.epochs=5"),
    ],
)
def test_invalid_changes_are_refused(change: str, message: str) -> None:
    with pytest.raises(SetupError) as error:
        load_recipe("leap-published", [change])
    assert message in str(error.value)


@pytest.mark.parametrize(
    "value", ["inf", "-inf", "nan", "1e300", "-1.0", "1" + "0" * 400, "[" * 300 + "]" * 300, "{}", "true"]
)
@pytest.mark.parametrize(
    "name",
    [
        "training.learning_rate", "training.final_learning_rate", "training.weight_decay", "training.clip_norm",
        "training.step_factor", "training.beta1", "objective.audio_weight", "objective.similarity_offset",
        "training.epochs", "training.batch_size", "training.step_epochs", "training.warmup_epochs", "training.seed",
        "model.hidden_dim", "model.dropout", "training.optimizer", "objective.union", "model.encoder",
    ],
)  # fmt: skip
def test_absurd_values_are_refused_in_one_line(name: str, value: str) -> None:
    with pytest.raises(SetupError) as error:
        configure(load_recipe("leap-published", [f"{name}={value}"]), (1, 1, 1), 10, 300)
    assert len(str(error.value)) < 600
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    "change",
    [
        "model.hidden_dim=1000000", "model.feedforward_dim=1000000", "model.levels=17", "model.layers=1000000",
        "model.leap_blocks=1000000", "model.heads=1000000", "model.leap_heads=0", "model.hidden_dim=65536",
        "training.epochs=1000000", "training.batch_size=1000000", "training.warmup_epochs=1000000",
    ],
)  # fmt: skip
def test_absurd_sizes_are_refused_before_anything_is_allocated(change: str) -> None:
    with pytest.raises(SetupError, match=r"at most|more than|divide"):
        configure(load_recipe("leap-published", [change]), (1, 1, 1), 10, 300)


@pytest.mark.parametrize(("segments", "width"), [(10**7, 300), (10, 10**7), (0, 300), (10, 0)])
def test_sizes_of_the_data_are_bounded_too(segments: int, width: int) -> None:
    with pytest.raises(SetupError, match="at most"):
        configure(load_recipe("leap-published"), (1, 1, 1), segments, width)


def test_model_settings_are_checked_with_the_data() -> None:
    with pytest.raises(SetupError, match="recipe leap-published: heads 7 does not divide"):
        configure(load_recipe("leap-published", ["model.heads=7"]), (1, 1, 1), 10, 300)


def test_invalid_recipes_are_refused(tmp_path: Path) -> None:
    with pytest.raises(
        SetupError, match=r"neither a file nor one of ave, .*demo, demo-avel, .*dmrn-leap, han, .*leap-paper"
    ):
        load_recipe("nonsense")
    (tmp_path / "x.toml").write_text("[model")
    with pytest.raises(SetupError, match="not a readable recipe"):
        load_recipe(str(tmp_path / "x.toml"))


@pytest.mark.parametrize("text", ["model = 5", "name = 5", "training = [1]"])
def test_recipe_files_of_another_kind(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SetupError, match="expected"):
        load_recipe(str(tmp_path / "x.toml"))
    with pytest.raises(SetupError):
        load_recipe(str(tmp_path / "x.toml"), ["model.levels=2"])
    with pytest.raises(SetupError, match="neither a file nor"):
        load_recipe("x" * 5000)
