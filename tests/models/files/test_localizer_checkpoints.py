"""Checkpoints of localizers: they come back as they were, and hostile ones are refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.models import EventLocalizer, LocalizerConfig, dump_checkpoint, load_checkpoint
from avvp.models.config import MAX_BLOCKS, MAX_LABELS, MAX_LAYERS, MAX_WIDTH
from avvp.models.files.checkpoint import read_description
from avvp.models.localizers.config import MAX_POSITIONS
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.checkpoints import check_refused_unread
from support.localizers import KINDS, LEAP_KINDS, clip_inputs, kind_name, tiny_config, tiny_localizer
from support.parsers import tiny_parser


@pytest.mark.parametrize("kind", [*KINDS, *LEAP_KINDS], ids=kind_name)
def test_round_trip(kind: dict, tmp_path: Path) -> None:
    localizer, path = tiny_localizer(**kind), tmp_path / "localizer.safetensors"
    path.write_bytes(dump_checkpoint(localizer, {"profile": "ave"}, {"epochs": 3}))
    loaded = load_checkpoint(path)
    assert isinstance(loaded.parser, EventLocalizer)
    assert (loaded.feature_spec, loaded.record) == ({"profile": "ave"}, {"epochs": 3})
    assert loaded.parser.config == localizer.config == read_description(path).config
    assert not loaded.parser.training
    inputs = clip_inputs(2, 5)
    expected = localizer.float()(*inputs)
    torch.testing.assert_close(loaded.parser(*inputs).segment_probs, expected.segment_probs, atol=0, rtol=0)


def test_the_description_names_the_kind_of_localizers_only(tmp_path: Path) -> None:
    for name, network, kind in (("a", tiny_localizer(system="psp"), "localizer"), ("b", tiny_parser(), None)):
        (tmp_path / name).write_bytes(dump_checkpoint(network, {}, {}))
        with safe_open(tmp_path / name, framework="pt") as file:
            assert json.loads(file.metadata()["avvp"]).get("kind") == kind


def write_changed(
    path: Path, config: dict[str, Any] | None = None, kind: object = "localizer", **tensors: torch.Tensor | None
) -> Path:
    """Write a checkpoint whose kind, settings and tensors (with "__" for ".") are changed; None removes a tensor."""
    path.write_bytes(dump_checkpoint(tiny_localizer(system="cmbs", decoder="leap"), {}, {}))
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["avvp"])
    description["config"] |= config or {}
    description["kind"] = kind
    changes = {name.replace("__", "."): tensor for name, tensor in tensors.items()}
    kept = {name: tensor for name, tensor in (load_file(path) | changes).items() if tensor is not None}
    save_file(kept, path, metadata={"avvp": json.dumps(description)})
    return path


def test_a_checkpoint_that_is_written_again_loads(tmp_path: Path) -> None:
    config = load_checkpoint(write_changed(tmp_path / "x.safetensors")).parser.config
    assert config == tiny_config(system="cmbs", decoder="leap")


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        (torch.full((1, 16), float("nan")), "not finite"),
        (torch.ones(1, 16, dtype=torch.float64), "holds float64, expected float32"),
        (torch.ones(1, 16, dtype=torch.int32), "holds int32"),
        (torch.ones(16, 1), "has the shape"),
        (None, "lacks encoder.audio_gate.weight"),
    ],
)
def test_parameters_that_do_not_fit(tmp_path: Path, tensor: torch.Tensor | None, message: str) -> None:
    path = write_changed(tmp_path / "x.safetensors", encoder__audio_gate__weight=tensor)
    with pytest.raises(ValueError, match=rf"x\.safetensors: .*{message}"):
        load_checkpoint(path)


@pytest.mark.parametrize("kind", ["parser", "wings", "", 3, ["localizer"], {}, True])
def test_other_kinds_are_refused(tmp_path: Path, kind: object) -> None:
    with pytest.raises(ValueError, match=r"x\.safetensors: invalid description"):
        read_description(write_changed(tmp_path / "x.safetensors", kind=kind))


def test_settings_of_a_localizer_are_no_parser(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="unknown parser settings"):
        load_checkpoint(write_changed(tmp_path / "x.safetensors", kind=None))


@pytest.mark.parametrize(
    "config",
    [
        {"hidden_dim": 1 << 20}, {"hidden_dim": MAX_WIDTH, "feedforward_dim": MAX_WIDTH}, {"hidden_dim": 15},
        {"audio_dim": 10**30}, {"visual_dim": 0}, {"positions": MAX_POSITIONS + 1}, {"positions": 5},
        {"layers": MAX_LAYERS + 1}, {"layers": MAX_LAYERS}, {"leap_blocks": MAX_BLOCKS + 1}, {"leap_heads": 3},
        {"heads": 4.0}, {"interaction_heads": 0}, {"segments": "10"}, {"segments": True}, {"segments": [10]},
        {"dropout": float("nan")}, {"map_dropout": "0.1"}, {"leap_dropout": 10**400}, {"alpha": float("inf")},
        {"gamma": "0.3"}, {"beta": -0.1}, {"threshold": False}, {"system": ["cmbs"]}, {"system": "han"}, {"system": {}},
        {"system": None}, {"supervision": 3}, {"decoder": "mmil"}, {"leap_memory": []}, {"decision": "published"},
        {"decision": 3}, {"decision_options": {"a": 1}}, {"labels": "abc"}, {"labels": [1, 2, 3]}, {"labels": None},
        {"labels": [str(i) for i in range(MAX_LABELS + 1)]}, {"wings": 2}, {"label_embedding_dim": 6},
        {"attention_dim": -1}, {"classifier_dim": 1.5}, {"leap_feedforward_dim": None},
        {"decoder_feedforward_dim": "9"},
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


@given(st.sampled_from(list(LocalizerConfig.__dataclass_fields__)), JSON)
@settings(max_examples=200, deadline=None, derandomize=True)
def test_any_value_of_a_setting_is_accepted_or_a_clear_error(name: str, value: object) -> None:
    mapping = tiny_config(system="cmbs", decoder="leap").to_dict() | {name: value}
    try:
        config = LocalizerConfig.from_dict(mapping)
    except ValueError as error:
        assert len(str(error)) < 500
    else:
        assert LocalizerConfig.from_dict(config.to_dict()) == config


def test_settings_without_a_system() -> None:
    with pytest.raises(ValueError, match="have no system, one of ave, dmrn, psp, cmbs, cpsp"):
        LocalizerConfig.from_dict({"labels": ["a"]})
    with pytest.raises(ValueError, match="localizer settings are 3, expected a mapping"):
        LocalizerConfig.from_dict(3)  # pyright: ignore[reportArgumentType]
