"""From names of classes to a trained parser: labels by an open vocabulary's rule, corrected, trained on, and parsed.

The films are generated, the teachers stand-ins that know colours and pitches.
"""

from __future__ import annotations

import json
import pickle
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.cli import main as cli
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.errors import SetupError
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.pseudo_labeling.open_prompts import OpenPrompts, to_logits
from avvp.pipeline.pseudo_labeling.open_task import OpenLabelTask
from avvp.pipeline.pseudo_labeling.prompts import parse_prompts
from avvp.pipeline.pseudo_labeling.threshold_scores import LabelingConfig
from avvp.weights.manifest import read_named_bundle
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins
from support.teachers import PROMPTS, write_teachers

Run = Callable[..., Result]
FILMS = {
    "one": [("red", "low tone", 4), (None, None, 3), ("blue", "high tone", 3)],
    "two": [("blue", None, 5), (None, "low tone", 5)],
    "three": [(None, None, 2), ("red", "low tone", 8)],
    "held": [("red", "low tone", 5), ("blue", "high tone", 5)],
}
CLASSES = "red,blue,low tone,high tone"


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Films, and a bundle of the stand-ins."""
    folder = tmp_path_factory.mktemp("desk")
    write_stand_ins(folder / "stand-ins")
    (folder / "films").mkdir()
    for name, scenes in FILMS.items():
        make_film(folder / "films" / f"{name}.mp4", scenes)
    return folder


@pytest.fixture(scope="module")
def labelled(desk: Path) -> Path:
    """Labels of the films by the rule fixed, from scores alone; tests work on copies."""
    argv = ["avvp", "pseudo-label", desk / "films", "--no-weak-labels", "-o", desk / "data", *_options(desk)]
    with pytest.MonkeyPatch.context() as patch, pytest.raises(SystemExit) as leaving:
        patch.setattr(sys, "argv", [*map(str, argv), "-q"])
        cli.main()
    assert not leaving.value.code
    return desk / "data"


def _options(desk: Path, classes: str = CLASSES) -> tuple[object, ...]:
    named = ("--classes", classes, "--rule", "fixed", "--device", "cpu")
    return ("--weights", desk / "stand-ins", *TRUST, *named)


@pytest.fixture
def label(run: Run, desk: Path, labelled: Path, tmp_path: Path) -> Callable[..., Result]:
    """Label the films again, in a copy of the labelled folder."""
    shutil.copytree(labelled, tmp_path / "data")

    def call(*options: object, films: object = desk / "films", classes: str = CLASSES) -> Result:
        return run("pseudo-label", films, "-o", tmp_path / "data", *_options(desk, classes), *options)

    return call


def load(folder: Path, place: str) -> np.ndarray:
    return np.load(folder / place, allow_pickle=False)


def seconds(scenes: list[tuple[str | None, str | None, int]], name: str) -> list[bool]:
    return [name in scene[:2] for scene in scenes for _ in range(scene[2])]


def test_logits_of_scores() -> None:
    logits = to_logits([0, 0.25, 0.5, 0.75, 1])
    np.testing.assert_allclose(logits, [-60, -np.log(3), 0, np.log(3), 60], rtol=1e-6)


def test_labels_are_where_the_classes_are(labelled: Path) -> None:
    data = labelled
    for name, scenes in FILMS.items():
        seen = load(data, f"CLIP/segment_pseudo_labels/{name}.npy")
        heard = load(data, f"CLAP/segment_pseudo_labels/{name}.npy")
        assert seen.dtype == np.uint8
        for column, label_name in enumerate(CLASSES.split(",")):
            expected = seconds(scenes, label_name)
            assert (seen if column < 2 else heard)[:, column].tolist() == expected, (name, label_name)
            assert not (heard if column < 2 else seen)[:, column].any()
        scores = load(data, f"CLIP/scores/{name}.npy")
        np.testing.assert_array_equal(scores > np.float32(np.log(9)), seen)  # the logit of the threshold .9
    record = json.loads((data / "pseudo_labels.json").read_text())
    assert record["open_vocabulary"]["rule"]["name"] == "fixed"
    assert record["thresholds"] == record["open_vocabulary"]["thresholds"] == "default"
    assert record["decision_thresholds"]["visual_segment"] == 0.9
    assert any("calibrate" in note for note in record["notes"])  # that nobody checked the scores on these videos
    assert record["prompts"]["labels"] == CLASSES.split(",")
    assert record["active_seconds"]["visual"] == {"red": 17, "blue": 13, "low tone": 0, "high tone": 0}
    assert "one\tred,blue,low tone,high tone" in (data / "AVVP_train.csv").read_text()


def test_other_classes_decode_nothing(label: Callable[..., Result], tmp_path: Path) -> None:
    features = tmp_path / "data/colours"
    before = (features / "one.npy").stat().st_mtime_ns
    again = label("--no-weak-labels", classes="violet, blue")
    assert again.status == 0, again.err
    assert "0 done, 4 done before, 0 failed\n4 clips have pseudo labels" in again.err
    assert (features / "one.npy").stat().st_mtime_ns == before
    seen = load(tmp_path / "data", "CLIP/segment_pseudo_labels/one.npy")
    assert seen.T.tolist() == [[0] * 10, [0] * 7 + [1] * 3]
    assert load(tmp_path / "data", "CLAP/scores/one.npy").shape == (10, 2)


def test_weak_labels_mask_the_decisions(label: Callable[..., Result], tmp_path: Path) -> None:
    """A class that a video does not have is not labelled; a film that leaves the table loses labels and scores."""
    table = tmp_path / "weak.csv"
    table.write_text('filename,event_labels\none,"red,low tone"\ntwo,blue\n')
    result = label("--annotations", table)
    assert result.status == 0, result.err
    data = tmp_path / "data"
    assert load(data, "CLIP/segment_pseudo_labels/one.npy").sum(axis=0).tolist() == [4, 0, 0, 0]
    assert load(data, "CLAP/segment_pseudo_labels/two.npy").sum() == 0
    table.write_text("filename,event_labels\ntwo,blue\n")
    assert label("--annotations", table).status == 0
    assert [path.stem for path in (data / "CLAP/scores").iterdir()] == ["two"]
    assert (data / "AVVP_train.csv").read_text() == "filename\tevent_labels\ntwo\tblue\n"


def test_a_file_without_sound_has_no_labels_of_sounds(label: Callable[..., Result], tmp_path: Path) -> None:
    mute = make_film(tmp_path / "mute.mp4", [("red", None, 3)], audio=False)
    assert label("--no-weak-labels", films=mute).status == 0
    assert load(tmp_path / "data", "CLAP/segment_pseudo_labels/mute.npy").sum() == 0
    assert load(tmp_path / "data", "CLAP/scores/mute.npy").max() == -60
    record = json.loads((tmp_path / "data/pseudo_labels.json").read_text())
    assert record["without_stream"] == {"audio": ["mute"], "visual": []}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--calibrate", "distribution"), "avvp calibrate finds the thresholds of --classes"),
        (("--prompts", __file__), "--classes and --prompts exclude each other"),
        (("--teacher", __file__), "--teacher scores by --prompts"),
        (("--clip-model", "x"), "--weights has teachers of its own: leave out --clip-model"),
    ],
)
def test_what_does_not_go_with_classes(label: Callable[..., Result], options: tuple[str, ...], said: str) -> None:
    result = label("--no-weak-labels", *options)
    assert (result.status, said in result.err) == (2, True), result.err


@pytest.mark.parametrize(
    "options", [("--rule", "fixed"), ("--weights", "open"), ("--trust-parts", "x"), ("--background", "none"), ("-y",)]
)
def test_what_goes_with_classes_alone(run: Run, desk: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    result = run("pseudo-label", desk / "films", "--no-weak-labels", "-o", tmp_path / "data", *options)
    assert result.status == 2
    assert "goes with --classes" in result.err


def test_labels_of_logits_are_not_replaced(label: Callable[..., Result], tmp_path: Path) -> None:
    record = tmp_path / "data/pseudo_labels.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps({key: value for key, value in document.items() if key != "open_vocabulary"}))
    result = label("--no-weak-labels")
    assert (result.status, "that were made without --classes" in result.err) == (2, True)
    assert label("--no-weak-labels", "--overwrite").status == 0


def test_scores_of_a_rule_are_said_to_be_its_own_before_they_replace_others(
    label: Callable[..., Result], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = tmp_path / "data/pseudo_labels.json"
    document = json.loads(record.read_text())
    record.write_text(json.dumps({key: value for key, value in document.items() if key != "open_vocabulary"}))

    def fail(*_: object) -> None:
        raise SetupError("killed")

    monkeypatch.setattr("avvp.pipeline.pseudo_labeling.open_labels._read_features", fail)
    assert label("--no-weak-labels", "--overwrite").status == 1
    document = json.loads(record.read_text())
    assert (document["unfinished"], document["open_vocabulary"]) == (True, {})


def test_damaged_features_are_named_and_made_again(label: Callable[..., Result], desk: Path, tmp_path: Path) -> None:
    broken = tmp_path / "data/colours/one.npy"
    broken.write_bytes(b"?" * broken.stat().st_size)
    result = label("--no-weak-labels", films=desk / "films/two.mp4")
    assert (
        result.status,
        "colours/one.npy: missing or damaged; run again on its video with --verify" in result.err,
    ) == (1, True)
    result = label("--no-weak-labels")
    assert result.status == 0, result.err
    assert load(tmp_path / "data", "CLIP/segment_pseudo_labels/one.npy").any()


def test_teachers_by_their_folders_are_those_of_a_bundle(run: Run, desk: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    clip, clap = write_teachers(tmp_path / "teachers")
    models = ("--clip-model", clip, "--clap-model", clap, "--offline", "--device", "cpu", "--background", "none")
    films = (desk / "films/one.mp4", "--no-weak-labels", "--classes", "dog, cat, speech, car")
    result = run("pseudo-label", *films, "-o", tmp_path / "data", *models)
    assert result.status == 0, result.err
    features = load(tmp_path / "data", "CLIP/features/one.npy")
    assert features.shape == (10, 12)
    scores = load(tmp_path / "data", "CLIP/scores/one.npy")
    assert scores.shape == (10, 4)
    record = json.loads((tmp_path / "data/pseudo_labels.json").read_text())
    assert record["teachers"] == {"audio": str(clap), "visual": str(clip)}
    assert set(record["hashes"]) == {"CLIP", "CLAP"}


def test_thresholds_of_logits_give_the_labels_of_prompts(run: Run, desk: Path, tmp_path: Path) -> None:
    """Read as classes, by the rule fixed, a file of prompts decides the same; scores are logits minus thresholds."""
    pytest.importorskip("transformers")
    clip, clap = write_teachers(tmp_path / "teachers")
    (tmp_path / "prompts.toml").write_text(PROMPTS)
    (tmp_path / "classes.toml").write_text('scale = "logits"\n' + PROMPTS)
    models = ("--clip-model", clip, "--clap-model", clap, "--offline", "--device", "cpu", "--no-weak-labels")
    film = desk / "films/one.mp4"
    named = ("--classes", f"@{tmp_path / 'classes.toml'}", "--rule", "fixed", "-o", tmp_path / "named")
    assert (
        run("pseudo-label", film, *models, "--prompts", tmp_path / "prompts.toml", "-o", tmp_path / "old").status == 0
    )
    result = run("pseudo-label", film, *models, *named)
    assert result.status == 0, result.err
    prompts = parse_prompts(PROMPTS.encode(), "x")
    for modality, teacher in (("audio", "CLAP"), ("visual", "CLIP")):
        above = load(tmp_path / "old", f"{teacher}/scores/one.npy") - np.array(prompts.thresholds(modality))
        scores = load(tmp_path / "named", f"{teacher}/scores/one.npy")
        np.testing.assert_allclose(scores, above, atol=0.02)  # of features in float16
        sure = np.abs(above) > 0.02
        labels = load(tmp_path / "named", f"{teacher}/segment_pseudo_labels/one.npy")
        np.testing.assert_array_equal(labels[sure], (above > 0)[sure])
    record = json.loads((tmp_path / "named/pseudo_labels.json").read_text())
    assert record["thresholds"] == "given"
    # The scores of the rule are not taken for those of the prompts.
    result = run("pseudo-label", film, *models, "--prompts", tmp_path / "prompts.toml", "-o", tmp_path / "named")
    assert (result.status, "that were made with --classes, by a rule" in result.err) == (2, True)


def test_from_names_to_a_trained_parser(run: Run, desk: Path, tmp_path: Path) -> None:
    """Label, look at the pages, correct, train, parse: only names of classes were given."""
    data, films, held = tmp_path / "data", tmp_path / "films", desk / "films/held.mp4"
    films.mkdir()
    for name in ("one", "two", "three"):
        shutil.copy(desk / "films" / f"{name}.mp4", films)
    options = _options(desk)
    result = run("pseudo-label", films, "--no-weak-labels", "-o", data, *options, "--review", "2")
    assert result.status == 0, result.err
    assert len(list((data / "review").glob("*.html"))) == 3

    assert run("parse", held, *options, "-o", tmp_path / "corrected/held.events.json").status == 0
    assert run("convert", tmp_path / "corrected", "--data-set", data, "--split", "val").status == 0
    assert run("extract", held, *options[:4], "--device", "cpu", "-o", data).status == 0

    inputs = ("--annotations", data, "--features", data, "--pseudo-labels", data, "--extractors", desk / "stand-ins")
    small = ("model.layers=1", "model.hidden_dim=32", "model.heads=2", "model.dropout=0", "training.warmup_epochs=0")
    changes = [part for setting in (*small, "training.learning_rate=0.02") for part in ("--set", setting)]
    recipe = ("--recipe", "valor-plus", *changes, "--epochs", "30", "--label-embeddings", "one-hot")
    trained = run("train", *inputs, *recipe, "--device", "cpu", "-o", tmp_path / "run", *TRUST)
    assert trained.status == 0, trained.err
    parsed = run("parse", held, "--weights", tmp_path / "run", *TRUST, "--device", "cpu", "-o", tmp_path / "e.json")
    assert parsed.status == 0, parsed.err
    events = json.loads((tmp_path / "e.json").read_text())["events"]
    assert {(e["modality"], e["label"], e["onset"], e["offset"]) for e in events} == {
        ("visual", "red", 0, 5), ("visual", "blue", 5, 10), ("audio", "low tone", 0, 5), ("audio", "high tone", 5, 10),
    }  # fmt: skip


def test_the_task_can_be_sent_to_other_machines(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Folders of models become absolute, names on a hub stay."""
    (tmp_path / "clip").mkdir()
    monkeypatch.chdir(tmp_path)
    vocabulary = read_vocabulary("dog, cat")
    task = OpenLabelTask(
        settings=ComputeSettings(DecodeOptions()),
        bundle=replace(read_named_bundle("open"), classes=vocabulary.to_dict()),
        config=LabelingConfig(prompts=OpenPrompts.of(vocabulary)),
        models=("laion/clap", "clip"),
    )
    sent = pickle.loads(pickle.dumps(task.for_other_machines()))  # noqa: S301 - of this process
    assert sent.models == ("laion/clap", str(tmp_path / "clip"))
    assert sent.config.prompts == task.config.prompts
    assert sent.config.prompts.select(["cat"]).labels == ("cat",)
