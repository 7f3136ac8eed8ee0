"""`avvp train`, `pack`, `evaluate`, `model-info` and `reproduce`."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.extractors.profiles import FeatureSpec
from avvp.models.files.checkpoint import load_checkpoint
from avvp.pipeline.cli.commands.training.train import _similar_bundle
from avvp.pipeline.inference.bundle import load_networks
from avvp.pipeline.reproduction.paper_tables import PAPER_TABLES, PaperTable
from avvp.pipeline.training.training_state import load_training_state
from support.bundles import LABELS, copy_bundle
from support.command import Result
from support.llp_like import Recipe, generate
from support.media import Clips

Run = Callable[..., Result]
SMALL = (
    "--set", "model.hidden_dim=16", "--set", "model.feedforward_dim=16", "--set", "model.heads=2",
    "--set", "model.leap_heads=2", "--set", "model.levels=2",
)  # fmt: skip


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A data set whose features are those of the tiny bundle's extractors, as far as the specification goes."""
    root = tmp_path_factory.mktemp("data")
    spec = load_networks(str(tiny_bundle)).extractors.spec
    generate(root, Recipe({"train": 24, "val": 8, "test": 10}, labels=LABELS, dims=spec.dims))
    np.save(root / "vectors.npy", np.random.default_rng(0).standard_normal((len(LABELS), 6)).astype("f4"))
    return root


def data_options(root: Path, *, pseudo: bool = True) -> list[str]:
    options = ["--annotations", f"{root}/annotations", "--features", f"{root}/features"]
    return [*options, "--pseudo-labels", f"{root}/pseudo_labels"] if pseudo else options


@pytest.fixture
def train(run: Run, data: Path) -> Run:
    """``avvp train`` on the data, small."""

    def call(*arguments: object) -> Result:
        embeddings = ("--label-embeddings", data / "vectors.npy")
        return run("train", *data_options(data), *embeddings, *SMALL, "--device", "cpu", *arguments)

    return call


@pytest.fixture(scope="module")
def trained(data: Path, tmp_path_factory: pytest.TempPathFactory, tiny_bundle: Path) -> Path:
    """A finished run of the installed program."""
    root = tmp_path_factory.mktemp("runs") / "leap"
    program = [str(Path(sys.executable).with_name("avvp")), "train", *data_options(data), *SMALL]
    options = ["--label-embeddings", f"{data}/vectors.npy", "--extractors", str(tiny_bundle), "--epochs", "2"]
    subprocess.run([*program, *options, "-o", str(root), "-q"], check=True)
    return root


def test_check_reports_the_data(train: Run) -> None:
    result = train("--check")
    assert result.status == 0, result.err
    assert "train 24 clips, val 8 clips, test 10 clips; 3 classes; clean features of vggish_tiny" in result.err
    assert "all files are there and can be used" in result.err
    assert result.out == ""


def test_check_lists_every_bad_file(run: Run, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data, tmp_path / "bad")
    features = tmp_path / "bad" / "features"
    names = sorted(path.stem for path in (features / "vggish_tiny").iterdir())
    np.save(features / "vggish_tiny" / f"{names[0]}.npy", np.full((10, 4), np.nan, np.float32))
    rows = np.load(features / "resnet_tiny" / f"{names[1]}.npy")
    rows[0] = np.inf
    np.save(features / "resnet_tiny" / f"{names[1]}.npy", rows)
    (features / "resnet_tiny" / f"{names[30]}.npy").unlink()
    result = run("train", *data_options(tmp_path / "bad"), "--check")
    assert result.status == 2
    assert f"{names[0]}.npy: shape (10, 4)" in result.err
    assert f"{names[30]}.npy: no such file" in result.err
    assert "Traceback" not in result.err
    np.save(
        features / "vggish_tiny" / f"{names[0]}.npy", np.load(data / "features" / "vggish_tiny" / f"{names[0]}.npy")
    )
    shutil.copy(data / "features" / "resnet_tiny" / f"{names[30]}.npy", features / "resnet_tiny")
    result = run("train", *data_options(tmp_path / "bad"), "--check", "--recipe", "han")
    assert result.status == 2
    assert f"{names[1]}.npy: contains NaN or infinity" in result.err


def test_a_run_is_a_bundle_that_parses_videos(trained: Path, clips: Clips, run: Run, tmp_path: Path) -> None:
    result = run("parse", clips.blink, "--weights", trained, "-o", tmp_path / "events.json")
    assert result.status == 0, result.err
    document = json.loads((tmp_path / "events.json").read_text())
    assert document["labels"] == list(LABELS)
    assert document["provenance"]["bundle"] == "leap"
    assert "best.safetensors" in document["provenance"]["weights"]


def test_the_folder_of_a_run(trained: Path) -> None:
    names = {path.name for path in trained.iterdir()}
    assert names >= {
        "config.json", "environment.json", "bundle.toml", "log.jsonl", "state.safetensors", "best.safetensors",
        "last.safetensors", "vggish_tiny.safetensors", "resnet_tiny.safetensors", "r2plus1d_tiny.safetensors",
    }  # fmt: skip
    config = json.loads((trained / "config.json").read_text())
    assert config["recipe"]["training"]["epochs"] == 2
    assert Path(config["features"]).is_absolute()
    environment = json.loads((trained / "environment.json").read_text())
    assert environment["torch"] == torch.__version__


def test_resume_continues_a_stopped_run(train: Run, run: Run, tmp_path: Path) -> None:
    first = train("-o", tmp_path / "run", "--epochs", 1)
    assert first.status == 0, first.err
    assert "epoch 1/1  loss" in first.err
    assert "(audio 0." in first.err
    assert "Type@AV segment" in first.err
    again = train("-o", tmp_path / "run", "--epochs", 1)
    assert again.status == 2
    assert "already holds a run; resume it with --resume" in again.err
    longer = run("train", "-o", tmp_path / "run", "--resume", "--epochs", 3)
    assert longer.status == 0, longer.err
    assert "epoch 3/3" in longer.err
    assert load_training_state(tmp_path / "run").epochs == 3
    assert json.loads((tmp_path / "run" / "config.json").read_text())["recipe"]["training"]["epochs"] == 3


def test_interrupted_run_names_the_resume_command(train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("avvp.pipeline.training.step.training_step", interrupt)
    result = train("-o", tmp_path / "run", "--epochs", 1)
    assert result.status == 130
    assert "resume with: avvp train -o" in result.err


def test_tensorboard_that_is_not_installed_starts_nothing(
    train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    result = train("-o", tmp_path / "run", "--tensorboard")
    assert result.status == 2
    assert "pip install 'avvp[tensorboard]'" in result.err
    assert not (tmp_path / "run").exists()


def test_tensorboard(train: Run, tmp_path: Path) -> None:
    pytest.importorskip("tensorboard")
    result = train("-o", tmp_path / "run", "--epochs", 2, "--tensorboard")
    assert result.status == 0, result.err
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "run" / "tensorboard"))
    events.Reload()
    losses = [event.value for event in events.Scalars("loss/total")]
    log = [json.loads(line) for line in (tmp_path / "run" / "log.jsonl").read_text().splitlines()]
    assert losses == pytest.approx([record["losses"]["total"] for record in log])
    assert "validation segment/type_av" in events.Tags()["scalars"]


def test_unknown_extractor_bundle_is_reported(train: Run, tmp_path: Path, run: Run, clips: Clips) -> None:
    result = train("-o", tmp_path / "run", "--epochs", 1)
    assert "leap-llp has no vggish_tiny, resnet_tiny, r2plus1d_tiny: the run can be scored" in result.err
    parsed = run("parse", clips.blink, "--weights", tmp_path / "run", "-o", tmp_path / "x.json")
    assert parsed.status == 2
    assert "extractor vggish_tiny has no file: the run was trained without --extractors" in parsed.err


def test_a_bundle_that_fits_the_features_is_named() -> None:
    names, dims = ("vggish_small", "resnet_small", "r2plus1d_small"), (128, 128, 64)
    assert _similar_bundle(FeatureSpec("clean", 1, names, dims)) == " (such as demo)"
    assert _similar_bundle(FeatureSpec("llp", 1, names, dims)) == ""


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the folder of the run with -o"),
        (["-o", "x", "--resume"], "--resume uses what the run was started with; leave out --annotations"),
        (["-o", "x", "--set", "model.wings=2"], "unknown setting model.wings"),
        (["-o", "x", "--recipe", "nonsense"], "unknown recipe 'nonsense'"),
        (["-o", "x", "--device", "cuda:9"], "not on this machine"),
        (["-o", "x", "--extractors", "leap-llp"], "bundle 'leap-llp' lacks vggish_tiny"),
        (["-o", "x", "--precision", "fp16"], "fp16 needs a GPU"),
        (["-o", "x", "--label-embeddings", "nowhere.pt"], "no such file of label embeddings"),
    ],
)
def test_wrong_usage(train: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    result = train(*[tmp_path / part if part == "x" else part for part in arguments])
    assert result.status == 2
    assert message in " ".join(result.err.split())
    assert not (tmp_path / "x" / "config.json").exists()


def test_usage_without_data(run: Run, tmp_path: Path) -> None:
    assert "missing --annotations and --features" in run("train", "-o", tmp_path / "x").err
    assert "not a run that can be resumed" in run("train", "-o", tmp_path / "x", "--resume").err


def test_pseudo_labels_and_embeddings_that_a_recipe_needs(run: Run, data: Path, tmp_path: Path) -> None:
    result = run("train", *data_options(data, pseudo=False), "-o", tmp_path / "x", "--recipe", "valor")
    assert result.status == 2
    assert "set --pseudo-labels to their folder" in result.err
    result = run("train", *data_options(data), "-o", tmp_path / "x")
    assert result.status == 2
    assert "the published label embeddings are for the classes of LLP" in result.err


def test_training_on_llp_needs_no_network(run: Run, tmp_path: Path) -> None:
    """The label embeddings that are the default are shipped."""
    generate(tmp_path / "data", Recipe({"train": 4, "val": 2, "test": 2}))
    options = ("--offline", "--epochs", 1, "--device", "cpu", "-o", tmp_path / "run")
    result = run("train", *data_options(tmp_path / "data"), *SMALL, *options)
    assert (result.status, "best epoch 1" in result.err) == (0, True)
    assert load_checkpoint(tmp_path / "run" / "best.safetensors").parser.config.label_embedding_dim == 300


def test_failed_training_exits_with_status_1(train: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("avvp.pipeline.training.step.training_step", lambda *_, **__: {"audio": float("nan")})
    result = train("-o", tmp_path / "run", "--epochs", 1)
    assert result.status == 1
    assert "epoch 1: the loss is not finite (term audio)" in result.err
    assert "Traceback" not in result.err


def test_pack(run: Run, data: Path, tmp_path: Path) -> None:
    result = run("pack", data / "features", tmp_path / "packed", "--dtype", "float16")
    assert result.status == 0, result.err
    assert "42 clips" in result.err
    packed = run("train", *data_options(data)[:2], "--features", tmp_path / "packed", "--recipe", "han", "--check")
    assert packed.status == 0, packed.err
    again = run("pack", data / "features", tmp_path / "packed")
    assert again.status == 2
    assert "already exists" in again.err
    assert "is a packed store already" in run("pack", tmp_path / "packed", tmp_path / "other").err
    deep = run("pack", data / "features", tmp_path / "new" / "deep" / "packed")
    assert (deep.status, "42 clips, " in deep.err, " kB: " in deep.err) == (0, True, True)
    (tmp_path / "file").touch()
    assert "file: is not a folder" in run("pack", data / "features", tmp_path / "file" / "x").err


def test_pack_leaves_out_what_is_bad_when_asked(run: Run, data: Path, tmp_path: Path) -> None:
    shutil.copytree(data / "features", tmp_path / "feats")
    name = next((tmp_path / "feats" / "resnet_tiny").iterdir())
    name.write_bytes(b"")
    assert run("pack", tmp_path / "feats", tmp_path / "packed").status == 1
    result = run("pack", tmp_path / "feats", tmp_path / "packed", "--skip-bad")
    assert result.status == 1
    assert f"left out: {name}: not a .npy file" in result.err
    assert "41 clips" in result.err


def test_evaluate_a_run(run: Run, trained: Path, data: Path, tmp_path: Path) -> None:
    where = ["--weights", trained, *data_options(data, pseudo=False)]
    table = run("evaluate", *where, "--per-class")
    assert table.status == 0, table.err
    for text in ("all clips (10)", "overlapping (", "non-overlapping (", *LABELS):
        assert text in table.out
    document = json.loads(run("evaluate", *where, "-f", "json", "--per-class").out)
    assert set(document["classes"]) == set(LABELS)
    assert document["split"] == "test"
    ten = [document["scores"][level][name] for level in ("segment", "event") for name in document["scores"]["segment"]]
    assert document["scores"]["mean"] == pytest.approx(sum(ten) / 10)
    written = run("evaluate", *where, "-f", "markdown", "-o", tmp_path / "scores.md", "--split", "val")
    assert written.out == ""
    text = (tmp_path / "scores.md").read_text()
    assert text.startswith("**leap, val split**\n\n|val|seg A|")
    assert f"{document['scores']['segment']['audio']:.1f}" in table.out


def test_tuned_thresholds_are_accepted_by_parse(
    run: Run, trained: Path, data: Path, clips: Clips, tmp_path: Path
) -> None:
    where = ["--weights", trained, *data_options(data, pseudo=False)]
    tuned = run("evaluate", *where, "--tune-thresholds", tmp_path / "t.toml", "-f", "json")
    assert tuned.status == 0, tuned.err
    assert "Thresholds were tuned on the validation split." in json.loads(tuned.out)["notes"]
    again = run("evaluate", *where, "--thresholds", tmp_path / "t.toml", "-f", "json")
    assert json.loads(again.out)["scores"] == json.loads(tuned.out)["scores"]
    on_val = run("evaluate", *where, "--split", "val", "--tune-thresholds", tmp_path / "v.toml", "-f", "json")
    assert "Thresholds were tuned on these very clips." in json.loads(on_val.out)["notes"]
    plain = json.loads(run("evaluate", *where, "--split", "val", "-f", "json").out)
    assert json.loads(on_val.out)["scores"]["mean"] >= plain["scores"]["mean"]
    parsed = run(
        "parse", clips.blink, "--weights", trained, "--thresholds", tmp_path / "t.toml", "-o", tmp_path / "e.json"
    )
    assert parsed.status == 0, parsed.err


def test_timelines_that_avvp_parse_wrote_are_scored(
    run: Run, trained: Path, data: Path, clips: Clips, tmp_path: Path
) -> None:
    table = (data / "annotations" / "AVVP_test_pd.csv").read_text().splitlines()
    names = [line.split("\t")[0] for line in table[1:]]
    (tmp_path / "videos").mkdir()
    for name in names[:2]:
        shutil.copy(clips.blink, tmp_path / "videos" / f"{name}.mp4")
    assert (
        run("parse", tmp_path / "videos", "--weights", trained, "--output-dir", tmp_path / "events", "-q").status == 0
    )
    where = ["--timelines", tmp_path / "events", "--annotations", data / "annotations"]
    missing = run("evaluate", *where)
    assert missing.status == 2
    assert f"missing: {names[2]}.events.json" in missing.err
    result = run("evaluate", *where, "--allow-missing", "-f", "json")
    assert result.status == 0, result.err
    document = json.loads(result.out)
    assert document["subsets"]["whole"]["clips"] == 2
    assert document["notes"] == ["2 of 10 clips: the others have no timeline"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--weights", "x"], "missing --annotations"),
        (["--annotations", "."], "name what to score: --weights and --features"),
        (["--annotations", ".", "--weights", "x"], "--weights needs --features"),
        (["--annotations", ".", "--timelines", ".", "--features", "."], "leave out --features"),
        (["--annotations", ".", "--timelines", ".", "--tune-thresholds", "t"], "leave out --tune-thresholds"),
        (["--annotations", ".", "--weights", "demo", "--features", ".", "--allow-missing"], "--allow-missing is for"),
        (["--annotations", ".", "--weights", "nonsense", "--features", "."], "unknown bundle 'nonsense'"),
    ],
)
def test_wrong_usage_of_evaluate(run: Run, arguments: list[str], message: str) -> None:
    result = run("evaluate", *arguments)
    assert result.status == 2
    assert message in " ".join(result.err.split())


def test_model_info(run: Run, trained: Path) -> None:
    result = run("model-info")
    assert result.status == 0, result.err
    for text in ("52,005,380", "47,256,068", "7.89M", "791M"):
        assert text in result.out
    document = json.loads(run("model-info", "--recipe", "han", "-f", "json").out)
    assert sum(part["parameters"] for part in document["parts"]) == 4_569_675
    assert "3 classes" in run("model-info", "--weights", trained, "-f", "markdown").out


def test_recipes(run: Run) -> None:
    result = run("recipes")
    assert result.status == 0
    for name in ("leap-paper", "leap-published", "han", "mmpyr", "valor"):
        assert f"{name}\n    " in result.out


@pytest.fixture(autouse=True)
def _short_measurement(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the estimate of `avvp reproduce` measure few steps."""
    monkeypatch.setattr("avvp.pipeline.reproduction.time_estimate._MEASURED_SECONDS", 0.05)


def reproduce_options(data: Path, root: Path) -> list[object]:
    return [*data_options(data), "--label-embeddings", data / "vectors.npy", *SMALL, "--epochs", 1, "-o", root]


def test_a_dry_run_shows_plan_and_cost(run: Run, data: Path, tmp_path: Path) -> None:
    result = run("reproduce", "table2", *reproduce_options(data, tmp_path / "runs"), "--dry-run")
    assert result.status == 0, result.err
    for text in ("HAN + MMIL", "MM-Pyr + LEAP", "0/1", "TFLOP to go", "steps that were measured"):
        assert text in result.out
    assert not (tmp_path / "runs").exists()


def assert_prints(text: str, table: PaperTable) -> None:
    """Every score of the paper is in the row of its run and subset."""
    for paper_run in table.runs:
        for subset, scores in paper_run.paper_parts.items():
            name = f"{paper_run.name}, {subset.replace('_', '-')}: paper"
            cells = " ".join(line for line in text.splitlines() if name in line)
            assert [f"{score:.1f}" for score in scores] == [cell for cell in cells.split() if "." in cell]


def test_reproduce_resumes_and_shares_runs(run: Run, data: Path, tmp_path: Path) -> None:
    options = reproduce_options(data, tmp_path / "runs")
    first = run("reproduce", "table2", *options)
    assert first.status == 0, first.err
    for text in ("MM-Pyr + LEAP: ours", "MM-Pyr + LEAP: paper", "62.1", "61.5", "Test split, 10 clips"):
        assert text in first.out
    left = [line for line in first.err.splitlines() if " left for " in line]
    assert re.fullmatch(r"about \d+ s left for 4 runs, at the pace of \d+ steps that were measured", left[0])
    assert [line.split(" left for ")[1] for line in left[1:]] == ["3 runs", "2 runs", "1 run"]
    stamps = {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/state.safetensors")}
    assert len(stamps) == 4
    subsets = run("reproduce", "table3", *options)
    assert subsets.status == 0, subsets.err
    assert "MM-Pyr + LEAP, overlapping (" in subsets.out
    assert_prints(subsets.out, PAPER_TABLES["table3"])
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "runs").glob("*/state.safetensors")} == stamps
    finished = run("reproduce", "table2", *options, "--dry-run").out
    assert "1/1" in finished
    assert "All runs are finished." in finished
    classes = run("reproduce", "fig3", *options, "-f", "json")
    leap = json.loads(classes.out)["MM-Pyr + LEAP"]
    assert set(leap["classes"]) == set(LABELS)
    assert leap["paper"]["Dog"] == [47.5, 71.1]
    rows = {row.split()[0]: row.split() for row in run("reproduce", "fig3", *options).out.splitlines() if row.strip()}
    assert rows["Dog"][-2:] == ["47.5", "71.1"]
    assert rows["Speech"][-2:] == ["41.7", "0.0"]
    assert rows["mean"][-2:] == ["55.5", "56.9"]


def test_reproduce_refuses_a_folder_of_another_plan(run: Run, data: Path, tmp_path: Path) -> None:
    options = reproduce_options(data, tmp_path / "runs")
    assert run("reproduce", "table3", *options).status == 0
    config = next((tmp_path / "runs").glob("*/config.json"))
    document = json.loads(config.read_text())
    document["recipe"]["training"]["seed"] = 9
    config.write_text(json.dumps(document))
    result = run("reproduce", "table3", *options)
    assert result.status == 2
    assert "holds a run of another plan" in result.err


@pytest.mark.parametrize("table", ["table6", "table7", "table8"])
def test_other_tables(run: Run, data: Path, tmp_path: Path, table: str) -> None:
    result = run("reproduce", table, *reproduce_options(data, tmp_path / "runs"))
    assert result.status == 0, result.err
    for paper_run in PAPER_TABLES[table].runs:
        assert f"{paper_run.name}: ours" in result.out
        for score in paper_run.paper:
            assert f"{score:.1f}" in result.out


def test_every_table_of_the_command_line_is_defined() -> None:
    from avvp.pipeline.cli.commands.training.reproduce import TABLES

    assert set(TABLES) == set(PAPER_TABLES)


def test_reproduce_reports_missing_inputs_before_training(run: Run, data: Path, tmp_path: Path) -> None:
    options = [*reproduce_options(data, tmp_path / "runs"), "--offline", "--bert", tmp_path / "nowhere"]
    result = run("reproduce", "table1", *options)
    assert result.status == 2
    assert "cannot be loaded" in result.err or "pip install 'avvp[text]'" in result.err
    shutil.copytree(data / "annotations", tmp_path / "annotations")
    (tmp_path / "annotations" / "AVVP_test_pd.csv").unlink()
    result = run("reproduce", "table2", *options, "--annotations", tmp_path / "annotations")
    assert result.status == 2
    assert "no test split" in result.err
    result = run("reproduce", "table3", *options, "--set", "model.decoder=mmil")
    assert result.status == 2
    assert "table3 compares model.decoder; it cannot be set for every run" in result.err
    assert not (tmp_path / "runs").exists()


def test_train_does_not_overwrite_a_bundle(train: Run, tmp_path: Path, tiny_bundle: Path) -> None:
    copy_bundle(tiny_bundle, tmp_path / "bundle")
    before = (tmp_path / "bundle" / "bundle.toml").read_bytes()
    result = train("-o", tmp_path / "bundle", "--epochs", 1)
    assert result.status == 2
    assert "already holds bundle.toml; choose another folder" in result.err
    assert (tmp_path / "bundle" / "bundle.toml").read_bytes() == before


@pytest.mark.parametrize("name", ["emoji \U0001f600", "quote ' and \" and \\", "new\nline", "-dash"])
def test_odd_names_of_runs(train: Run, run: Run, data: Path, tmp_path: Path, name: str) -> None:
    assert train("-o", tmp_path / name, "--epochs", 1).status == 0
    result = run("evaluate", "--weights", tmp_path / name, *data_options(data, pseudo=False))
    assert result.status == 0, result.err
    assert run("train", "-o", tmp_path / name, "--resume", "--epochs", 2).status == 0


def test_undecodable_folder_name_is_refused(train: Run, tmp_path: Path) -> None:
    result = train("-o", os.fsdecode(os.fsencode(tmp_path) + b"/x\xff"), "--epochs", 1)
    assert result.status == 2
    assert "the name of a run's folder must be valid UTF-8" in result.err


def test_fewer_epochs_than_there_are(train: Run, run: Run, tmp_path: Path) -> None:
    assert train("-o", tmp_path / "run", "--epochs", 2).status == 0
    result = run("train", "-o", tmp_path / "run", "--resume", "--epochs", 1)
    assert result.status == 2
    assert "already has 2 epochs, more than 1" in result.err


def test_check_requires_the_inputs_of_the_recipe(run: Run, data: Path) -> None:
    result = run("train", *data_options(data, pseudo=False), "--check")
    assert result.status == 2
    assert "--pseudo-labels" in result.err or "published label embeddings" in result.err
