"""DHHN: temporal scales, two networks as one parser, guides; and the outputs of the published program."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import AVParser, dump_checkpoint, load_checkpoint, load_published
from avvp.models.dhhn import SegmentNorm, TemporalScale
from avvp.models.parser import join_networks
from support.dhhn import GUIDED, SCALED, training_state
from support.golden import fill, load_json, load_npz, needs_golden, parser_inputs
from support.parsers import inputs, tiny_parser
from support.zoo import zoo_state

NETWORKS = ("audio_net.", "video_net.")


def one_network(prefix: str) -> dict[str, torch.Tensor]:
    return {key.removeprefix(prefix): value for key, value in zoo_state("dhhn").items() if key.startswith(prefix)}


@needs_golden
def test_outputs_of_both_networks_golden() -> None:
    expected, state = load_npz("dhhn_official.npz"), zoo_state("dhhn")
    parser = load_published(state, family="dhhn")
    assert parser.config.modality_networks
    with torch.no_grad():
        output = parser(*parser_inputs())
    np.testing.assert_allclose(output.audio_video_probs, expected["a_prob"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(output.visual_video_probs, expected["v_prob"], atol=2e-5, rtol=0)
    for index, modality in enumerate(("audio", "visual")):
        probs = getattr(output, f"{modality}_segment_probs")
        network = NETWORKS[index][:5]
        np.testing.assert_allclose(probs, expected[f"{network}_net_frame_prob"][:, :, index], atol=2e-5, rtol=0)
        video = getattr(output, f"{modality}_video_probs")
        decided = (probs >= 0.5) & (video >= 0.5)[:, None]
        np.testing.assert_array_equal(decided, expected[f"decision/{modality}"])
    assert parser.config.video_filter == "own"
    dead = {"hat_encoder.norm1.weight", "hat_encoder.norm1.bias", "hat_encoder.norm2.weight", "hat_encoder.norm2.bias"}
    unused = {key for key in parser.unused_keys if not key.endswith("num_batches_tracked")}
    assert unused == {prefix + key for prefix in NETWORKS for key in dead}


@needs_golden
def test_outputs_of_one_network_golden() -> None:
    """Also what goes into the attention of each scale, and what comes out."""
    expected = load_npz("dhhn_official.npz")
    parser = load_published(one_network("audio_net."), family="dhhn")
    assert not parser.config.modality_networks
    assert sum(value.numel() for value in parser.parameters()) == load_json("dhhn_official.json")["parameters"] / 2 - (
        4 * 512  # norms that the program never reads
    )
    with torch.no_grad():
        output = parser(*parser_inputs())
        audio, visual = parser.stem(*parser_inputs())
        scales: Any = parser.encoder.scales
        for level, scale in enumerate(scales):
            for modality, x in (("audio", audio), ("visual", visual)):
                found = getattr(scale, modality)(x, None)
                np.testing.assert_allclose(found, expected[f"one/level{level}/{modality}_in"], atol=2e-5, rtol=0)
    for name, attribute in (("global", "video_probs"), ("a", "audio_video_probs"), ("v", "visual_video_probs")):
        np.testing.assert_allclose(getattr(output, attribute), expected[f"one/{name}_prob"], atol=2e-5, rtol=0)
    segments = torch.stack([output.audio_segment_probs, output.visual_segment_probs], dim=2)
    np.testing.assert_allclose(segments, expected["one/frame_prob"], atol=2e-5, rtol=0)
    last = torch.from_numpy(expected["one/level2/audio_out"])
    sums = parser.encode(*parser_inputs(), None).scales
    torch.testing.assert_close(sums[2][0] - sums[1][0], last[:, [0] * 5 + [1] * 5], atol=2e-5, rtol=0)


def test_files_of_two_networks_are_checked() -> None:
    state = {f"{prefix}{key}": value for prefix in NETWORKS for key, value in fill({"fc_a.weight": (8, 4)}).items()}
    with pytest.raises(ValueError, match=r"not a published DHHN: no tensor .*fc_v\.weight"):
        load_published(state, family="dhhn")
    with pytest.raises(ValueError, match=r"both of audio_net\. and video_net\."):
        load_published({"audio_net.fc_a.weight": torch.zeros(8, 4)}, family="dhhn")
    with pytest.raises(ValueError, match="not a key of the published DHHN: other"):
        load_published({**state, "other": torch.zeros(1)}, family="dhhn")


@needs_golden
@pytest.mark.parametrize("scales", [0, 1, 2])
def test_files_with_fewer_scales_are_no_files_of_dhhn(scales: int) -> None:
    state = one_network("audio_net.")
    kept = tuple(f"conv_x{stream}.{level}." for stream in (1, 2) for level in range(scales))
    cut = {key: value for key, value in state.items() if not key.startswith("conv_") or key.startswith(kept)}
    with pytest.raises(ValueError, match=rf"missing \['conv_x1\.{scales}\.blocks"):
        load_published(cut, family="dhhn")


@needs_golden
def test_data_parallel_prefix_inside_that_of_a_network() -> None:
    state = zoo_state("dhhn")
    wrapped = {key.replace("_net.", "_net.module.", 1): value for key, value in state.items()}
    parsers = [load_published(keys, family="dhhn") for keys in (state, wrapped)]
    torch.testing.assert_close(parsers[0].state_dict(), parsers[1].state_dict())


def test_scale_equals_a_strided_convolution() -> None:
    for kernel, stride in ((1, 1), (3, 2), (5, 5)):
        scale = TemporalScale(4, kernel, stride).double().eval()
        convolution = torch.nn.Conv1d(4, 4, kernel, stride, kernel // 2, bias=False).double()
        with torch.no_grad():
            convolution.weight.copy_(scale.convolution.weight.unflatten(1, (kernel, 4)).permute(0, 2, 1))
        for length in (1, 2, 7, 10, 11):
            x = torch.randn(2, length, 4).double()
            expected = torch.relu(convolution(x.mT).mT / (1 + 1e-5) ** 0.5)
            torch.testing.assert_close(scale(x, None), expected)


def test_norm_equals_torch_where_there_is_no_padding() -> None:
    ours, theirs = SegmentNorm(3).double(), torch.nn.BatchNorm1d(3).double()
    x = torch.randn(4, 5, 3).double()
    for _ in range(3):
        torch.testing.assert_close(ours(x, None), theirs(x.flatten(0, 1)).unflatten(0, (4, 5)))
    torch.testing.assert_close(ours.running_var, theirs.running_var)
    torch.testing.assert_close(ours.running_mean, theirs.running_mean)
    torch.testing.assert_close(ours.eval()(x, None), theirs.eval()(x.flatten(0, 1)).unflatten(0, (4, 5)))


def test_norm_does_not_count_padding() -> None:
    x, valid = torch.randn(2, 3, 2).double(), torch.tensor([[True, True, True], [True, False, False]])
    ours, theirs = SegmentNorm(2).double(), torch.nn.BatchNorm1d(2).double()
    torch.testing.assert_close(ours(x, valid)[valid], theirs(x[valid]))
    x[~valid] = 1e6
    torch.testing.assert_close(ours(x, valid)[valid], theirs(x[valid]))
    torch.testing.assert_close(ours.running_var, theirs.running_var)


def test_norm_of_a_single_segment_changes_no_statistics() -> None:
    norm = SegmentNorm(2)
    norm.bias.data.fill_(0.5)
    assert torch.equal(norm(torch.randn(1, 1, 2), None), torch.full((1, 1, 2), 0.5))
    assert torch.equal(norm.running_var, torch.ones(2))


def test_probabilities_are_means_over_the_scales() -> None:
    parser = tiny_parser(**SCALED)
    output, encoded = parser(*inputs(2, 7)), parser.encode(*inputs(2, 7), None)
    plain = tiny_parser(encoder="han", decoder="mmil", heads=1)
    plain.decoder.load_state_dict(parser.decoder.state_dict())
    decoded = [plain.decoder(audio, visual, None) for audio, visual in encoded.scales]
    assert len(decoded) == 3
    probs = torch.stack([one.visual.segment_logits.sigmoid() for one in decoded]).mean(0)
    torch.testing.assert_close(output.visual_segment_probs, probs)
    torch.testing.assert_close(output.visual_segment_logits.sigmoid(), probs)
    torch.testing.assert_close(output.video_probs, torch.stack([one.video_probs for one in decoded]).mean(0))
    torch.testing.assert_close(output.audio_hidden, encoded.scales[-1][0])


def test_joined_networks_take_a_modality_of_each(tmp_path: Path) -> None:
    first, second = tiny_parser(**SCALED), tiny_parser(**SCALED)
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.3)
    joined = join_networks(first, second)
    outputs = [parser(*inputs(2, 4)) for parser in (joined, first, second)]
    for name, value in vars(outputs[0]).items():
        if name.startswith(("audio_", "visual_")) and value is not None:
            torch.testing.assert_close(value, getattr(outputs[1 if name.startswith("audio") else 2], name))
    torch.testing.assert_close(outputs[0].video_probs, (outputs[1].video_probs + outputs[2].video_probs) / 2)
    (tmp_path / "x").write_bytes(dump_checkpoint(joined, {}, {}))
    loaded = load_checkpoint(tmp_path / "x").parser
    assert isinstance(loaded, AVParser)
    torch.testing.assert_close(
        loaded(*(x.float() for x in inputs(2, 4))).video_probs, outputs[0].video_probs, check_dtype=False
    )
    with torch.no_grad():
        next(first.parameters()).zero_()
    torch.testing.assert_close(joined(*inputs(2, 4)).video_probs, outputs[0].video_probs)  # it has copies
    with pytest.raises(ValueError, match="networks of two architectures"):
        join_networks(first, tiny_parser(**{**SCALED, "scales": 2}))


def test_attention_of_joined_leap_networks() -> None:
    first, second = tiny_parser(), tiny_parser()
    with torch.no_grad():
        for parameter in second.parameters():
            parameter.mul_(1.1)
    audio, visual = join_networks(first, second).attention_maps(*inputs(1, 3))
    torch.testing.assert_close(audio, first.attention_maps(*inputs(1, 3))[0])
    torch.testing.assert_close(visual, second.attention_maps(*inputs(1, 3))[1])


def test_guides_are_left_out_of_checkpoints(tmp_path: Path) -> None:
    parser = tiny_parser(**SCALED, guides=True)
    output = parser(*inputs(2, 4))
    assert output.audio_guide_probs is not None
    assert output.audio_guide_probs.shape == (2, 4)
    (tmp_path / "x").write_bytes(dump_checkpoint(parser, {}, {}))
    loaded = load_checkpoint(tmp_path / "x").parser
    assert isinstance(loaded, AVParser)
    assert not loaded.config.guides
    assert {key for key in parser.state_dict() if not key.startswith("guides.")} == set(loaded.state_dict())
    found = loaded(*(x.float() for x in inputs(2, 4)))
    assert found.audio_guide_probs is None
    torch.testing.assert_close(found.video_probs, output.video_probs, check_dtype=False)


@needs_golden
def test_guides_golden() -> None:
    expected = load_npz("dhhn_official.npz")
    parser = tiny_parser(25, **GUIDED).float()
    parser.load_state_dict(training_state())
    with torch.no_grad():
        output = parser(*parser_inputs())
    assert output.audio_guide_probs is not None
    assert output.visual_guide_probs is not None
    np.testing.assert_allclose(output.audio_guide_probs, expected["guide/audio_prob"], atol=2e-5, rtol=0)
    np.testing.assert_allclose(output.visual_guide_probs, expected["guide/video_prob"], atol=2e-5, rtol=0)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoder": "mmpyr", "heads": 4}, "scales are for the encoder han"),
        ({"scales": 4}, "scales is 4; it must be at least 1 and at most 3"),
        ({"self_attention_share": 0.3}, "self_attention_share"),
        ({"visual_dropout": 0.5}, "visual_dropout"),
        ({"guides": True, "hidden_dim": 12}, "8 attention heads of the guides do not divide hidden_dim 12"),
        ({"guides": True, "modality_networks": True}, "guides"),
    ],
)
def test_settings_that_contradict_each_other(changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_parser(**{**SCALED, **changes})
