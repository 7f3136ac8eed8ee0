"""`avvp weights verify` compares the visual networks with torchvision's."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from avvp.extractors.registry import extractor_shapes
from avvp.pipeline.cli.commands import weights as cli_weights
from avvp.pipeline.inference import torchvision_check
from avvp.weights.manifest import list_files
from avvp.weights.untrained import untrained_state
from support.command import Result
from torch import nn

Run = Callable[..., Result]


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """R(2+1)D's file with random parameters; its hash counts as right."""
    monkeypatch.setattr(cli_weights, "verify_file", lambda *_: "0" * 64)
    state = untrained_state(extractor_shapes("r2plus1d_18"), 1)
    path = tmp_path / list_files()["r2plus1d_18"].name
    torch.save(state | {"fc.weight": torch.zeros(400, 512), "fc.bias": torch.zeros(400)}, path)
    return path


@pytest.mark.full_size
def test_features_are_those_of_torchvision(run: Run, file: Path) -> None:
    result = run("weights", "verify", "r2plus1d_18", "--weights-dir", file.parent)
    assert (result.status, result.err) == (0, "")
    assert "features are those of torchvision's network (they differ by" in result.out


@pytest.mark.full_size
def test_features_that_differ_are_an_error(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(extractor: nn.Module) -> nn.Module:
        norm = extractor.get_submodule("stem.1")
        norm.register_parameter("bias", nn.Parameter(norm.get_parameter("bias") + 1.0))
        return extractor

    monkeypatch.setattr(torchvision_check, "fuse", shifted)
    result = run("weights", "verify", "r2plus1d_18", "--weights-dir", file.parent)
    assert result.status == 1
    assert "on this machine features differ from those of torchvision's network by" in result.err


def test_a_torchvision_that_does_not_import_is_no_error(run: Run, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("torchvision", "torchvision.models"):
        monkeypatch.setitem(sys.modules, name, None)
    result = run("weights", "verify", "r2plus1d_18", "--weights-dir", file.parent)
    assert (result.status, result.err) == (0, "")
    assert "matches the published hash; not compared with torchvision's network: torchvision does not" in result.out


def test_another_file_is_an_error(run: Run, file: Path) -> None:
    torch.save({"x": torch.zeros(1)}, file)
    result = run("weights", "verify", "r2plus1d_18", "--weights-dir", file.parent)
    assert result.status == 1
    assert "the weights do not fit R2Plus1D: missing: " in result.err


@pytest.mark.full_size
def test_maps_of_vgg19_are_those_of_torchvision(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the classifier that the file has, and maps that ours has with their channels last."""
    monkeypatch.setattr(cli_weights, "verify_file", lambda *_: "0" * 64)
    state = untrained_state(extractor_shapes("vgg19"), 1)
    torch.save(state | {"classifier.6.bias": torch.zeros(1000)}, tmp_path / list_files()["vgg19_caffe"].name)
    result = run("weights", "verify", "vgg19_caffe", "--weights-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "features are those of torchvision's network (they differ by" in result.out
