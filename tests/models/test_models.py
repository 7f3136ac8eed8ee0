"""The parser by itself: any T, C and width, masks, the two LEAP variants, gradients."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from avvp.models import ParserConfig, build_parser
from avvp.models.han import HAN
from avvp.models.layers import AttentionLayer, Dropout, MultiHeadAttention, segment_mask, window_mask
from avvp.models.leap import PaperBlock, PublishedBlock
from avvp.models.mmpyr import TemporalConv
from avvp.models.stems import FeatureStem
from support.parsers import inputs, tiny_parser

ALL: list[dict] = [
    {"encoder": encoder, "decoder": decoder, "han_order": order}
    for encoder, order in (("mmpyr", "parallel"), ("han", "parallel"), ("han", "sequential"))
    for decoder in ("leap", "mmil")
]
ALL += [
    {"leap_variant": "paper"},
    {"label_queries": "learned"},
    {"leap_prediction": "first"},
    {"encoder": "han", "layers": 2},
    {"encoder": "han", "decoder": "mmil", "cross_attention": False, "layers": 2},
    {"encoder": "han", "decoder": "mmil", "cross_share": 0.8, "self_attention_share": 0.3, "visual_dropout": 0.5},
    {"encoder": "han", "decoder": "evidence", "stem": "elu", "cross_share": 0.8, "self_attention_share": 0.3},
    {"encoder": "han", "decoder": "classwise", "class_dim": 6},
    {"encoder": "mmpyr", "decoder": "classwise", "class_dim": 6},
    {"encoder": "mmpyr", "decoder": "evidence"},
    {"encoder": "han", "decoder": "mmil", "stem": "mlp", "stem_hidden_dim": 9, "han_order": "sequential"},
    {"encoder": "han", "decoder": "leap", "self_attention_share": 0.3},
]
combinations = pytest.mark.parametrize("changes", ALL, ids=lambda changes: "-".join(map(str, changes.values())))


@combinations
@pytest.mark.parametrize(("segments", "classes"), [(1, 1), (3, 4), (23, 7)])
def test_parser_accepts_any_length_and_number_of_classes(changes: dict, segments: int, classes: int) -> None:
    output = tiny_parser(classes, **changes)(*inputs(2, segments))
    assert output.audio_segment_probs.shape == output.visual_segment_probs.shape == (2, segments, classes)
    assert output.audio_video_probs.shape == output.video_probs.shape == (2, classes)
    assert output.audio_hidden.shape == (2, segments, 16)
    if changes.get("decoder", "leap") == "leap":
        assert output.audio_attention is not None
        torch.testing.assert_close(output.audio_attention.sum(-1), torch.ones(2, classes, dtype=torch.float64))
    assert output.valid.all()
    for probs in (output.audio_video_probs, output.visual_video_probs, output.video_probs):
        assert ((probs >= 0) & (probs <= 1 + 1e-12)).all()


@combinations
def test_parser_outputs_of_a_padded_batch_equal_those_of_single_videos(changes: dict) -> None:
    parser = tiny_parser(**changes)
    lengths = [9, 4, 1, 6]
    batch = [torch.full((4, 9 * rate, width), 1e3).double() for rate, width in ((1, 6), (8, 10), (1, 7))]
    alone = []
    for row, length in enumerate(lengths):
        single = inputs(1, length, seed=row)
        alone.append(parser(*single))
        for padded, own in zip(batch, single, strict=True):
            padded[row, : own.shape[1]] = own[0]
    together = parser(*batch, lengths=torch.tensor(lengths))
    for row, (length, single) in enumerate(zip(lengths, alone, strict=True)):
        for name in ("audio_segment_probs", "visual_segment_probs", "audio_hidden", "visual_hidden"):
            expected, got = getattr(single, name)[0], getattr(together, name)[row, :length]
            torch.testing.assert_close(got, expected, atol=1e-5, rtol=0)
        for name in ("audio_video_probs", "visual_video_probs", "video_probs"):
            torch.testing.assert_close(getattr(together, name)[row], getattr(single, name)[0], atol=1e-5, rtol=0)
        assert together.audio_segment_probs[row, length:].eq(0).all()
        if together.audio_attention is not None:
            assert together.audio_attention[row, :, length:].eq(0).all()
        assert together.valid[row].sum() == length


def test_parser_padding_has_no_gradient() -> None:
    parser = tiny_parser()
    audio, visual_2d, visual_3d = (tensor.requires_grad_() for tensor in inputs(2, 5))
    parser(audio, visual_2d, visual_3d, lengths=torch.tensor([5, 2])).audio_segment_probs.sum().backward()
    assert audio.grad is not None
    assert audio.grad[1, :2].abs().sum() > 0
    assert audio.grad[1, 2:].eq(0).all()
    assert audio.grad.isfinite().all()


def test_averaging_frames_before_the_projection_is_the_same_function() -> None:
    parser = tiny_parser()
    audio, visual_2d, visual_3d = inputs(2, 5)
    averaged = visual_2d.unflatten(1, (5, 8)).mean(2)
    torch.testing.assert_close(
        parser(audio, visual_2d, visual_3d).visual_segment_probs,
        parser(audio, averaged, visual_3d).visual_segment_probs,
    )
    stem = FeatureStem(parser.config).double()
    projected_first = stem.visual_2d(visual_2d).unflatten(1, (5, 8)).mean(2)
    torch.testing.assert_close(projected_first, stem.visual_2d(averaged))


def test_segments_see_only_their_window() -> None:
    assert window_mask(4, 1).int().tolist() == [[1, 1, 0, 0], [1, 1, 1, 0], [0, 1, 1, 1], [0, 0, 1, 1]]
    assert segment_mask(torch.tensor([2, 0, 3]), 3).int().tolist() == [[1, 1, 0], [0, 0, 0], [1, 1, 1]]


def test_attention_logits_are_the_mean_over_heads() -> None:
    attention = MultiHeadAttention(8, 2, 0.0).double()
    query, memory = torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    heads = [
        attention.query(query)[..., part] @ attention.key(memory)[..., part].transpose(1, 2) / math.sqrt(4)
        for part in (slice(0, 4), slice(4, 8))
    ]
    torch.testing.assert_close(attention.logits(query, memory), (heads[0] + heads[1]) / 2)


def test_attention_is_softmax_of_the_logits_for_one_head() -> None:
    attention = MultiHeadAttention(8, 1, 0.0).double().eval()
    query, memory = torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    expected = attention.output(attention.logits(query, memory).softmax(-1) @ attention.value(memory))
    torch.testing.assert_close(attention(query, memory), expected)


def test_layer_normalises_the_query_only() -> None:
    layer = AttentionLayer(8, 4, 2, 0.0, 0.0).double().eval()
    query, memory = torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    x = query + layer.attention(layer.attention_norm(query), memory)
    torch.testing.assert_close(layer(query, memory), x + layer.feedforward(layer.feedforward_norm(x)))


def test_published_block_reads_the_logits_in_a_second_look() -> None:
    block = PublishedBlock(8, 4, 2, 0.0, 0.0).double().eval()
    labels, segments = torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    refined, logits = block.project(labels, segments, None)
    updated = labels + block.attention(block.attention_norm(labels), segments)
    torch.testing.assert_close(logits, block.attention.logits(updated, segments))
    torch.testing.assert_close(refined, block(labels, segments))


def test_paper_block_by_its_equations() -> None:
    block = PaperBlock(8, 4, 2, 0.0, 0.0).double().eval()
    labels, segments = torch.randn(1, 3, 8).double(), torch.randn(1, 5, 8).double()
    refined, logits = block.project(labels, segments, None)
    attended = labels + block.attention_norm(block.attention(labels, segments))  # F + LN(softmax(A) V)
    expected = attended + block.feedforward_norm(block.feedforward(attended))  # F + LN(FF(F))
    torch.testing.assert_close(refined, expected)
    torch.testing.assert_close(logits, block.attention.logits(labels, segments))  # the block's own raw logits


def test_variants_differ() -> None:
    published, paper = tiny_parser(), tiny_parser(leap_variant="paper")
    paper.load_state_dict(published.state_dict())
    one, other = published(*inputs(1, 5)), paper(*inputs(1, 5))
    assert not torch.allclose(one.audio_segment_probs, other.audio_segment_probs)
    torch.testing.assert_close(one.audio_hidden, other.audio_hidden)  # the encoder is the same


def test_union_of_modalities() -> None:
    output = tiny_parser()(*inputs(2, 5))
    either = (output.audio_video_probs >= 0.5) | (output.visual_video_probs >= 0.5)
    torch.testing.assert_close(output.video_probs, either.double())
    soft = tiny_parser(leap_variant="paper")(*inputs(2, 5))
    expected = 1 - (1 - soft.audio_video_probs) * (1 - soft.visual_video_probs)
    torch.testing.assert_close(soft.video_probs, expected)


@combinations
def test_every_parameter_learns(changes: dict) -> None:
    parser = tiny_parser(**changes)
    output = parser(*inputs(2, 5))
    total = output.audio_segment_logits.sum() + output.visual_segment_logits.sum() + output.video_probs.sum()
    (total + output.audio_video_probs.sum() + output.visual_video_probs.sum()).backward()
    assert [name for name, parameter in parser.named_parameters() if parameter.grad is None] == []


@pytest.mark.parametrize(
    ("shapes", "lengths", "message"),
    [
        (((2, 5, 6), (2, 40, 10), (2, 4, 7)), None, "segments disagree"),
        (((2, 5, 6), (2, 41, 10), (2, 5, 7)), None, "segments disagree"),
        (((2, 0, 6), (2, 0, 10), (2, 0, 7)), None, "segments disagree"),
        (((2, 5, 9), (2, 40, 10), (2, 5, 7)), None, r"audio is \(2, 5, 9\)"),
        (((2, 5, 6), (1, 40, 10), (2, 5, 7)), None, "visual_2d"),
        (((2, 5, 6), (2, 40, 10), (2, 5, 7)), [5, 6], "lengths"),
        (((2, 5, 6), (2, 40, 10), (2, 5, 7)), [0, 5], "lengths"),
        (((2, 5, 6), (2, 40, 10), (2, 5, 7)), [5], "lengths"),
    ],
)
def test_parser_rejects_inconsistent_shapes(shapes: tuple, lengths: list[int] | None, message: str) -> None:
    tensors = [torch.zeros(shape).double() for shape in shapes]
    with pytest.raises(ValueError, match=message):
        tiny_parser()(*tensors, lengths=None if lengths is None else torch.tensor(lengths))


@pytest.mark.parametrize(
    "settings",
    [
        {"labels": ()}, {"labels": ("a", "a")}, {"heads": 3}, {"leap_variant": "other"}, {"leap_blocks": 0},
        {"encoder": "x"}, {"decoder": "x"}, {"layers": 0}, {"dropout": 1.0}, {"swap_modalities": True},
        {"hidden_dim": -4}, {"feedforward_dim": 0}, {"levels": 80}, {"stem": "x"}, {"stem_hidden_dim": 0},
        {"class_dim": 1 << 17}, {"evidence_dropout": 1.0}, {"visual_dropout": -0.1}, {"class_dropout": "x"},
        {"cross_attention": False}, {"cross_share": 0.8}, {"self_attention_share": 0.3}, {"cross_attention": 1},
        {"encoder": "han", "heads": 1, "cross_share": 1.1},
        {"encoder": "han", "heads": 1, "cross_attention": False, "cross_share": 0.8},
        {"encoder": "han", "heads": 1, "cross_attention": False, "self_attention_share": 0.3},
        {"decoder": "classwise", "labels": tuple(map(str, range(1001)))},
    ],
)  # fmt: skip
def test_parser_config_rejects_invalid_settings(settings: dict) -> None:
    messages = r"labels|heads|not one of|at least|swap|nine hours|below 1|from 0 to 1|encoder han|true or false"
    with pytest.raises(ValueError, match=messages):
        ParserConfig(**{"labels": ("a",), **settings})


def test_parser_config_round_trips_through_json() -> None:
    config = ParserConfig(labels=("a", "b"), leap_variant="paper", segments=7)
    assert ParserConfig.from_dict(config.to_dict()) == config
    with pytest.raises(ValueError, match="unknown parser settings: wings"):
        ParserConfig.from_dict({**config.to_dict(), "wings": 2})


def test_build_parser_rejects_label_embeddings_of_another_shape() -> None:
    with pytest.raises(ValueError, match=r"label embeddings are \(1, 3\)"):
        build_parser(ParserConfig(labels=("a", "b"), label_embedding_dim=3), torch.zeros(1, 3))


def test_build_parser_needs_label_embeddings_only_for_label_queries() -> None:
    with pytest.raises(ValueError, match="label embeddings are None"):
        build_parser(ParserConfig(labels=("a", "b")))
    assert not hasattr(tiny_parser(decoder="mmil").decoder, "label_embeddings")
    assert tiny_parser(label_queries="learned").decoder.label_queries.shape == (4, 16)


def test_han_by_its_equation() -> None:
    """``x = LN(q + cross + self); out = LN(x + FF(x))``; VALOR's visual reads the audio already updated."""
    audio, visual = torch.randn(1, 3, 16).double(), torch.randn(1, 3, 16).double()

    def by_hand(layer, query: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        x = layer.attention_norm(query + layer.across(query, other) + layer.within(query, query))
        return layer.feedforward_norm(x + layer.feedforward(x))

    for order in ("parallel", "sequential"):
        encoder = HAN(tiny_parser(encoder="han", han_order=order).config).double().eval()
        audio_out, visual_out = encoder(audio, visual)[:2]
        layer = encoder.layers[0]
        torch.testing.assert_close(audio_out, by_hand(layer, audio, visual))
        torch.testing.assert_close(visual_out, by_hand(layer, visual, audio_out if order == "sequential" else audio))


def test_mmil_by_its_equation() -> None:
    decoder: Any = tiny_parser(decoder="mmil").decoder
    audio, visual = torch.randn(2, 3, 16).double(), torch.randn(2, 3, 16).double()
    decoded = decoder(audio, visual)
    both = torch.stack([audio, visual], dim=2)
    probs, over_time = decoder.prob(both).sigmoid(), decoder.frame_attention(both).softmax(1)
    over_modalities = decoder.modality_attention(both).softmax(2)
    torch.testing.assert_close(decoded.audio.video_probs, (over_time * probs).sum(1)[:, 0])
    torch.testing.assert_close(decoded.visual.video_probs, (over_time * probs).sum(1)[:, 1])
    torch.testing.assert_close(decoded.video_probs, (over_time * probs * over_modalities).sum((1, 2)))
    torch.testing.assert_close(decoded.visual.segment_logits, decoder.prob(visual))


def test_swap_modalities_exchanges_the_outputs() -> None:
    straight, swapped = tiny_parser(decoder="mmil"), tiny_parser(decoder="mmil", swap_modalities=True)
    one, other = straight(*inputs(1, 4)), swapped(*inputs(1, 4))
    torch.testing.assert_close(one.audio_segment_probs, other.visual_segment_probs)
    torch.testing.assert_close(one.visual_video_probs, other.audio_video_probs)
    torch.testing.assert_close(one.video_probs, other.video_probs)


def test_leap_prediction_selects_the_block() -> None:
    """The average is the mean of the logits of both blocks; the video predictions are the last block's in any case."""
    outputs = {which: tiny_parser(leap_prediction=which)(*inputs(2, 5)) for which in ("first", "last", "average")}
    mean = (outputs["first"].audio_segment_logits + outputs["last"].audio_segment_logits) / 2
    torch.testing.assert_close(outputs["average"].audio_segment_logits, mean)
    assert not torch.allclose(outputs["first"].audio_segment_logits, outputs["last"].audio_segment_logits)
    for output in outputs.values():
        torch.testing.assert_close(output.audio_video_probs, outputs["last"].audio_video_probs)


def test_temporal_conv_equals_torch_conv1d() -> None:
    """The same numbers as two Conv1d, dilated and padded to the same length."""
    ours = TemporalConv(4, 2).double()
    wide, point = (torch.nn.Conv1d(4, 4, size, padding=pad, dilation=2).double() for size, pad in ((3, 2), (1, 0)))
    with torch.no_grad():
        wide.weight.copy_(ours.wide.weight.unflatten(1, (3, 4)).permute(0, 2, 1))
        assert wide.bias is not None
        assert point.bias is not None
        wide.bias.copy_(ours.wide.bias)
        point.weight.copy_(ours.point.weight.unsqueeze(-1))
        point.bias.copy_(ours.point.bias)
    x = torch.randn(2, 7, 4).double()
    expected = torch.relu(x + point(torch.relu(wide(x.transpose(1, 2)))).transpose(1, 2))
    torch.testing.assert_close(ours(x, None), expected)


@pytest.mark.parametrize("rate", [0.1, 0.2, 0.5])
@pytest.mark.parametrize("shape", [(1000, 7), (333, 31)])
def test_dropout_drops_at_its_rate_and_keeps_the_mean(rate: float, shape: tuple[int, int]) -> None:
    torch.manual_seed(0)
    dropout, x = Dropout(rate), torch.ones(shape)
    dropped = dropout(x)
    assert (dropped == 0).float().mean().item() == pytest.approx(rate, abs=0.02)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-4)
    assert not torch.equal(dropped, dropout(x))
    torch.manual_seed(0)
    assert torch.equal(dropped, dropout(x))
    assert dropout.eval()(x) is x


def test_dropout_gradient_equals_its_mask() -> None:
    x = torch.ones(5, 5, requires_grad=True)
    dropped = Dropout(0.5)(x)
    dropped.sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, dropped)


def test_temporal_conv_dilated_beyond_the_video_reads_one_segment() -> None:
    """A dilation beyond the video's length reads nothing but the segment itself."""
    far, farther = TemporalConv(4, 8).double(), TemporalConv(4, 2**15).double()
    farther.load_state_dict(far.state_dict())
    x = torch.randn(1, 5, 4).double()
    torch.testing.assert_close(far(x, None), farther(x, None))
    assert Dropout(0.999999)(torch.ones(100)).isfinite().all()
