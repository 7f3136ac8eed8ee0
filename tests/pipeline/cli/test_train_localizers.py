"""`avvp train`, `evaluate`, `reproduce table5` and `model-info` with localizers, on generated features."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from avvp.models.files.checkpoint import read_description
from avvp.models.localizers.output import LocalizerOutput
from avvp.pipeline.reproduction.paper_tables import PAPER_TABLES
from avvp.pipeline.training.recipe import list_recipes, load_recipe
from safetensors.torch import load_file
from support.ave_like import AveLike
from support.command import Result
from support.event_runs import event_data_options, event_options, write_event_data
from support.run_folders import write_data

Run = Callable[..., Result]
NAMES = [name for name in list_recipes() if load_recipe(name).task == "avel"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> AveLike:
    return write_event_data(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def trained(data: AveLike, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of two epochs; tests copy it."""
    from avvp.pipeline.cli.main import avvp

    root = tmp_path_factory.mktemp("runs") / "psp"
    arguments = ["train", "--recipe", "psp", *event_options(data), "-o", str(root), "--epochs", "2", "-q"]
    assert avvp.main(arguments, standalone_mode=False) == 0
    return root


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_trains_an_epoch_and_is_scored(run: Run, data: AveLike, tmp_path: Path, name: str) -> None:
    result = run("train", "--recipe", name, *event_options(data), "-o", tmp_path / "run", "--epochs", 1)
    assert result.status == 0, result.err
    clips = 15 if "weak" in name else 12  # with the noisy ones
    assert f"train {clips} clips, val 6 clips; 3 classes; ave features of vggish_small, vgg19_small" in result.err
    record = json.loads((tmp_path / "run" / "log.jsonl").read_text())
    expected = {f"{term.removesuffix('_weight')}" for term, w in load_recipe(name).objective.to_dict().items() if w}
    assert set(record["losses"]) == {*expected, "total"}
    assert 0 <= record["validation"]["accuracy"] <= 100
    score = run("evaluate", "--weights", tmp_path / "run", *event_data_options(data), "-f", "json")
    assert score.status == 0, score.err
    assert json.loads(score.out)["seconds"] == 60


def test_a_resumed_run_ends_with_the_same_bits(run: Run, data: AveLike, trained: Path, tmp_path: Path) -> None:
    """Validation follows each epoch; after the second it has the accuracy that `avvp evaluate` prints."""
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    shutil.copytree(trained, parts)
    assert run("train", "-o", parts, "--resume", "--epochs", 3).status == 0
    result = run("train", "--recipe", "psp", *event_options(data), "-o", whole, "--epochs", 3)
    assert result.status == 0, result.err
    assert "accuracy" in result.err
    for file in ("last.safetensors", "best.safetensors"):
        first, second = load_file(whole / file), load_file(parts / file)
        assert all(torch.equal(first[name], second[name]) for name in first), file
    logs = [json.loads(line) for line in (whole / "log.jsonl").read_text().splitlines()]
    best = [record["validation"]["accuracy"] for record in logs if record["best"]][-1]
    assert best == max(record["validation"]["accuracy"] for record in logs)
    scores = run("evaluate", "--weights", whole, *event_data_options(data), "--split", "val", "-f", "json")
    assert json.loads(scores.out)["scores"]["accuracy"] == pytest.approx(best)


def test_changed_annotations_are_not_resumed_on(run: Run, data: AveLike, trained: Path, tmp_path: Path) -> None:
    shutil.copytree(trained, tmp_path / "run")
    shutil.copytree(data.annotations, tmp_path / "annotations")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    (tmp_path / "run" / "config.json").write_text(json.dumps({**config, "annotations": str(tmp_path / "annotations")}))
    for file in ("Annotations.txt", "trainSet.txt"):
        path = tmp_path / "annotations" / file
        lines = path.read_text().splitlines()
        name = data.names["train"][0]
        lines = [line.rsplit("&", 2)[0] + "&0&1" if f"&{name}&" in line else line for line in lines]
        path.write_text("\n".join(lines) + "\n")
    result = run("train", "-o", tmp_path / "run", "--resume", "--epochs", 3)
    assert result.status == 2
    assert "the events of the training clips are not those this run was started with" in result.err


def test_half_precision(run: Run, data: AveLike, tmp_path: Path) -> None:
    options = [*event_options(data), "--precision", "bf16", "--epochs", 1, "-o", tmp_path / "run", "-q"]
    for name in ("cmbs-leap", "psp"):
        assert run("train", "--recipe", name, *options).status == 0
        loss = json.loads((tmp_path / "run" / "log.jsonl").read_text())["losses"]["total"]
        shutil.rmtree(tmp_path / "run")
        assert np.isfinite(loss)


def test_a_loss_that_is_not_finite_is_reported(
    run: Run, data: AveLike, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(output: LocalizerOutput, _: object, objective: object) -> dict[str, torch.Tensor]:
        del objective
        return {"cross_entropy": output.fused.sum() * float("nan")}

    monkeypatch.setattr("avvp.pipeline.training.tasks.localization_terms", broken)
    result = run("train", "--recipe", "psp", *event_options(data), "-o", tmp_path / "run", "--epochs", 1)
    assert result.status == 1
    assert "epoch 1: the loss is not finite (term cross_entropy)" in " ".join(result.err.split())


def test_features_of_the_other_task_are_named_before_anything_is_loaded(
    run: Run, data: AveLike, tmp_path: Path
) -> None:
    llp = write_data(tmp_path / "llp")
    result = run(
        "train", "--recipe", "psp", "--annotations", llp / "annotations", "--features", llp / "features", "-o", "x"
    )
    assert result.status == 2
    text = " ".join(result.err.split())
    assert "recipe psp reads the streams audio, visual_map (profiles ave, ave-4), but" in text
    assert "features holds audio, visual_2d, visual_3d of profile clean" in text
    result = run("train", "--recipe", "han", *event_data_options(data), "-o", tmp_path / "x")
    text = " ".join(result.err.split())
    assert result.status == 2
    streams = "audio, visual_2d, visual_3d or audio, visual_2d"
    profiles = "llp, clean, clean-fast, fast, clip-clap, clip-clap-3d, clip-clap-unfused, pe-av"
    assert f"recipe han reads the streams {streams} (profiles {profiles}), but" in text
    assert "holds audio, visual_map of profile ave" in text


def test_a_weak_recipe_without_noisy_clips(run: Run, data: AveLike, tmp_path: Path) -> None:
    shutil.copytree(data.annotations, tmp_path / "annotations")
    (tmp_path / "annotations" / "noisySet.txt").unlink()
    options = [*event_options(data), "--annotations", tmp_path / "annotations", "-o", tmp_path / "run"]
    result = run("train", "--recipe", "psp-weak", *options, "--epochs", 1)
    text = " ".join(result.err.split())
    assert result.status == 2
    assert "weak recipe without noisy clips" in text
    assert "noisySet.txt" in text
    assert "--set training.noisy_clips=false" in text
    assert not (tmp_path / "run").exists()
    result = run("train", "--recipe", "psp-weak", *options, "--epochs", 1, "--set", "training.noisy_clips=false")
    assert result.status == 0, result.err
    assert "train 12 clips" in result.err


def test_label_embeddings(run: Run, data: AveLike, tmp_path: Path) -> None:
    """Vectors of other names than LLP's have to be given; the background's is the last, or is learned."""
    options = event_options(data)
    place = options.index("--label-embeddings")
    options = [*options[:place], *options[place + 2 :], "--epochs", "1", "-q"]
    result = run("train", "--recipe", "ave-leap", *options, "-o", tmp_path / "run")
    assert result.status == 2
    assert "the published label embeddings are for the classes of LLP" in result.err
    np.save(tmp_path / "three.npy", np.random.default_rng(0).standard_normal((3, 6)).astype("f4"))
    np.save(tmp_path / "four.npy", np.random.default_rng(0).standard_normal((4, 6)).astype("f4"))
    vectors = ("--label-embeddings", tmp_path / "three.npy")
    result = run("train", "--recipe", "ave-leap", *options, "-o", tmp_path / "run", *vectors)
    text = " ".join(result.err.split())
    assert result.status == 2
    assert "expected (4, W)" in text
    assert "4 vectors are needed: of the 3 classes and, last, of 'background'" in text
    learned = ("--set", "model.background_query=learned", *vectors)
    assert run("train", "--recipe", "ave-leap", *options, "-o", tmp_path / "a", *learned).status == 0
    for name, file in (("psp-leap", "four.npy"), ("cmbs-leap", "three.npy"), ("cmbs-leap", "four.npy")):
        folder = tmp_path / f"{name}-{file}"
        result = run("train", "--recipe", name, *options, "-o", folder, "--label-embeddings", tmp_path / file)
        assert result.status == 0, result.err
    state = load_file(tmp_path / "cmbs-leap-four.npy" / "last.safetensors")
    assert not [name for name, tensor in state.items() if tensor.shape == (4, 6)]


def test_pseudo_labels_are_refused(run: Run, data: AveLike, tmp_path: Path) -> None:
    result = run("train", "--recipe", "ave", *event_options(data), "--pseudo-labels", tmp_path, "-o", tmp_path / "run")
    assert result.status == 2
    assert "recipe ave needs no pseudo labels" in result.err


def test_evaluation_of_perfect_timelines(run: Run, data: AveLike, tmp_path: Path) -> None:
    """Events of the truth score 100; a clip whose event is of another class is in the table of confusions."""
    folder = tmp_path / "events"
    folder.mkdir()

    def write(names: tuple[str, ...], classes: np.ndarray) -> None:
        for name, seconds in zip(names, classes, strict=True):
            events = [
                {"modality": "audio_visual", "label": data.labels[label], "onset": second, "offset": second + 1}
                for second, label in enumerate(seconds.tolist())
                if label < 3
            ]
            (folder / f"{name}.events.json").write_text(json.dumps({"events": events}))

    truth = data.truth["test"]
    write(data.names["test"], truth)
    options = ("evaluate", "--timelines", folder, "--annotations", data.annotations)
    document = json.loads(run(*options, "-f", "json").out)
    assert document["task"] == "avel"
    assert document["scores"] == {"accuracy": 100.0, "events": 100.0, "background": 100.0}
    assert document["confusions"] == []
    assert document["overlap"] == {}
    wrong = truth.copy()
    wrong[0][wrong[0] == 0] = 1  # clips are sorted by class
    write(data.names["test"], wrong)
    document = json.loads(run(*options, "-f", "json", "--per-class").out)
    moved = int((truth[0] == 0).sum())
    assert document["confusions"] == [{"truth": data.labels[0], "predicted": data.labels[1], "seconds": moved}]
    assert document["scores"]["accuracy"] == pytest.approx(100 * (60 - moved) / 60)
    events, background = int((truth < 3).sum()), int((truth == 3).sum())
    assert document["detection"] == {
        "event": {"event": events, "background": 0},
        "background": {"event": 0, "background": background},
    }
    assert document["baselines"]["background everywhere"]["accuracy"] == pytest.approx(100 * background / 60)
    table = run(*options)
    assert "Most frequent confusions of classes" in table.out
    assert "No video of test is in another split." in table.out


def test_videos_in_two_splits_are_named(run: Run, data: AveLike, trained: Path, tmp_path: Path) -> None:
    """As in AVE, whose test split shares videos with train, another row each."""
    annotations = tmp_path / "annotations"
    shutil.copytree(data.annotations, annotations)
    shared, label = data.names["train"][0], data.labels[1]
    row = f"{label}&{shared}&good&1&4\n"
    for file in ("Annotations.txt", "testSet.txt"):
        with (annotations / file).open("a") as lines:
            lines.write(row)
    options = ("--annotations", annotations, "--features", data.features)
    result = run("evaluate", "--weights", trained, *options)
    assert result.status == 0, result.err
    assert "Overlap between the splits: of the videos of test, 1 in train, too." in result.out
    assert "7 clips" in result.out
    document = json.loads(run("evaluate", "--weights", trained, *options, "-f", "json").out)
    assert document["overlap"] == {"train": 1}


def test_tuned_thresholds_are_not_worse_on_the_clips_they_were_tuned_on(
    run: Run, data: AveLike, trained: Path, tmp_path: Path
) -> None:
    options = ("evaluate", "--weights", trained, *event_data_options(data), "--split", "val", "-f", "json")
    plain = json.loads(run(*options).out)["scores"]["accuracy"]
    file = tmp_path / "thresholds.toml"
    tuned = json.loads(run(*options, "--tune-thresholds", file).out)
    assert tuned["scores"]["accuracy"] >= plain
    assert "Thresholds were tuned on these very clips." in tuned["notes"]
    again = json.loads(run(*options, "--thresholds", file).out)
    assert again["scores"] == tuned["scores"]
    all_background = json.loads(run(*options, "--threshold", 1).out)
    assert all_background["scores"]["background"] == 100


def test_model_info(run: Run, trained: Path) -> None:
    result = run("model-info", "--recipe", "psp")
    assert result.status == 0, result.err
    assert "1,667,251" in result.out
    assert "psp (full) + dch, 28 classes" in result.out
    result = run("model-info", "--weights", trained)
    assert "psp (full) + dch, 3 classes; for a video of 10 seconds" in result.out


@pytest.fixture
def _short(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the estimate of `avvp reproduce` measure few steps."""
    monkeypatch.setattr("avvp.pipeline.reproduction.time_estimate._MEASURED_SECONDS", 0.01)


@pytest.mark.usefixtures("_short")
def test_table5(run: Run, data: AveLike, tmp_path: Path) -> None:
    options = ["reproduce", "table5", *event_options(data), "-o", tmp_path / "runs", "--epochs", 1, "-q"]
    result = run(*options, "--supervision", "full")
    assert result.status == 0, result.err
    settings = "+".join(part.removeprefix("model.") for part in event_options(data) if part.startswith("model."))
    names = [name + form for name in ("ave", "cmbs", "psp") for form in ("", "-leap")]
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {f"{name}+{settings}+epochs=1" for name in names}
    plan = run(*options, "--dry-run").out
    assert (plan.count("1/1"), plan.count("0/1")) == (6, 6)
    result = run(*options)  # both: what is trained is scored again
    assert result.status == 0, result.err
    for paper_run in PAPER_TABLES["table5"].runs:
        assert f"{paper_run.name}: ours" in result.out
        assert f"{paper_run.paper[0]:.1f}" in result.out
    text = " ".join(result.out.split())
    assert "AVE 72.7, PSP 77.8, CMBS 79.3 with full supervision" in text
    assert "best epoch by the accuracy on the validation split" in text
    assert "background everywhere" in text


@pytest.mark.usefixtures("_short")
def test_selection_on_the_test_split_is_labelled(run: Run, data: AveLike, tmp_path: Path) -> None:
    options = ["reproduce", "table5", *event_options(data), "-o", tmp_path, "--epochs", 1, "-q"]
    result = run(*options, "--supervision", "weak", "--select", "test")
    assert result.status == 0, result.err
    assert "BEST EPOCH CHOSEN ON THE TEST SPLIT itself" in " ".join(result.out.split())
    folders = list(tmp_path.iterdir())
    assert len(folders) == 6
    assert all(folder.name.endswith("+select-test") for folder in folders)
    about = read_description(folders[0] / "best.safetensors")
    assert about.record["selected_on"] == "test"
    assert json.loads((folders[0] / "config.json").read_text())["select"] == "test"
    resumed = run("train", "-o", folders[0], "--resume", "--epochs", 2)
    assert resumed.status == 0, resumed.err
    assert "test 6 clips" in resumed.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("table5", "--recipe", "psp"), "the runs of table5 have recipes of their own; leave out --recipe"),
        (("table2", "--supervision", "weak"), "--supervision is for table5"),
        (("table2", "--select", "test"), "--select is for table4 and table5"),
        (("table5", "--set", "model.decoder=leap"), "table5 compares model.decoder; it cannot be set for every run"),
    ],
)
def test_options_that_do_not_go_together(run: Run, data: AveLike, arguments: tuple[str, ...], message: str) -> None:
    result = run("reproduce", *arguments, *event_data_options(data), "-o", "x")
    assert result.status == 2
    assert message in " ".join(result.err.split())
