"""One contract for every localizer: any T, masks, gradients, float64, export, configuration."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from avvp.models import (
    EventLocalizer,
    LocalizationObjective,
    LocalizerConfig,
    LocalizerOutput,
    build_localizer,
    localization_terms,
)
from avvp.models.layers import segment_mask
from avvp.models.localizers.config import SYSTEMS
from avvp.models.localizers.localizer import localizer_shapes, meta_localizer, restore_localizer
from support.localizers import (
    CLASSES,
    KINDS,
    LEAP_KINDS,
    clip_inputs,
    clip_targets,
    kind_name,
    tiny_config,
    tiny_localizer,
)

every_kind = pytest.mark.parametrize("kind", [*KINDS, *LEAP_KINDS], ids=kind_name)
# Tracing takes seconds: every readout, and both decoders.
EXPORTED = [
    {"system": "ave", "supervision": "weak", "decoder": "leap"},
    {"system": "psp", "supervision": "weak", "decoder": "dch"},
    {"system": "cmbs", "supervision": "full", "decoder": "leap"},
    {"system": "cmbs", "supervision": "weak", "decoder": "dch"},
]
BY_CLIP = ("category_logits", "modality_logits", "video_logits", "video_probs", "label_video_logits")


def tensors(output: LocalizerOutput) -> dict[str, torch.Tensor]:
    """Everything a caller can read of an output."""
    found = {name: value for name, value in vars(output).items() if value is not None}
    return found | {"segment_probs": output.segment_probs, "predictions": output.predictions}


def real(name: str, value: torch.Tensor, length: int) -> torch.Tensor:
    """The part of one clip's value that belongs to real segments."""
    if name in BY_CLIP:
        return value
    return value[:, :length] if name == "attention" else value[:length]


@every_kind
@pytest.mark.parametrize(("segments", "classes"), [(1, 1), (3, 2), (23, 7)])
def test_any_length_and_number_of_classes(kind: dict, segments: int, classes: int) -> None:
    output = tiny_localizer(classes, **kind)(*clip_inputs(2, segments))
    assert output.segment_probs.shape == (2, segments, classes)
    assert output.predictions.shape == (2, segments)
    assert output.spatial_attention.shape == (2, segments, 2, 2)
    torch.testing.assert_close(
        output.spatial_attention.sum(dim=(2, 3)), torch.ones(2, segments, dtype=output.fused.dtype)
    )
    assert output.audio_hidden.shape == output.visual_hidden.shape == (2, segments, 16)
    for name in ("segment_logits", "video_logits"):
        value = getattr(output, name)
        assert value is None or value.shape[-1] == classes + 1
    if output.video_probs is not None:
        torch.testing.assert_close(output.video_probs.sum(dim=-1), torch.ones(2, dtype=output.video_probs.dtype))
    assert all(value.isfinite().all() for value in tensors(output).values())


@every_kind
def test_a_padded_batch_equals_single_clips(kind: dict) -> None:
    localizer, lengths = tiny_localizer(**kind), [9, 4, 1, 6]
    audio = torch.full((4, 9, 6), 1e3, dtype=torch.float64)
    visual = torch.full((4, 9, 2, 2, 10), 1e3, dtype=torch.float64)
    single = []
    for row, length in enumerate(lengths):
        own_audio, own_visual = clip_inputs(1, length, seed=row)
        audio[row, :length], visual[row, :length] = own_audio[0], own_visual[0]
        single.append(tensors(localizer(own_audio, own_visual)))
    together = tensors(localizer(audio, visual, lengths=torch.tensor(lengths)))
    for row, (length, alone) in enumerate(zip(lengths, single, strict=True)):
        assert alone.keys() == together.keys()
        for name, expected in alone.items():
            got = real(name, together[name][row], length)
            torch.testing.assert_close(
                got, expected[0], atol=1e-9, rtol=0, msg=lambda text, name=name: f"{name} {text}"
            )
        assert together["segment_probs"][row, length:].eq(0).all()
        assert together["predictions"][row, length:].eq(CLASSES).all()
        assert together["spatial_attention"][row, length:].eq(0).all()
        assert together["valid"][row].sum() == length


@every_kind
def test_flat_maps_are_the_same_maps(kind: dict) -> None:
    localizer, (audio, visual) = tiny_localizer(**kind), clip_inputs(2, 4)
    torch.testing.assert_close(
        localizer(audio, visual.flatten(2)).segment_probs, localizer(audio, visual).segment_probs, atol=0, rtol=0
    )


@every_kind
def test_segment_probs_name_the_prediction(kind: dict) -> None:
    """0.5 is reached exactly where the class is predicted, whatever the parameters."""
    seen = set()
    for seed in range(6):
        output = tiny_localizer(seed=seed, **kind)(*clip_inputs(4, 6, seed))
        reached, predicted = output.segment_probs >= 0.5, output.predictions
        torch.testing.assert_close(reached, torch.nn.functional.one_hot(predicted, CLASSES + 1)[..., :-1].bool())
        seen |= set(predicted.flatten().tolist())
    assert len(seen) > 1


@every_kind
def test_every_parameter_has_a_gradient_of_the_published_losses(kind: dict) -> None:
    """Dead parameters of the published programs are not built."""
    localizer = tiny_localizer(**kind).train()
    objective = LocalizationObjective.published(localizer.config)
    objective.check(localizer.config)
    targets = clip_targets([(0, 1, 3), (2, 0, 5), (1, 4, 5)], segments=5)
    terms = localization_terms(localizer(*clip_inputs(3, 5)), targets, objective)
    assert terms.keys() == objective.weights.keys()
    torch.stack(list(terms.values())).sum().backward()
    assert [name for name, parameter in localizer.named_parameters() if parameter.grad is None] == []


@every_kind
def test_padding_has_no_gradient(kind: dict) -> None:
    localizer, (audio, visual) = tiny_localizer(**kind), clip_inputs(2, 5)
    audio.requires_grad_()
    visual.requires_grad_()
    objective = LocalizationObjective.published(localizer.config)
    output = localizer(audio, visual, lengths=torch.tensor([5, 2]))
    terms = localization_terms(output, clip_targets([(0, 1, 3), (2, 0, 2)], segments=5), objective)
    torch.stack(list(terms.values())).sum().backward()
    for inputs in (audio, visual):
        assert inputs.grad is not None
        assert inputs.grad.isfinite().all()
        assert inputs.grad[1, 2:].eq(0).all()
        assert inputs.grad[:, 0].abs().sum() > 0


@every_kind
def test_losses_of_a_padded_batch_are_those_of_its_real_segments(kind: dict) -> None:
    """A batch of equal lengths, padded or not, has the same loss."""
    localizer, (audio, visual) = tiny_localizer(**kind), clip_inputs(2, 4)
    objective = LocalizationObjective.published(localizer.config)
    events = [(0, 1, 3), (2, 0, 4)]
    expected = localization_terms(localizer(audio, visual), clip_targets(events, segments=4), objective)
    audio, visual = (torch.cat([x, torch.full_like(x, 7)], dim=1) for x in (audio, visual))
    padded = clip_targets(events, segments=8)._replace(shares=clip_targets(events, segments=4).shares)
    padded.segments[:, 4:] = 1  # pyright: ignore[reportOptionalSubscript]
    got = localization_terms(localizer(audio, visual, lengths=torch.tensor([4, 4])), padded, objective)
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=0)


@every_kind
def test_a_localizer_computes_in_the_type_of_its_parameters(kind: dict) -> None:
    """Features of any float type are converted; float32 and float64 agree."""
    localizer, (audio, visual) = tiny_localizer(**kind), clip_inputs(2, 5)
    double = localizer(audio.float(), visual.float())
    assert double.fused.dtype == torch.float64
    single = localizer.float()(audio, visual)
    assert single.fused.dtype == torch.float32
    torch.testing.assert_close(single.segment_probs, double.segment_probs.float(), atol=1e-5, rtol=0)


@every_kind
def test_a_localizer_is_restored_without_allocating_its_tensors(kind: dict) -> None:
    localizer = tiny_localizer(**kind)
    config, state = localizer.config, localizer.state_dict()
    assert {tensor.device.type for tensor in meta_localizer(config).state_dict().values()} == {"meta"}
    assert localizer_shapes(config) == {key: tuple(tensor.shape) for key, tensor in state.items()}
    restored = restore_localizer(LocalizerConfig.from_dict(config.to_dict()), state)
    assert not restored.training
    inputs = clip_inputs(2, 5)
    torch.testing.assert_close(tensors(restored(*inputs)), tensors(localizer(*inputs)), atol=0, rtol=0)


@pytest.mark.parametrize("kind", [kind for kind in [*KINDS, *LEAP_KINDS] if kind["decoder"] == "leap"], ids=kind_name)
def test_attention_maps_are_the_logits_of_every_block(kind: dict) -> None:
    """Their mean over decoders is what the output has, for the block that predicts."""
    localizer, (audio, visual) = tiny_localizer(**kind), clip_inputs(2, 4)
    lengths = torch.tensor([4, 3])
    output = localizer(audio, visual, lengths=lengths)
    maps = localizer.attention_maps(audio, visual, lengths=lengths)
    assert tuple(maps) == localizer.attention_memories
    assert output.label_segment_logits is not None
    queries = output.label_segment_logits.shape[-1]
    assert {tuple(logits.shape) for logits in maps.values()} == {(2, 2, queries, 4)}
    assert all(logits[1, :, :, 3:].eq(float("-inf")).all() for logits in maps.values())
    blocks = torch.stack(list(maps.values())).mean(dim=0)
    predicting = blocks.mean(dim=1) if localizer.config.leap_prediction == "average" else blocks[:, -1]
    expected = output.label_segment_logits.transpose(1, 2)
    torch.testing.assert_close(predicting[..., :3], expected[..., :3], atol=1e-9, rtol=0)


def test_attention_maps_need_leap() -> None:
    with pytest.raises(ValueError, match="the decoder 'dch' has no label-to-segment attention"):
        tiny_localizer(system="psp").attention_maps(*clip_inputs(2, 4))
    assert tiny_localizer(system="psp").attention_memories == ()


class Padded(torch.nn.Module):
    """A localizer that takes the number of real segments, as exported programs do."""

    def __init__(self, localizer: EventLocalizer) -> None:
        super().__init__()
        self.localizer = localizer

    def forward(self, audio: torch.Tensor, visual: torch.Tensor, lengths: torch.Tensor) -> LocalizerOutput:
        return self.localizer.predict(audio, visual, segment_mask(lengths, audio.shape[1]))


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")  # of every torch.nn.LSTM
@pytest.mark.parametrize("kind", EXPORTED, ids=kind_name)
def test_a_localizer_can_be_exported_for_batches_of_any_size(kind: dict) -> None:
    localizer = tiny_localizer(**kind).float()
    inputs = (*(tensor.float() for tensor in clip_inputs(3, 5)), torch.tensor([5, 2, 1]))
    batch = torch.export.Dim("batch", max=64)
    program = torch.export.export(Padded(localizer), inputs, dynamic_shapes=({0: batch},) * 3)
    audio, visual = (tensor.float() for tensor in clip_inputs(2, 5, seed=9))
    got = program.module()(audio, visual, torch.tensor([4, 5]))
    assert isinstance(got, LocalizerOutput)
    expected = localizer(audio, visual, lengths=torch.tensor([4, 5]))
    torch.testing.assert_close(tensors(got), tensors(expected), atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("shapes", "lengths", "message"),
    [
        (((2, 5, 7), (2, 5, 2, 2, 10)), None, r"audio is \(2, 5, 7\), expected \(B, T, 6\)"),
        (((2, 0, 6), (2, 0, 2, 2, 10)), None, "audio is"),
        (((2, 6), (2, 5, 2, 2, 10)), None, "audio is"),
        (((2, 5, 6), (2, 40, 2048)), None, r"visual is \(2, 40, 2048\), expected feature maps \(2, 5, 2, 2, 10\)"),
        (((2, 5, 6), (2, 5, 41)), None, r"or \(2, 5, 40\)"),
        (((2, 5, 6), (2, 5, 4, 1, 10)), None, "visual is"),
        (((2, 5, 6), (3, 5, 40)), None, "visual is"),
        (((2, 5, 6), (2, 5, 40)), [5], "lengths must be 2 numbers from 1 to 5"),
        (((2, 5, 6), (2, 5, 40)), [5, 0], "lengths must be"),
        (((2, 5, 6), (2, 5, 40)), [6, 1], "lengths must be"),
    ],
)
def test_wrong_inputs(shapes: tuple[tuple[int, ...], ...], lengths: list[int] | None, message: str) -> None:
    audio, visual = (torch.zeros(shape) for shape in shapes)
    with pytest.raises(ValueError, match=message):
        tiny_localizer(system="ave")(audio, visual, lengths=None if lengths is None else torch.tensor(lengths))


def test_label_embeddings_of_the_background() -> None:
    """The background is embedded where it is a class; CMBS and CPSP with full supervision have none."""
    assert tiny_config(system="psp", decoder="leap").embedding_labels == ("class 0", "class 1", "class 2", "background")
    assert tiny_config(system="cmbs", decoder="leap").embedding_labels == ("class 0", "class 1", "class 2")
    learned = tiny_config(system="psp", decoder="leap", background_query="learned")
    assert learned.embedding_labels == learned.labels
    assert "decoder.background_query" in localizer_shapes(learned)
    with pytest.raises(ValueError, match=r"label embeddings are \(3, 5\), expected \(4, 5\)"):
        build_localizer(tiny_config(system="psp", decoder="leap"), torch.zeros(3, 5))
    with pytest.raises(ValueError, match="label embeddings are None"):
        build_localizer(tiny_config(system="psp", decoder="leap"))
    assert not tiny_config(system="psp").needs_label_embeddings
    assert "decoder.label_queries" in localizer_shapes(
        tiny_config(system="ave", decoder="leap", label_queries="learned")
    )


def test_defaults_are_the_published_numbers() -> None:
    numbers = {
        (system, supervision): LocalizerConfig(labels=("a",), system=system, supervision=supervision)
        for system, supervisions in SYSTEMS.items()
        for supervision in supervisions
    }
    assert {kind: numbers[kind].threshold for kind in numbers if kind[0].endswith("psp")} == {
        ("psp", "full"): 0.099, ("psp", "weak"): 0.095, ("cpsp", "full"): 0.099, ("cpsp", "weak"): 0.095,
    }  # fmt: skip
    full, weak = numbers["cmbs", "full"], numbers["cmbs", "weak"]
    names = ("alpha", "beta", "gamma", "feedforward_dim", "interaction_heads", "map_dropout", "heads")
    assert [getattr(full, name) for name in names] == [0.1, 0.4, 0.3, 1024, 4, 0.2, 4]
    assert [getattr(weak, name) for name in names] == [0.2, 0.5, 0.5, 2048, 2, 0.1, 4]
    assert LocalizerConfig(labels=("a",), system="psp", supervision="weak", threshold=0.2).threshold == 0.2


def test_published_sizes_without_dead_parameters() -> None:
    """Parameters of the published files less those that their forward passes never read."""
    labels = tuple(map(str, range(28)))
    expected = {
        ("ave", "full"): 1_335_246, ("ave", "weak"): 1_335_246, ("dmrn", "full"): 1_571_150,
        ("psp", "full"): 1_667_251 - 118_594, ("psp", "weak"): 1_254_251 - 349,
        ("cmbs", "full"): 13_544_537 - 4_344_064, ("cmbs", "weak"): 14_789_439 - 5_393_921,
        ("cpsp", "full"): 1_658_062 - 120_192, ("cpsp", "weak"): 1_658_062 - 120_192,
    }  # fmt: skip
    for (system, supervision), count in expected.items():
        shapes = localizer_shapes(LocalizerConfig(labels=labels, system=system, supervision=supervision))
        assert sum(torch.Size(shape).numel() for shape in shapes.values()) == count, (system, supervision)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"system": "han"}, "system is 'han', not one of ave, dmrn, psp, cmbs, cpsp"),
        ({"system": "dmrn", "supervision": "weak"}, "system 'dmrn' has no supervision 'weak'"),
        ({"decision": "published"}, "'published' is for system 'cmbs' with supervision 'weak', not for 'ave'"),
        ({"positions": 48}, "expected a square number"),
        ({"positions": 1 << 20}, "at most 1024"),
        ({"hidden_dim": 15}, "expected an even number"),
        ({"system": "cmbs", "heads": 3}, "heads 3 does not divide"),
        ({"system": "cmbs", "interaction_heads": 5}, "interaction_heads 5 does not divide"),
        ({"decoder": "leap", "leap_heads": 5}, "leap_heads 5 does not divide the width 32"),
        ({"decoder": "leap", "leap_memory": "modalities", "leap_heads": 32}, "does not divide the width 16"),
        ({"threshold": 1.5}, "threshold is 1.5"),
        ({"alpha": float("nan")}, "alpha is nan"),
        ({"gamma": True}, "gamma is True"),
        ({"dropout": 1.0}, "dropout is 1.0"),
        ({"segments": 0}, "segments is 0"),
    ],
)
def test_settings_that_do_not_fit(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tiny_config(**{"system": "ave", **changes})


def test_both_layers_of_an_encoder_start_equal() -> None:
    """Published CMBS copies one layer; its attention starts as torch's own."""
    torch.manual_seed(0)
    state = build_localizer(tiny_config(system="cmbs")).state_dict()
    first, second = (
        {
            key.partition(f"layers.{index}.")[2]: value
            for key, value in state.items()
            if f"audio_encoder.layers.{index}" in key
        }
        for index in range(2)
    )
    torch.testing.assert_close(first, second, atol=0, rtol=0)
    assert first["attention.query.bias"].eq(0).all()
    assert first["attention.output.bias"].eq(0).all()
    assert 0.9 < float(first["attention.query.weight"].abs().max()) / (6 / (4 * 16)) ** 0.5 <= 1


@pytest.mark.parametrize(("system", "is_xavier"), [("ave", True), ("psp", True), ("cpsp", True), ("dmrn", False)])
def test_attention_starts_as_published(system: str, is_xavier: bool) -> None:
    """Xavier's bound, sqrt(6 / (in + out)), or the one of PyTorch's linear layers, 1 / sqrt(in)."""
    torch.manual_seed(0)
    state = build_localizer(tiny_config(system=system)).state_dict()
    weight = state["encoder.attention.map_projection.weight"]
    out, width = weight.shape
    bound = (6 / (width + out)) ** 0.5 if is_xavier else width**-0.5
    assert 0.9 < float(weight.abs().max()) / bound <= 1


def test_no_class_has_the_name_of_the_background() -> None:
    with pytest.raises(ValueError, match="the name of the seconds without an event"):
        replace(tiny_config(system="ave"), labels=("dog", "background"))
