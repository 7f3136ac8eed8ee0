from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from avvp.models import dump_checkpoint, load_checkpoint
from safetensors.torch import save_file
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
