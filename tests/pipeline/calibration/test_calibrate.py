"""Calibration end to end with stand-in teachers: clips, the command, the file, and parsing with it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import avvp
import numpy as np
import pytest
from avvp.pipeline.calibration.calibrate import Calibration, calibratable, calibrate
from avvp.pipeline.calibration.choose import MIN_SECONDS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.errors import DatasetError, SetupError
from avvp.pipeline.evaluation.open_clips import OpenClip
from avvp.pipeline.inference.bundle import LoadedBundle, load_networks
from avvp.pipeline.open_vocabulary.classes import read_vocabulary
from avvp.pipeline.open_vocabulary.open_bundle import with_classes
from avvp.weights.remote.bundles import load_bundle
from avvp.weights.source import WeightSource
from support.command import Result
from support.stand_in_teachers import COLOURS, DIM, TRUST, make_film, write_stand_ins

Run = Callable[..., Result]
ROWS = {
    "AVVP_val_pd.csv": "filename\tevent_labels\na\tred,blue,low tone\nb\tred,low tone\n",
    "AVVP_eval_visual.csv": "filename\tonset\toffset\tevent_labels\na\t0\t3\tred\na\t5\t9\tblue\nb\t3\t8\tred\n",
    "AVVP_eval_audio.csv": "filename\tonset\toffset\tevent_labels\na\t0\t3\tlow tone\nb\t0\t3\tlow tone\n",
}
SOURCE = WeightSource(trust=(TRUST[1],))


def write_rows(folder: Path, rows: dict[str, str] = ROWS) -> Path:
    folder.mkdir(parents=True)
    for name, text in rows.items():
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    make_film(folder / "a.mp4", [("red", "low tone", 3), (None, None, 2), ("blue", "high tone", 4)])
    make_film(folder / "b.mp4", [(None, "low tone", 3), ("red", None, 5)])
    return folder


@pytest.fixture
def marked(tmp_path: Path) -> Path:
    return write_rows(tmp_path / "annotations")


# Thresholds of known embeddings.


def load(bundle: Path, classes: list[str], **rule: object) -> LoadedBundle:
    opened = with_classes(load_bundle(str(bundle), SOURCE), classes, background="none", **rule)
    return load_networks(opened, source=SOURCE, outline=True)


def video(row: int, colours: list[tuple[float, float]]) -> OpenClip:
    """Pictures that are more or less red and green, and silence."""
    rows = np.zeros((len(colours), DIM), np.float16)
    rows[:, :2] = colours
    rows[:, len(COLOURS)] = np.sqrt(1 - np.square(colours).sum(axis=1))
    return OpenClip(row, np.zeros((len(colours), DIM), np.float16), rows, has_audio=False)


def data_of(videos: list[list[int]], folder: Path) -> object:
    """Annotations of clips v0, v1, ...: the seconds in which each is red."""
    rows = [f"v{row}\t{second}\t{second + 1}\tred" for row, seconds in enumerate(videos) for second in seconds]
    header = "filename\tonset\toffset\tevent_labels\n"
    return write_rows(
        folder,
        {
            "AVVP_val_pd.csv": "filename\tevent_labels\n" + "".join(f"v{row}\tred\n" for row in range(len(videos))),
            "AVVP_eval_visual.csv": header + "\n".join(rows) + "\n",
            "AVVP_eval_audio.csv": header,
            "labels.txt": "red\ngreen\n",
        },
    )


Colours = list[tuple[float, float]]  # red and green of each second
CLASSES = ["red", "green", "blue", "yellow", "elephant"]


def run_calibration(bundle: Path, folder: Path, videos: list[Colours], truth: list[list[int]]) -> Calibration:
    data_of(truth, folder)
    clips = [video(row, colours) for row, colours in enumerate(videos)]
    return calibrate(load(bundle, CLASSES, name="fixed"), read_annotations(folder), "val", clips)


def random_colours(seed: int, clips: int) -> tuple[list[Colours], list[list[int]]]:
    """Colours, and annotations that have nothing to do with them."""
    random = np.random.default_rng(seed)
    videos = [[tuple(pair) for pair in random.uniform(0.1, 0.6, (10, 2)).tolist()] for _ in range(clips)]
    return videos, [sorted(random.choice(10, 4, replace=False).tolist()) for _ in range(clips)]


def test_thresholds_separate_what_clips_say(bundle: Path, tmp_path: Path) -> None:
    """Red beside as much green is no red here, though its score is above the rule's threshold."""
    # Of five classes, z of a lone one is 1.79, and that of (.55, .5, 0, 0, 0) 1.18: scores .857 and .765.
    videos = [[(0.55, 0.5)] * 5 + [(0.9, 0.0)] * 5] * 6
    found = run_calibration(bundle, tmp_path / "a", videos, [list(range(5, 10))] * 6)
    assert found.clips == 6
    np.testing.assert_array_equal(found.annotated, [True, True, False, False, False])
    assert found.choices["visual"].seconds[0] == 30 >= MIN_SECONDS
    assert (found.kind("visual", 0), found.kind("visual", 2), found.kind("audio", 0)) == ("own", "shared", "unchanged")
    assert 0.765 < found.vocabulary.thresholds("visual")[0] < 0.857
    assert found.vocabulary.thresholds("audio") == [0.75] * 5
    assert "Nothing is annotated as heard: these thresholds stay as they were." in found.notes
    assert found.held_out is not None
    assert found.before.segment.visual == pytest.approx(200 / 3)  # five of ten red seconds are
    assert found.fitted.segment.visual == found.held_out.segment.visual == 100


def test_scores_of_clips_left_out_are_not_those_of_the_clips_that_chose(bundle: Path, tmp_path: Path) -> None:
    found = run_calibration(bundle, tmp_path / "a", *random_colours(3, 10))
    assert found.held_out is not None
    assert found.fitted.segment.visual > found.held_out.segment.visual
    videos, truth = random_colours(3, 1)
    one = run_calibration(bundle, tmp_path / "b", videos, truth)
    assert one.held_out is None
    assert one.notes[0].startswith("One video chooses all thresholds")


def test_order_of_clips_changes_nothing(bundle: Path, tmp_path: Path) -> None:
    videos, truth = random_colours(4, 7)
    data_of(truth, tmp_path / "a")
    loaded, data = load(bundle, CLASSES, name="fixed"), read_annotations(tmp_path / "a")
    clips = [video(row, colours) for row, colours in enumerate(videos)]
    forward, backward = (calibrate(loaded, data, "val", part) for part in (clips, clips[::-1]))
    assert forward.vocabulary == backward.vocabulary
    assert forward.held_out is not None and backward.held_out is not None
    assert forward.held_out.mean == pytest.approx(backward.held_out.mean)


def test_what_cannot_choose_is_refused(bundle: Path, tmp_path: Path) -> None:
    data_of([[0], []], tmp_path / "a")
    data = read_annotations(tmp_path / "a")
    with pytest.raises(DatasetError, match="none of the classes is annotated"):
        calibrate(load(bundle, ["elephant"]), data, "val", [video(0, [(0.5, 0)])])
    with pytest.raises(DatasetError, match="the 1 clips of val have no annotated second of the classes"):
        calibrate(load(bundle, ["red"]), data, "val", [video(1, [(0.5, 0)])])


def test_thresholds_of_logits_are_refused_and_those_of_valor_left_out(bundle: Path) -> None:
    opened = with_classes(load_bundle(str(bundle), SOURCE), ["red", "Dog"], background="none", name="fixed")
    assert calibratable(opened) is opened
    vocabulary = read_vocabulary(["Dog"], background="none", name="fixed")
    logits = [replace(item, seen_threshold=20.5, heard_threshold=3.0) for item in vocabulary.classes]
    valor = replace(vocabulary, classes=tuple(logits), scale="logits", origin="valor")
    found = calibratable(replace(opened, classes=valor.to_dict())).classes
    assert found is not None
    assert (found["scale"], found["origin"], found["classes"][0]["seen_threshold"]) == ("relative", "default", None)
    given = replace(valor, origin="given")
    with pytest.raises(SetupError, match="the thresholds of --classes are of logits"):
        calibratable(replace(opened, classes=given.to_dict()))


# The command.


def test_thresholds_are_chosen_written_and_used(
    run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path
) -> None:
    file = tmp_path / "out" / "classes.toml"
    words = ("--weights", bundle, *TRUST, "--annotations", marked, "-o", file, "--embeddings", tmp_path / "kept")
    result = run("calibrate", clips, *words, "--classes", "Red, blue, low tone, violet", "-f", "json")
    assert result.status == 0, result.err
    document = json.loads(result.out)
    assert document["clips"] == 2
    assert document["scores"]["held_out"]["mean"] == 100
    assert document["classes"]["violet"]["seen"]["kind"] == "shared"  # not annotated
    assert document["classes"]["Red"]["seen"]["seconds"] == 8  # red, in the spelling of the user
    read = read_vocabulary(f"@{file}")
    assert read.origin == "calibrated"
    assert read.labels == ("Red", "blue", "low tone", "violet")
    assert read.thresholds("visual")[0] == document["classes"]["Red"]["seen"]["threshold"]
    output = tmp_path / "a.events.json"
    result = run("parse", clips / "a.mp4", "--weights", bundle, *TRUST, "--classes", f"@{file}", "-o", output)
    assert result.status == 0, result.err
    timeline = json.loads(output.read_text())
    assert timeline["provenance"]["open_vocabulary"]["thresholds"] == "calibrated"
    assert not timeline["warnings"]
    found = {(event["label"], event["onset"], event["offset"]) for event in timeline["events"]}
    assert found == {("low tone", 0, 3), ("Red", 0, 3), ("blue", 5, 9)}


def test_kept_embeddings_are_not_decoded_again(
    run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = ("--embeddings", tmp_path / "kept")
    words = ("--weights", bundle, *TRUST, "--annotations", marked, *kept, "-o", tmp_path / "classes.toml")
    first = run("calibrate", clips, *words)
    assert first.status == 0, first.err

    def decode(*_: object, **__: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("avvp.pipeline.calibration.gather.extract_with", decode)
    content = (tmp_path / "classes.toml").read_bytes()
    assert run("calibrate", clips, *words).out == first.out
    assert (tmp_path / "classes.toml").read_bytes() == content
    # A folder of embeddings alone, without the media.
    result = run("calibrate", tmp_path / "kept", *words[:-4], "-o", tmp_path / "other.toml")
    assert result.status == 0, result.err
    assert (tmp_path / "other.toml").read_bytes() == content


def test_tables_say_how_thresholds_were_chosen(
    run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path
) -> None:
    words = ("--weights", bundle, *TRUST, "--annotations", marked, "-o", tmp_path / "classes.toml", "--no-embeddings")
    result = run("calibrate", clips, *words)
    assert result.status == 0, result.err
    for text in ("before", "after, on clips left out", "after, on the same clips", "shared", "low tone"):
        assert text in result.out
    assert "wrote" in result.err


def test_broken_clips_are_left_out_and_counted(
    run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "some"
    folder.mkdir()
    (folder / "a.mp4").symlink_to(clips / "a.mp4")
    (folder / "b.mp4").write_bytes(b"no film")
    (folder / "c.mp4").write_bytes(b"not annotated: never opened")
    words = ("--weights", bundle, *TRUST, "--annotations", marked, "-o", tmp_path / "classes.toml", "--no-embeddings")
    result = run("calibrate", folder, *words, "-f", "json")
    assert result.status == 0, result.err
    notes = json.loads(result.out)["notes"]
    assert notes[0].startswith("1 file (b.mp4: ")
    assert notes[1] == "1 of 2 annotated clips of val are used: the others are not there"


def test_one_clip_has_one_file(run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    (other / "a.mkv").symlink_to(clips / "a.mp4")
    words = ("--weights", bundle, *TRUST, "--annotations", marked, "-o", tmp_path / "classes.toml")
    result = run("calibrate", clips, clips / "a.mp4", other, *words)
    assert result.status == 2
    assert "a.mkv: both names fit the clip a; name one of them alone" in result.err
    assert run("calibrate", clips, clips / "a.mp4", *words).status == 0, "a file that is named twice is one file"


def test_folders_of_embeddings_need_not_have_a_clip_each(
    run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path
) -> None:
    words = ("--weights", bundle, *TRUST)
    classes = (*words, "--classes", "red, blue, low tone", "--output-dir")
    run("parse", clips, *classes, tmp_path / "kept")
    (tmp_path / "else").mkdir()
    (tmp_path / "else" / "c.mp4").symlink_to(clips / "a.mp4")
    run("parse", tmp_path / "else", *classes, tmp_path / "others")
    named = (*words, "--annotations", marked, "-o", tmp_path / "classes.toml")
    result = run("calibrate", tmp_path / "others", tmp_path / "kept", *named)
    assert result.status == 0, result.err
    result = run("calibrate", tmp_path / "others", *named)
    assert result.status == 2
    assert "no clip of the val split is among CLIPS" in result.err
    kept = tmp_path / "kept" / "embeddings"
    (kept / "more").mkdir()
    (kept / "more" / "a.mp4.safetensors").write_bytes(next(kept.glob("a*")).read_bytes())
    result = run("calibrate", tmp_path / "kept", *named)
    assert result.status == 2
    assert "embeddings of several videos are called a; move all but one" in result.err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--split", "test"), "there is no test split"),
        (("--weights", "demo"), "the classes of bundle 'demo' are those"),
        (("--classes", "elephant"), "none of the classes is annotated"),
        (("--embeddings", "x", "--no-embeddings"), "exclude each other"),
    ],
)
def test_what_cannot_be_calibrated(
    run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    words = ("--weights", bundle, *TRUST, "--annotations", marked, "-o", tmp_path / "classes.toml")
    result = run("calibrate", clips, *words, *arguments)
    assert result.status == 2
    assert said in result.err
    assert not (tmp_path / "classes.toml").exists()


def test_clips_that_annotations_do_not_know(run: Run, bundle: Path, clips: Path, tmp_path: Path) -> None:
    rows = {name: text.replace("\na", "\nx").replace("\nb", "\ny") for name, text in ROWS.items()}
    words = ("--weights", bundle, *TRUST, "--annotations", write_rows(tmp_path / "others", rows))
    result = run("calibrate", clips, *words, "-o", tmp_path / "classes.toml")
    assert result.status == 2
    assert (
        "no clip of the val split is among CLIPS (called like the annotations call them), such as x.mp4" in result.err
    )


def test_python_reads_the_file(run: Run, bundle: Path, clips: Path, marked: Path, tmp_path: Path) -> None:
    file = tmp_path / "classes.toml"
    words = ("--weights", bundle, *TRUST, "--annotations", marked, "-o", file)
    assert run("calibrate", clips, *words).status == 0
    with avvp.load(bundle, trust_parts=[TRUST[1]], classes=f"@{file}") as parser:
        assert parser.labels == ("blue", "low tone", "red")
