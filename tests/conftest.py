"""Fixtures: a cache and weight folder of our own, small real media, a tiny bundle, the command line."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import media
import pytest
import torch
from avvp.extractors.profiles import feature_spec
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.models.checkpoint import dump_checkpoint
from avvp.models.config import ParserConfig
from avvp.models.parser import build_parser
from avvp.pipeline.cli import main as cli
from avvp.weights.untrained import untrained_state
from safetensors.torch import save_file

TINY = {"vggish_tiny": "vggish", "resnet_tiny": "resnet", "r2plus1d_tiny": "r2plus1d"}
RUN_MARK = "AVVP_TEST_RUN"  # in the environment of the programs started here, and of what they start
LABELS = ("Dog", "Speech", "Violin_fiddle")


@pytest.fixture(autouse=True)
def _no_home(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of the person's own is read or written."""
    cache = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("XDG_CACHE_HOME", str(cache))
    monkeypatch.setenv("HOME", str(cache))
    monkeypatch.delenv("AVVP_WEIGHTS_DIR", raising=False)


@pytest.fixture(scope="session")
def clips(tmp_path_factory: pytest.TempPathFactory) -> media.Clips:
    """Small media files, each made when it is first asked for."""
    return media.Clips(tmp_path_factory.mktemp("media"))


def write_tiny_bundle(folder: Path, profile: str, *, seed: int = 7) -> Path:
    """A whole bundle on disk with small random networks."""
    states = {name: untrained_state(extractor_shapes(name), seed) for name in TINY}
    extractors = {name: build_extractor(name, state) for name, state in states.items()}
    spec = feature_spec(profile, extractors)
    audio, visual_2d, visual_3d = spec.dims
    config = ParserConfig(
        labels=LABELS, audio_dim=audio, visual_2d_dim=visual_2d, visual_3d_dim=visual_3d, hidden_dim=16,
        feedforward_dim=16, heads=2, levels=2, label_embedding_dim=5, leap_blocks=1, leap_heads=2,
    )  # fmt: skip
    torch.manual_seed(seed)
    parser = build_parser(config, torch.randn(len(LABELS), 5))
    folder.mkdir(parents=True, exist_ok=True)
    for name, file in TINY.items():
        save_file(states[name], folder / f"{file}.safetensors")
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(parser, spec.to_dict(), {"made_by": "tests"}))
    entries = ", ".join(f'{name} = "{file}.safetensors"' for name, file in TINY.items())
    (folder / "bundle.toml").write_text(
        f'profile = "{profile}"\nextractors = {{ {entries} }}\nparser = {{ checkpoint = "parser.safetensors" }}\n'
    )
    return folder


@pytest.fixture(scope="session")
def tiny_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle under the `clean` profile."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny", "clean")


@pytest.fixture(scope="session")
def tiny_llp_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny bundle under the `llp` profile."""
    return write_tiny_bundle(tmp_path_factory.mktemp("bundles") / "tiny-llp", "llp")


def copy_bundle(source: Path, target: Path) -> Path:
    """The same bundle in another folder, for a test to spoil."""
    target.mkdir()
    for file in source.iterdir():
        (target / file.name).write_bytes(file.read_bytes())
    return target


@dataclass
class Result:
    status: int
    out: str
    err: str


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """Run the command line in this process: ``run("parse", clip, "-q")`` is ``avvp parse clip -q``."""

    def call(*arguments: object) -> Result:
        monkeypatch.setattr(sys, "argv", ["avvp", *map(str, arguments)])
        with pytest.raises(SystemExit) as leaving:
            cli.main()
        captured = capfd.readouterr()
        return Result(int(leaving.value.code or 0), captured.out, captured.err)

    return call


@pytest.fixture
def script() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start an installed program in a process of its own: ``script("avvp-parse", clip)``."""
    started: list[subprocess.Popen[str]] = []

    def start(name: str, *arguments: object) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).with_name(name)), *map(str, arguments)]
        environment = {**os.environ, "COLUMNS": "100", RUN_MARK: str(os.getpid())}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()
