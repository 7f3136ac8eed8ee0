"""Every other file that users hand in, in every encoding and with every line end: one contract."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.datasets.annotations import read_annotations, read_labels
from avvp.pipeline.datasets.label_embeddings import load_label_embeddings
from avvp.pipeline.datasets.pseudo_labels import check_record
from avvp.pipeline.datasets.write_annotations import write_annotations
from avvp.pipeline.errors import DatasetError, SetupError
from avvp.pipeline.evaluation.evaluate_timelines import read_timeline
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC, read_spec
from avvp.pipeline.inference.thresholds import read_thresholds
from avvp.pipeline.pseudo_labeling.prompts import read_prompts
from avvp.pipeline.pseudo_labeling.weak_labels import read_table
from avvp.pipeline.timeline import per_second_labels
from avvp.pipeline.training.recipe import load_recipe
from avvp.weights.errors import WeightsError
from avvp.weights.remote.bundles import load_bundle
from support.command import Result

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "utf-16-be", "utf-32-be")
LABELS = ("Mücke", "Dog", "Cat")
BINARY = (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", b"\xff\xd8\xff\xe0\x01\x02", b"\0", b"\xff\xfea")


@dataclass(frozen=True)
class Case:
    """A file of users: its text, how it is read, and what that gives."""

    name: str
    text: str
    read: Callable[[Path], Any]
    expected: Any
    legacy: bool = False  # other encodings than Unicode are read, too


def annotation_values(path: Path) -> Any:
    (path.parent / "labels.txt").write_text("".join(f"{label}\n" for label in LABELS), encoding="utf-8")
    if path.name != "AVVP_val_pd.csv":
        (path.parent / "AVVP_val_pd.csv").write_text("filename\tevent_labels\nMücke_0_10\tMücke\n", encoding="utf-8")
    annotations = read_annotations(path.parent)
    split = annotations.split("val")
    events = {modality: [tuple(row) for row in rows] for modality, rows in annotations.events.items()}
    return split.filenames, split.labels.tolist(), events


def weak_values(path: Path) -> dict[str, list[bool]]:
    return {name: labels.tolist() for name, labels in read_table(path, LABELS).items()}


CLIPS = (("Mücke_0_10",), [[True, False, False]])
CASES = [
    Case("labels.txt", "Mücke\n\n Dog \nCat\n", read_labels, LABELS, legacy=True),
    Case(
        "AVVP_val_pd.csv", "filename\tevent_labels\nMücke_0_10\tMücke\n", annotation_values, (*CLIPS, {}), legacy=True
    ),
    Case(
        "AVVP_val_pd.csv", 'FileName ;event_labels;\n"Mücke_0_10";" Mücke, Cat";\n;;\n', annotation_values,
        (("Mücke_0_10",), [[True, False, True]], {}), legacy=True,
    ),
    Case(
        "AVVP_eval_audio.csv", 'filename\tonset\toffset\tevent_labels\nMücke_0_10\t1,0\t3\t"Cat"\n', annotation_values,
        (*CLIPS, {"audio": [("Mücke_0_10", 1, 3, 2)]}), legacy=True,
    ),
    Case(
        "weak.csv", 'filename,event_labels\nMücke.mp4,"Mücke,Dog"\n"a, b",Cat\n', weak_values,
        {"Mücke": [True, True, False], "a, b": [False, False, True]}, legacy=True,
    ),
    Case(
        "weak.tsv", 'sep=;\nfilename;event_labels\nMücke;"Mücke,Dog"\n', weak_values, {"Mücke": [True, True, False]},
        legacy=True,
    ),
    Case("th.toml", '# x\n[audio.segment]\n"Mücke" = 0.25\n', read_thresholds, {"audio_segment": {"Mücke": 0.25}}),
    Case("th.json", '{"audio": {"segment":\n {"Mücke": 0.25}}}', read_thresholds, {"audio_segment": {"Mücke": 0.25}}),
    Case(
        "recipe.toml", 'description = "Mücke"\n[training]\nepochs = 7\n',
        lambda path: (load_recipe(str(path)).description, load_recipe(str(path)).training.epochs), ("Mücke", 7),
    ),
    Case(
        "prompts.toml",
        '[[class]]\nlabel = "Mücke"\nseen = "a fly"\nseen_threshold = 1\nheard = "buzz"\nheard_threshold = 2\n',
        lambda path: read_prompts(path).labels, ("Mücke",),
    ),
    Case(
        "features.json", json.dumps(PUBLISHED_SPEC.to_dict(), indent=1), lambda path: read_spec(path.parent),
        PUBLISHED_SPEC,
    ),
    Case(
        "x.events.json",
        '{"note": "Mücke",\n"events": [{"modality": "audio", "label": "Cat", "onset": 1, "offset": 3}]}',
        lambda path: read_timeline(path, LABELS, 4).audio[:, 2].tolist(), [False, True, True, False],
    ),
    Case(
        "pseudo_labels.json", '{"prompts": {"labels":\n ["Mücke", "Dog", "Cat"]}}',
        lambda path: check_record(path.parent, LABELS), [],
    ),
    Case(
        "bundle.toml", 'description = "Mücke"\nprofile = "llp"\nextractors = {}\nparser = {}\n',
        lambda path: load_bundle(str(path.parent)).description, "Mücke",
    ),
    Case(
        "words.vec", "mücke 1 0\ndog 0 1\ncat 2 2\n", lambda path: load_label_embeddings(str(path), LABELS).tolist(),
        [[1, 0], [0, 1], [2, 2]],
    ),
]  # fmt: skip


def ids(case: Case) -> str:
    return f"{case.name}{'-semicolons' if ';' in case.text else ''}"


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("encoding", UNICODE)
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_the_same_values_whatever_wrote_them(case: Case, encoding: str, ending: str, tmp_path: Path) -> None:
    path = tmp_path / "x" / case.name
    path.parent.mkdir()
    path.write_bytes(case.text.replace("\n", ending).encode(encoding))
    assert case.read(path) == case.expected


@pytest.mark.parametrize("case", [case for case in CASES if case.legacy], ids=ids)
def test_tables_and_lists_in_other_encodings(case: Case, tmp_path: Path) -> None:
    (tmp_path / case.name).write_bytes(case.text.encode("cp1252"))
    assert case.read(tmp_path / case.name) == case.expected


@pytest.mark.parametrize("case", [case for case in CASES if not case.legacy and "ü" in case.text], ids=ids)
def test_documents_in_other_encodings_are_refused(case: Case, tmp_path: Path) -> None:
    (tmp_path / case.name).write_bytes(case.text.encode("cp1252"))
    if case.name == "pseudo_labels.json":
        assert case.read(tmp_path / case.name) == [f"{tmp_path / case.name}: not a readable record of pseudo labels"]
        return
    with pytest.raises((SetupError, WeightsError)) as error:
        case.read(tmp_path / case.name)
    message = str(error.value)
    assert "codec" not in message
    assert "\n" not in message
    assert case.name == "words.vec" or "UTF-8, UTF-16 and UTF-32 are read" in message


@pytest.mark.parametrize("content", BINARY)
@pytest.mark.parametrize("case", CASES, ids=ids)
def test_binary_files_are_refused(case: Case, content: bytes, tmp_path: Path) -> None:
    (tmp_path / case.name).write_bytes(content)
    if case.name == "pseudo_labels.json":
        assert len(case.read(tmp_path / case.name)) == 1
        return
    with pytest.raises((SetupError, WeightsError)) as error:
        case.read(tmp_path / case.name)
    assert "codec" not in str(error.value)
    assert "\0" not in str(error.value)


def test_encodings_are_reported(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_bytes("Mücke\nDog\n".encode("cp1252"))
    (tmp_path / "AVVP_train.csv").write_bytes("filename\tevent_labels\na\tMücke\n".encode("cp1252"))
    (tmp_path / "AVVP_eval_audio.csv").write_text("filename\tonset\toffset\tevent_labels\n", encoding="utf-16")
    expected = [f"{name}: read as Windows-1252, it is not UTF-8" for name in ("labels.txt", "AVVP_train.csv")]
    assert list(read_annotations(tmp_path).notices) == expected
    notices: list[str] = []
    read_table(tmp_path / "AVVP_train.csv", LABELS, notices)
    assert notices == expected[1:]


def test_encodings_of_annotations_are_told_on_standard_error(run: Callable[..., Result], tmp_path: Path) -> None:
    annotations, timelines = tmp_path / "ann", tmp_path / "timelines"
    annotations.mkdir()
    timelines.mkdir()
    (annotations / "labels.txt").write_bytes("Mücke\nDog\n".encode("cp1252"))
    (annotations / "AVVP_test_pd.csv").write_text("filename\tevent_labels\na\tDog\n")
    for modality in ("audio", "visual"):
        table = "filename\tonset\toffset\tevent_labels\na\t0\t2\tDog\n"
        (annotations / f"AVVP_eval_{modality}.csv").write_text(table)
    event = {"modality": "audio", "label": "Mücke", "onset": 0, "offset": 1}
    (timelines / "a.events.json").write_text(json.dumps({"events": [event]}))
    result = run("evaluate", "--timelines", timelines, "--annotations", annotations)
    assert result.status == 0, result.err
    assert "labels.txt: read as Windows-1252, it is not UTF-8" in result.err.splitlines()


@pytest.mark.parametrize("seconds", ["nan", "inf", "1.5", "1.234,5", "\u0663", "1" * 200_000, "1_0", "x"])
def test_seconds_that_are_not_whole(seconds: str, tmp_path: Path) -> None:
    (tmp_path / "AVVP_test_pd.csv").write_text("filename\tevent_labels\na\tDog\n")
    table = f"filename\tonset\toffset\tevent_labels\na\t0\t{seconds}\tDog\n"
    (tmp_path / "AVVP_eval_audio.csv").write_text(table, encoding="utf-8")
    with pytest.raises(DatasetError, match=r"AVVP_eval_audio\.csv:2: .* is not a whole number of seconds") as error:
        read_annotations(tmp_path)
    assert len(str(error.value)) < 300 + len(str(tmp_path))


def test_names_that_begin_with_quotes_are_written_and_read(tmp_path: Path) -> None:
    names = ('"quoted" clip', '5" disc', '"')
    labels = ('"Dog"', "Cat")
    clips = {name: per_second_labels([("audio", '"Dog"', 0, 2)], labels, 3) for name in names}
    write_annotations(tmp_path, labels, {"test": clips})
    annotations = read_annotations(tmp_path)
    assert annotations.labels == labels
    assert annotations.split("test").filenames == names
    assert [tuple(row) for row in annotations.events["audio"]] == [(name, 0, 2, 0) for name in names]


@pytest.mark.parametrize("name", ["bell\x07", "escape\x1b", "delete\x7f"])
def test_labels_with_control_characters_are_refused(name: str, tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text(f"Dog and a long line of text\n{name}\n")
    with pytest.raises(DatasetError, match="control character"):
        read_labels(tmp_path / "labels.txt")


def test_labels_with_surrogates_fit_into_no_data_set(run: Callable[..., Result], tmp_path: Path) -> None:
    event = '{"modality": "audio", "label": "\\udc80", "onset": 0, "offset": 1}'
    (tmp_path / "a.events.json").write_text(f'{{"events": [{event}]}}')
    result = run("convert", tmp_path / "a.events.json", "--data-set", tmp_path / "set", "--split", "test")
    assert (result.status, result.err.count("\n")) == (2, 1)
    assert "surrogate" in result.err
