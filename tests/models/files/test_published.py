"""The published MM-Pyr + LEAP: its file loads unchanged, its outputs come out."""

from __future__ import annotations

import re

import numpy as np
import pytest
import torch
from avvp.models import AVParser, load_published
from support.golden import load_json, load_npz, needs_golden, parser_inputs
from support.parsers import family_state, published_state

OUTPUTS = {
    "a_prob": "audio_video_probs",
    "v_prob": "visual_video_probs",
    "a_frame_prob": "audio_segment_probs",
    "v_frame_prob": "visual_segment_probs",
    "global_prob": "video_probs",
    "a_fea": "audio_hidden",
    "v_fea": "visual_hidden",
    "la_f": "audio_label_hidden",
    "lv_f": "visual_label_hidden",
}


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    return load_npz("leap_official.npz")


def load(golden: dict[str, np.ndarray], blocks: int = 2, heads: int = 8) -> AVParser:
    embeddings = torch.from_numpy(golden["label_embeddings"])
    return load_published(published_state(blocks), family="leap", label_embeddings=embeddings, leap_heads=heads)


@needs_golden
@pytest.mark.parametrize(("tag", "blocks", "heads"), [("n2_h8", 2, 8), ("n1_h8", 1, 8), ("n4_h4", 4, 4)])
def test_leap_outputs_golden(golden: dict[str, np.ndarray], tag: str, blocks: int, heads: int) -> None:
    """In float64, so that what is compared is the function and not our rounding."""
    parser = load(golden, blocks, heads).double()
    with torch.no_grad():
        output = parser(*(tensor.double() for tensor in parser_inputs()))
    compared = 0
    for name, attribute in OUTPUTS.items():
        if f"{tag}/{name}" in golden:
            expected, got = golden[f"{tag}/{name}"], getattr(output, attribute).numpy()
            # Hidden states reach 30, where the reference's own float32 rounding is 3e-5.
            tolerance = 1e-5 if name.endswith("prob") else 1e-4
            np.testing.assert_allclose(got, expected, atol=tolerance, rtol=0, err_msg=f"{tag}/{name}")
            compared += 1
    assert compared >= 4


@needs_golden
def test_leap_outputs_golden_in_float32(golden: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        output = load(golden)(*parser_inputs())
    np.testing.assert_allclose(output.visual_segment_probs, golden["n2_h8/v_frame_prob"], atol=1e-5, rtol=0)


@needs_golden
def test_leap_unused_keys_are_those_without_a_gradient(golden: dict[str, np.ndarray]) -> None:
    parser = load(golden)
    without_gradient = {key for key, norm in load_json("leap_official.json")["grad_norms"].items() if norm is None}
    twins = {key for key in parser.unused_keys if re.search(r"network\.\d+\.conv[12]\.", key)}
    assert set(parser.unused_keys) - twins == without_gradient

    output = parser(*parser_inputs())
    losses = (
        output.audio_segment_logits,
        output.visual_segment_logits,
        output.audio_video_logits,
        output.visual_video_logits,
    )
    torch.stack([loss.square().mean() for loss in losses]).sum().backward()
    assert [name for name, parameter in parser.named_parameters() if parameter.grad is None] == []
    assert all(parameter.grad.abs().sum() > 0 for parameter in parser.parameters() if parameter.grad is not None)


def test_load_published_drops_the_data_parallel_prefix() -> None:
    state, embeddings = published_state(), torch.zeros(25, 300)
    prefixed = {f"module.{key}": value for key, value in state.items()}
    parsers = [load_published(keys, family="leap", label_embeddings=embeddings) for keys in (prefixed, state)]
    torch.testing.assert_close(parsers[0].state_dict(), parsers[1].state_dict())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"fc_x.weight": torch.zeros(1)}, "fc_x.weight"),
        (lambda s: {k: v for k, v in s.items() if k != "fc_lv.bias"}, "missing ['fc_lv.bias']"),
        (lambda s: s | {"fc_lv.bias": torch.zeros(2)}, "size mismatch"),
        (lambda s: {"fc_lv.bias": s["fc_lv.bias"]}, "no tensor 'fc_a.weight'"),
        (lambda s: s | {"MMP.capture.vnetwork.0.conv1.bias": torch.zeros(512)}, "differ in this file"),
    ],
)
def test_load_published_rejects_missing_unknown_and_differing_keys(change, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_published(change(published_state()), family="leap", label_embeddings=torch.zeros(25, 300))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"fc_lv.bias": torch.zeros(1, dtype=torch.int64)}, "holds int64, expected float32"),
        ({"fc_lv.bias": torch.zeros(1, dtype=torch.float64)}, "holds float64, expected float32"),
        ({"fc_lv.bias": torch.full((1,), float("nan"))}, "not finite"),
        ({"fc_lv.bias": torch.full((1,), float("inf"))}, "not finite"),
        ({"fc_a.weight": torch.zeros(128)}, "size mismatch for stem.audio.weight"),
        ({"fc_v.weight": torch.zeros(())}, "size mismatch for stem.visual_2d.weight"),
        ({"fc_l.weight": torch.zeros(1, 2, 3, 4)}, "size mismatch for decoder.label_projection.weight"),
        ({"fc_a.weight": torch.zeros(1).expand(2**40, 2**20)}, "_dim is"),
        ({"fc_a.weight": torch.zeros(512, 0)}, "audio_dim"),
        ({"MMP.capture.msa.999999999999999999.la1.weight": torch.zeros(1)}, "levels"),
        ({"AVL.la_cma_network.999999999.sublayer.0.norm.weight": torch.zeros(1)}, "leap_blocks"),
        ({"MMP.capture.vnetwork.0.conv1.bias": torch.zeros(512, dtype=torch.int64)}, "differ in this file"),
        ({"\x1b[31m\n" + "x" * 10_000: torch.zeros(1)}, "not a key of the published"),
        ({"fc_lv.bias": 3}, "fc_lv.bias is of type int, not a tensor"),
        ({1: torch.zeros(1)}, "1 is the name of a tensor"),
    ],
)
def test_load_published_refuses_what_cannot_be_parameters(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_published(published_state() | change, family="leap", label_embeddings=torch.zeros(25, 300))
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize(
    "embeddings",
    [torch.zeros(24, 300), torch.zeros(25, 299), torch.zeros(300), torch.zeros(25, 300, dtype=torch.long)],
)
def test_load_published_refuses_label_embeddings_that_do_not_fit(embeddings: torch.Tensor) -> None:
    with pytest.raises(ValueError, match=r"label embeddings are .*, expected \(25, 300\) of float32"):
        load_published(published_state(), family="leap", label_embeddings=embeddings)
    embeddings = torch.full((25, 300), float("nan"))
    with pytest.raises(ValueError, match=r"label_embeddings holds values that are not finite"):
        load_published(published_state(), family="leap", label_embeddings=embeddings)


MMIL_OUTPUTS = {"global_prob": "video_probs", "a_prob": "audio_video_probs", "v_prob": "visual_video_probs"}
UNUSED = {
    "han": r"(audio|visual|cmt)_encoder\.|hat_encoder\.norm[12]\.",
    "mmpyr": r"MMP\.(capture|fusion)\.(multiheadattn|feedforward)\.|.*layer_norm\.|.*network\.\d\.conv[12]\.",
    "valor": r"hat_encoder\.final_norm_[av]\.",
}


@needs_golden
@pytest.mark.parametrize("family", UNUSED)
def test_mmil_outputs_golden(family: str) -> None:
    """Swapped modalities of MM-Pyr included: its index 0 is the visual stream, and is read as audio."""
    expected, state = load_npz(f"{family}_official.npz"), family_state(family)
    parser = load_published(state, family=family).double()
    with torch.no_grad():
        output = parser(*(tensor.double() for tensor in parser_inputs()))
    for name, attribute in MMIL_OUTPUTS.items():
        np.testing.assert_allclose(getattr(output, attribute), expected[name], atol=1e-5, rtol=0, err_msg=name)
    segments = torch.stack([output.audio_segment_probs, output.visual_segment_probs], dim=2)
    np.testing.assert_allclose(segments, expected["frame_prob"], atol=1e-5, rtol=0)
    if "frame_logits" in expected:
        logits = torch.stack([output.audio_segment_logits, output.visual_segment_logits], dim=2)
        np.testing.assert_allclose(logits, expected["frame_logits"], atol=1e-5, rtol=0)
    assert set(parser.unused_keys) == {key for key in state if re.match(UNUSED[family], key)}


@needs_golden
def test_mmpyr_outputs_golden_without_swapped_modalities() -> None:
    expected, state = load_npz("mmpyr_official.npz"), family_state("mmpyr")
    with torch.no_grad():
        output = load_published(state, family="mmpyr", swap_modalities=False)(*parser_inputs())
    np.testing.assert_allclose(output.visual_video_probs, expected["a_prob"], atol=1e-5, rtol=0)
    with pytest.raises(ValueError, match="swap_modalities is for family 'mmpyr'"):
        load_published(family_state("han"), family="han", swap_modalities=True)


def test_load_published_rejects_packed_attention_of_another_shape() -> None:
    state = {**family_state("han"), "hat_encoder.layers.0.cm_attn.in_proj_bias": torch.zeros(7)}
    with pytest.raises(ValueError, match=r"in_proj_bias is \(7,\)"):
        load_published(state, family="han")


def test_load_published_rejects_unknown_family_and_missing_embeddings() -> None:
    with pytest.raises(ValueError, match="unknown family 'x'; known: leap, mmpyr, han, valor"):
        load_published({}, family="x")
    with pytest.raises(ValueError, match="label_embeddings"):
        load_published({}, family="leap")
