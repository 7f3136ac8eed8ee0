"""What a localizer's output says about each second, against numbers computed by hand."""

from __future__ import annotations

import math

import pytest
import torch
from support.localizers import make_output


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def test_segment_logits() -> None:
    """Classes 0 and 1, background 2: a class against the largest of the others."""
    logits = torch.tensor([[[3.0, 1.0, 0.0], [0.0, 2.0, 4.0], [-1.0, -0.5, -2.0]]])
    output = make_output(segment_logits=logits)
    assert output.predictions.tolist() == [[0, 2, 1]]
    assert output.predictions.dtype == torch.long
    expected = [[sigmoid(2), sigmoid(-2)], [sigmoid(-4), sigmoid(-2)], [sigmoid(-0.5), sigmoid(0.5)]]
    torch.testing.assert_close(output.segment_probs, torch.tensor([expected]))


@pytest.mark.parametrize(
    ("logits", "prediction", "reached"),
    [
        ([1.0, 1.0, 0.0], 0, [True, False]),
        ([1.0, 1.0, 1.0], 0, [True, False]),
        ([0.0, 1.0, 1.0], 1, [False, True]),
        ([1.0, 0.0, 1.0], 0, [True, False]),
        ([0.0, 0.0, 1.0], 2, [False, False]),
        ([0.0, 1e-30, 0.0], 1, [False, True]),  # a difference that the sigmoid rounds away
        ([0.0, 0.0, 1e-30], 2, [False, False]),
    ],
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_of_equal_logits_the_first_is_predicted(
    logits: list[float], prediction: int, reached: list[bool], dtype: torch.dtype
) -> None:
    output = make_output(segment_logits=torch.tensor([[logits]], dtype=dtype))
    assert output.predictions.tolist() == [[prediction]]
    assert (output.segment_probs[0, 0] >= 0.5).tolist() == reached
    torch.testing.assert_close(output.segment_probs[0, 0], output.segment_probs[0, 0].clamp(0, 0.5001))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_events_and_their_category(dtype: torch.dtype) -> None:
    """An event logit of 0 is background: the published rule is a probability above 0.5."""
    events = torch.tensor([[2.0, 0.0, 1e-30, -1.0]], dtype=dtype)
    output = make_output(event_logits=events, category_logits=torch.tensor([[0.0, 3.0, 3.0]], dtype=dtype))
    assert output.predictions.tolist() == [[1, 3, 1, 3]]
    probs = output.segment_probs[0]
    assert probs[:, [0, 2]].eq(0).all()
    assert float(probs[0, 1]) == pytest.approx(sigmoid(2))
    assert 0.4999 < float(probs[1, 1]) < 0.5
    assert float(probs[2, 1]) == 0.5
    assert float(probs[3, 1]) == pytest.approx(sigmoid(-1))


def test_the_gate_of_weak_cmbs() -> None:
    """Its clip may be of the background, too, which then is everywhere."""
    gate = torch.tensor([[0.7, 0.5, 0.2], [0.9, 0.9, 0.9]])
    video = torch.tensor([[0.2, 0.5, 0.3], [0.1, 0.2, 0.7]])
    output = make_output(gate=gate, video_probs=video)
    assert output.predictions.tolist() == [[1, 2, 2], [2, 2, 2]]
    expected = torch.tensor([[[0, 0.7], [0, 0.5], [0, 0.2]], [[0, 0], [0, 0], [0, 0]]])
    torch.testing.assert_close(output.segment_probs, expected)
    assert float(output.segment_probs[0, 1, 1]) < 0.5


def test_the_published_decision_of_weak_cmbs() -> None:
    """The gate as event logits: its sigmoid is above 0.5 in every second."""
    gate = torch.tensor([[0.7, 0.001]])
    output = make_output(gate=gate, event_logits=gate, video_probs=torch.tensor([[0.2, 0.5, 0.3]]))
    assert output.predictions.tolist() == [[1, 1]]
    assert output.segment_probs[0, :, 1].tolist() == pytest.approx([sigmoid(0.7), sigmoid(0.001)])


def test_padding_is_background_of_probability_0() -> None:
    valid = torch.tensor([[True, False]])
    for values in (
        {"segment_logits": torch.tensor([[[5.0, 0.0], [5.0, 0.0]]])},
        {"event_logits": torch.tensor([[5.0, 5.0]]), "category_logits": torch.tensor([[1.0]])},
        {"gate": torch.tensor([[0.9, 0.9]]), "video_probs": torch.tensor([[0.9, 0.1]])},
    ):
        output = make_output(valid, **values)
        assert output.predictions.tolist() == [[0, 1]]
        assert float(output.segment_probs[0, 0, 0]) > 0.5
        assert float(output.segment_probs[0, 1, 0]) == 0


def test_repr_shows_shapes() -> None:
    text = repr(make_output(segment_logits=torch.zeros(1, 2, 3)))
    assert "segment_logits        (1, 2, 3)" in text
    assert "gate" not in text
