"""avvp weights push: what is sent to a hub, what the model card claims, what is refused."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from avvp.models.files.checkpoint import dump_checkpoint, load_checkpoint
from avvp.pipeline.errors import SetupError
from avvp.pipeline.files import exclusive_lock
from avvp.pipeline.metrics import LEVELS, SCORE_NAMES
from avvp.pipeline.sharing.model_card import check_licence, format_card
from avvp.pipeline.training.recipe import load_recipe, make_recipe
from avvp.weights import load_bundle
from avvp.weights.remote.gather import gather_files
from avvp.weights.remote.hub import parse_address
from avvp.weights.toml import parse_toml
from huggingface_hub import constants
from support.bundles import write_tiny_localizer
from support.command import Run
from support.hub import TOKEN, Hub

# Of the client of huggingface_hub 2.4, where it uploads a file.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")

TABLE = {level: {name: 10.0 * number for number, name in enumerate(SCORE_NAMES, 1)} for level in LEVELS}
RECORD: dict[str, Any] = {
    "recipe": {
        "name": "small", "description": "MM-Pyr, small", "model": {"hidden_dim": 16}, "objective": {"union": "soft"},
        "training": {"epochs": 7, "clip_norm": 1.0},
    },
    "epoch": 5, "losses": {"total": 1.5}, "validation": {**TABLE, "mean": 30.0},
}  # fmt: skip


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    server = Hub()
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setattr(constants, "ENDPOINT", server.url)  # read by older releases when they are imported
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # another protocol, of its own servers
    yield server
    server.close()


@pytest.fixture
def trained(tiny_bundle: Path, tmp_path: Path) -> Path:
    """A folder like that of a run: a parser with a record, and files that nobody else is to get."""
    folder = tmp_path / "leap"
    shutil.copytree(tiny_bundle, folder)
    checkpoint = load_checkpoint(folder / "parser.safetensors")
    content = dump_checkpoint(checkpoint.parser, checkpoint.feature_spec, RECORD)
    (folder / "parser.safetensors").write_bytes(content)
    (folder / "config.json").write_text('{"annotations": "/home/alice/secret"}')
    (folder / "state.safetensors").write_bytes(b"")
    text = (folder / "bundle.toml").read_text()
    (folder / "bundle.toml").write_text(f'description = "birds | <b>"\nwarning = "for birds only"\n{text}')
    return folder


def test_what_is_pushed_can_be_loaded_and_is_the_same(hub: Hub, trained: Path, run: Run) -> None:
    result = run("weights", "push", trained, "hf://alice/birds", "--licence", "cc-by-4.0", "-m", "First birds")
    assert result.status == 0, result.err
    repository = hub.repositories["alice/birds"]
    commit = repository.branches["main"]
    names = {"bundle.toml", "README.md", "parser.safetensors", "vggish.safetensors", "resnet.safetensors",
             "r2plus1d.safetensors"}  # fmt: skip
    assert repository.commits[commit].keys() == {*names, ".gitattributes"}
    assert not repository.private
    assert hub.messages == ["First birds"]
    assert result.out == f"pushed to {hub.url}/alice/birds/commit/{commit}\n"
    assert f"avvp-parse --weights hf://alice/birds@{commit} video.mp4" in result.err
    assert TOKEN not in result.out + result.err
    bundle = load_bundle("hf://alice/birds")
    paths, hashes = gather_files(bundle)
    assert bundle.warning == "for birds only"
    assert bundle.sha256 == hashes  # stated by the bundle itself, too
    assert all(paths[name].read_bytes() == (trained / name).read_bytes() for name in hashes)


def test_the_card_states_what_the_files_say(trained: Path, tmp_path: Path, run: Run) -> None:
    measured = {
        "split": "test", "source": "leap", "notes": ["2 clips are missing"], "scores": {**TABLE, "mean": 30.0},
        "subsets": {"whole": {"clips": 118}},
    }  # fmt: skip
    scores = tmp_path / "scores.json"
    scores.write_text(json.dumps(measured))
    result = run("weights", "push", trained, "hf://alice/birds/v2", "--licence", "mit", "--scores", scores, "--dry-run")
    assert result.status == 0, result.err
    listing, _, card = result.out.partition("\n\n")
    assert re.search(r"^  v2/parser\.safetensors  [0-9.]+ [kM]B$", listing, re.MULTILINE)
    assert "state.safetensors" not in listing
    assert "config.json" not in listing
    metadata = card.split("---")[1]
    assert "license: mit\n" in metadata
    for expected in (
        "# v2\n\nbirds \\| \\<b\\>\n",
        "> **Warning:** for birds only",
        "| parser | encoder mmpyr, decoder leap, width 16, 3 classes |",
        "Dog, Speech, Violin\\_fiddle",
        "| test, 118 clips: segment level | 10.0 | 20.0 | 30.0 | 40.0 | 50.0 |",
        "| validation clips: event level | 10.0 | 20.0 | 30.0 | 40.0 | 50.0 |",
        "2 clips are missing",
        "after epoch 5.",
        '[model]\nhidden_dim = 16\n\n[objective]\nunion = "soft"\n\n[training]\nepochs = 7\nclip_norm = 1.0\n',
        "avvp-parse --weights hf://alice/birds@main/v2 video.mp4",
        "Weights: mit.",
    ):
        assert expected in card, expected
    assert "secret" not in card


def test_the_card_of_a_localizer_has_accuracies(tmp_path: Path, run: Run) -> None:
    folder = write_tiny_localizer(tmp_path / "psp", system="psp", supervision="weak", decoder="leap")
    checkpoint = load_checkpoint(folder / "parser.safetensors")
    recipe = {**RECORD["recipe"], "task": "avel", "training": {"epochs": 7, "step_at": [2, 5]}}
    validation = {"accuracy": 61.25, "events": 70.0, "background": None}
    record = {**RECORD, "recipe": recipe, "validation": validation, "selected_on": "test"}
    (folder / "parser.safetensors").write_bytes(dump_checkpoint(checkpoint.parser, checkpoint.feature_spec, record))
    found = {"accuracy": 55.5, "events": 60.04, "background": 20}
    document = {"task": "avel", "split": "test", "source": "psp", "notes": [], "clips": 402, "scores": found}
    (tmp_path / "scores.json").write_text(json.dumps(document))
    result = run(
        "weights", "push", folder, "hf://alice/psp", "--scores", tmp_path / "scores.json", "--dry-run"
    )  # fmt: skip
    assert result.status == 0, result.err
    for expected in (
        "- audio-visual-event-localization\n",
        "A model for audio-visual event localization.",
        "| localizer: one class a second, both heard and seen | system psp, weak supervision, classifier leap, width"
        " 16, 3 classes |",
        "Church bell, Male speech, man speaking, Bark",
        "| | all seconds | seconds with an event | seconds without |",
        "| test, 402 clips | 55.5 | 60.0 | 20.0 |",
        "| validation clips | 61.2 | 70.0 | - |",
        "after epoch 5.",
        "The epoch was chosen on the test split, so the scores on it are too high.",
    ):
        assert expected in result.out, expected
    assert "F-scores" not in result.out
    shown = parse_toml(result.out.partition("```toml\n")[2].partition("```")[0])
    assert shown["task"] == "avel"
    assert shown["training"] == recipe["training"]
    del found["accuracy"]
    (tmp_path / "scores.json").write_text(json.dumps(document))
    result = run(
        "weights", "push", folder, "hf://alice/psp", "--scores", tmp_path / "scores.json", "--dry-run"
    )  # fmt: skip
    assert result.status == 2
    assert "cannot be put on a model card: no 'accuracy' in it" in result.err


def test_the_card_of_a_recipe_with_stages_can_be_trained_again(trained: Path) -> None:
    """It says what the files are, holds every stage, and no folder of the person who trained."""
    recipe = load_recipe("cvcms", ["stage.noisy.training.epochs=3"])
    training = replace(recipe.training, removed_labels="/home/alice/secret/reviewed.csv")
    checkpoint = load_checkpoint(trained / "parser.safetensors")
    record = {**RECORD, "recipe": recipe.describe(), "epochs_of": {"audio": 2, "visual": 4}}
    (trained / "parser.safetensors").write_bytes(dump_checkpoint(checkpoint.parser, checkpoint.feature_spec, record))
    card = format_card(load_bundle(str(trained)), parse_address("hf://alice/tiny"), size=1)
    assert "The recipe has 3 stages: noisy (train), exchange (relabel), clean (train)." in card
    assert "the parser joins the audio network of epoch 2 and the visual network of epoch 4." in card
    shown = parse_toml(card.partition("```toml\n")[2].partition("```")[0])
    assert make_recipe({"name": "cvcms", **shown}) == recipe
    described = replace(recipe, training=training).describe()
    assert described["training"]["removed_labels"] == "reviewed.csv"


def test_a_card_claims_nothing_that_was_not_measured(tiny_bundle: Path) -> None:
    card = format_card(load_bundle(str(tiny_bundle)), parse_address("hf://alice/tiny"), size=1)
    assert "## Scores\n\nNone were measured." in card
    assert "The files do not say how the parser was trained." in card
    assert "None is stated for the weights" in card
    assert "license:" not in card


def test_a_bundle_of_extractors_and_published_files(hub: Hub, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "published"
    folder.mkdir()
    (folder / "bundle.toml").write_text('profile = "llp"\nextractors = { vggish = "vggish" }\nparser = {}\n')
    assert run("weights", "push", folder, "hf://alice/published", "-q").status == 0
    files = hub.repositories["alice/published"].commits[hub.repositories["alice/published"].branches["main"]]
    assert set(files) == {".gitattributes", "bundle.toml", "README.md"}
    card = files["README.md"].decode()
    assert "not included, downloaded from its publisher: Apache-2.0" in card
    assert "avvp extract videos/ -o features/ --weights hf://alice/published@main" in card
    assert load_bundle("hf://alice/published").files == ("vggish",)


def test_a_card_that_exists_is_kept_unless_it_is_to_be_replaced(hub: Hub, trained: Path, run: Run) -> None:
    run("weights", "push", trained, "hf://alice/birds", "-q")
    repository = hub.repositories["alice/birds"]
    repository.commit({"README.md": b"written by hand"})
    second = run("weights", "push", trained, "hf://alice/birds")
    assert "README.md of the repository is kept" in second.err
    assert repository.commits[repository.branches["main"]]["README.md"] == b"written by hand"
    run("weights", "push", trained, "hf://alice/birds", "--replace-card", "-q")
    assert b"# birds" in repository.commits[repository.branches["main"]]["README.md"]


def test_a_private_repository_and_a_branch(hub: Hub, trained: Path, run: Run) -> None:
    assert run("weights", "push", trained, "hf://alice/birds@v1/seven", "--private", "-q").status == 0
    repository = hub.repositories["alice/birds"]
    assert repository.private
    assert "seven/bundle.toml" in repository.commits[repository.branches["v1"]]
    assert "seven/bundle.toml" not in repository.commits[repository.branches["main"]]
    assert load_bundle("hf://alice/birds@v1/seven").description == "birds | <b>"


def test_nothing_private_goes_to_a_public_repository(hub: Hub, trained: Path, tiny_bundle: Path, run: Run) -> None:
    hub.add("alice/open", tiny_bundle)
    before = dict(hub.repositories["alice/open"].branches)
    result = run("weights", "push", trained, "hf://alice/open", "--private")
    assert result.status == 1
    assert "exists and is public" in result.err
    assert hub.repositories["alice/open"].branches == before


@pytest.mark.parametrize(
    ("token", "address", "message"),
    [
        ("", "hf://alice/birds", "needs a token: log in"),
        ("hf_wrong_secret", "hf://alice/birds", "does not accept your token"),
        (TOKEN, "hf://bob/birds", "your token does not allow this"),
    ],
)
def test_the_hub_refuses(
    hub: Hub, trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch, token: str, address: str, message: str
) -> None:
    monkeypatch.setenv("HF_TOKEN", token)
    result = run("weights", "push", trained, address, "-q")
    assert result.status == 1
    assert message in result.err
    assert "secret" not in result.err
    assert "Traceback" not in result.err
    assert not hub.repositories


def test_without_network_the_error_is_one_line(trained: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    result = run("weights", "push", trained, "hf://alice/birds", "-q")
    assert result.status == 1
    assert "cannot be reached" in result.err
    assert len(result.err.splitlines()) == 1


def test_what_cannot_be_shared_is_refused_before_anything_is_sent(
    hub: Hub, trained: Path, tmp_path: Path, run: Run
) -> None:
    def refused(*arguments: object) -> str:
        result = run("weights", "push", *arguments)
        assert result.status == 2, result.err
        return result.err

    target = "hf://alice/birds"
    assert "no files of its own" in refused("leap-llp", target)
    assert "unknown bundle" in refused(tmp_path / "none", target)
    assert "not the address of a model repository" in refused(trained, "alice/birds")
    assert "goes to a branch" in refused(trained, f"{target}@{'a' * 40}")
    assert "not the identifier of a licence" in refused(trained, target, "--licence", "Mine; really")
    wrong = tmp_path / "scores.json"
    for content, message in {
        "{}": "no scores in it", "[": "cannot be put on a model card",
        json.dumps({"scores": {}, "source": "other"}): "scores of 'other', not of 'leap'",
        json.dumps({"scores": {"segment": {"audio": "x"}}, "source": "leap"}): "not a percentage",
    }.items():  # fmt: skip
        wrong.write_text(content)
        assert message in refused(trained, target, "--scores", wrong)
    with exclusive_lock(trained):
        assert "in use by another process" in refused(trained, target)
    text = (trained / "bundle.toml").read_text()
    (trained / "bundle.toml").write_text(text.replace("vggish.safetensors", "vggish.pt"))
    (trained / "vggish.safetensors").rename(trained / "vggish.pt")
    assert "not a file of safetensors" in refused(trained, target)
    (trained / "vggish.pt").unlink()
    assert "no such file, but the bundle names it" in refused(trained, target)
    assert not hub.requests


def test_check_licence() -> None:
    assert check_licence("cc-by-nc-4.0") == "cc-by-nc-4.0"
    with pytest.raises(SetupError):
        check_licence("mit\nlicense: other")


def test_fetch_downloads_by_address(hub: Hub, tiny_bundle: Path, run: Run) -> None:
    commit = hub.add("alice/parser", tiny_bundle)
    result = run("weights", "fetch", "hf://alice/parser", "-q")
    assert result.status == 0, result.err
    assert result.out.count(f"/hub/alice--parser/{commit}/") == 4
    assert "no such repository" in run("weights", "fetch", "hf://alice/none", "-q").err
    hub.add("alice/lacking", tiny_bundle)
    del next(iter(hub.repositories["alice/lacking"].commits.values()))["parser.safetensors"]
    result = run("weights", "fetch", "hf://alice/lacking", "-q")
    assert result.status == 2
    assert "needs 'parser.safetensors', which is neither in its folder nor in the manifest" in result.err
