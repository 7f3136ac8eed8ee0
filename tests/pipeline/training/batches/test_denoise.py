"""Removal of labels in each batch: the published programs of JoMoLD and CMPAE, through our recipes."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import AVParser, load_published
from avvp.models.denoising import NoiseRatios
from avvp.models.layers import Dropout, MultiHeadAttention
from avvp.models.losses import Objective, Targets, objective_terms
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.training.batches.build import build_hooks
from avvp.pipeline.training.batches.denoise import drop_labels
from avvp.pipeline.training.batches.hooks import StepContext, step_context
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.step import make_optimizer, training_step
from support.golden import SEED, load_npz, needs_golden
from support.parsers import inputs, tiny_parser
from support.training import WEAK
from support.zoo import zoo_crowded, zoo_features, zoo_state
from torch.amp.grad_scaler import GradScaler

TERMS = {
    "jomold": ("audio", "visual", "video", "alignment"),
    "cmpae": ("audio", "visual", "video", "alignment", "mutual"),
}


def ratios() -> NoiseRatios:
    rng = np.random.default_rng(SEED + 6)
    return NoiseRatios(rng.uniform(0.1, 0.6, 25), rng.uniform(0.1, 0.9, 25))


@needs_golden
@pytest.mark.parametrize("family", ["jomold", "cmpae"])
def test_six_steps_of_the_second_epoch(family: str) -> None:
    """Targets of each step exactly, losses of the recipe's objective within 1e-3."""
    golden, recipe = load_npz(f"{family}_official.npz"), load_recipe(family)
    objective = recipe.objective
    assert isinstance(objective, Objective)
    parser = load_published(zoo_state(family), family=family).train()
    assert isinstance(parser, AVParser)
    for module in parser.modules():
        if isinstance(module, Dropout):
            module.rate = 0.0
        elif isinstance(module, MultiHeadAttention):
            module.dropout = 0.0
    features = zoo_features(SEED + 21, 24)
    batch = Batch(*features, None, Targets(zoo_crowded(SEED + 20, 24)), tuple(map(str, range(24))))
    optimizer, scaler = make_optimizer(recipe.training, parser), GradScaler("cpu", enabled=False)
    remove = drop_labels(ratios(), recipe.training.denoise_warmup, objective)
    found: list[Targets] = []

    def relabel(parser: Any, batch: Batch, context: StepContext) -> Targets:
        found.append(remove(parser, batch, context))
        return found[-1]

    hooks = replace(build_hooks(objective, 0.0), relabel=relabel)
    for step, expected in enumerate(golden["train/losses"]):
        terms = training_step(
            parser, batch, recipe, optimizer, scaler, loss=partial(objective_terms, objective=objective), hooks=hooks,
            context=step_context(0, 1, step, 6),
        )  # fmt: skip
        for name in ("audio", "visual"):
            assert np.array_equal(getattr(found[-1], name).numpy(), golden[f"train/{name}_target"][step] > 0.5), name
        weighted = [terms[name] / getattr(objective, f"{name}_weight") for name in TERMS[family]]
        np.testing.assert_allclose([*weighted, sum(terms.values())], expected, rtol=1e-3 if step else 1e-4)
    removed = [(found[step].video.sum() - found[step].visual.sum()).item() for step in range(6)]  # type: ignore[union-attr]
    assert max(removed) > 0
    with torch.no_grad():
        output = parser.eval()(*zoo_features(SEED + 1, 2))
    if family == "jomold":
        np.testing.assert_allclose(output.audio_video_probs.numpy(), golden["train/after/a_prob"], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(
            output.visual_video_probs.numpy(), golden["train/after/v_prob"], rtol=1e-3, atol=1e-4
        )


def removal(parser: AVParser, epoch: int, warmup: str = "published", **objective: Any) -> Targets:
    classes = len(parser.config.labels)
    all_noise = NoiseRatios(np.ones(classes), np.ones(classes))
    remove = drop_labels(all_noise, warmup, Objective(**{**WEAK, **objective}))
    audio, visual, clips = inputs(6, 4)
    targets = Targets(torch.ones(6, classes, dtype=torch.float64))
    return remove(parser, Batch(audio, visual, clips, None, targets, ("x",) * 6), step_context(1, epoch, 0, 3))


def test_nothing_is_removed_in_the_first_epoch_and_everything_later() -> None:
    """With ratios of 1 every label of the batch is among the lowest and the highest."""
    parser = tiny_parser(encoder="han", decoder="mmil").train()
    first, second = removal(parser, 0), removal(parser, 1)
    assert first.audio is not None
    assert second.audio is not None
    assert first.audio.all()
    assert not second.audio.any()
    assert second.video.all()
    none = removal(parser, 0, "none")
    assert none.visual is not None
    assert not none.visual.any()


def test_the_first_pass_leaves_the_parser_as_it_was() -> None:
    parser = tiny_parser(encoder="han", decoder="mmil").train()
    removal(parser, 1)
    assert parser.training
    assert parser.encoder.cross_attention
    assert all(parameter.grad is None for parameter in parser.parameters())


def test_other_encoders_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot run without cross-attention; the encoder han can"):
        removal(tiny_parser(decoder="mmil").train(), 1)
