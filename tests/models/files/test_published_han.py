"""The published systems built on HAN: their files load unchanged, and their outputs come out."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import AVParser, ParserOutput, load_published
from avvp.models.evidence import uncertainty
from avvp.models.files.keys import Family
from avvp.models.files.published_han import HAN_FAMILIES
from avvp.models.files.published_localizers import FAMILIES as LOCALIZERS
from avvp.models.files.published_parsers import FAMILIES as PARSERS
from avvp.models.han import without_cross_attention
from support.golden import SEED, fill, load_json, load_npz, needs_golden
from support.parsers import PUBLISHED_KEYS
from support.zoo import zoo_features, zoo_state

TOLERANCE = 2e-5
OUTPUTS = {
    "global_prob": "video_probs",
    "a_prob": "audio_video_probs",
    "v_prob": "visual_video_probs",
    "a_fea": "audio_hidden",
    "v_fea": "visual_hidden",
    "visual_in": "visual_projected",
    "a_frame_logits": "audio_segment_logits",
    "v_frame_logits": "visual_segment_logits",
    "global_uncertainty": "video_uncertainty",
    "a_uncertainty": "audio_uncertainty",
    "v_uncertainty": "visual_uncertainty",
}
# Prefix in the golden file, family, key of the shapes in its json, settings.
CASES: list[tuple[str, str, str, dict[str, Any]]] = [
    ("", "ma", "state_dict", {}),
    ("ca/", "jomold", "state_dict", {}),
    ("noca/", "jomold", "state_dict", {"cross_attention": False}),
    ("layers2/", "jomold", "state_dict_layers2", {}),
    ("", "uwav", "state_dict", {}),
    ("ca/", "cmpae", "state_dict", {"cross_attention": True}),
    ("noca/", "cmpae", "state_dict", {"cross_attention": False}),
    ("fused/", "cmpae", "state_dict", {}),
    ("", "cvcms", "state_dict", {}),
]
GOLDEN_FAMILIES = ("ma", "jomold", "uwav", "cmpae", "cvcms")
CLASS_TOKENS = {f"hat_encoder.layers.0.cls_tokens_{letter}": (1, 25, 512) for letter in "av"}


def load(family: str, shapes: str = "state_dict", **settings: Any) -> AVParser:
    parser = load_published(zoo_state(family, shapes), family=family, **settings)
    assert isinstance(parser, AVParser)
    return parser


def golden(family: str, prefix: str = "") -> dict[str, np.ndarray]:
    values = load_npz(f"{family}_official.npz")
    return {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}


def run(parser: AVParser, features: tuple[torch.Tensor, ...] | None = None) -> ParserOutput:
    with torch.no_grad():
        return parser(*(features or zoo_features(SEED + 1, 2)))


def segments(output: ParserOutput, kind: str = "probs") -> torch.Tensor:
    return torch.stack([getattr(output, f"{modality}_segment_{kind}") for modality in ("audio", "visual")], dim=2)


def close(got: torch.Tensor, expected: np.ndarray, name: str = "") -> None:
    np.testing.assert_allclose(got, expected, atol=TOLERANCE, rtol=0, err_msg=name)


@needs_golden
@pytest.mark.parametrize(("prefix", "family", "shapes", "settings"), CASES, ids=str)
def test_outputs(prefix: str, family: str, shapes: str, settings: dict[str, Any]) -> None:
    expected, output = golden(family, prefix), run(load(family, shapes, **settings))
    compared = [name for name in OUTPUTS if name in expected]
    for name in compared:
        close(getattr(output, OUTPUTS[name]), expected[name], name)
    if "frame_prob" in expected:
        close(segments(output), expected["frame_prob"], "frame_prob")
        torch.testing.assert_close(segments(output, "logits").sigmoid(), segments(output), atol=1e-6, rtol=0)
    assert len(compared) >= 2


@needs_golden
@pytest.mark.parametrize("family", GOLDEN_FAMILIES)
def test_unused_keys(family: str) -> None:
    assert set(load(family).unused_keys) == set(load_json(f"{family}_official.json")["unused"])


@needs_golden
def test_the_noise_estimator_has_no_cross_attention() -> None:
    parser = load("jomold", cross_attention=False)
    assert not [name for name, _ in parser.named_parameters() if "across" in name]
    unused = set(load_json("jomold_official.json")["unused"])
    assert set(parser.unused_keys) == unused | {key for key in zoo_state("jomold") if ".cm_attn." in key}


@needs_golden
def test_the_published_settings() -> None:
    own = {"video_filter": "own", "segment_threshold": 0.5, "video_threshold": 0.5, "strict_thresholds": False}
    cmpae = {
        **own, "segment_threshold": 0.25, "video_threshold": 0.45, "stem": "elu", "cross_share": 0.8,
        "self_attention_share": 0.3, "visual_dropout": 0.5, "evidence_dropout": 0.2, "needs_frames": True,
    }  # fmt: skip
    expected: dict[str, dict[str, Any]] = {
        "ma": {**own, "visual_dropout": 0.0, "dropout": 0.1, "heads": 1},
        "jomold": {**own, "visual_dropout": 0.5, "han_order": "parallel", "needs_frames": False},
        "cmpae": cmpae,
        "cvcms": {"video_filter": "pooled", "dropout": 0.4, "class_dropout": 0.25, "class_dim": 128},
        "uwav": {
            "video_filter": "pooled", "strict_thresholds": True, "heads": 16, "layers": 5, "feedforward_dim": 2048,
            "stem_hidden_dim": 1024, "han_order": "sequential", "visual_2d_dim": 2048, "visual_3d_dim": 512,
        },
    }  # fmt: skip
    for family, fields in expected.items():
        config = load(family).config
        assert {name: getattr(config, name) for name in fields} == fields


@needs_golden
def test_a_mean_of_frames_is_no_substitute_for_the_frames_of_cmpae() -> None:
    audio, visual, clips = zoo_features(SEED + 1, 2)
    averaged = visual.unflatten(1, (10, 8)).mean(dim=2)
    output = run(load("cmpae", cross_attention=True), (audio, averaged, clips))
    close(segments(output), golden("cmpae", "averaged_first/")["frame_prob"])
    assert np.abs(segments(output).numpy() - golden("cmpae", "ca/")["frame_prob"]).max() > 0.01


@needs_golden
def test_the_uncertainty_of_segments_of_cmpae() -> None:
    parser = load("cmpae", cross_attention=True)
    found: dict[str, list[torch.Tensor]] = {"presence": [], "absence": []}
    for name, outputs in found.items():
        module = parser.decoder.get_submodule(name)
        module.register_forward_hook(lambda _, __, output, outputs=outputs: outputs.append(output))
    run(parser)
    logits = torch.stack([torch.stack(outputs, dim=2) for outputs in found.values()], dim=-1)
    close(uncertainty(logits), golden("cmpae", "ca/")["frame_uncertainty"])


@needs_golden
def test_the_class_vectors_of_cvcms() -> None:
    parser = load("cvcms")
    found: list[torch.Tensor] = []
    parser.decoder.get_submodule("interaction").register_forward_hook(lambda *values: found.append(values[2]))
    output = run(parser)
    expected = golden("cvcms")
    for vectors, name in zip(found, ("class_audio", "class_visual"), strict=True):
        close(vectors[:10], expected[name], name)  # the first clip
    assert output.audio_pooling_logits is not None
    attention = output.audio_pooling_logits.softmax(dim=1)
    close((attention * output.audio_segment_probs).sum(dim=1), expected["a_prob"])


@needs_golden
def test_a_pass_without_cross_attention_of_a_whole_network() -> None:
    """JoMoLD's and CMPAE's programs find wrong labels by such a pass of the network that they train."""
    parser = load("cmpae")
    with without_cross_attention(parser.encoder):
        close(segments(run(parser)), golden("cmpae", "noca/")["frame_prob"])
    close(segments(run(parser)), golden("cmpae", "fused/")["frame_prob"])
    with pytest.raises(ValueError, match="FeatureStem cannot run without cross-attention"):  # noqa: SIM117
        with without_cross_attention(load("ma").stem):
            pass


@needs_golden
def test_training_reads_one_pass_alone() -> None:
    parser = load("cmpae").train()
    for module in parser.modules():
        for name in ("rate", "dropout"):
            if isinstance(getattr(module, name, None), float):
                setattr(module, name, 0.0)
    close(segments(run(parser)), golden("cmpae", "ca/")["frame_prob"])


@needs_golden
def test_coleaf_is_cmpae_with_another_threshold() -> None:
    state = zoo_state("cmpae")
    parser = load_published(state | fill(CLASS_TOKENS), family="coleaf")
    assert isinstance(parser, AVParser)
    close(segments(run(parser)), golden("cmpae", "fused/")["frame_prob"])
    assert set(parser.unused_keys) == set(load_json("cmpae_official.json")["unused"]) | set(CLASS_TOKENS)
    assert (parser.config.segment_threshold, parser.config.video_threshold) == (0.25, 0.52)
    assert load_published(state, family="coleaf", cross_attention=False).config.cross_attention is False


@needs_golden
@pytest.mark.parametrize("shapes", ["state_dict", "state_dict_layers2"])
def test_lsld_is_jomold_without_features_of_clips(shapes: str) -> None:
    """A fusion that copies the projected frames is none."""
    state = zoo_state("jomold", shapes)
    state["fc_fusion.weight"] = torch.cat([torch.eye(512), torch.zeros(512, 512)], dim=1)
    state["fc_fusion.bias"] = torch.zeros(512)
    audio, visual, clips = zoo_features(SEED + 1, 2)
    expected = run(load_published(state, family="jomold"), (audio, visual, clips))
    file = {key: value for key, value in state.items() if not key.startswith(("fc_st.", "fc_fusion."))}
    parser = load_published(file, family="lsld")
    assert isinstance(parser, AVParser)
    torch.testing.assert_close(segments(run(parser, (audio, visual))), segments(expected), atol=1e-6, rtol=0)
    assert (parser.config.visual_3d_dim, parser.config.video_filter, parser.config.visual_dropout) == (0, "own", 0.5)
    assert set(parser.unused_keys) == set(load_json("jomold_official.json")["unused"])
    with pytest.raises(ValueError, match=r"not a key of the published LSLD: fc_st\.weight"):
        load_published(state, family="lsld")


def shapes_of(family: str) -> dict[str, list[int]]:
    """Keys of a published file with their shapes."""
    sources = {"lsld": "jomold", "coleaf": "cmpae"}
    return PUBLISHED_KEYS[sources.get(family, family)]


@needs_golden
@pytest.mark.parametrize("family", GOLDEN_FAMILIES)
def test_the_keys_of_this_repository_are_the_published_ones(family: str) -> None:
    assert shapes_of(family) == load_json(f"{family}_official.json")["state_dict"]


Change = Callable[[dict[str, torch.Tensor]], dict[str, torch.Tensor]]


def without(key: str) -> Change:
    return lambda state: {name: value for name, value in state.items() if name != key}


def having(key: str, *shape: int) -> Change:
    return lambda state: state | {key: torch.zeros(1).expand(shape or (1,))}


PACKED = "hat_encoder.layers.0.self_attn.in_proj_weight"


@pytest.mark.parametrize(
    ("family", "change", "message"),
    [
        ("ma", without("fc_prob.bias"), "not a published MA: missing ['fc_prob.bias'], unexpected []"),
        ("ma", without("fc_a.weight"), "not a published MA: no tensor 'fc_a.weight'"),
        ("ma", having("fc3.weight"), "not a key of the published MA: fc3.weight"),
        ("ma", having("fc_prob.bias", 24), "size mismatch for fc_prob.bias (here decoder.prob.bias): (24,), not (25,)"),
        ("jomold", without(PACKED), f"missing ['{PACKED}']"),
        ("jomold", having(PACKED, 1536, 511), f"size mismatch for {PACKED}"),
        ("jomold", having(PACKED, 1535), "in_proj_weight is (1535,), which cannot be split"),
        ("jomold", having("t_att.w_qs.weight"), "not a key of the published JoMoLD: t_att.w_qs.weight"),
        ("jomold", having("hat_encoder.layers.999999999999.norm1.bias"), "layers is 1000000000000"),
        ("cmpae", without("fc_v.0.bias"), "not a published CMPAE: missing ['fc_v.0.bias']"),
        ("cmpae", without("v2a.0.weight"), "missing ['v2a.0.weight']"),
        ("cmpae", having("fc_frame_att.weight", 25, 512), "size mismatch for fc_frame_att.weight"),
        ("cmpae", having("fc_a.weight", 512, 128), "not a key of the published CMPAE: fc_a.weight"),
        ("cmpae", having("hat_encoder.layers.0.cls_tokens_a"), "not a key of the published CMPAE"),
        ("cvcms", without("fc_occ_prob_a.weight"), "not a published CVCMS: no tensor 'fc_occ_prob_a.weight'"),
        ("cvcms", without("fc_occ_class_v.bias"), "missing ['fc_occ_class_v.bias']"),
        ("cvcms", without("av_class_encoder.layers.0.linear1.bias"), "['av_class_encoder.layers.0.linear1.bias']"),
        ("cvcms", having("fc_occ_prob_a.weight", 1, 1 << 20), "class_dim is 1048576"),
        ("cvcms", having("fc_occ_prob_a.weight", 1, 1 << 16), "the most that a network may have"),
        ("cvcms", having("av_class_encoder.layers.1.norm1.bias"), "not a key of the published CVCMS"),
        ("uwav", without("fc_a.layers.1.weight"), "not a published UWAV: missing ['fc_a.layers.1.weight']"),
        ("uwav", without("fc_fusion.layers.0.weight"), "not a published UWAV: no tensor 'fc_fusion.layers.0.weight'"),
        ("uwav", having("fc_fusion.layers.0.weight", 512, 512), "visual_2d_dim is 0"),
        ("uwav", having("fc_a.layers.0.weight", 1 << 30, 128), "stem_hidden_dim is 1073741824"),
        ("uwav", having("fc_a.weight", 512, 128), "not a key of the published UWAV: fc_a.weight"),
        ("uwav", having("fc_frame_att.weight", 25, 512), "not a key of the published UWAV: fc_frame_att.weight"),
    ],
)
def test_files_that_are_not_published_ones(family: str, change: Change, message: str) -> None:
    state = {key: torch.zeros(1).expand(shape) for key, shape in shapes_of(family).items()}
    with pytest.raises(ValueError, match=re.escape(message)) as error:
        load_published(change(state), family=family)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 1000


@pytest.mark.parametrize("family", ["han", "ma", "lsld", "uwav", "leap", "psp"])
def test_families_that_cannot_do_without_cross_attention(family: str) -> None:
    embeddings = torch.zeros(25, 300) if family == "leap" else None
    with pytest.raises(ValueError, match=r"cross_attention(: not for family 'psp'| is for the families jomold, cmpae)"):
        load_published({}, family=family, cross_attention=False, label_embeddings=embeddings)


def test_cross_attention_is_a_choice() -> None:
    with pytest.raises(ValueError, match="cross_attention is 'no', expected True or False"):
        load_published({}, family="jomold", cross_attention="no")  # pyright: ignore[reportArgumentType, reportCallIssue]


@pytest.mark.parametrize("family", HAN_FAMILIES)
def test_published_keys_are_found_again(family: str) -> None:
    keys = PUBLISHED_KEYS.get(family) or shapes_of({"lsld": "jomold", "coleaf": "cmpae"}.get(family, family))
    check_names(
        HAN_FAMILIES[family], [key for key in keys if family != "lsld" or not key.startswith(("fc_st", "fc_fu"))]
    )


def test_published_keys_of_other_families_are_found_again() -> None:
    for family in ("leap", "mmpyr"):
        check_names(PARSERS[family], [key for key in PUBLISHED_KEYS[family] if ".net." not in key])
    # Where a rule chooses between words, the name is all that is known.
    psp = LOCALIZERS["psp", "full"]
    assert psp.published_key("encoder.audio_projection.0.weight") == "fa.0.weight"
    assert psp.published_key("encoder.propagation.layers.visual_2.weight").endswith("visual_2.weight")


def check_names(family: Family, keys: list[str]) -> None:
    """Messages name the key of the file; a tensor that no published key stands for keeps the name it has here."""
    mapped = {key: family.map_key(key) for key in keys}
    told = {key: family.published_key(name) for key, name in mapped.items() if name is not None}
    assert told == {key: key for key in told}
    assert len(told) > 10
    assert family.published_key("decoder.wings") == "decoder.wings"
