"""Bundles of strangers on the command line: one line, exit status 2, and no file outside of them is read or written."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.pipeline.inference.bundle import load_networks
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from support.bundles import LABELS, copy_bundle
from support.command import Result
from support.llp_like import Recipe, generate
from support.media import Clips

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A data set whose features are those of the tiny bundle's extractors."""
    root = tmp_path_factory.mktemp("data")
    spec = load_networks(str(tiny_bundle), device="cpu").extractors.spec
    generate(root, Recipe({"train": 4, "val": 2, "test": 2}, labels=LABELS, dims=spec.dims))
    np.save(root / "vectors.npy", np.random.default_rng(0).standard_normal((len(LABELS), 6)).astype("f4"))
    return root


@pytest.fixture
def bundle(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A copy of the tiny bundle, with a private file and a link beside it."""
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "precious.safetensors").write_bytes((tiny_bundle / "vggish.safetensors").read_bytes())
    folder = copy_bundle(tiny_bundle, tmp_path / "home" / "bundle")
    (folder / "link.safetensors").symlink_to("../precious.safetensors")
    return folder


COMMANDS: dict[str, Callable[[Path, Path, Path], list[object]]] = {
    "parse": lambda clip, bundle, _: ["parse", clip, "--weights", bundle],
    "parse --output-dir": lambda clip, bundle, _: ["parse", clip, "--output-dir", "results", "--weights", bundle],
    "extract": lambda clip, bundle, _: ["extract", clip, "-o", "results", "--weights", bundle],
    "model-info": lambda _, bundle, __: ["model-info", "--weights", bundle],
    "evaluate": lambda _, bundle, data: [
        "evaluate", "--weights", bundle, "--features", data / "features", "--annotations", data / "annotations",
    ],
    "train --extractors": lambda _, bundle, data: [
        "train", "--features", data / "features", "--annotations", data / "annotations", "--label-embeddings",
        data / "vectors.npy", "--pseudo-labels", data / "pseudo_labels", "--extractors", bundle, "-o", "results",
        "--device", "cpu", "--epochs", "1", "--set", "model.hidden_dim=16", "--set", "model.heads=2", "--set",
        "model.leap_heads=2", "--set", "model.feedforward_dim=16", "--set", "model.levels=1",
    ],
    "weights verify": lambda _, bundle, __: ["weights", "verify", bundle],
    "weights fetch": lambda _, bundle, __: ["weights", "fetch", bundle],
    "weights path": lambda _, bundle, __: ["weights", "path", bundle],
}  # fmt: skip
CHANGES = {
    "a name that leads out": (
        'vggish_tiny = "vggish',
        '"../../.bashrc" = "vggish',
        "cannot be the name of an extractor",
    ),
    "a file that leads out": ("vggish.safetensors", "../precious.safetensors", "leads out of the folder"),
    "an absolute file": ("vggish.safetensors", "/etc/passwd", "leads out of the folder"),
    "a link that leads out": ("vggish.safetensors", "link.safetensors", "link that leads out"),
    "a parser that leads out": ("parser.safetensors", "../precious.safetensors", "leads out of the folder"),
    "an over-long file": ("vggish.safetensors", "x" * 5000, "cannot be used: File name too long"),
    "an unknown key": ("profile =", "wings = 2\nprofile =", "unknown key 'wings'"),
}


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_refuses_bundles_that_lead_out(
    run: Run, bundle: Path, data: Path, clips: Clips, monkeypatch: pytest.MonkeyPatch, command: str, change: str
) -> None:
    old, new, message = CHANGES[change]
    description = bundle / "bundle.toml"
    text = description.read_text()
    assert old in text
    description.write_text(text.replace(old, new))
    monkeypatch.chdir(bundle.parent)
    before = snapshot(bundle.parent.parent)
    result = run(*COMMANDS[command](clips.blink, bundle, data))
    assert result.status == 2
    assert result.err.strip().splitlines()[-1].startswith("Error: ")
    if not command.startswith("weights"):  # which know bundles by name only
        assert message in result.err
    assert snapshot(bundle.parent.parent) == before


@pytest.mark.parametrize("name", ["state", "best", "config", "unheard"])
def test_train_copies_known_extractors_only(
    run: Run, bundle: Path, data: Path, clips: Clips, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """A copy under another name could be taken for a file of the run."""
    description, features = bundle / "bundle.toml", tmp_path / "data" / "features"
    description.write_text(description.read_text().replace("vggish_tiny =", f"{name} ="))
    shutil.copytree(data, tmp_path / "data")
    spec = features / "features.json"
    spec.write_text(spec.read_text().replace("vggish_tiny", name))
    (features / "vggish_tiny").rename(features / name)
    monkeypatch.chdir(bundle.parent)
    result = run(*COMMANDS["train --extractors"](clips.blink, bundle, tmp_path / "data"))
    assert result.status in {1, 2}
    assert f"unknown extractor '{name}'" in result.err
    assert not list((bundle.parent / "results").glob("*.safetensors"))


def snapshot(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder and its content; folders of results may be created while they are checked."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


SPOILED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "integers": lambda tensor: tensor.to(torch.int32),
    "NaN": lambda tensor: tensor.index_put((torch.tensor(0),), torch.tensor(float("nan"))),
    "infinity": lambda tensor: tensor.index_put((torch.tensor(0),), torch.tensor(float("inf"))),
    "another shape": lambda tensor: tensor[:1],
    "float64": lambda tensor: tensor.double() + 1e-12,
    "complex": lambda tensor: tensor.to(torch.complex64),
    "booleans": lambda tensor: tensor > 0,
}


@pytest.mark.parametrize("file", ["vggish", "resnet", "parser"])
@pytest.mark.parametrize("kind", SPOILED)
def test_parse_refuses_numbers_that_are_no_parameters(
    run: Run, bundle: Path, clips: Clips, file: str, kind: str
) -> None:
    path = bundle / f"{file}.safetensors"
    with safe_open(path, framework="pt") as opened:
        metadata = opened.metadata()
    tensors = load_file(path)
    key = next(key for key, tensor in tensors.items() if tensor.is_floating_point() and tensor.numel() > 1)
    save_file({**tensors, key: SPOILED[kind](tensors[key].clone()).contiguous()}, path, metadata)
    result = run("parse", clips.blink, "--weights", bundle, "-q", "--device", "cpu")
    assert result.status == 2
    assert result.out == ""
    assert f"{file}.safetensors" in result.err
    assert key in result.err
    assert len(result.err.strip().splitlines()) == 1


def test_parse_refuses_negative_variances(run: Run, bundle: Path, clips: Clips) -> None:
    tensors = load_file(bundle / "resnet.safetensors")
    tensors["bn1.running_var"][0] = -1e-3
    save_file(tensors, bundle / "resnet.safetensors")
    result = run("parse", clips.blink, "--weights", bundle, "-q", "--device", "cpu")
    assert (result.status, "bn1.running_var holds negative values" in result.err) == (2, True)


def test_weights_commands_print_strange_folders(run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AVVP_WEIGHTS_DIR", str(tmp_path / "\udcff\n\x1b[31m"))
    assert run("weights", "path").status == 0
    assert run("weights", "list").status == 0
    assert run("weights", "path", "vggish").status == 1
    monkeypatch.setenv("AVVP_WEIGHTS_DIR", "x" * 5000)
    assert run("weights", "list").status == 0
    assert run("weights", "verify").status == 0


def test_parse_names_parameters_that_overflow(run: Run, bundle: Path, clips: Clips) -> None:
    """Each is finite, their sums are not."""
    tensors = load_file(bundle / "resnet.safetensors")
    save_file({**tensors, "conv1.weight": tensors["conv1.weight"] * 1e38}, bundle / "resnet.safetensors")
    result = run("parse", clips.blink, "--weights", bundle, "-q", "--device", "cpu")
    assert result.status == 1
    assert "its visual_2d features are not finite" in result.err
    assert "internal error" not in result.err
