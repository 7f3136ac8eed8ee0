"""MGN: its grouping by the equations, its fixed length, and the outputs of the published program."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from avvp.models import AVParser, ParserConfig, build_parser, load_published
from avvp.models.files.published_groups import GROUP_FAMILIES
from avvp.models.layers import Dropout
from avvp.models.mgn import DropPath, Grouping, GumbelNoise, TransformerBlock
from support.golden import load_json, load_npz, needs_golden, parser_inputs
from support.parsers import TINY_SIZES, inputs, tiny_parser
from support.zoo import zoo_state

TINY = {"encoder": "mgn", "decoder": "groups", "group_blocks": 1, "cross_group_blocks": 2, "segments": 5}
OUTPUTS = {
    "global_prob": "video_probs", "a_prob": "audio_video_probs", "v_prob": "visual_video_probs",
    "a_frame_prob": "audio_segment_probs", "v_frame_prob": "visual_segment_probs",
    "audio_segments": "audio_hidden", "visual_segments": "visual_hidden",
}  # fmt: skip


def config(**changes: object) -> ParserConfig:
    return ParserConfig(**{"labels": ("a", "b", "c"), **TINY_SIZES, **TINY, **changes})  # pyright: ignore[reportArgumentType]


def random(*shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(3), dtype=torch.float64)


@pytest.fixture(scope="module")
def published() -> AVParser:
    return load_published(zoo_state("mgn"), family="mgn")


@needs_golden
def test_outputs_golden(published: AVParser) -> None:
    expected = load_npz("mgn_official.npz")
    with torch.no_grad():
        output = published(*parser_inputs())
    for name, attribute in OUTPUTS.items():
        np.testing.assert_allclose(getattr(output, attribute), expected[name], atol=2e-5, rtol=0, err_msg=name)
    for modality in ("audio", "visual"):
        logits = getattr(output, f"{modality}_token_logits")
        np.testing.assert_allclose(logits[1], expected[f"class_logits_{modality}"], atol=2e-5, rtol=0)
    decided = (output.audio_segment_probs >= 0.5) & (output.video_probs >= 0.5)[:, None]
    np.testing.assert_array_equal(decided, expected["decision/audio"])


@needs_golden
def test_groups_and_assignments_golden(published: AVParser) -> None:
    """The published assignments are already the factors of the scores, 1 + softmax over the segments."""
    expected = load_npz("mgn_official.npz")
    with torch.no_grad():
        encoded = published.encode(*parser_inputs(), None)
    for modality in ("audio", "visual"):
        groups, assignment = (getattr(encoded, f"{modality}_{what}") for what in ("groups", "assignment"))
        np.testing.assert_allclose(groups, expected[f"{modality}_groups"], atol=2e-5, rtol=0)
        factors = 1 + assignment.softmax(-1)
        np.testing.assert_allclose(factors, expected[f"{modality}_assignment"][:, 0], atol=2e-5, rtol=0)


@needs_golden
def test_every_key_is_read(published: AVParser) -> None:
    assert published.unused_keys == ()
    assert sum(value.numel() for value in published.parameters()) == load_json("mgn_official.json")["parameters"]
    assert published.config.video_filter in {"default", "pooled"}


def test_grouping_by_its_equations() -> None:
    """Tokens are mixed across their number, attend, and gather the segments; soft, and with the most probable group."""
    for hard in (False, True):
        grouping = Grouping(config(), 4, hard=hard).double().eval()
        segments, tokens = random(2, 5, 16), random(2, 4, 16)
        found = grouping(segments, tokens, None)
        x = grouping.segment_norm(segments)
        y = grouping.mixed_norm(grouping.token_mixing(grouping.token_norm(tokens).mT).mT)
        y = y + grouping.attention(y, x)
        y = grouping.query_norm(y + grouping.feedforward(grouping.feedforward_norm(y)))
        logits = grouping.assign.query(y) @ grouping.assign.key(x).mT / 16**0.5
        soft = logits.softmax(1)
        share = torch.nn.functional.one_hot(logits.argmax(1), 4).mT.double() if hard else soft
        gathered = share / (share.sum(-1, keepdim=True) + 1) @ grouping.assign.value(x)
        groups = grouping.assign.output(gathered) + y
        torch.testing.assert_close(found.assignment, soft)
        torch.testing.assert_close(found.groups, groups + grouping.group_feedforward(grouping.group_norm(groups)))


def test_block_is_pre_norm() -> None:
    block = TransformerBlock(config()).double().eval()
    x = random(2, 3, 16)
    attended = x + block.attention(block.attention_norm(x), block.attention_norm(x))
    torch.testing.assert_close(block(x, None), attended + block.feedforward(block.feedforward_norm(attended)))


def test_score_is_the_probability_of_the_modality_times_one_plus_its_share_of_the_segment() -> None:
    parser = tiny_parser(**TINY)
    output, encoded = parser(*inputs(2, 5)), parser.encode(*inputs(2, 5), None)
    assert encoded.audio_assignment is not None
    factors = (1 + encoded.audio_assignment.softmax(-1)).mT
    torch.testing.assert_close(output.audio_segment_probs, output.audio_video_probs[:, None] * factors)
    torch.testing.assert_close(encoded.audio_assignment.sum(1), torch.ones(2, 5).double())


@pytest.mark.parametrize("length", [6, 11])
def test_more_segments_than_weights_are_refused(length: int) -> None:
    with pytest.raises(ValueError, match=f"{length} segments are more than 5, .*mgn has weights: parse windows of 5"):
        tiny_parser(**TINY)(*inputs(2, length))


def test_a_shorter_video_is_one_padded_to_the_length() -> None:
    parser = tiny_parser(**TINY)
    short = parser(*inputs(1, 3))
    padded = [torch.zeros(1, 5 * rate, width).double() for rate, width in ((1, 6), (8, 10), (1, 7))]
    for tensor, own in zip(padded, inputs(1, 3), strict=True):
        tensor[:, : own.shape[1]] = own
    full = parser(*padded, lengths=torch.tensor([3]))
    torch.testing.assert_close(short.audio_segment_probs, full.audio_segment_probs[:, :3])
    torch.testing.assert_close(short.video_probs, full.video_probs)
    assert short.audio_hidden.shape == (1, 3, 16)


def test_choosing_a_group_has_the_gradient_of_the_soft_assignment() -> None:
    parser = tiny_parser(**TINY)
    parser(*inputs(2, 5)).audio_video_probs.sum().backward()
    weight = parser.get_parameter("encoder.audio.regrouping.assign.query.weight")
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


def test_noise_is_drawn_in_training_only() -> None:
    noise = GumbelNoise(1.0).train()
    x = torch.zeros(200_000)
    torch.manual_seed(0)
    drawn = noise(x)
    assert drawn.mean().item() == pytest.approx(0.5772, abs=0.01)  # Euler's constant
    assert drawn.std().item() == pytest.approx(1.2825, abs=0.01)  # pi / sqrt(6)
    assert noise.eval()(x) is x
    parser = tiny_parser(**TINY, dropout=0.0, attention_dropout=0.0)
    noisy = [module for module in parser.modules() if isinstance(module, Dropout) and module.rate]
    assert [type(module) for module in noisy] == [GumbelNoise]
    first, second = (parser.train()(*inputs(2, 5)).audio_hidden for _ in range(2))
    assert not torch.equal(first, second)
    noisy[0].rate = 0
    assert torch.equal(*(parser(*inputs(2, 5)).audio_hidden for _ in range(2)))


def test_dropped_path_drops_whole_clips() -> None:
    torch.manual_seed(0)
    kept = DropPath(0.25)(torch.ones(8000, 2, 3)).flatten(1)
    assert torch.equal(kept.amin(1), kept.amax(1))
    assert sorted(kept.unique().tolist()) == pytest.approx([0, 1 / 0.75])
    assert kept.mean().item() == pytest.approx(1, abs=0.03)
    assert DropPath(0.25).eval()(kept) is kept


def test_initial_parameters_are_the_published_ones() -> None:
    torch.manual_seed(0)
    parser = build_parser(config(hidden_dim=64, feedforward_dim=64))
    state = parser.state_dict()
    assert state["stem.visual_2d.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    assert state["decoder.blocks.0.attention.query.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    zero = [key for key, value in state.items() if key.endswith(("bias", "_tokens"))]
    assert zero
    assert all(not state[key].any() for key in zero)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"decoder": "mmil"}, "encoder mgn and the decoder groups need each other"),
        ({"encoder": "han"}, "encoder mgn and the decoder groups need each other"),
        ({"visual_dropout": 0.5}, "visual_dropout"),
        ({"heads": 3}, "heads 3 does not divide"),
        ({"group_blocks": 65}, "group_blocks"),
        ({"path_dropout": 1.0}, "path_dropout"),
        ({"labels": tuple(map(str, range(1001)))}, "the decoder groups reads at most 1,000 labels, not 1,001"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        config(**changes)


@needs_golden
def test_published_keys_are_found_again() -> None:
    """Messages name what a file lacks by its published key."""
    family, keys = GROUP_FAMILIES["mgn"], list(zoo_state("mgn"))
    names = [family.map_key(key) for key in keys]
    assert [name and family.published_key(name) for name in names] == keys
    state = {key: value for key, value in zoo_state("mgn").items() if key != "av_mcg.blocks.5.attn.qkv.bias"}
    with pytest.raises(ValueError, match=r"missing \['av_mcg\.blocks\.5\.attn\.qkv\.bias'\]"):
        load_published(state, family="mgn")
