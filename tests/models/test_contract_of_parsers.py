"""What every parser does, whatever its stem, encoder and decoder are: any length, masks, precisions, files, export."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from avvp.models import AVParser, ParserConfig, dump_checkpoint, load_checkpoint
from avvp.models.config import CHOICES, PARTS
from avvp.models.parser import parser_shapes
from avvp.models.stems import STEMS
from avvp.pipeline.backends.model_store import ModelStore
from avvp.pipeline.export.formats import EXPORT_FORMATS
from avvp.pipeline.inference.compiled_network import compile_network
from avvp.pipeline.inference.predict import predict_video
from avvp.pipeline.inference.programs import parser_program
from support.parsers import TINY_SIZES, inputs, tiny_parser

SEGMENTS = 23
HAN = {"encoder": "han", "decoder": "mmil"}
CONFIGURATIONS: dict[str, dict[str, Any]] = {
    **{
        f"{encoder}-{decoder}": {"encoder": encoder, "decoder": decoder}
        for encoder in ("mmpyr", "han")
        for decoder in ("leap", "mmil", "evidence", "classwise")
    },
    "valor": {**HAN, "han_order": "sequential"},
    "valor-leap": {**HAN, "han_order": "sequential", "decoder": "leap"},
    "two-layers": {**HAN, "layers": 2},
    "leap-paper": {"leap_variant": "paper"},
    "learned-queries": {"label_queries": "learned"},
    "first-block": {"leap_prediction": "first"},
    "elu": {**HAN, "stem": "elu"},
    "uwav": {**HAN, "stem": "mlp", "stem_hidden_dim": 9, "han_order": "sequential", "layers": 2},
    "two-streams": {**HAN, "visual_3d_dim": 0},
    "jomold": {**HAN, "visual_dropout": 0.5},
    "noise-estimator": {**HAN, "cross_attention": False},
    "cmpae": {**HAN, "stem": "elu", "decoder": "evidence", "cross_share": 0.8, "self_attention_share": 0.3,
              "visual_dropout": 0.5},
    "cvcms": {**HAN, "decoder": "classwise", "class_dim": 6},
    "one-scale-more": {**HAN, "scales": 2},
    "scales-leap": {**HAN, "scales": 3, "decoder": "leap"},
    "scales-evidence": {**HAN, "scales": 3, "decoder": "evidence"},
    "dhhn-guides": {**HAN, "scales": 3, "guides": True},
    "dhhn": {**HAN, "scales": 3, "modality_networks": True},
    "two-networks-leap": {"modality_networks": True},
    "mgn": {"encoder": "mgn", "decoder": "groups", "group_blocks": 1, "cross_group_blocks": 2, "path_dropout": 0.1},
}  # fmt: skip
every = pytest.mark.parametrize("name", CONFIGURATIONS)
# MM-Pyr, HAN, LEAP and MMIL are exported in tests/pipeline/export.
EXPORTED = ("mgn", "dhhn", "cmpae", "cvcms", "uwav", "two-streams")
SLOW_EXPORTS = [
    pytest.param(form, name, marks=pytest.mark.full_size)
    for form, names in (("torch", EXPORTED[2:]), ("onnx", EXPORTED))
    for name in names
]
VIDEO = ("audio_video_probs", "visual_video_probs", "video_probs")
PER_SEGMENT = ("audio_segment_probs", "visual_segment_probs", "audio_hidden", "visual_hidden")


def make(name: str, classes: int = 4, **changes: Any) -> AVParser:
    """A tiny parser in float64; its window is as long as the longest input here, because MGN has weights for it."""
    return tiny_parser(classes, **{"segments": SEGMENTS, **CONFIGURATIONS[name], **changes})


def streams(parser: AVParser, tensors: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...]:
    """Leave out the streams that a parser does not read."""
    return tensors[: 2 if parser.config.visual_3d_dim == 0 else 3]


def read(parser: AVParser, batch: int, segments: int, seed: int = 2) -> tuple[torch.Tensor, ...]:
    return streams(parser, inputs(batch, segments, seed))


def test_every_part_has_a_configuration() -> None:
    covered = [tiny_config(name) for name in CONFIGURATIONS]
    for field, known in (("encoder", PARTS["encoder"]), ("decoder", PARTS["decoder"]), ("stem", tuple(STEMS))):
        assert {getattr(config, field) for config in covered} == set(known), field
    assert CHOICES["stem"] == tuple(STEMS)


def tiny_config(name: str, **changes: Any) -> ParserConfig:
    settings = {"segments": SEGMENTS, **TINY_SIZES, **CONFIGURATIONS[name], **changes}
    return ParserConfig(labels=("a", "b", "c", "d"), **settings)


@every
@pytest.mark.parametrize(("segments", "classes"), [(1, 1), (3, 4), (SEGMENTS, 7)])
def test_any_length_and_number_of_classes(name: str, segments: int, classes: int) -> None:
    parser = make(name, classes)
    output = parser(*read(parser, 2, segments))
    assert output.audio_segment_probs.shape == output.visual_segment_probs.shape == (2, segments, classes)
    assert output.audio_segment_logits.shape == output.visual_segment_logits.shape == (2, segments, classes)
    assert output.audio_video_probs.shape == output.visual_video_probs.shape == output.video_probs.shape == (2, classes)
    assert output.audio_hidden.shape == output.visual_hidden.shape == (2, segments, 16)
    assert (output.audio_attention is not None) == (parser.config.decoder == "leap")
    if output.audio_attention is not None:
        torch.testing.assert_close(output.audio_attention.sum(-1), torch.ones(2, classes).double())
    assert output.valid.all()
    for probs in (getattr(output, name) for name in VIDEO):
        assert ((probs >= 0) & (probs <= 1 + 1e-12)).all()
    assert all(value.isfinite().all() for value in vars(output).values() if value is not None)
    highest = 2 if parser.config.decoder == "groups" else 1  # MGN's scores
    for probs in (output.audio_segment_probs, output.visual_segment_probs):
        assert ((probs >= 0) & (probs <= highest)).all()


@every
def test_a_padded_batch_equals_its_videos_one_by_one(name: str) -> None:
    parser = make(name)
    lengths = [9, 4, 1, 6]
    sizes = ((1, 6), (8, 10), (1, 7))
    batch = streams(parser, tuple(torch.full((4, 9 * rate, width), 1e3).double() for rate, width in sizes))
    alone = []
    for row, length in enumerate(lengths):
        single = read(parser, 1, length, seed=row)
        alone.append(parser(*single))
        for padded, own in zip(batch, single, strict=True):
            padded[row, : own.shape[1]] = own[0]
    together = parser(*batch, lengths=torch.tensor(lengths))
    for row, (length, single) in enumerate(zip(lengths, alone, strict=True)):
        for field, value in vars(together).items():
            expected = getattr(single, field)
            if value is None or field == "valid":
                continue
            # Logits of labels and of tokens have no segments; attention has them at its end.
            got = value[row]
            if field in PER_SEGMENT or field.endswith(("_segment_logits", "_projected", "_pooling_logits")):
                got = got[:length]
            elif field.endswith("_attention"):
                got = got[:, :length]
            torch.testing.assert_close(got, expected[0], atol=1e-5, rtol=1e-7, msg=lambda text, f=field: f"{f}: {text}")
        assert together.audio_segment_probs[row, length:].eq(0).all()
        assert together.visual_segment_probs[row, length:].eq(0).all()
        if together.audio_attention is not None:
            assert together.audio_attention[row, :, length:].eq(0).all()
        assert together.valid[row].sum() == length


@every
def test_padding_has_no_gradient(name: str) -> None:
    """In training mode, too, where a batch norm reads the whole batch."""
    for training in (False, True):
        parser = make(name).train(training)
        tensors = [tensor.requires_grad_() for tensor in read(parser, 2, 5)]
        output = parser(*tensors, lengths=torch.tensor([5, 2]))
        loss = output.video_probs.sum() + sum(getattr(output, field)[output.valid].sum() for field in PER_SEGMENT)
        (loss + output.audio_video_probs.square().sum() + output.visual_video_probs.square().sum()).backward()
        for tensor in tensors:
            rate = tensor.shape[1] // 5
            assert tensor.grad is not None
            assert tensor.grad.isfinite().all()
            assert tensor.grad[1, : 2 * rate].abs().sum() > 0
            assert tensor.grad[1, 2 * rate :].eq(0).all()


@every
def test_every_parameter_learns(name: str) -> None:
    parser = make(name).train()
    output = parser(*read(parser, 2, 5))
    total = sum(
        (value * torch.rand_like(value)).sum()
        for field, value in vars(output).items()
        if value is not None and value.requires_grad and not field.endswith("hidden")
    )
    assert isinstance(total, torch.Tensor)
    total.backward()
    # The second network's audio predictions are not used, nor the first one's visual ones.
    unused = {f"{network}_network.{key}" for network, key in unused_heads(parser)}
    without = {key for key, parameter in parser.named_parameters() if parameter.grad is None}
    assert without <= unused


def unused_heads(parser: AVParser) -> set[tuple[str, str]]:
    """Parameters of two networks that only the other's predictions would read."""
    if not parser.config.modality_networks:
        return set()
    others = {"audio": "visual", "visual": "audio"}
    single = [key.removeprefix("audio_network.") for key in parser.state_dict() if key.startswith("audio_network.")]
    return {(network, key) for network, other in others.items() for key in single if f".{other}" in key}


@every
def test_two_passes_in_eval_mode_are_equal_and_differentiable(name: str) -> None:
    parser = make(name)
    tensors = read(parser, 2, 5)
    before = {key: value.clone() for key, value in parser.state_dict().items()}
    first, second = parser(*tensors), parser(*tensors)
    assert torch.equal(first.audio_segment_probs, second.audio_segment_probs)
    assert torch.equal(first.visual_segment_probs, second.visual_segment_probs)
    assert all(torch.equal(before[key], value) for key, value in parser.state_dict().items())
    first.audio_segment_probs.sum().backward()
    assert any(parameter.grad is not None and parameter.grad.any() for parameter in parser.parameters())


@every
def test_precisions_agree(name: str) -> None:
    """float32 with float64, and the forward pass in half precision with both."""
    parser = make(name)
    expected = parser(*read(parser, 2, 6))
    tensors = tuple(tensor.float() for tensor in read(parser, 2, 6))
    single = parser.float()(*tensors)
    with torch.autocast("cpu", torch.bfloat16), torch.no_grad():
        half = parser(*tensors)
    for field in (*PER_SEGMENT[:2], *VIDEO):
        torch.testing.assert_close(getattr(single, field), getattr(expected, field).float(), atol=1e-4, rtol=0)
        found = getattr(half, field)
        assert found.isfinite().all()
        if parser.config.decoder == "leap" and field == "video_probs" and parser.config.leap_variant == "published":
            continue  # LEAP's union of decisions, which rounding can turn
        torch.testing.assert_close(found.float(), getattr(single, field), atol=0.1, rtol=0)
    for field in VIDEO:
        assert getattr(half, field).dtype in {torch.float32, torch.bfloat16}


@every
def test_checkpoint_gives_back_the_same_parser(name: str, tmp_path: Path) -> None:
    parser = make(name).float()
    path = tmp_path / "parser.safetensors"
    path.write_bytes(dump_checkpoint(parser, {}, {}))
    loaded = load_checkpoint(path).parser
    assert isinstance(loaded, AVParser)
    assert not loaded.training
    assert loaded.config == replace(parser.config, guides=False)
    tensors = tuple(tensor.float() for tensor in read(parser, 2, 4))
    first, second = parser(*tensors), loaded(*tensors)
    for field in (*PER_SEGMENT, *VIDEO):
        assert torch.equal(getattr(first, field), getattr(second, field)), field


@every
def test_shapes_are_known_without_building(name: str) -> None:
    parser = make(name)
    shapes = {key: tuple(value.shape) for key, value in parser.state_dict().items()}
    assert parser_shapes(parser.config) == shapes
    assert ParserConfig.from_dict(parser.config.to_dict()) == parser.config


@pytest.mark.parametrize(("form", "name"), [("torch", "mgn"), ("torch", "dhhn"), *SLOW_EXPORTS])
def test_export(form: str, name: str, tmp_path: Path) -> None:
    """Another batch size than it was traced with, and videos of other lengths."""
    exported = EXPORT_FORMATS[form]
    if not all(map(importlib.util.find_spec, exported.packages)):
        pytest.skip("its packages are not installed")
    parser = make(name, segments=4).float()
    program = parser_program(parser, 8)
    run = exported.write(program, tmp_path / f"parser{exported.suffixes[0]}")
    tensors = tuple(tensor.float() for tensor in read(parser, 3, 4))
    lengths = torch.tensor([4, 2, 1])
    found = dict(zip(program.outputs, run([*(tensor.numpy() for tensor in tensors), lengths.numpy()]), strict=True))
    with torch.no_grad():
        expected = parser(*tensors, lengths=lengths)
    for field, value in found.items():
        np.testing.assert_allclose(value, getattr(expected, field).clamp(0, 1), atol=1e-5, err_msg=field)


@pytest.mark.parametrize(
    "name",
    [
        name if name in EXPORTED or name == "mmpyr-leap" else pytest.param(name, marks=pytest.mark.full_size)
        for name in CONFIGURATIONS
    ],
)
def test_compiled_by_openvino(name: str, tmp_path: Path) -> None:
    """A video of one second, and one of several windows: the probabilities of PyTorch."""
    parser = make(name).float().requires_grad_(False)
    network = compile_network(parser, 8, store=ModelStore(tmp_path))
    assert network is not None
    for segments in (1, SEGMENTS + 9):
        rows = [stream[0].float().numpy() for stream in read(parser, 1, segments)]
        found, expected = (predict_video(one, rows, torch.device("cpu")).arrays() for one in (network, parser))
        assert found.keys() == expected.keys()
        for table, values in found.items():
            np.testing.assert_allclose(values, expected[table], atol=1e-5, err_msg=table)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"encoder": "mgn", "decoder": "groups", "hidden_dim": 1 << 16, "heads": 1}, "parameters"),
        ({"encoder": "mgn", "decoder": "groups", "group_blocks": 65}, "group_blocks"),
        ({"encoder": "mgn", "decoder": "groups", "cross_group_blocks": 10**9}, "cross_group_blocks"),
        ({"encoder": "mgn", "decoder": "groups", "segments": 10**9}, "segments"),
        ({"encoder": "han", "scales": 10**9}, "scales"),
        ({"encoder": "han", "scales": 3, "hidden_dim": 1 << 16, "modality_networks": True}, "parameters"),
        ({"encoder": "han", "decoder": "mmil", "guides": True, "hidden_dim": 1 << 16}, "parameters"),
        ({"encoder": "han", "decoder": "classwise", "class_dim": 1 << 16, "hidden_dim": 1 << 12}, "parameters"),
        ({"stem": "mlp", "stem_hidden_dim": 1 << 17}, "stem_hidden_dim"),
        ({"stem": "mlp", "stem_hidden_dim": 1 << 16, "hidden_dim": 1 << 16}, "parameters"),
        ({"guides": 1}, "guides is 1, expected true or false"),
        ({"scales": True}, "scales is True, expected a whole number"),
    ],
)
def test_sizes_of_strangers_are_bounded(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        parser_shapes(ParserConfig(labels=("a", "b"), **settings))
