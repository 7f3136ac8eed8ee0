"""Training with DHHN's guides: learning rates of their own, the published trajectories, what is refused."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.step import make_optimizer, set_learning_rate, training_step
from support.dhhn import GUIDED, training_state
from support.golden import SEED, load_npz, needs_golden, parser_inputs
from support.parsers import tiny_parser
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
