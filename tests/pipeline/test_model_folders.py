"""Folders of models for transformers: files of numbers inside, and no program of their own."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from avvp.pipeline import model_folders
from avvp.pipeline.datasets.label_embeddings import load_label_embeddings
from avvp.pipeline.errors import SetupError
from avvp.pipeline.model_folders import check_model_folder, find_hub_fault
from avvp.pipeline.pseudo_labeling.hub import load_pretrained, load_transformers
from safetensors.torch import load_file, save_file
from support.server import Server

pytest.importorskip("transformers")


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from support.teachers import small_clip, write_tokenizer

    folder = tmp_path_factory.mktemp("model")
    small_clip().save_pretrained(folder)
    write_tokenizer(folder, clip=True)
    return folder


@pytest.fixture
def folder(clip_folder: Path, tmp_path: Path) -> Path:
    copy = tmp_path / "clip"
    copy.mkdir()
    for file in clip_folder.iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    return copy


def index(name: object) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        content = {"metadata": {}, "weight_map": {"a": name}}
        (folder / "model.safetensors.index.json").write_text(json.dumps(content))

    return write


def numbers(change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[Path], object]:
    def write(folder: Path) -> None:
        path = folder / "model.safetensors"
        tensors = load_file(path)
        key = "visual_projection.weight"
        save_file({**tensors, key: change(tensors[key].clone())}, path, {"format": "pt"})

    return write


SPOILED: dict[str, tuple[Callable[[Path], object], str]] = {
    "part that leads out": (index("../secret.safetensors"), "leads out"),
    "part that is absolute": (index("/etc/passwd"), "leads out"),
    "part that is a number": (index(3), "found int"),
    "index without parts": (
        lambda folder: (folder / "model.safetensors.index.json").write_text("[]"), "has no table weight_map",
    ),
    "integers": (numbers(lambda tensor: tensor.to(torch.int32)), "visual_projection.weight holds I32"),
    "NaN": (numbers(lambda tensor: tensor * float("nan")), "visual_projection.weight holds values that are not finite"),
    "torn": (lambda folder: (folder / "model.safetensors").write_bytes(b"x" * 100), "header"),
    "configuration of another type": (lambda folder: (folder / "config.json").write_text("[]"), "cannot be loaded"),
    "configuration that nests": (lambda folder: (folder / "config.json").write_text("[" * 10**5), "cannot be loaded"),
    "sizes of another type": (
        lambda folder: (folder / "config.json").write_text('{"model_type": "clip", "vision_config": 3}'),
        "cannot be loaded|does not fit",
    ),
    "link that leads out": (
        lambda folder: (folder / "model-2.safetensors").symlink_to("../secret.safetensors"), "link that leads out",
    ),
}  # fmt: skip


@pytest.mark.filterwarnings("ignore")  # of transformers' own making
@pytest.mark.parametrize("kind", SPOILED)
def test_models_that_are_not_what_they_claim(folder: Path, kind: str) -> None:
    transformers = load_transformers()
    (folder.parent / "secret.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    spoil, message = SPOILED[kind]
    spoil(folder)
    with pytest.raises(SetupError, match=message) as error:
        load_pretrained(transformers.CLIPModel, transformers.AutoTokenizer, str(folder), offline=True)
    assert str(error.value).startswith(f"{folder}: ")
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 1000


PROGRAM = "from pathlib import Path\nPath(__file__).with_name('owned').write_text('')\n"


@pytest.mark.filterwarnings("ignore")
def test_programs_in_a_model_are_not_run(folder: Path) -> None:
    """Without an answer, transformers would ask on the terminal whether to run them."""
    (folder / "program.py").write_text(PROGRAM)
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "program.Config", "AutoModel": "program.Model", "AutoTokenizer": ["program.Tokenizer", None]}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "unheard", "auto_map": names}))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer |= {"auto_map": names, "tokenizer_class": "Unheard"}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_label_embeddings(f"bert:{folder}", ("Dog",), offline=True)
    transformers = load_transformers()
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_pretrained(transformers.AutoModel, transformers.AutoTokenizer, str(folder), offline=True)
    assert not list(folder.parent.rglob("owned"))


def test_pickles_are_not_read(folder: Path) -> None:
    state = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    torch.save(state, folder / "pytorch_model.bin")
    transformers = load_transformers()
    with pytest.raises(SetupError, match="cannot be loaded"):
        load_pretrained(transformers.CLIPModel, transformers.AutoTokenizer, str(folder), offline=True)


@pytest.fixture
def _forgetful(monkeypatch: pytest.MonkeyPatch) -> None:
    """No hub has been asked before, and each has little time."""
    monkeypatch.setattr(model_folders, "_unanswered", {})
    monkeypatch.setattr(model_folders, "_HUB_SECONDS", 0.3)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


@pytest.mark.usefixtures("_forgetful")
def test_a_hub_that_does_not_answer_is_found_out_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("HF_ENDPOINT", address)
        fault = find_hub_fault("openai/clip")
        assert fault.startswith(f"{address} cannot be reached (")
        monkeypatch.setattr("requests.head", None)  # it is not asked again
        assert find_hub_fault("openai/clip") == fault
    assert find_hub_fault(str(tmp_path)) == ""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert find_hub_fault("openai/clip") == ""


@pytest.mark.usefixtures("_forgetful")
def test_a_hub_that_answers_is_no_fault(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(model_folders, "_HUB_SECONDS", 5.0)
    assert find_hub_fault("openai/clip") == ""
    server.close()
    monkeypatch.setenv("HF_ENDPOINT", "http://example.com")
    assert "not an https address" in find_hub_fault("openai/clip")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.usefixtures("_forgetful")
def test_a_text_encoder_without_network_fails_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    started = time.monotonic()
    with pytest.raises(SetupError, match=r"bert:nobody/nothing: cannot be loaded: http://127\.0\.0\.1:9 cannot be rea"):
        load_label_embeddings("bert:nobody/nothing", ("Dog",))
    assert time.monotonic() - started < 20, "transformers retries for 46 seconds"


@pytest.mark.parametrize("name", ["openai/clip-vit-large-patch14", "x" * 5000, "\0", ""])
def test_names_that_are_no_folder_are_left_to_the_hub(name: str) -> None:
    check_model_folder(Path(name))
