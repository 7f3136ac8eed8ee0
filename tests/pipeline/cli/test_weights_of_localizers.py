"""Published localizers of the manifest: found, verified and loaded from files in their published forms."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from avvp.models.files.published import load_published
from avvp.pipeline.cli.commands import weights as cli_weights
from avvp.pipeline.inference.bundle import load_parser
from avvp.weights.errors import WeightsError
from avvp.weights.load import read_state_dict
from avvp.weights.source import WeightSource
from support.command import Result
from torch import nn

Run = Callable[..., Result]


class DualResidual(nn.Module):
    """The layers of DMRN under their published names, in a module of a program that is not here."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm_audio = nn.LSTM(128, 128, 1, batch_first=True, bidirectional=True)
        self.lstm_video = nn.LSTM(512, 128, 1, batch_first=True, bidirectional=True)
        self.affine_audio, self.affine_video = nn.Linear(128, 512), nn.Linear(512, 512)
        self.affine_v, self.affine_g = nn.Linear(512, 49, bias=False), nn.Linear(512, 49, bias=False)
        self.affine_h = nn.Linear(49, 1, bias=False)
        self.U_v = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256))
        self.U_a = nn.Sequential(nn.Linear(256, 256), nn.Tanh(), nn.Linear(256, 256))
        self.L2 = nn.Linear(256, 29)
        self.relu, self.tanh = nn.ReLU(), nn.Tanh()


class Attention(DualResidual):
    """The same for the attention network."""

    def __init__(self) -> None:
        super().__init__()
        del self.U_v, self.U_a
        self.L1, self.L2 = nn.Linear(512, 64), nn.Linear(64, 29)


def write_module(path: Path, module: nn.Module) -> None:
    """Save a whole module in the old format, under the name of a class that cannot be imported."""
    file = io.BytesIO()
    torch.save(module, file, _use_new_zipfile_serialization=False)
    name = type(module).__name__
    old, new = f"c{type(module).__module__}\n{name}\n".encode(), b"cmodels_fusion\nTBMRF_Net\n"
    content = file.getvalue()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.fixture
def dmrn(tmp_path: Path) -> DualResidual:
    torch.manual_seed(0)
    module = DualResidual()
    write_module(tmp_path / "DMRN.pt", module)
    return module


def test_a_whole_module_becomes_a_localizer(dmrn: DualResidual, tmp_path: Path) -> None:
    loaded = load_parser("dmrn", source=WeightSource(tmp_path, offline=True), device="cpu").parser
    expected = load_published(dmrn.state_dict(), family="dmrn", supervision="full")
    for key, tensor in expected.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], tensor)


@pytest.mark.usefixtures("dmrn")
def test_verify_checks_the_tensors_of_a_module(run: Run, tmp_path: Path) -> None:
    result = run("weights", "verify", "dmrn_full", "--weights-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "holds every tensor of the published dmrn, supervision full; no hash is published" in result.out
    content = (tmp_path / "DMRN.pt").read_bytes()
    (tmp_path / "DMRN.pt").write_bytes(content[: len(content) // 2])
    result = run("weights", "verify", "dmrn_full", "--weights-dir", tmp_path)
    assert result.status == 1
    assert "DMRN.pt: not a pickled module that can be read: cut off, or damaged" in result.err
    assert result.err.count("\n") == 1


def test_a_hash_of_git_is_checked_before_a_module_is_read(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from avvp.weights import load

    write_module(tmp_path / "AV_att.pt", Attention())
    result = run("weights", "verify", "ave_full", "--weights-dir", tmp_path)
    assert (result.status, "wrong hash: git's hash" in result.err) == (1, True)
    for place in (cli_weights, load):
        monkeypatch.setattr(place, "verify_file", lambda *_: "0" * 64)
    result = run("weights", "verify", "ave_full", "--weights-dir", tmp_path)
    assert (result.status, result.err) == (0, "")
    assert "matches the published hash; holds every tensor of the published ave, supervision full" in result.out


@pytest.mark.usefixtures("dmrn")
def test_a_module_of_another_system_is_refused(run: Run, tmp_path: Path) -> None:
    (tmp_path / "DMRN.pt").rename(tmp_path / "PSP_fully.pt")
    result = run("weights", "verify", "psp_full", "--weights-dir", tmp_path)
    assert (result.status, result.err.count("\n")) == (1, 1)
    assert "PSP_fully.pt: " in result.err


def test_localizers_that_were_saved_in_float64_are_rounded(dmrn: DualResidual, tmp_path: Path) -> None:
    """As CMBS and CPSP are; numbers of other networks are rounded by nobody without a word."""
    state = {f"module.{key}": tensor.double() + 1e-12 for key, tensor in dmrn.state_dict().items()}
    torch.save(state, tmp_path / "mine.pt")
    (tmp_path / "bundle.toml").write_text(
        'profile = "ave"\nlabels = "ave"\nextractors = { vggish = "vggish", vgg19 = "vgg19" }\n'
        'parser = { family = "dmrn", file = "mine.pt" }\n'
    )
    loaded = load_parser(str(tmp_path), source=WeightSource(tmp_path, offline=True), device="cpu").parser
    assert {tensor.dtype for tensor in loaded.state_dict().values()} == {torch.float32}
    with pytest.raises(WeightsError, match="float64 numbers that float32 rounds"):
        read_state_dict(tmp_path / "mine.pt")
    found = read_state_dict(tmp_path / "mine.pt", rounded=True)
    assert all(torch.equal(found[key], tensor.float()) for key, tensor in state.items())
    torch.save({"a": torch.tensor([1e300], dtype=torch.float64)}, tmp_path / "mine.pt")
    with pytest.raises(WeightsError, match="too large for float32"):
        read_state_dict(tmp_path / "mine.pt", rounded=True)
