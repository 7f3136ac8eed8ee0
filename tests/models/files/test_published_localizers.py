"""Published files of localizers: which keys and settings are accepted, what is refused."""

from __future__ import annotations

import re
from typing import Any

import pytest
import torch
from avvp.models import AVE_LABELS, EventLocalizer, load_published
from support.localizers import PUBLISHED_KEYS, golden_state

KINDS = [tuple(name.split("/")) for name in PUBLISHED_KEYS]


def load(
    state: dict[str, torch.Tensor], family: str, supervision: str | None = None, **settings: Any
) -> EventLocalizer:
    localizer = load_published(state, family=family, supervision=supervision, **settings)
    assert isinstance(localizer, EventLocalizer)
    return localizer


@pytest.mark.parametrize(("system", "supervision"), KINDS)
def test_every_published_file_loads(system: str, supervision: str) -> None:
    state = golden_state(system, supervision)
    localizer = load({f"module.{key}": value for key, value in state.items()}, system, supervision)
    assert not localizer.training
    config = localizer.config
    assert (config.system, config.supervision, config.decoder) == (system, supervision, "dch")
    assert config.labels == AVE_LABELS
    assert len(AVE_LABELS) == 28
    sizes = (config.audio_dim, config.visual_dim, config.positions, config.attention_dim, config.hidden_dim)
    assert sizes == (128, 512, 49, 512, 256)
    assert set(localizer.unused_keys) <= state.keys()
    assert {parameter.dtype for parameter in localizer.parameters()} == {torch.float32}


@pytest.mark.parametrize("supervision", ["full", "weak"])
def test_the_gates_of_weak_cmbs_have_crossed_names(supervision: str) -> None:
    state = golden_state("cmbs", supervision)
    ours = load(state, "cmbs", supervision).state_dict()
    name = {"full": "audio", "weak": "visual"}[supervision]
    torch.testing.assert_close(ours[f"encoder.{name}_gate.weight"], state["audio_gated.0.weight"], atol=0, rtol=0)


def test_queries_keys_and_values_are_split() -> None:
    state = golden_state("cmbs", "full")
    ours = load(state, "cmbs").state_dict()
    packed = state["AVInter.video_multihead.in_proj_weight"]
    for index, part in enumerate(("query", "key", "value")):
        expected = packed[256 * index : 256 * (index + 1)]
        torch.testing.assert_close(ours[f"encoder.visual_interaction.attention.{part}.weight"], expected)


def test_both_directions_of_an_lstm() -> None:
    state = golden_state("ave", "full")
    ours = load(state, "ave").state_dict()
    for direction, suffix in (("onward", ""), ("reverse", "_reverse")):
        expected = state[f"lstm_video.weight_hh_l0{suffix}"]
        torch.testing.assert_close(ours[f"encoder.visual_lstm.{direction}.weight_hh_l0"], expected)


def test_float64_files_stay_float64() -> None:
    """CMBS and CPSP are published in float64."""
    state = {key: value.double() + 1e-12 for key, value in golden_state("ave", "full").items()}
    localizer = load(state, "ave")
    assert {parameter.dtype for parameter in localizer.parameters()} == {torch.float64}
    assert torch.equal(localizer.state_dict()["decoder.output.bias"], state["L2.bias"])
    with pytest.raises(ValueError, match="float32 and of float64"):
        load(state | {"L2.bias": state["L2.bias"].float()}, "ave")
    with pytest.raises(ValueError, match="holds float16, expected float32 or float64"):
        load(state | {"L2.bias": state["L2.bias"].half()}, "ave")


def test_family_ave_is_the_network_of_the_keys() -> None:
    assert load(golden_state("dmrn", "full"), "ave").config.system == "dmrn"
    with pytest.raises(ValueError, match=r"not a published DMRN: missing .*U_a\.0"):
        load({key: value for key, value in golden_state("ave", "full").items() if not key.startswith("L1")}, "dmrn")
    with pytest.raises(ValueError, match="family 'dmrn' has no supervision 'weak', only 'full'"):
        load(golden_state("dmrn", "full"), "ave", "weak")


def test_settings_that_no_file_holds() -> None:
    assert load(golden_state("psp", "weak"), "psp", "weak").config.threshold == 0.095
    assert load(golden_state("psp", "full"), "psp", threshold=0.2, segments=20).config.threshold == 0.2
    weak = load(golden_state("cmbs", "weak"), "cmbs", "weak", alpha=0.5, heads=8, decision="published").config
    assert (weak.alpha, weak.beta, weak.heads, weak.interaction_heads, weak.decision) == (0.5, 0.5, 8, 2, "published")
    with pytest.raises(ValueError, match="alpha: no setting of family 'psp' that its files leave open"):
        load(golden_state("psp", "full"), "psp", alpha=0.5)
    with pytest.raises(ValueError, match="hidden_dim: no setting of family 'cmbs'"):
        load(golden_state("cmbs", "full"), "cmbs", hidden_dim=128)


@pytest.mark.parametrize(
    ("system", "supervision", "other"),
    [("psp", "full", "weak"), ("psp", "weak", "full"), ("cmbs", "full", "weak"), ("cmbs", "weak", "full")],
)
def test_a_file_of_the_other_supervision(system: str, supervision: str, other: str) -> None:
    with pytest.raises(ValueError, match=f"it is of supervision '{supervision}', not '{other}'"):
        load(golden_state(system, supervision), system, other)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda s: s | {"L5.weight": torch.zeros(1)}, "not a key of the published AVE attention network: L5.weight"),
        (lambda s: {k: v for k, v in s.items() if k != "L2.bias"}, "missing ['L2.bias']"),
        (
            lambda s: s | {"L2.bias": torch.zeros(28)},
            "size mismatch for L2.bias (here decoder.output.bias): (28,), not (29,)",
        ),
        (lambda s: {"L2.bias": s["L2.bias"]}, "no tensor for 'encoder.attention.map_projection.weight'"),
        (lambda s: s | {"L2.bias": torch.full((29,), float("nan"))}, "not finite"),
        (lambda s: s | {"L2.bias": torch.zeros(29, dtype=torch.int64)}, "holds int64"),
        (lambda s: s | {"affine_h.weight": torch.zeros(1, 48)}, "positions is 48, expected a square number"),
        (lambda s: s | {"affine_h.weight": torch.zeros(1).expand(1, 2**40)}, "positions is"),
        (lambda s: s | {"affine_video.weight": torch.zeros(1).expand(2**40, 2**20)}, "_dim is"),
        (lambda s: s | {"affine_video.weight": torch.zeros(())}, "is not a matrix"),
        (lambda s: s | {"\x1b[31m\n" + "x" * 10_000: torch.zeros(1)}, "not a key of the published"),
    ],
)
def test_files_that_are_not_published_ones(change: Any, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)) as refused:
        load(change(golden_state("ave", "full")), "ave")
    assert str(refused.value).isprintable()
    assert len(str(refused.value)) < 1000


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"video_encoder.encoder.layers.999999999.linear1.weight": torch.zeros(1)},
            "unexpected ['video_encoder.encoder.layers.999999999",
        ),
        ({"audio_encoder.encoder.layers.999999999.linear1.weight": torch.zeros(1)}, "layers is 1000000000"),
        ({"audio_decoder.decoder.layers.1.linear1.weight": torch.zeros(1)}, "not a key of the published CMBS"),
        ({"AVInter.video_multihead.in_proj_bias": torch.zeros(7)}, "in_proj_bias is (7,), which cannot be split"),
        ({"v_fc.weight": torch.zeros(512, 511)}, "size mismatch"),
    ],
)
def test_files_that_are_not_of_cmbs(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load(golden_state("cmbs", "full") | change, "cmbs")


@pytest.mark.parametrize(
    ("family", "arguments", "message"),
    [
        ("leap", {"supervision": "weak"}, "supervision: not for family 'leap', only for ave, dmrn, psp, cmbs, cpsp"),
        ("han", {"alpha": 0.1}, "alpha: not for family 'han'"),
        ("ave", {"label_embeddings": torch.zeros(28, 300)}, "label_embeddings: not for family 'ave'"),
        ("ave", {"swap_modalities": True}, "swap_modalities: not for family 'ave'"),
        ("ave", {"leap_heads": 8}, "leap_heads: not for family 'ave'"),
        ("ave", {"supervision": "none"}, "family 'ave' has no supervision 'none', only 'full', 'weak'"),
        ("ave", {"labels": ("a", "b")}, "size mismatch for L2."),
        ("ave", {"labels": ("a", "a")}, "without duplicates"),
        ("x", {}, "unknown family 'x'; known: leap, mmpyr, han, valor, "),
    ],
)
def test_arguments_that_do_not_fit_the_family(family: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        load_published(golden_state("ave", "full"), family=family, **arguments)
