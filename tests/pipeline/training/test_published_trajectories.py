"""Six training steps of other systems, with their published parameters and our recipes, against their programs."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import AVParser, load_published
from avvp.models.layers import Dropout, MultiHeadAttention
from avvp.models.losses import Objective, Targets, objective_terms, soft_targets
from avvp.pipeline.datasets.clips import Batch
from avvp.pipeline.training.batches import mixup
from avvp.pipeline.training.batches.hooks import BatchHooks
from avvp.pipeline.training.batches.recombine import join_partners
from avvp.pipeline.training.recipe import Recipe, load_recipe
from avvp.pipeline.training.step import make_optimizer, training_step
from support.golden import SEED, load_npz, needs_golden
from support.zoo import zoo_crowded, zoo_features, zoo_labels, zoo_state
from torch.amp.grad_scaler import GradScaler

TOLERANCE = 1e-3  # relative, of each term: features disturbed by 3e-6 move them by up to 6e-5
pytestmark = needs_golden


def published(family: str, **options: Any) -> AVParser:
    """A published network in training mode, without anything random."""
    parser = load_published(zoo_state(family), family=family, **options).train()
    assert isinstance(parser, AVParser)
    for module in parser.modules():
        if isinstance(module, Dropout):
            module.rate = 0.0
        elif isinstance(module, MultiHeadAttention):
            module.dropout = 0.0
    return parser


def make_batch(features: tuple[torch.Tensor, ...], targets: Targets) -> Batch:
    audio, visual_2d, visual_3d = features
    return Batch(audio, visual_2d, visual_3d, None, targets, tuple(map(str, range(len(audio)))))


def plain_batch(share: float = 0.1) -> Batch:
    return make_batch(zoo_features(SEED + 3, 8), Targets(zoo_labels(SEED + 2, 8, share)))


class Trainer:
    """Steps on one parser, with one optimizer."""

    def __init__(self, parser: AVParser, recipe: Recipe) -> None:
        assert isinstance(recipe.objective, Objective)
        self.recipe, self.parser = recipe, parser
        self.optimizer = make_optimizer(recipe.training, parser)
        self.scaler = GradScaler("cpu", enabled=False)

    def step(self, batch: Batch, *, epoch: int = 0, hooks: BatchHooks | None = None) -> dict[str, float]:
        """Return the terms without their weights."""
        objective = self.recipe.objective
        assert isinstance(objective, Objective)
        objective = objective.at(epoch)
        terms = training_step(
            self.parser, batch, self.recipe, self.optimizer, self.scaler,
            loss=partial(objective_terms, objective=objective), hooks=hooks,
        )  # fmt: skip
        weights = {name: getattr(objective, f"{name}_weight", 1.0) for name in terms}
        return {name: value / weights[name] for name, value in terms.items()}


def assert_terms(found: dict[str, float], names: tuple[str, ...], expected: np.ndarray) -> None:
    assert set(found) == set(names)
    np.testing.assert_allclose([found[name] for name in names], expected[: len(names)], rtol=TOLERANCE)


def han_recipe(**changes: object) -> Recipe:
    recipe = load_recipe("han")
    objective = replace(recipe.objective, **changes)
    return replace(recipe, objective=objective)


def test_ma_stage_1() -> None:
    """Its network, its loss; the rest of its recipe's objective is for the labels of stage 3."""
    trainer, batch = Trainer(published("ma"), han_recipe(alignment="ma", alignment_weight=1.0)), plain_batch()
    for expected in load_npz("ma_official.npz")["train/losses"]:
        assert_terms(trainer.step(batch), ("audio", "visual", "video", "alignment"), expected)


def test_mgn() -> None:
    trainer, batch = Trainer(published("mgn"), load_recipe("mgn")), plain_batch()
    for expected in load_npz("mgn_official.npz")["train/losses"]:
        names = ("video", "audio", "visual", "audio_tokens", "visual_tokens")
        assert_terms(trainer.step(batch), names, expected)


def test_uwav(monkeypatch: pytest.MonkeyPatch) -> None:
    golden = load_npz("uwav_official.npz")
    share, order = float(golden["loss/mixup_lambda"]), torch.from_numpy(golden["loss/mixup_order"])
    monkeypatch.setattr(mixup, "draw_share", lambda *_: share)
    monkeypatch.setattr(mixup, "draw_order", lambda *_: order)
    weak = torch.from_numpy(golden["loss/weak"])
    tables: dict[str, torch.Tensor] = {}
    for modality in ("audio", "visual"):
        teacher, thresholds = (torch.from_numpy(golden[f"loss/{modality}_{name}"]) for name in ("logits", "thresholds"))
        tables[f"{modality}_soft"] = soft_targets(teacher, thresholds, weak)
        tables[f"{modality}_segments"] = (tables[f"{modality}_soft"] > 0.5).float()
        tables[f"{modality}_frequency"] = torch.from_numpy(golden[f"loss/{modality}_frequency"]).float()
    targets = Targets(weak, **tables)
    batch = make_batch(zoo_features(SEED + 3, 8), targets)
    segments = ("audio_segment", "visual_segment")
    names = ("video", *segments, "audio_segment_mixup", "visual_segment_mixup")
    trainer = Trainer(published("uwav"), load_recipe("uwav"))
    output = trainer.parser(*batch.features)
    variants = {
        "full": {},
        "soft": {"class_balance": 0.0, "mixup_alpha": 0.0},
        "soft_reweight": {"mixup_alpha": 0.0},
        "soft_mixup": {"class_balance": 0.0},
        "binary": {"class_balance": 0.0, "mixup_alpha": 0.0, "segment_targets": "hard"},
    }
    for name, changes in variants.items():
        assert isinstance(trainer.recipe.objective, Objective)
        objective = replace(trainer.recipe.objective, **changes)
        found = objective_terms(output, targets, objective)
        if objective.mixup_alpha:
            found |= mixup.mixup_terms(trainer.parser, output, targets, objective, torch.Generator())
        assert_terms({key: value.item() for key, value in found.items()}, names[: len(found)], golden[f"loss/{name}"])
    for expected in golden["train/losses"]:
        assert_terms(trainer.step(batch), names, expected)


def test_jomold_estimator() -> None:
    recipe = han_recipe(alignment="jomold", alignment_weight=1.0)
    recipe = replace(recipe, training=replace(recipe.training, learning_rate=5e-4))
    trainer, batch = Trainer(published("jomold", cross_attention=False), recipe), plain_batch()
    for expected in load_npz("jomold_official.npz")["estimator/losses"]:
        assert_terms(trainer.step(batch), ("audio", "visual", "video", "alignment"), expected)


@pytest.mark.parametrize("epoch", [1, 3])
def test_cvcms(epoch: int) -> None:
    """Labels as given; the first epochs have smoothed labels and no contrast, for which batches are doubled."""
    golden = load_npz("cvcms_official.npz")
    of_audio, of_visual = (torch.from_numpy(golden[f"train/{name}_labels"]).float() for name in ("audio", "visual"))
    recipe = han_recipe(
        video_targets="modalities", smooth_removed=True, smoothing_epochs=2, across_weight=0.85, across_after=2
    )
    recipe = replace(recipe, training=replace(recipe.training, learning_rate=7e-5))
    trainer = Trainer(published("cvcms"), recipe)
    targets = Targets(zoo_labels(SEED + 2, 8, 0.2), audio=of_audio, visual=of_visual)
    batch = make_batch(zoo_features(SEED + 3, 8), targets)
    names = ("audio", "visual", "video", *(("across",) if epoch > 2 else ()))
    for number, expected in enumerate(golden[f"train/epoch{epoch}/losses"]):
        partners = torch.from_numpy(golden[f"train/epoch{epoch}/partners"][number])
        hooks = BatchHooks(augment=lambda given, _, partners=partners: join_partners(given, partners))
        found = trainer.step(batch, epoch=epoch - 1, hooks=hooks if epoch > 2 else BatchHooks())
        assert_terms(found, names, expected)
    after = outputs(trainer.parser)
    for name, value in zip(("global_prob", "a_prob", "v_prob"), after, strict=True):
        np.testing.assert_allclose(value, golden[f"train/epoch{epoch}/after/{name}"], rtol=TOLERANCE, atol=1e-4)


def outputs(parser: AVParser) -> tuple[np.ndarray, ...]:
    """Probabilities of the videos of the golden inputs: of the video, audio, visual."""
    with torch.no_grad():
        output = parser.eval()(*zoo_features(SEED + 1, 2))
    return tuple(probs.numpy() for probs in (output.video_probs, output.audio_video_probs, output.visual_video_probs))


def test_cmpae_learns_in_turns() -> None:
    """Mutual learning by the number of the batch, where a step has neither hooks nor context; labels as given."""
    golden = load_npz("cmpae_official.npz")
    recipe = han_recipe(
        alignment="jomold", alignment_weight=1.0, mutual_weight=1.0, audio_weight=2.0, visual_weight=0.6,
        video_weight=0.6,
    )  # fmt: skip
    recipe = replace(recipe, training=replace(recipe.training, learning_rate=5e-4))
    trainer, features = Trainer(published("cmpae"), recipe), zoo_features(SEED + 21, 24)
    video = zoo_crowded(SEED + 20, 24)
    for step in range(2):
        of_audio, of_visual = (
            torch.from_numpy(golden[f"train/{name}_target"][step] > 0.5).float() for name in ("audio", "visual")
        )
        found = trainer.step(make_batch(features, Targets(video, audio=of_audio, visual=of_visual)))
        assert_terms(found, ("audio", "visual", "video", "alignment", "mutual"), golden["train/losses"][step])
