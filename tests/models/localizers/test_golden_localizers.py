"""The published localizers: their files load unchanged, their outputs come out, and they train alike."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import EventLocalizer, LocalizationObjective, LocalizerOutput, load_published, localization_terms
from avvp.models.files.published_localizers import FAMILIES
from avvp.models.localizers.losses import similarity_shares
from support.golden import SEED, load_json, load_npz, needs_golden
from support.localizers import PUBLISHED_KEYS, golden_inputs, golden_state, golden_targets, make_output

VARIANTS = [
    ("ave", "full"), ("ave", "dmrn"), ("ave", "weak"), ("psp", "full"), ("psp", "weak"),
    ("cmbs", "full"), ("cmbs", "weak"), ("cpsp", "full"), ("cpsp", "weak"),
]  # fmt: skip
every_variant = pytest.mark.parametrize(("family", "variant"), VARIANTS)
trained = pytest.mark.parametrize(("family", "variant"), [case for case in VARIANTS if case[0] != "cpsp"])
OUTPUTS = (
    *("segment_logits", "event_logits", "category_logits", "gate", "modality_logits", "video_logits", "video_probs"),
    *("similarity", "fused"),
)
# Values on the way: name in the golden file -> module whose output it is.
MODULES = {
    "audio_projected": "encoder.audio_projection",
    "visual_projected": "encoder.visual_projection",
    "audio_hidden": "encoder.audio_lstm",
    "visual_hidden": "encoder.visual_lstm",
    "v_L1": "encoder.propagation.layers.visual_1",
    "v_L2": "encoder.propagation.layers.visual_2",
    "a_L1": "encoder.propagation.layers.audio_1",
    "a_L2": "encoder.propagation.layers.audio_2",
    "L1": "decoder.hidden",
    "unweighted_logits": "decoder",
    "temporal": "readout.weight",
    "video_encoder": "encoder.visual_encoder",
    "audio_encoder": "encoder.audio_encoder",
    "video_decoder": "encoder.visual_decoder",
    "audio_decoder": "encoder.audio_decoder",
    "AVInter": "encoder.visual_interaction",
    "VAInter": "encoder.audio_interaction",
    "video_cas": "encoder.visual_classes",
    "audio_cas": "encoder.audio_classes",
    "CAS_model": "decoder",
}
RATE = {"cmbs/full": 7e-4, "cmbs/weak": 6e-4}  # of Adam; 1e-3 for the others
CLIPPED = 0.5  # norm of CMBS's gradients


def load(family: str, variant: str, **settings: Any) -> EventLocalizer:
    system, supervision = (variant, "full") if variant == "dmrn" else (family, variant)
    localizer = load_published(golden_state(system, supervision), family=family, supervision=supervision, **settings)
    assert isinstance(localizer, EventLocalizer)
    return localizer.double() if family in {"cmbs", "cpsp"} else localizer


def golden(family: str, variant: str) -> dict[str, np.ndarray]:
    values = load_npz(f"{family}_official.npz")
    return {name.partition("/")[2]: value for name, value in values.items() if name.startswith(f"{variant}/")}


def run(localizer: EventLocalizer) -> tuple[LocalizerOutput, dict[str, torch.Tensor]]:
    """The output of the golden clips, and the output of every module, of tuples the first that is a tensor."""
    found: dict[str, torch.Tensor] = {}

    def keep(name: str) -> Any:
        def hook(_: torch.nn.Module, __: Any, output: Any) -> None:
            found[name] = next(iter(output)) if isinstance(output, tuple) else output

        return hook

    for name, module in localizer.named_modules():
        module.register_forward_hook(keep(name))
    with torch.no_grad():
        return localizer(*golden_inputs()), found


@needs_golden
@every_variant
def test_outputs(family: str, variant: str) -> None:
    """Float32 for AVE and PSP, float64 for CMBS and CPSP, as the published programs compute."""
    localizer, expected = load(family, variant), golden(family, variant)
    output, modules = run(localizer)
    tolerance = 2e-5 if family in {"ave", "psp"} else 1e-9
    compared = []
    for name in OUTPUTS:
        if name in expected:
            got = getattr(output, name)
            np.testing.assert_allclose(got, expected[name], atol=tolerance, rtol=0, err_msg=name)
            compared.append(name)
    on_the_way = {name: modules[module] for name, module in MODULES.items() if name in expected}
    on_the_way |= {"attended": modules["encoder.attention"], "attention": output.spatial_attention}
    on_the_way |= {"visual_psp": output.visual_hidden, "audio_psp": output.audio_hidden}
    for name in on_the_way.keys() & expected.keys():
        got = on_the_way[name].reshape(expected[name].shape)
        # Those of CMBS are stored in float32.
        np.testing.assert_allclose(got, expected[name], atol=2e-5, rtol=0, err_msg=name)
        compared.append(name)
    left = expected.keys() - set(compared)
    # The gates are in `gate`, the probabilities of AVE are the softmax of its logits, the rest is tested elsewhere.
    assert left <= {
        *("segment_probs", "losses", "norms", "avps_target", "target", "audio_gated", "video_gated"),
        *("self_attention", "channel_attention"),
    }
    if "segment_probs" in expected:
        assert output.segment_logits is not None
        np.testing.assert_allclose(output.segment_logits.softmax(-1), expected["segment_probs"], atol=2e-5, rtol=0)


@needs_golden
@pytest.mark.parametrize("variant", ["full", "weak"])
def test_gates_and_channels_of_cmbs(variant: str) -> None:
    """The weak program has the names of its gates crossed."""
    expected = golden("cmbs", variant)
    _, modules = run(load("cmbs", variant))
    gates = {name: modules[f"encoder.{name}_gate"].sigmoid().squeeze(-1) for name in ("audio", "visual")}
    crossed = {"full": ("audio", "visual"), "weak": ("visual", "audio")}[variant]
    for published, ours in zip(("audio_gated", "video_gated"), crossed, strict=True):
        np.testing.assert_allclose(gates[ours], expected[published], atol=1e-9, rtol=0)
    channels = modules["encoder.attention.channel_score"].sigmoid()
    np.testing.assert_allclose(channels, expected["channel_attention"], atol=2e-5, rtol=0)
    own = torch.tanh(modules["encoder.attention.own_score"]).softmax(dim=2).reshape(4, 10, 7, 7)
    np.testing.assert_allclose(own, expected["self_attention"], atol=2e-5, rtol=0)


@needs_golden
@every_variant
def test_predictions(family: str, variant: str) -> None:
    """By the published rules, on the published outputs."""
    output, _ = run(load(family, variant))
    expected = {name: torch.from_numpy(value) for name, value in golden(family, variant).items()}
    if "segment_logits" in expected:
        predicted = expected["segment_logits"].argmax(-1)
    elif family == "cmbs" and variant == "weak":
        predicted = torch.where(expected["gate"] > 0.5, expected["video_probs"].argmax(-1, keepdim=True), 28)
    else:
        predicted = torch.where(
            expected["event_logits"].sigmoid() > 0.5, expected["category_logits"].argmax(-1, keepdim=True), 28
        )
    torch.testing.assert_close(output.predictions, predicted)


@needs_golden
def test_the_published_decision_of_weak_cmbs_finds_events_everywhere() -> None:
    output, _ = run(load("cmbs", "weak", decision="published"))
    categories = torch.from_numpy(golden("cmbs", "weak")["video_probs"]).argmax(-1, keepdim=True)
    torch.testing.assert_close(output.predictions, categories.expand(-1, 10))


@needs_golden
def test_targets_of_psp() -> None:
    targets = golden_targets()
    assert targets.segments is not None
    assert targets.shares is not None
    events = targets.segments < 28
    shares = similarity_shares(events, torch.ones_like(events))
    np.testing.assert_allclose(shares, golden("psp", "full")["avps_target"], atol=1e-7, rtol=0)
    np.testing.assert_allclose(targets.shares, golden("psp", "weak")["target"], atol=1e-7, rtol=0)


@needs_golden
@every_variant
def test_unused_keys_are_those_without_a_gradient(family: str, variant: str) -> None:
    localizer, facts = load(family, variant), load_json(f"{family}_official.json")
    keys = PUBLISHED_KEYS[f"{localizer.config.system}/{localizer.config.supervision}"]
    assert keys == facts["state_dict"][variant]
    if family != "cpsp":
        without = {key for key, norm in facts["gradient_norms"][variant].items() if norm is None}
        assert set(localizer.unused_keys) == without
    used = sum(parameter.numel() for parameter in localizer.parameters())
    assert used + sum(math.prod(keys[key]) for key in localizer.unused_keys) == facts["parameters"][variant]


def without_dropout(localizer: EventLocalizer) -> bool:
    """Set every dropout rate to 0, as the golden steps have it. Returns whether one was not."""
    changed = False
    for module in localizer.modules():
        for name in ("rate", "dropout"):
            if isinstance(getattr(module, name, None), float):
                changed |= bool(getattr(module, name))
                setattr(module, name, 0.0)
    return changed


def by_published_key(localizer: EventLocalizer, values: dict[str, torch.Tensor]) -> dict[str, float]:
    """Norms of values of parameters, under the keys of the published file."""
    config = localizer.config
    published = FAMILIES[config.system, config.supervision]
    norms = {}
    for key in PUBLISHED_KEYS[f"{config.system}/{config.supervision}"]:
        name = published.map_key(key)
        if name is None:
            continue
        packed = name.rpartition("in_proj_")
        names = [f"{packed[0]}{part}.{packed[2]}" for part in ("query", "key", "value")] if packed[1] else [name]
        norms[key] = math.hypot(*(float(values[part].norm()) for part in names))
    return norms


@needs_golden
@trained
def test_losses_gradients_and_six_steps(family: str, variant: str) -> None:
    localizer, expected = load(family, variant), golden(family, variant)
    facts = load_json(f"{family}_official.json")
    assert without_dropout(localizer) == (family != "ave")
    localizer.train()
    start = {name: parameter.detach().clone() for name, parameter in localizer.named_parameters()}
    objective = LocalizationObjective.published(localizer.config)
    optimizer = torch.optim.Adam(localizer.parameters(), lr=RATE.get(f"{family}/{variant}", 1e-3))
    losses, norms = [], []
    for step in range(6):
        terms = localization_terms(localizer(*golden_inputs()), golden_targets(), objective)
        loss = torch.stack(list(terms.values())).sum()
        optimizer.zero_grad()
        loss.backward()
        if step == 0:
            found = {name: float(term.detach()) / objective.weights[name] for name, term in terms.items()}
            assert found == pytest.approx(facts["loss"][variant], rel=1e-4)
            gradients = {
                name: parameter.grad for name, parameter in localizer.named_parameters() if parameter.grad is not None
            }
            assert gradients.keys() == start.keys()
            compare(by_published_key(localizer, gradients), facts["gradient_norms"][variant])
        if family == "cmbs":
            norms.append(float(torch.nn.utils.clip_grad_norm_(localizer.parameters(), CLIPPED)))
        optimizer.step()
        losses.append(float(loss.detach()))
    np.testing.assert_allclose(losses, expected["losses"], rtol=1e-3)
    if family == "cmbs":
        np.testing.assert_allclose(norms, expected["norms"], rtol=1e-3)
    moved = {name: parameter.detach() - start[name] for name, parameter in localizer.named_parameters()}
    compare(by_published_key(localizer, moved), facts["moved"][variant])


def compare(found: dict[str, float], expected: dict[str, float | None]) -> None:
    """Compare norms by key; those that are rounding errors only need to be small."""
    largest = max(norm for norm in expected.values() if norm is not None)
    for key, norm in found.items():
        published = expected[key]
        assert published is not None, key
        assert norm == pytest.approx(published, rel=1e-3, abs=1e-6 * largest), key
    assert all(not expected[key] for key in expected.keys() - found.keys())


@needs_golden
@pytest.mark.parametrize("index", range(6))
def test_accuracies(index: int) -> None:
    """Both rules, with ties and without, give the accuracy of the published scorers in percent."""
    case = load_json("avel_metrics.json")["cases"][index]
    clips, rng = case["clips"], np.random.default_rng([SEED, index])
    label, start = rng.integers(0, 28, clips), rng.integers(0, 10, clips)
    end = rng.integers(start, 11)
    inside = (np.arange(10) >= start[:, None]) & (np.arange(10) < end[:, None])
    truth = np.where(inside, label[:, None], 28)
    scores = rng.standard_normal((clips, 10, 29)) + 2 * np.eye(29)[truth]
    events = rng.standard_normal((clips, 10)) + 0.8 * (2 * inside - 1)
    categories = rng.standard_normal((clips, 28)) + 2 * np.eye(28)[label]
    if case["tied"]:
        scores, events, categories = (np.round(2 * values) / 2 for values in (scores, events, categories))
    outputs = {
        "segments": make_output(segment_logits=torch.from_numpy(scores)),
        "event_and_category": make_output(
            event_logits=torch.from_numpy(events), category_logits=torch.from_numpy(categories)
        ),
    }
    for name, output in outputs.items():
        right = (output.predictions.numpy() == truth).mean() * 100
        assert right == pytest.approx(case[name], abs=1e-9), name
        reached = (output.segment_probs >= 0.5).numpy()
        np.testing.assert_array_equal(reached, np.eye(29, dtype=bool)[output.predictions.numpy()][..., :-1])
