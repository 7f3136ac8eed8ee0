"""Run folders that are damaged or come from strangers: exit status 2 and a clear line, nothing outside is touched."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from avvp.pipeline.errors import AVVPError
from avvp.pipeline.training.run_folder import (
    BEST_FILE,
    CONFIG_FILE,
    LAST_FILE,
    LOG_FILE,
    STATE_FILE,
    read_config,
)
from avvp.pipeline.training.setup import TrainingPlan, open_data
from avvp.pipeline.training.state_file import read_state_file, write_state_file
from avvp.pipeline.training.training_state import TrainingState, load_training_state
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import Run
from support.run_folders import snapshot, train_options

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=6)
    | st.sampled_from(["\0", "/", "\ud800"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def assert_refused(run: Run, root: Path, *arguments: object) -> str:
    """Resume; return the message, which is one line."""
    before = snapshot(root)
    result = run("train", "-o", root, "--resume", "--epochs", 2, *arguments)
    assert result.status == 2, result.err
    lines = [line for line in result.err.splitlines() if line.startswith("Error")]
    assert len(lines) == 1, result.err
    assert "Traceback" not in result.err
    assert len(result.err) < 3000
    assert snapshot(root) == before
    return result.err


DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000


@pytest.mark.parametrize(
    "content",
    [b"", b"\0", b"[]", b"3", b"null", b"{}", b'{"format": 2}', b'{"format": [1]}', b'{"format": 1}', b"\xff\xfe\0",
     DEEP.encode(), b'{"format": 1' + b"0" * 100_000 + b"}", b'{"recipe": NaN}',
     "\ud800".encode(errors="surrogatepass")],
)  # fmt: skip
def test_configurations_that_are_none(run: Run, copy: Path, content: bytes) -> None:
    (copy / CONFIG_FILE).write_bytes(content)
    assert_refused(run, copy)


def edited(document: Any, path: str, value: object) -> Any:
    """Return a document with another value at a dotted path; `...` removes it."""
    name, _, rest = path.partition(".")
    if rest:
        return {**document, name: edited(document[name], rest, value)}
    kept = {key: old for key, old in document.items() if key != name}
    return kept if value is ... else {**kept, name: value}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("annotations", ...), ("annotations", 3), ("annotations", None), ("annotations", "a\0b"), ("annotations", ""),
        ("annotations", "/nowhere"), ("annotations", "/" + "x" * 5000), ("annotations", "/dev/null"),
        ("features", ["/"]), ("features", "/nowhere"), ("features", "/dev/null"), ("features", "x" * 300),
        ("pseudo_labels", {}), ("pseudo_labels", "/nowhere"), ("pseudo_labels", "\ud800"), ("pseudo_labels", None),
        ("label_embeddings", None), ("label_embeddings", "/nowhere.npy"), ("label_embeddings", "a\0.npy"),
        ("label_embeddings", "x" * 5000 + ".npy"), ("extractors", 3), ("extractors", [{}]), ("wings", 2),
        ("recipe", None), ("recipe", []), ("recipe", "leap"), ("recipe.name", 3), ("recipe.name", "x" * 10**6),
        ("recipe.wings", {}), ("recipe.model", 3), ("recipe.model.hidden_dim", 10**6),
        ("recipe.model.hidden_dim", True), ("recipe.model.dropout", float("nan")), ("recipe.model.heads", 10**300),
        ("recipe.objective.union", ["soft"]), ("recipe.objective.audio_weight", 1e300),
        ("recipe.training.epochs", 0), ("recipe.training.epochs", 10**9), ("recipe.training.batch_size", 1.5),
        ("recipe.training.learning_rate", float("inf")), ("recipe.training.learning_rate", 10**350),
        ("recipe.training.seed", -1), ("recipe.training.optimizer", {}), ("recipe.training.schedule", "cosine"),
    ],
)  # fmt: skip
def test_configurations_with_other_values(run: Run, copy: Path, path: str, value: object) -> None:
    document = json.loads((copy / CONFIG_FILE).read_text())
    (copy / CONFIG_FILE).write_text(json.dumps(edited(document, path, value)))
    assert_refused(run, copy)


@given(JSON)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_configuration_is_read_or_refused(tmp_path_factory: pytest.TempPathFactory, document: object) -> None:
    root = tmp_path_factory.getbasetemp()
    (root / CONFIG_FILE).write_text(json.dumps(document))
    with pytest.raises(AVVPError):
        TrainingPlan.from_dict(read_config(root))


@given(
    st.sampled_from(
        ["annotations", "features", "pseudo_labels", "label_embeddings", "extractors", "recipe", "recipe.name",
         "recipe.model", "recipe.objective", "recipe.training", "recipe.training.seed", "recipe.model.dropout"]
    ),
    JSON,
)  # fmt: skip
@settings(max_examples=80, deadline=None, derandomize=True)
def test_any_value_in_a_configuration_is_accepted_or_refused(finished: Path, path: str, value: object) -> None:
    document = edited(read_config(finished), path, value)
    try:
        plan = TrainingPlan.from_dict(document)
        if path in {"annotations", "features", "pseudo_labels"}:
            open_data(plan)
    except AVVPError as error:
        assert len(str(error)) < 5000


STATE_FIELDS = ["epochs", "best_score", "best_epoch", "data", "recipe", "log", "scaler"]


@given(st.sampled_from(STATE_FIELDS), JSON)
@settings(max_examples=60, deadline=None, derandomize=True)
def test_any_value_in_a_state_is_accepted_or_refused(finished: Path, name: str, value: object) -> None:
    content = {**vars(load_training_state(finished)), name: value}
    try:
        TrainingState.from_content(content)
    except ValueError as error:
        assert len(str(error)) < 500


def rewrite_state(change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object]) -> Callable[[Path], None]:
    """Write another state with valid checksums, as a stranger can."""

    def spoil(root: Path) -> None:
        content, tensors = read_state_file(root / STATE_FILE)
        change(content, tensors)
        write_state_file(root / STATE_FILE, tensors, content)

    return spoil


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda content, _: content.update(epochs=10**9), "number of epochs"),
        (lambda content, _: content.update(epochs=True), "number of epochs"),
        (lambda content, _: content.update(log=[]), "length of the log"),
        (lambda content, _: content.update(log=[3]), "log is not a list"),
        (lambda content, _: content.update(best_score="x"), "best score"),
        (lambda content, _: content.update(best_score=float("nan")), "not a finite number"),
        (lambda content, _: content.update(data=[]), "fingerprints"),
        (lambda content, _: content.update(data={"\x1b[31m\n": "x"}), "not those this run was started with"),
        (lambda content, _: content.update(scaler={"scale": "x"}), "scale of gradients"),
        (lambda content, _: content.update(scaler={"scale": 1}), "scale of gradients"),
        (lambda content, _: content.update(wings=2), "unexpected keyword"),
        (lambda content, _: content.clear(), "number of epochs"),
        (lambda _, tensors: tensors.pop("parser.stem.audio.weight"), "lacks stem.audio.weight"),
        (lambda _, tensors: tensors["parser.stem.audio.weight"].fill_(float("nan")), "not finite"),
        (lambda _, tensors: tensors.update({"parser.stem.audio.weight": torch.zeros(3)}), "shape"),
        (lambda _, tensors: tensors.update({"parser.wings": torch.zeros(10**6)}), "does not have: wings"),
        (lambda _, tensors: tensors.pop("optimizer.stem.audio.weight.step"), "optimizer has other tensors"),
        (lambda _, tensors: tensors.update({"optimizer.stem.audio.weight.exp_avg": torch.zeros(3)}), "another shape"),
        (lambda _, tensors: tensors.update({"optimizer.wings": torch.zeros(3)}), "optimizer has other tensors"),
        (lambda _, tensors: tensors.pop("clips.train"), "no hashes of the features"),
        (lambda _, tensors: tensors.update({"clips.val": torch.zeros(3)}), "no hashes of the features"),
        (lambda _, tensors: tensors["clips.train"].zero_(), "the features of 20 clips"),
    ],
)
def test_states_with_other_values(
    run: Run, copy: Path, change: Callable[[dict[str, Any], dict[str, torch.Tensor]], object], message: str
) -> None:
    rewrite_state(change)(copy)
    assert message in " ".join(assert_refused(run, copy).split())


def test_a_state_of_an_older_format_says_what_to_do(run: Run, copy: Path) -> None:
    text = (copy / STATE_FILE).read_bytes()
    (copy / STATE_FILE).write_bytes(text.replace(b'{\\"format\\": 2', b'{\\"format\\": 1'))
    assert "finish the run with the version of avvp that started it" in " ".join(assert_refused(run, copy).split())


@pytest.mark.parametrize(
    "content", [b"", b"{", DEEP.encode(), b"[3]", b'{"threads": "x"}', b'{"threads": NaN}', b"\xff"]
)
def test_other_files_that_are_damaged_do_not_matter(run: Run, copy: Path, content: bytes) -> None:
    """What only people read is written again, or noted."""
    (copy / "environment.json").write_bytes(content)
    (copy / LOG_FILE).write_bytes(content)
    result = run("train", "-o", copy, "--resume", "--epochs", 2)
    assert result.status == 0, result.err
    assert "note: environment.json cannot be read" in " ".join(result.err.split())
    assert len((copy / LOG_FILE).read_text().splitlines()) == 2


@pytest.mark.parametrize(
    "name", [BEST_FILE, LAST_FILE, LOG_FILE, CONFIG_FILE, STATE_FILE, "tensorboard", "wandb", "bundle.toml"]
)
@pytest.mark.parametrize("precious", [True, False])
def test_nothing_is_written_through_links_out_of_the_folder(
    run: Run, copy: Path, tmp_path: Path, name: str, precious: bool
) -> None:
    target = tmp_path / "precious"
    if precious and name in {"tensorboard", "wandb"}:
        target.mkdir()
    elif precious:
        target.write_bytes((copy / name).read_bytes())
    if (copy / name).exists():
        (copy / name).unlink()
    (copy / name).symlink_to(target)
    before = snapshot(tmp_path)
    assert "leads out of the folder" in " ".join(assert_refused(run, copy, "--tensorboard").split())
    assert snapshot(tmp_path) == before


@pytest.mark.parametrize("name", [BEST_FILE, STATE_FILE, CONFIG_FILE, "environment.json"])
@pytest.mark.parametrize("kind", ["folder", "pipe"])
def test_names_that_are_no_files(run: Run, copy: Path, name: str, kind: str) -> None:
    (copy / name).unlink()
    if kind == "folder":
        (copy / name).mkdir()
    else:
        os.mkfifo(copy / name)  # reading it would wait for ever
    result = run("train", "-o", copy, "--resume", "--epochs", 2)
    assert result.status == 2
    assert "not something that a run has written" in " ".join(result.err.split())


@pytest.mark.parametrize("name", [BEST_FILE, "vggish_tiny.safetensors"])
def test_a_new_run_writes_through_no_link_either(
    run: Run, data: Path, tmp_path: Path, tiny_bundle: Path, name: str
) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / name).symlink_to(tmp_path / "new")
    extractors = ["--extractors", tiny_bundle]
    result = run(*train_options(data), *extractors, "-o", tmp_path / "run", "--epochs", 1)
    assert result.status in {1, 2}
    assert "Traceback" not in result.err
    assert not (tmp_path / "new").exists()


def test_folders_that_are_none(run: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    (tmp_path / "loop").symlink_to("loop")
    for root in (tmp_path / "nowhere", tmp_path / "file", tmp_path / "loop", tmp_path / ("x" * 300), tmp_path):
        result = run("train", "-o", root, "--resume")
        assert result.status == 2, result.err
        assert any(text in result.err for text in ("not a run that", "leads to itself", "too long")), result.err


def test_a_number_of_epochs_that_is_absurd_changes_nothing(run: Run, copy: Path) -> None:
    before = snapshot(copy)
    result = run("train", "-o", copy, "--resume", "--epochs", 10**9)
    assert result.status == 2
    assert "at most 10000" in result.err
    assert snapshot(copy) == before


@pytest.mark.parametrize(
    "arguments",
    [
        ["--set", "model.hidden_dim=1000000"], ["--set", "model.levels=1000000"], ["--set", "model.layers=1000000"],
        ["--set", "model.leap_blocks=1000000"], ["--set", "model.heads=1000000"], ["--set", "model.dropout=nan"],
        ["--set", "model.feedforward_dim=9" + "0" * 60], ["--batch-size", "1000000000"], ["--epochs", "1000000000"],
        ["--seed", "1" + "0" * 30], ["--learning-rate", "nan"], ["--learning-rate", "inf"],
        ["--learning-rate", "1e300"],
        ["--set", "training.clip_norm=1e300"], ["--set", "objective.similarity_weight=inf"],
        ["--set", "training.epochs=0x" + "f" * 9000], ["--set", "model.hidden_dim=" + "[" * 9000],
    ],
)  # fmt: skip
def test_absurd_settings_are_usage_errors_before_a_folder_is_made(
    run: Run, data: Path, tmp_path: Path, arguments: list[str]
) -> None:
    commands = [train_options(data)]
    if arguments[0] in {"--set", "--epochs"}:
        commands.append(
            ["reproduce", "table2", *(part for part in commands[0][1:] if part not in {"--batch-size", "8"})]
        )
    for command in commands:
        result = run(*command, *arguments, "-o", tmp_path / "run")
        assert result.status == 2, result.err
        assert sum(line.startswith("Error") for line in result.err.splitlines()) == 1
        assert "Traceback" not in result.err
        assert not (tmp_path / "run").exists()
