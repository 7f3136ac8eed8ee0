"""Losses of localizers against numbers computed by hand."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from avvp.models import LocalizationObjective, LocalizationTargets, localization_terms
from avvp.models.localizers.losses import similarity_shares
from support.localizers import KINDS, clip_inputs, clip_targets, kind_name, make_output, tiny_config, tiny_localizer

LOG = math.log


def softplus(x: float) -> float:
    return LOG(1 + math.exp(x))


def one_term(name: str, targets: LocalizationTargets, valid: torch.Tensor | None = None, **values: Any) -> float:
    """The loss of one term with weight 2, halved."""
    objective = LocalizationObjective(**{f"{name}_weight": 2.0})
    terms = localization_terms(make_output(valid, **values), targets, objective)
    assert list(terms) == [name]
    return float(terms[name]) / 2


def targets(segments: list[list[int]], classes: int = 2) -> LocalizationTargets:
    """Targets of seconds; the clip's class is the lowest that occurs."""
    labels = torch.tensor(segments)
    one_hot = torch.nn.functional.one_hot(labels, classes + 1).float()
    video = torch.nn.functional.one_hot(labels.amin(dim=1), classes + 1).float()
    return LocalizationTargets(labels, video, one_hot.mean(dim=1))


def test_multilabel_soft_margin_takes_probabilities_for_logits() -> None:
    """Softmax of (0, 0, log 2) is (1/4, 1/4, 1/2)."""
    logits = torch.tensor([[[0.0, 0.0, LOG(2)]]])
    expected = (softplus(-0.25) + softplus(0.25) + softplus(0.5)) / 3
    assert one_term("multilabel_soft_margin", targets([[0]]), segment_logits=logits) == pytest.approx(expected)
    probs = torch.tensor([[0.25, 0.25, 0.5]])
    found = one_term("multilabel_soft_margin", targets([[0]]), segment_logits=logits, video_probs=probs)
    assert found == pytest.approx(expected)


def test_multilabel_soft_margin_of_clips_without_a_background() -> None:
    """CPSP's clips have C classes: a clip of the background has none of them."""
    values = {"event_logits": torch.zeros(1, 1), "video_probs": torch.tensor([[0.25, 0.75]])}
    expected = (softplus(0.25) + softplus(0.75)) / 2
    assert one_term("multilabel_soft_margin", targets([[2]]), **values) == pytest.approx(expected)


def test_cross_entropy_is_the_mean_over_real_seconds() -> None:
    logits = torch.tensor([[[0.0, 0.0, LOG(2)], [9.0, 0.0, 0.0]], [[LOG(2), 0.0, 0.0], [0.0, 0.0, 0.0]]])
    valid = torch.tensor([[True, False], [True, True]])
    expected = (LOG(2) + LOG(2) + LOG(3)) / 3  # -log of 1/2, 1/2, 1/3
    found = one_term("cross_entropy", targets([[2, 1], [0, 1]]), valid, segment_logits=logits)
    assert found == pytest.approx(expected)


def test_similarity_shares() -> None:
    """1 / k on the k seconds of the event; a clip without one has equal shares, 0.1 of ten seconds."""
    events = torch.tensor([[0, 1, 1, 0], [0, 0, 0, 0], [0, 0, 0, 1]]).bool()
    valid = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    expected = [[0, 0.5, 0.5, 0], [0.25] * 4, [0.5, 0.5, 0, 0]]
    torch.testing.assert_close(similarity_shares(events, valid), torch.tensor(expected))
    ten = torch.zeros(1, 10, dtype=torch.bool)
    torch.testing.assert_close(similarity_shares(ten, ~ten), torch.full((1, 10), 0.1))


def test_avps_compares_shares_of_similarity() -> None:
    """Similarities (0.6, -1, 0.2) have the shares (3/4, 0, 1/4); the event is in the first two seconds."""
    similarity = torch.tensor([[0.6, -1.0, 0.2, 0.9]])
    valid = torch.tensor([[True, True, True, False]])
    values = {"segment_logits": torch.zeros(1, 4, 3), "similarity": similarity}
    expected = ((0.75 - 0.5) ** 2 + 0.5**2 + 0.25**2) / 3
    assert one_term("avps", targets([[1, 1, 2, 0]]), valid, **values) == pytest.approx(expected)


def test_shares_are_scored_by_the_probabilities_of_the_clip() -> None:
    """Two of three seconds are of class 0, one is background."""
    values = {"segment_logits": torch.zeros(1, 3, 3), "video_probs": torch.tensor([[0.5, 0.25, 0.25]])}
    expected = -(LOG(0.5) + LOG(0.75) + (LOG(0.25) + 2 * LOG(0.75)) / 3) / 3
    assert one_term("bce", targets([[0, 0, 2]]), **values) == pytest.approx(expected)


def test_events_and_gate() -> None:
    """The published program takes the gate for a logit."""
    values = {"event_logits": torch.tensor([[1.0, -2.0]]), "gate": torch.tensor([[0.5, 0.25]])}
    labels = targets([[2, 1]])
    assert one_term("event_bce", labels, **values) == pytest.approx((softplus(1) + softplus(2)) / 2)
    assert one_term("gate_bce", labels, **values) == pytest.approx((softplus(0.5) + softplus(-0.25)) / 2)


def test_the_class_of_a_clip() -> None:
    """The largest class of its seconds; a clip without an event counts as class 0."""
    logits = torch.tensor([[0.0, LOG(3)], [LOG(3), 0.0]])
    values = {"event_logits": torch.zeros(2, 2), "category_logits": logits, "modality_logits": logits}
    for name in ("category_ce", "modality_ce"):
        expected = -(LOG(3 / 4) + LOG(3 / 4)) / 2
        assert one_term(name, targets([[1, 2], [2, 2]]), **values) == pytest.approx(expected)


def test_leap_scores_events_of_every_class() -> None:
    """An event logit is that of the predicted class; the loss reads those of all."""
    values = {"event_logits": torch.zeros(1, 2), "label_segment_logits": torch.tensor([[[1.0, 2.0], [3.0, 4.0]]])}
    expected = (softplus(1) + softplus(-2) + softplus(3) + softplus(4)) / 4
    assert one_term("event_bce", targets([[1, 2]]), **values) == pytest.approx(expected)


def test_leap_scores_the_classes_of_the_clip() -> None:
    """Full supervision: the classes of its seconds, the background included; weak: the clip's label."""
    values = {"segment_logits": torch.zeros(1, 2, 3), "label_video_logits": torch.tensor([[1.0, 2.0, 3.0]])}
    labels = targets([[0, 2]])
    expected = (softplus(-1) + softplus(2) + softplus(-3)) / 3
    assert one_term("label_video", labels, **values) == pytest.approx(expected)
    valid = torch.tensor([[True, False]])
    expected = (softplus(-1) + softplus(2) + softplus(3)) / 3
    assert one_term("label_video", labels, valid, **values) == pytest.approx(expected)
    assert one_term("label_video", labels, video_probs=torch.ones(1, 3) / 3, **values) == pytest.approx(expected)


def test_similarity_is_1_for_pairs_of_event_seconds() -> None:
    """EIoU of one event a clip: 1 for two seconds of the event, 0 for all other pairs, background pairs included."""
    hidden = torch.tensor([[[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]])
    values = {"segment_logits": torch.zeros(1, 3, 3), "audio_hidden": hidden, "visual_hidden": hidden}
    # Cosines: 1 on the diagonal and between the last two; expected: 1 between the first two.
    assert one_term("similarity", targets([[0, 0, 2]]), **values) == pytest.approx((2 + 2 + 1) / 9)
    valid = torch.tensor([[True, True, False]])
    assert one_term("similarity", targets([[0, 0, 2]]), valid, **values) == pytest.approx(2 / 4)


def test_half_precision_losses_are_float32() -> None:
    objective = LocalizationObjective(cross_entropy_weight=1.0)
    output = make_output(segment_logits=torch.zeros(1, 2, 3, dtype=torch.bfloat16))
    assert localization_terms(output, targets([[0, 1]]), objective)["cross_entropy"].dtype == torch.float32


@pytest.mark.parametrize("kind", KINDS, ids=kind_name)
@pytest.mark.parametrize("name", list(LocalizationObjective.__dataclass_fields__))
def test_losses_of_other_localizers_are_refused_with_both_names(kind: dict, name: str) -> None:
    """By the check of a recipe before training, and by the loss itself where a value is missing."""
    localizer = tiny_localizer(**kind)
    objective = LocalizationObjective(**{name: 1.0})
    fits = name in vars(LocalizationObjective.published(localizer.config)) and bool(
        getattr(LocalizationObjective.published(localizer.config), name)
    )
    if fits:
        objective.check(localizer.config)
        return
    with pytest.raises(ValueError, match=rf"{name} is not for system '{kind['system']}' with {kind['supervision']}"):
        objective.check(localizer.config)


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ({"system": "ave"}, "avps", "needs similarity, but the localizer computes segment_logits only"),
        ({"system": "psp"}, "event_bce", "needs event_logits, but the localizer computes segment_logits, similarity"),
        ({"system": "cmbs"}, "cross_entropy", "needs segment_logits, but the localizer computes event_logits"),
        ({"system": "cpsp"}, "gate_bce", "needs gate"),
        ({"system": "psp"}, "bce", "needs video_probs"),
        ({"system": "psp"}, "label_video", "needs label_video_logits"),
        (
            {"system": "psp", "supervision": "weak"},
            "cross_entropy",
            "needs labels of segments.* weak supervision",
        ),
        ({"system": "psp", "supervision": "weak"}, "similarity", "needs labels of segments"),
        ({"system": "cpsp", "supervision": "weak"}, "bce", r"needs video_probs \(2, 4\) .* not \(2, 3\)"),
    ],
)
def test_missing_values_are_named(kind: dict, name: str, message: str) -> None:
    output = tiny_localizer(**kind)(*clip_inputs(2, 5))
    objective = LocalizationObjective(**{f"{name}_weight": 1.0})
    with pytest.raises(ValueError, match=rf"the loss {name} \({name}_weight\) {message}"):
        localization_terms(output, clip_targets([(0, 0, 5), (1, 2, 3)], segments=5), objective)


def test_missing_labels_are_named() -> None:
    output = make_output(segment_logits=torch.zeros(1, 2, 3))
    without = LocalizationTargets(None, torch.zeros(1, 3), None)
    with pytest.raises(ValueError, match="labels of segments, but the targets have none"):
        localization_terms(output, without, LocalizationObjective(cross_entropy_weight=1.0))
    output = make_output(segment_logits=torch.zeros(1, 2, 3), video_probs=torch.ones(1, 3) / 3)
    with pytest.raises(ValueError, match="shares of classes, but the targets have none"):
        localization_terms(output, without, LocalizationObjective(bce_weight=1.0))


@pytest.mark.parametrize(
    ("weights", "message"),
    [
        ({}, "every weight is 0"),
        ({"bce_weight": -1.0}, "bce_weight is -1.0"),
        ({"bce_weight": float("nan")}, "must be finite"),
        ({"bce_weight": 1e9}, "at most 1e"),
        ({"bce_weight": True}, "bce_weight is True"),
        ({"bce_weight": "1"}, "bce_weight is 1"),
    ],
)
def test_weights_that_make_no_loss(weights: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LocalizationObjective(**weights)


def test_published_objectives() -> None:
    assert LocalizationObjective.published(tiny_config(system="psp")).weights == {
        "cross_entropy": 1.0, "avps": 100.0,
    }  # fmt: skip
    assert LocalizationObjective.published(tiny_config(system="cmbs", decoder="leap")).weights == {
        "event_bce": 1.0, "gate_bce": 1.0, "modality_ce": 1.0, "category_ce": 1.0, "label_video": 1.0,
        "similarity": 1.0,
    }  # fmt: skip
    weak = LocalizationObjective.published(tiny_config(system="ave", supervision="weak", decoder="leap"))
    assert weak.weights == {"multilabel_soft_margin": 1.0, "label_video": 1.0}
    assert LocalizationObjective(**weak.to_dict()) == weak
