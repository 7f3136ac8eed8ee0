"""Recipes of localizers: what ships, and the first six steps of the published programs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from avvp.extractors.profiles import FeatureSpec
from avvp.models import load_published
from avvp.models.labels import AVE_LABELS
from avvp.models.localizers.localizer import EventLocalizer, build_localizer
from avvp.models.localizers.losses import LocalizationObjective, LocalizationTargets
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.errors import SetupError
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC
from avvp.pipeline.training.fingerprints import hash_recipe
from avvp.pipeline.training.model_info import count_parts, recipe_network
from avvp.pipeline.training.recipe import list_recipes, load_recipe, make_recipe
from avvp.pipeline.training.recipe_parts import load_parts
from avvp.pipeline.training.settings.training_config import TrainingConfig
from avvp.pipeline.training.setup import default_extractors
from avvp.pipeline.training.train_parser import make_optimizer, training_step
from avvp.weights import load_bundle
from avvp.weights.manifest import DEFAULT_BUNDLE
from support.golden import SEED, fill, load_json, load_npz, needs_golden
from torch.amp.grad_scaler import GradScaler

# System, supervision, epochs, batch size, learning rate, milestones, factor, clipping, seed: as published.
SHIPPED = {
    "ave": ("ave", "full", 300, 64, 1e-3, (288,), 0.1, 0.0, 3344),
    "ave-weak": ("ave", "weak", 250, 64, 1e-3, (277,), 0.1, 0.0, 3344),
    "dmrn": ("dmrn", "full", 300, 64, 1e-3, (288,), 0.1, 0.0, 3344),
    "psp": ("psp", "full", 300, 128, 1e-3, (60, 120), 0.8, 0.0, 123),
    "psp-weak": ("psp", "weak", 300, 128, 1e-3, (80, 160), 0.8, 0.0, 123),
    "cmbs": ("cmbs", "full", 200, 64, 7e-4, (10, 20, 30), 0.5, 0.5, 43),
    "cmbs-weak": ("cmbs", "weak", 200, 64, 6e-4, (10, 20, 40), 0.5, 0.5, 666),
}
NAMES = [name + form for name in SHIPPED for form in ("", "-leap")]
# Parameters that the published files hold, those included that no forward pass reads.
PUBLISHED_PARAMETERS = {
    "ave": 1_335_246, "ave-weak": 1_335_246, "dmrn": 1_571_150, "psp": 1_667_251, "psp-weak": 1_254_251,
    "cmbs": 13_544_537, "cmbs-weak": 14_789_439,
}  # fmt: skip


def test_all_shipped_recipes_are_known_here() -> None:
    names = [name for name in list_recipes() if load_recipe(name).task == "avel"]
    assert names == sorted([*NAMES, "demo-avel", "demo-avel-leap"])


@pytest.mark.parametrize("name", NAMES)
def test_shipped_recipes(name: str) -> None:
    recipe = load_recipe(name)
    training, model = recipe.training, recipe.model
    found = (
        model["system"], model["supervision"], training.epochs, training.batch_size, training.learning_rate,
        training.step_at, training.step_factor, training.clip_norm, training.seed,
    )  # fmt: skip
    assert found == SHIPPED[name.removesuffix("-leap")]
    assert model["decoder"] == ("leap" if name.endswith("-leap") else "dch")
    assert training.noisy_clips == (model["supervision"] == "weak")
    assert recipe.description
    assert make_recipe(recipe.to_dict()) == recipe
    network = recipe_network(name)
    assert isinstance(network, EventLocalizer)
    assert recipe.objective == LocalizationObjective.published(network.config)


@pytest.mark.parametrize("name", SHIPPED)
def test_parameters_are_those_of_the_published_files(name: str) -> None:
    parts = count_parts(recipe_network(name))
    assert [part.name for part in parts] == ["encoder", "decoder", "readout"]
    assert sum(part.parameters + part.unused_when_published for part in parts) == PUBLISHED_PARAMETERS[name]


def test_multiply_adds_of_the_lstms_are_counted() -> None:
    """Of AVE's attention network, a second: by hand, from the shapes of its layers."""
    encoder, decoder, _ = count_parts(recipe_network("ave"))
    attention = 49 * (512 * 512 + 512 * 49 + 49) + 128 * 512 + 512 * 49 + 49 * 512
    lstms = 2 * 4 * 128 * (128 + 128) + 2 * 4 * 128 * (512 + 128)
    assert encoder.multiply_adds == 10 * (attention + lstms)
    assert decoder.multiply_adds == 10 * (512 * 64 + 64 * 29)


def test_milestones_are_those_of_multistep() -> None:
    config = TrainingConfig(schedule="milestones", step_at=(2, 5), step_factor=0.5, learning_rate=1.0, epochs=8)
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=1.0)
    schedule = torch.optim.lr_scheduler.MultiStepLR(optimizer, [2, 5], gamma=0.5)
    for epoch in range(8):
        assert config.rate(epoch) == optimizer.param_groups[0]["lr"], epoch
        optimizer.step()
        schedule.step()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("training.step_at=[20, 10]", "ascending order"),
        ("training.step_at=[0]", "from 1 to"),
        ("training.step_at=[]", "needs step_at"),
        ("training.step_at=10", "expected a list of whole numbers"),
        ("training.step_at=[1.5]", "expected a list of whole numbers"),
        ("training.schedule=step", 'step_at is for schedule = "milestones"'),
        ("model.system=han", "system is 'han', not one of"),
        ("model.threshold=nan", "threshold is nan"),
        ("objective.bce_weight=1.0", "bce_weight is not for system 'psp' with full supervision"),
        ("model.encoder=han", "unknown setting model.encoder"),
        ("model.audio_dim=128", "unknown setting model.audio_dim"),
        ("objective.similarity=eiou", "unknown setting objective.similarity"),
        ("objective.cross_entropy_weight=0", "every weight is 0"),
    ],
)
def test_invalid_changes_are_refused(change: str, message: str) -> None:
    changes = [change, *(["objective.avps_weight=0"] if "cross_entropy" in change else [])]
    with pytest.raises(SetupError, match="recipe psp: ") as error:
        load_recipe("psp", changes)
    assert message in str(error.value)


def test_features_of_ave_are_of_the_extractors_of_ave() -> None:
    spec = FeatureSpec("ave", 1, ("vggish", "vgg19"), (128, 25088), 16, streams=("audio", "visual_map"))
    published = load_bundle(default_extractors(spec))
    assert set(spec.extractors) <= set(published.extractors)
    assert published.profile == "ave"
    assert default_extractors(PUBLISHED_SPEC) == DEFAULT_BUNDLE


def test_a_recipe_without_a_system_or_with_an_unknown_task() -> None:
    with pytest.raises(SetupError, match=r"model\.system is missing"):
        make_recipe({"name": "own", "task": "avel", "objective": {"bce_weight": 1.0}})
    with pytest.raises(SetupError, match="task is 'ave', not one of avvp, avel"):
        make_recipe({"name": "own", "task": "ave"})
    with pytest.raises(SetupError, match=r"training\.noisy_clips is for task avel"):
        load_recipe("han", ["training.noisy_clips=true"])


def test_settings_that_were_added_leave_fingerprints_of_older_runs_as_they_were() -> None:
    settings = load_recipe("han").to_dict()
    assert "task" not in settings
    assert not {"step_at", "noisy_clips"} & set(settings["training"])
    longer = load_recipe("psp", ["training.epochs=400"])
    assert hash_recipe(load_recipe("psp")) == hash_recipe(longer)  # a run may be made longer
    assert hash_recipe(load_recipe("psp", ["training.step_at=[61, 120]"])) != hash_recipe(longer)


def golden_batch() -> Batch:
    """The four clips of README-avel.md."""
    rng = np.random.default_rng(SEED + 1)
    audio = (np.maximum(rng.standard_normal((4, 10, 128)), 0) * 0.4).astype("f4")
    visual = np.maximum(rng.standard_normal((4, 10, 7, 7, 512)), 0).astype("f4")
    segments = np.full((4, 10), 28)
    for clip, (label, start, end) in enumerate(((3, 2, 7), (0, 0, 10), (27, 9, 10))):
        segments[clip, start:end] = label
    one_hot = np.eye(29, dtype="f4")
    targets = LocalizationTargets(
        torch.from_numpy(segments),
        torch.from_numpy(one_hot[[3, 0, 27, 28]]),
        torch.from_numpy(one_hot[segments].mean(1)),
    )
    maps = torch.from_numpy(visual.reshape(4, 10, -1))
    return Batch(torch.from_numpy(audio), None, None, None, targets, ("a", "b", "c", "d"), maps)


def golden_localizer(name: str) -> tuple[EventLocalizer, str, str]:
    """A recipe's localizer with filled parameters and no dropout, and where its golden values are."""
    system, supervision = SHIPPED[name][:2]
    file, variant = ("ave", "dmrn") if system == "dmrn" else (system, supervision)
    shapes = load_json(f"{file}_official.json")["state_dict"][variant]
    state = fill({key: tuple(shape) for key, shape in shapes.items()})
    loaded = load_published(state, family=system, supervision=supervision, labels=AVE_LABELS)
    assert isinstance(loaded, EventLocalizer)
    rates = {entry: 0.0 for entry in vars(loaded.config) if entry.endswith("dropout")}
    localizer = build_localizer(replace(loaded.config, **rates))
    localizer.load_state_dict(loaded.state_dict())
    return localizer, file, variant


@needs_golden
@pytest.mark.parametrize("name", SHIPPED)
def test_six_steps_of_the_published_programs(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    norms: list[float] = []
    clip = torch.nn.utils.clip_grad_norm_

    def clip_and_note(*arguments: object) -> torch.Tensor:
        norm = clip(*arguments)  # pyright: ignore[reportArgumentType]
        norms.append(float(norm))
        return norm

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", clip_and_note)
    localizer, file, variant = golden_localizer(name)
    golden, recipe, batch = load_npz(f"{file}_official.npz"), load_recipe(name), golden_batch()
    optimizer = make_optimizer(recipe.training, localizer.train())
    loss = load_parts(recipe, localizer.config).loss
    steps = [
        training_step(localizer, batch, recipe, optimizer, GradScaler("cpu", enabled=False), loss=loss)
        for _ in range(6)
    ]
    first, weights = load_json(f"{file}_official.json")["loss"][variant], recipe.objective.to_dict()
    assert {term: pytest.approx(weights[f"{term}_weight"] * loss, rel=1e-4) for term, loss in first.items()} == steps[0]
    assert [sum(step.values()) for step in steps] == pytest.approx(golden[f"{variant}/losses"].tolist(), rel=1e-3)
    if f"{variant}/norms" in golden:
        assert norms == pytest.approx(golden[f"{variant}/norms"].tolist(), rel=1e-3)
