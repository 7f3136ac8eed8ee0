"""Bundles that find any classes: what their descriptions may say, their files, and those of a hub."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from avvp.weights import WeightsError, load_bundle
from avvp.weights.locate import bundle_paths, verify_file
from avvp.weights.manifest import Bundle, format_bundle, list_bundles, list_files, read_bundle
from huggingface_hub import constants
from safetensors.torch import save_file
from support.command import Result
from support.hub import TOKEN, Hub, Repository
from support.media import Clips
from support.open_bundles import write_open_bundle
from support.text_models import write_byte_tokens

Run = Callable[..., Result]

# Of the client of huggingface_hub 2.4, where it uploads a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TEXT = """profile = "clip-clap"
extractors = { clap = "clap.safetensors", clip = "clip.safetensors" }
texts = { clap = "clap.json", clip = "clip.json" }
parser = {}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    classes = 'label = "a|b"\nseen_threshold = 0.25\n[[class]]\nlabel = "c"\n'
    return write_open_bundle(tmp_path_factory.mktemp("made") / "small", classes=f"[[class]]\n{classes}")


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)  # read by older releases when they are imported
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another protocol, of its own servers
    yield server
    server.close()


def read(folder: Path, text: str) -> Bundle:
    (folder / "bundle.toml").write_text(text)
    return read_bundle(folder)


def test_what_is_written_is_read_again(tmp_path: Path) -> None:
    found = read(tmp_path, TEXT.replace("parser = {}", 'parser = { classes = "mine.toml" }'))
    assert found.is_open
    assert found.files == ("clap.safetensors", "clip.safetensors", "clap.json", "clip.json", "mine.toml")
    assert read(tmp_path, format_bundle(found)) == found


BAD = {
    "texts of no extractor": (
        'clip = "clip.json" }',
        'clap2 = "clip.json" }',
        "texts has 'clap2', which is not one of",
    ),
    "texts that lack one": (', clip = "clip.json" }', " }", "texts lacks 'clip': to find any classes, every extractor"),
    "no tokens": ('"clip.json"', '""', "texts names no file of tokens for clip, its tokenizer.json"),
    "tokens of another kind": ('"clip.json"', '"clip.txt"', "the tokens of clip are 'clip.txt', expected a file with"),
    "tokens that are a number": ('"clip.json"', "1", "texts must be a table of names and files"),
    "tokens that lead out": ('"clip.json"', '"../clip.json"', "leads out of the folder"),
    "a parser, too": (
        "parser = {}",
        'parser = { checkpoint = "p.safetensors", family = "han" }',
        "a parser of its own",
    ),
    "an adapter without a file": (
        "parser = {}",
        'parser = { checkpoint = "" }',
        "checkpoint names no file of an adapter",
    ),
    "labels, too": ("parser = {}", 'parser = {}\nlabels = "llp"', "and `labels` of its own; leave one of them out"),
    "classes of another kind": ("parser = {}", 'parser = { classes = "a.csv" }', "classes is 'a.csv', expected a file"),
    "classes that lead out": ("parser = {}", 'parser = { classes = "/etc/a.txt" }', "leads out of the folder"),
    "classes without texts": (
        'texts = { clap = "clap.json", clip = "clip.json" }\nparser = {}',
        'parser = { classes = "a.toml" }',
        "its parser has a file of classes, which goes with `texts`",
    ),
    "classes of the user": ("parser = {}", "parser = {}\nclasses = { a = 1 }", "unknown key 'classes'"),
    "a seed and tokens": ("parser = {}", "parser = {}\nseed = 1", "texts names a file for clap, which needs none"),
}


@pytest.mark.parametrize(("old", "new", "message"), BAD.values(), ids=BAD)
def test_descriptions_of_strangers_are_checked(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert old in TEXT
    with pytest.raises(WeightsError, match=f"not a bundle description: .*{message}"):
        read(tmp_path, TEXT.replace(old, new))


def test_bundles_of_the_manifest_that_find_any_classes() -> None:
    found = {name for name, bundle in list_bundles().items() if bundle.is_open}
    assert {"open", "untrained-open"} <= found
    for bundle in (bundle for name, bundle in list_bundles().items() if name in found and bundle.seed is None):
        assert {list_files()[tokens].form for tokens in bundle.texts.values()} == {"tokenizer"}


def test_a_weight_file_cannot_be_passed_off_as_tokens(tmp_path: Path) -> None:
    """What is a file of an extractor is one of weights, whatever else names it."""
    found = read(tmp_path, TEXT.replace('clip = "clip.safetensors"', 'clip = "clip.json"'))
    for name in found.files:
        (tmp_path / name).write_text("{}")
    with pytest.raises(WeightsError, match=r"'clip.json' is not a weight file"):
        bundle_paths(found)


def test_tokens_without_a_hash_begin_like_json(tmp_path: Path) -> None:
    file, path = list_files()["clip_tokenizer"], tmp_path / "clip-tokenizer.json"
    path.write_text('{"model": {}}')
    assert len(verify_file(file, path)) == 64
    path.write_text("<html>")
    with pytest.raises(WeightsError, match=r"not JSON \(perhaps a web page\)"):
        verify_file(file, path)


def test_safetensors_without_a_hash_begin_with_the_length_of_their_json(tmp_path: Path) -> None:
    file, path = list_files()["pe_av"], tmp_path / "pe-av-large.safetensors"
    save_file({"a": torch.ones(2)}, path)
    assert len(verify_file(file, path)) == 64
    path.write_text("<html>quota exceeded</html>")
    with pytest.raises(WeightsError, match=r"not a file of safetensors \(perhaps a web page\)"):
        verify_file(file, path)


def test_verify_says_where_neither_a_hash_nor_tokens_are_published(run: Run, tmp_path: Path) -> None:
    write_byte_tokens(tmp_path / "pe-av-tokenizer.json", (1, 2))
    result = run("weights", "verify", "pe_av_tokenizer", "--weights-dir", tmp_path)
    assert result.status == 0, result.err
    assert "is a tokenizer; its hash is not known here" in result.out
    (tmp_path / "pe-av-tokenizer.json").write_text("{}")
    assert "has no model" in run("weights", "verify", "pe_av_tokenizer", "--weights-dir", tmp_path).err


def test_verify_compares_tokens_with_published_ones(run: Run, made: Path, tmp_path: Path) -> None:
    shutil.copy(made / "clip.json", tmp_path / "clip-tokenizer.json")
    (tmp_path / "roberta-tokenizer.json").write_text('{"model": {"type": "BPE", "vocab": {}, "merges": []}}')
    result = run("weights", "verify", "clip_tokenizer", "roberta_tokenizer", "--weights-dir", tmp_path)
    assert result.status == 1
    assert "does not give the published tokens of 'a photo of a cat': it is another tokenizer" in result.err
    assert "'Hello world' has 0 tokens" in result.err


def test_the_list_names_the_bundles_and_their_tokens(run: Run) -> None:
    result = run("weights", "list")
    assert result.status == 0
    assert "  open (3.6 GB)\n      any classes by their names, without training" in result.out
    assert "      clap, clip, roberta_tokenizer, clip_tokenizer\n" in result.out


def test_a_bundle_with_classes_is_pushed_and_found_again(
    run: Run, hub: Hub, made: Path, clips: Clips, tmp_path: Path
) -> None:
    result = run("weights", "push", made, "hf://alice/small", "--licence", "mit")
    assert result.status == 0, result.err
    repository = hub.repositories["alice/small"]
    files = repository.commits[repository.branches["main"]]
    assert set(files) == {"bundle.toml", "README.md", "clap.safetensors", "clip.safetensors", "clap.json", "clip.json",
                          "classes.toml", ".gitattributes"}  # fmt: skip
    card = files["README.md"].decode()
    assert "small ones" in card
    assert "## Classes\n\na\\|b, c\n\nThey are found by sentences with their names, by the rule av2a; the" in card
    assert "the thresholds are given. `--classes` finds others." in card
    assert "avvp-parse --weights hf://alice/small@main video.mp4" in card
    result = run("parse", clips.steady, "--weights", "hf://alice/small", "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    assert '"a|b"' in (tmp_path / "e.json").read_text()


def test_without_classes_the_card_says_how_to_name_them(run: Run, made: Path, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(made, folder)
    text = (folder / "bundle.toml").read_text()
    (folder / "bundle.toml").write_text(text.replace('parser = { classes = "classes.toml" }', "parser = {}"))
    result = run("weights", "push", folder, "hf://alice/small", "--dry-run")
    assert result.status == 0, result.err
    assert "Whatever the user names: sentences with the names are compared" in result.out + result.err
    assert (
        'avvp-parse --weights hf://alice/small@main --classes "dog barking, applause" video.mp4'
        in result.out + result.err
    )


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("classes.toml", "a", "classes.toml: Expected '='"),
        ("clip.json", "{}", "clip.json: not a readable file of tokens: has no model"),
    ],
)
def test_what_could_not_be_read_again_is_not_pushed(
    run: Run, made: Path, tmp_path: Path, name: str, content: str, message: str
) -> None:
    folder = tmp_path / "small"
    shutil.copytree(made, folder)
    (folder / name).write_text(content)
    result = run("weights", "push", folder, "hf://alice/small", "--dry-run")
    assert result.status == 2
    assert message in result.err


@pytest.mark.parametrize("name", ["clip.json", "classes.toml"])
def test_texts_of_any_size_are_not_downloaded(hub: Hub, made: Path, name: str) -> None:
    contents = {path.name: path.read_bytes() for path in made.iterdir()}
    hub.repositories["alice/large"] = Repository()
    hub.repositories["alice/large"].commit(contents | {name: b" " * ((16 << 20) + 1)})
    with pytest.raises(WeightsError, match=f"'{name}' has 16777217 bytes, more than such a file may have"):
        load_bundle("hf://alice/large")


def test_damaged_tokens_end_in_one_line(run: Run, made: Path, clips: Clips, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    shutil.copytree(made, folder)
    (folder / "clip.json").write_text('{"model": {"type": "BPE", "vocab": {"a": -1}, "merges": []}}')
    result = run("parse", clips.steady, "--weights", folder)
    assert result.status == 2
    assert "not a tokenizer.json" in result.err
    assert "Traceback" not in result.err


def test_model_info_counts_both_halves_of_the_networks(run: Run, made: Path) -> None:
    result = run("model-info", "--weights", made, "-f", "json")
    assert result.status == 0, result.err
    parts = {part["name"]: part for part in json.loads(result.out)["parts"]}
    assert list(parts) == ["clap_tiny", "clap_tiny, text", "clip_tiny", "clip_tiny, text"]
    # Of CLIP's text half: tokens, positions, a layer with its norms, the last norm, the projection.
    layer = 4 * (16 * 16 + 16) + 2 * (16 * 16 + 16) + 2 * 2 * 16
    assert parts["clip_tiny, text"]["parameters"] == (49_408 + 77) * 16 + layer + 2 * 16 + 16 * 12
    assert all(part["multiply_adds"] > 0 for part in parts.values())
    result = run("model-info", "--weights", made)
    assert "2 classes in classes.toml, by the rule av2a; the thresholds are given. --classes finds others." in " ".join(
        result.out.split()
    )


def test_model_info_without_classes(run: Run, tmp_path: Path) -> None:
    names = '{ clap_tiny = "", clip_tiny = "" }'
    text = f'profile = "clip-clap"\nseed = 1\nextractors = {names}\ntexts = {names}\nparser = {{}}\n'
    (tmp_path / "bundle.toml").write_text(text)
    result = run("model-info", "--weights", tmp_path)
    assert result.status == 0, result.err
    assert "It finds the classes that --classes names." in result.out
