from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.models import dump_checkpoint, load_checkpoint
from avvp.models.config import MAX_LABEL_CHARACTERS, MAX_LABELS, MAX_LAYERS, MAX_WIDTH, ParserConfig
from avvp.models.files.checkpoint import read_description
from avvp.models.parser import parser_shapes
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.checkpoints import check_refused_unread
from support.parsers import inputs, tiny_parser


def test_checkpoint_round_trip(tmp_path: Path) -> None:
    parser = tiny_parser()
    path = tmp_path / "parser.safetensors"
    path.write_bytes(dump_checkpoint(parser, {"profile": "clean"}, {"epochs": 3}))
    loaded = load_checkpoint(path)
    assert loaded.feature_spec == {"profile": "clean"}
    assert loaded.record == {"epochs": 3}
    assert loaded.parser.config == parser.config
    assert not loaded.parser.training
    expected = parser.float()(*(tensor.float() for tensor in inputs(1, 4)))
    got = loaded.parser(*(tensor.float() for tensor in inputs(1, 4)))
    torch.testing.assert_close(got.audio_segment_probs, expected.audio_segment_probs)


@pytest.mark.parametrize("keep", [0, 7, 200, -1])
def test_load_checkpoint_rejects_a_truncated_file(tmp_path: Path, keep: int) -> None:
    path = tmp_path / "parser.safetensors"
    path.write_bytes(dump_checkpoint(tiny_parser(), {}, {})[:keep])
    with pytest.raises(ValueError, match=r"parser\.safetensors"):
        load_checkpoint(path)


def test_load_checkpoint_rejects_other_safetensors_files(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match="not a parser checkpoint"):
        load_checkpoint(tmp_path / "x.safetensors")


def test_load_checkpoint_rejects_a_newer_format(tmp_path: Path) -> None:
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors", metadata={"avvp": json.dumps({"format": 99})})
    with pytest.raises(ValueError, match="format 99"):
        load_checkpoint(tmp_path / "x.safetensors")


def write_changed(path: Path, config: dict[str, Any] | None = None, **tensors: torch.Tensor | None) -> Path:
    """Write a checkpoint whose settings and tensors (with "__" for ".") are changed; None removes a tensor."""
    path.write_bytes(dump_checkpoint(tiny_parser(), {}, {}))
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["avvp"])
    description["config"] |= config or {}
    changes = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in (load_file(path) | changes).items() if tensor is not None}
    save_file(kept, path, metadata={"avvp": json.dumps(description)})
    return path


def test_a_checkpoint_that_is_written_again_loads(tmp_path: Path) -> None:
    assert load_checkpoint(write_changed(tmp_path / "x.safetensors")).parser.config == tiny_parser().config


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.full((16, 6), float("nan")), "not finite"),
        (torch.cat([torch.zeros(15, 6), torch.full((1, 6), float("inf"))]), "not finite"),
        (torch.ones(16, 6, dtype=torch.int32), "holds int32, expected float32"),
        (torch.ones(16, 6, dtype=torch.bool), "holds bool"),
        (torch.ones(16, 6, dtype=torch.float64), "holds float64"),
        (torch.ones(16, 6, dtype=torch.bfloat16), "holds bfloat16"),
        (torch.ones(6, 16), "has the shape"),
        (torch.ones(()), "has the shape"),
        (torch.ones(0), "has the shape"),
        (None, "lacks stem.audio.weight"),
    ],
)
def test_parameters_that_are_not_what_they_claim_are_refused(
    tmp_path: Path, tensor: torch.Tensor | None, message: str
) -> None:
    path = write_changed(tmp_path / "x.safetensors", stem__audio__weight=tensor)
    with pytest.raises(ValueError, match=rf"x\.safetensors: .*{message}"):
        load_checkpoint(path)


def test_tensors_that_the_parser_lacks_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="does not have: wings"):
        load_checkpoint(write_changed(tmp_path / "x.safetensors", wings=torch.ones(1)))


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_dim": 1 << 20}, {"hidden_dim": MAX_WIDTH, "feedforward_dim": MAX_WIDTH}, {"levels": 16},
        {"leap_blocks": 10**9}, {"layers": MAX_LAYERS + 1}, {"segments": 10**30}, {"segments": 10.0},
        {"segments": "10"}, {"segments": True}, {"segments": None}, {"segments": [10]}, {"heads": 4.0},
        {"dropout": float("nan")}, {"dropout": "0.1"}, {"dropout": False}, {"attention_dropout": 10**400},
        {"encoder": ["mmpyr"]}, {"encoder": {}}, {"decoder": 3}, {"swap_modalities": 0},
        {"labels": "abcd"}, {"labels": [1, 2, 3, 4]}, {"labels": {"a": 1}}, {"labels": None}, {"labels": [["a"]]},
        {"labels": ["x" * (MAX_LABEL_CHARACTERS + 1)]}, {"labels": [str(i) for i in range(MAX_LABELS + 1)]},
        {"wings": 2}, {"label_embedding_dim": 6}, {"audio_dim": 7},
    ],
)  # fmt: skip
def test_settings_that_do_not_fit_are_refused_before_anything_is_built(
    tmp_path: Path, config: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    check_refused_unread(write_changed(tmp_path / "x.safetensors", config), monkeypatch)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


def write_metadata(path: Path, text: str) -> Path:
    """Write a file without tensors, with metadata that safetensors' own writer may refuse."""
    header = json.dumps({"__metadata__": {"avvp": text}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header)
    return path


@given(st.sampled_from(list(ParserConfig.__dataclass_fields__)), JSON)
@settings(max_examples=25, deadline=None, derandomize=True)
def test_any_value_of_a_setting_is_accepted_or_a_clear_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, value: object
) -> None:
    config = tiny_parser().config.to_dict() | {name: value}
    document = {"format": 1, "config": config, "feature_spec": {}, "record": {}}
    path = write_metadata(tmp_path_factory.getbasetemp() / "any.safetensors", json.dumps(document))
    try:
        read_description(path)
    except ValueError as error:
        assert str(error).startswith(str(path))


@pytest.mark.parametrize("text", ["[" * 200_000, "{}", "[]", "null", "3", '{"format": [1]}', '{"format": 1}', "\x00"])
def test_descriptions_that_are_none_are_refused(tmp_path: Path, text: str) -> None:
    with pytest.raises(ValueError, match="invalid description"):
        load_checkpoint(write_metadata(tmp_path / "x.safetensors", text))


def test_a_header_of_absurd_length_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "x.safetensors").write_bytes(struct.pack("<Q", 1 << 25) + b" " * (1 << 25))
    for read in (load_checkpoint, read_description):
        with pytest.raises(ValueError, match="its header claims"):
            read(tmp_path / "x.safetensors")


def test_the_published_size_is_far_below_the_limit() -> None:
    shapes = parser_shapes(ParserConfig(labels=tuple(map(str, range(25)))))
    assert sum(torch.Size(shape).numel() for shape in shapes.values()) == 52_005_380 - 4_749_312 + 25 * 300
