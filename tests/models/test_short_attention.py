"""Attention of training on a CPU, against torch's and against its formula."""

from __future__ import annotations

import math

import pytest
import torch
from avvp.models import layers
from avvp.models.layers import Dropout, MultiHeadAttention, ShortAttention, draw_kept, window_mask
from avvp.models.leap import BLOCKS
from torch import Tensor
from torch.nn import functional as F

BATCH, QUERIES, KEYS, DIM, HEADS = 3, 5, 4, 12, 2
PADDING = torch.tensor([[[True, True, True, False]], [[True, False, True, False]], [[True] * KEYS]])
MASKS = {"none": None, "window": window_mask(QUERIES, 1)[:, :KEYS], "padding": PADDING}


def streams(dtype: torch.dtype = torch.float64) -> list[Tensor]:
    """Query, key and value with gradients."""
    generator = torch.Generator().manual_seed(0)
    shapes = (BATCH, QUERIES, DIM), (BATCH, KEYS, DIM), (BATCH, KEYS, DIM)
    return [torch.randn(shape, dtype=dtype, generator=generator).requires_grad_() for shape in shapes]


def formula(query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, kept: Tensor | None) -> Tensor:
    """Attention step by step; kept: (B, H, L, S) factors of dropout."""
    q, k, v = (x.unflatten(-1, (HEADS, -1)).transpose(1, 2) for x in (query, key, value))
    scores = q @ k.transpose(2, 3) / math.sqrt(DIM / HEADS)
    if mask is not None:
        scores = scores.masked_fill(~mask.unsqueeze(-3), float("-inf"))
    probs = scores.softmax(-1)
    return ((probs if kept is None else probs * kept) @ v).transpose(1, 2).flatten(2)


def gradients(result: Tensor, inputs: list[Tensor]) -> tuple[Tensor, ...]:
    weights = torch.linspace(-1, 1, result.numel(), dtype=result.dtype).view_as(result)
    return torch.autograd.grad((result * weights).sum(), inputs)


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
@pytest.mark.parametrize("rate", [0.0, 0.3])
def test_result_and_gradients_are_those_of_the_formula(mask: Tensor | None, rate: float) -> None:
    inputs = streams()
    torch.manual_seed(1)
    found = ShortAttention.apply(*inputs, mask, HEADS, rate)
    torch.manual_seed(1)
    shape = torch.Size((BATCH * HEADS, QUERIES, KEYS))
    kept = draw_kept(shape, rate, torch.float64).view(BATCH, HEADS, QUERIES, KEYS)
    expected = formula(*inputs, mask, kept if rate else None)  # pyright: ignore[reportCallIssue]
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def test_scores_of_any_size_are_finite() -> None:
    query, key, value = (tensor.detach() * 100 for tensor in streams(torch.float32))
    found = ShortAttention.apply(query, key, value, None, HEADS, 0.0)
    torch.testing.assert_close(found, formula(query, key, value, None, None))


def test_bf16_is_near_float32() -> None:
    inputs = streams(torch.float32)
    expected = formula(*inputs, None, None)  # pyright: ignore[reportCallIssue]
    halves = [tensor.detach().bfloat16().requires_grad_() for tensor in inputs]
    found = ShortAttention.apply(*halves, None, HEADS, 0.0)
    assert found.dtype is torch.bfloat16
    torch.testing.assert_close(found.float(), expected, rtol=0.02, atol=0.02)
    for one, other in zip(gradients(found, halves), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(one.float(), other, rtol=0.05, atol=0.05)


@pytest.mark.parametrize("batch", [1, BATCH])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_training_with_a_dropout_near_0_equals_torch(
    monkeypatch: pytest.MonkeyPatch, batch: int, mask: Tensor | None
) -> None:
    attention = MultiHeadAttention(DIM, HEADS, 1e-9).double()
    query, memory, _ = streams()
    inputs = [query[:batch], memory, *attention.parameters()]
    found = attention(*inputs[:2], mask)
    monkeypatch.setattr(layers, "SHORT_MEMORY", 0)
    expected = attention(*inputs[:2], mask)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(gradients(found, inputs), gradients(expected, inputs))


def test_torch_attends_to_long_memories_in_evaluation_and_in_fp32_without_dropout(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    calls: list[int] = []
    plain = F.scaled_dot_product_attention

    def count(*args: Tensor, **options: Tensor) -> Tensor:
        calls.append(args[1].shape[-2])
        return plain(*args, **options)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(F, "scaled_dot_product_attention", count)
    attention = MultiHeadAttention(DIM, HEADS, 0.1)
    for length in (layers.SHORT_MEMORY, layers.SHORT_MEMORY + 1):
        attention(torch.zeros(1, 2, DIM), torch.zeros(2, length, DIM))
    assert calls == [layers.SHORT_MEMORY + 1]
    attention.dropout = 0.0
    query, memory = torch.zeros(1, 2, DIM), torch.zeros(2, KEYS, DIM)
    attention(query, memory)
    assert calls[1:] == [KEYS]
    with torch.autocast("cpu", torch.bfloat16):
        attention(query, memory)
        assert calls[1:] == [KEYS]
        attention.eval()(query, memory)
    assert calls[1:] == [KEYS, KEYS]


def test_dropout_of_weights_keeps_their_mean() -> None:
    torch.manual_seed(0)
    equal = torch.zeros(2000, 1, DIM)
    value = torch.ones(2000, KEYS, DIM)
    found = ShortAttention.apply(equal, torch.zeros_like(value), value, None, HEADS, 0.25)
    assert float(found.mean()) == pytest.approx(1, abs=0.02)
    # Of four equal weights, each is dropped on its own: none to four of them are left.
    assert {round(3 * float(number)) for number in found.unique()} == {0, 1, 2, 3, 4}


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.float64])
def test_factors_are_those_of_comparing_16_bits(dtype: torch.dtype) -> None:
    for rate in (1e-6, 1 / 2**16, 0.1, 0.5, 1 - 1e-6):
        torch.manual_seed(3)
        found = draw_kept(torch.Size((7, 11)), rate, dtype)
        torch.manual_seed(3)
        bits = torch.empty(20, dtype=torch.int64).random_(-(2**63), None).view(torch.int16)[:77].view(7, 11)
        dropped = min(round(rate * 2**16), 2**16 - 1)
        scale = torch.tensor(2**16 / (2**16 - dropped), dtype=dtype)
        assert torch.equal(found, torch.where(bits.int() >= dropped - 2**15, scale, 0))
    assert torch.equal(draw_kept(torch.Size((2,)), 1e-6, dtype), torch.ones(2, dtype=dtype))
    assert Dropout(0.1)(torch.ones(3, dtype=dtype)).dtype is dtype


@pytest.mark.parametrize("variant", BLOCKS)
def test_blocks_of_leap_project_their_keys_once(variant: str) -> None:
    block = BLOCKS[variant](DIM, DIM, HEADS, 0.0, 0.0).double()
    labels, segments, _ = streams()
    updated = block.attend(labels, segments) if variant == "published" else labels
    expected = block(labels, segments), block.attention.logits(updated, segments)
    calls: list[int] = []
    block.attention.key.register_forward_hook(lambda *_: calls.append(1))
    torch.testing.assert_close(block.project(labels, segments, None), expected)
    assert len(calls) == 1
