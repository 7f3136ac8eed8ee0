"""Training with DHHN's guides: learning rates of their own, the published trajectories, what is refused."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import load_checkpoint
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.models.parser import AVParser, NetworkPair
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.predict import predict_clips
from avvp.pipeline.training.distributed import Ranks
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.run_folder import BEST_FILE, LAST_FILE, STATE_FILE
from avvp.pipeline.training.setup import TrainingPlan, open_data, prepare_job
from avvp.pipeline.training.step import make_optimizer, set_learning_rate, training_step
from avvp.pipeline.training.train_parser import train
from safetensors.torch import load_file
from support.dhhn import GUIDED, training_state
from support.golden import SEED, load_npz, needs_golden, parser_inputs
from support.llp_like import Recipe as Data
from support.llp_like import generate
from support.parsers import tiny_parser
from support.training import CPU, make_job
from support.zoo import zoo_features, zoo_labels
from torch.amp.grad_scaler import GradScaler

NETWORK = ("audio", "visual", "video", "audio_guidance", "visual_guidance", "separation")


def test_guides_have_learning_rates_of_their_own() -> None:
    parser = tiny_parser(encoder="han", decoder="mmil", guides=True)
    config = load_recipe("dhhn").training
    optimizer = make_optimizer(config, parser)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([3e-4, 6e-4, 6e-5])
    set_learning_rate(optimizer, 1e-3)
    assert [group["lr"] for group in optimizer.param_groups] == pytest.approx([1e-3, 2e-3, 2e-4])
    named = dict(parser.named_parameters())
    for group, prefix in zip(optimizer.param_groups[1:], ("guides.audio.", "guides.visual."), strict=True):
        assert {id(value) for value in group["params"]} == {
            id(value) for name, value in named.items() if name.startswith(prefix)
        }
    assert sum(len(group["params"]) for group in optimizer.param_groups) == len(named)
    alone = make_optimizer(config, tiny_parser(encoder="han", decoder="mmil"))
    assert [group["lr"] for group in alone.param_groups] == [3e-4]


@needs_golden
@pytest.mark.parametrize(("stage", "name"), [("train", "dhhn"), ("retrain", "dhhn-refined")])
def test_trajectory_golden(stage: str, name: str) -> None:
    """Six steps on weak labels, and six on denoised ones; the last columns are the sums that are propagated apart."""
    golden, recipe = load_npz("dhhn_official.npz"), load_recipe(name)
    assert isinstance(recipe.objective, Objective)
    parser = tiny_parser(25, **GUIDED).float().train()
    parser.load_state_dict(training_state())
    targets = Targets(zoo_labels(SEED + 2, 8, 0.1))
    if stage == "retrain":
        kept = torch.from_numpy(golden["retrain/visual_target"] > 0.5).float()
        targets = targets._replace(audio=torch.from_numpy(golden["retrain/audio_target"]).float(), visual=kept)
    batch = Batch(*zoo_features(SEED + 3, 8), None, targets, tuple("abcdefgh"))
    optimizer = make_optimizer(recipe.training, parser)
    loss = partial(objective_terms, objective=recipe.objective)
    for expected in golden[f"{stage}/losses"]:
        terms = training_step(parser, batch, recipe, optimizer, GradScaler("cpu", enabled=False), loss=loss)
        guides = [terms[f"{modality}_guide"] for modality in ("audio", "visual")]
        network = sum(terms[term] for term in NETWORK)
        found = [*(terms[term] for term in NETWORK[:3]), *guides, network, *guides, terms["guide_separation"]]
        np.testing.assert_allclose(found, expected, rtol=1e-3)
    with torch.no_grad():
        output = parser.eval()(*parser_inputs())
    for key, attribute in (("global", "video_probs"), ("a", "audio_video_probs"), ("v", "visual_video_probs")):
        np.testing.assert_allclose(getattr(output, attribute), golden[f"{stage}/after/{key}_prob"], atol=5e-3, rtol=0)
    if stage == "train":
        mean = parser.state_dict()["encoder.scales.1.audio.norm.running_mean"]
        np.testing.assert_allclose(mean, golden["train/after/running_mean"], atol=5e-3, rtol=0)


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("few")
    generate(root, Data({"train": 12, "val": 4, "test": 4}, labels=("Speech", "Dog", "Car"), dims=(3, 5, 4)))
    return root


TINY = ("model.hidden_dim=16", "model.feedforward_dim=16", "training.batch_size=8")
TINY_MGN = (*TINY, "model.heads=2", "model.group_blocks=1", "model.cross_group_blocks=1")


@pytest.mark.parametrize(("name", "changes"), [("dhhn", TINY), ("mgn", TINY_MGN)])
def test_resumed_training_equals_uninterrupted_training(
    few: Path, tmp_path: Path, name: str, changes: tuple[str, ...]
) -> None:
    """Running statistics, the guides and their optimizer included; gumbel noise and dropped paths repeat."""
    whole = make_job(few, tmp_path / "whole", *changes, "training.epochs=3", recipe=name)
    train(whole)
    parts = make_job(few, tmp_path / "parts", *changes, "training.epochs=3", recipe=name)
    train(replace(parts, recipe=replace(parts.recipe, training=replace(parts.recipe.training, epochs=1))))
    train(parts)
    for file in (LAST_FILE, BEST_FILE, STATE_FILE):
        first, second = (load_file(tmp_path / run / file) for run in ("whole", "parts"))
        assert first.keys() == second.keys()
        assert all(torch.equal(value, second[key]) for key, value in first.items()), file
    state = load_file(tmp_path / "whole" / STATE_FILE)
    assert any(key.startswith("parser.guides.") for key in state) == (name == "dhhn")
    last, best = (load_checkpoint(tmp_path / "whole" / file).parser for file in (LAST_FILE, BEST_FILE))
    assert not any("guides" in key for key in (*last.state_dict(), *best.state_dict()))
    assert isinstance(best, NetworkPair) == (name == "dhhn")
    assert isinstance(best, AVParser)
    assert whole.validation is not None
    assert predict_clips(best, whole.validation, CPU).audio.shape == (4, 10, 3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("model.guides=false", "guides and a positive objective.guide_weight need each other"),
        ("objective.guide_weight=0.0", "guides and a positive objective.guide_weight need each other"),
        ("model.modality_networks=true", "guides are for the training of one network"),
    ],
)
def test_settings_that_do_not_fit_are_refused(few: Path, tmp_path: Path, change: str, message: str) -> None:
    with pytest.raises(SetupError, match=message):
        train(make_job(few, tmp_path / "run", *TINY, change, recipe="dhhn"))


def test_two_networks_are_not_trained_as_one(few: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="join the best epoch of each modality"):
        train(make_job(few, tmp_path / "run", *TINY, "model.modality_networks=true", recipe="han"))


def test_rates_of_guides_need_guides(few: Path, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=r"audio_guide_rate and visual_guide_rate are for model\.guides = true"):
        train(make_job(few, tmp_path / "run", *TINY, "training.audio_guide_rate=2.0", recipe="han"))


def test_batch_normalization_is_for_one_process(tmp_path: Path) -> None:
    """DHHN's temporal convolutions have statistics of whole batches, which no process sees."""
    generate(tmp_path, Data({"train": 4, "val": 2, "test": 2}, labels=("Speech", "Dog"), dims=(3, 5, 4)))
    recipe = load_recipe("dhhn", ["model.hidden_dim=8", "model.feedforward_dim=8"])
    plan = TrainingPlan(annotations=tmp_path / "annotations", features=tmp_path / "features", recipe=recipe)
    with pytest.raises(SetupError, match="normalizes by all clips of a batch: train in one process"):
        prepare_job(plan, open_data(plan), tmp_path / "run", device=CPU, ranks=Ranks(0, 2))
