"""Annotation files: reading, warnings about irregular rows, and the list of errors."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import Annotations, read_annotations, read_labels
from avvp.pipeline.errors import DatasetError
from support.golden import LLP, needs_golden

FILES = {
    "labels.txt": "Dog\nSpeech\n",
    "AVVP_train.csv": "filename\tevent_labels\none_0_10\tDog,Speech\ntwo_0_10\t\n",
    "AVVP_val_pd.csv": "filename\tevent_labels\nthree_0_10\tDog\n",
    "AVVP_test_pd.csv": "filename\tevent_labels\nfour_0_10\tSpeech\n",
    "AVVP_eval_audio.csv": "filename\tonset\toffset\tevent_labels\nthree_0_10\t1\t3\tDog\nfour_0_10\t0\t2\tSpeech\n",
    "AVVP_eval_visual.csv": "filename\tonset\toffset\tevent_labels\nthree_0_10\t0\t4\tDog\nfour_0_10\t0\t1\tSpeech\n",
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


def audio(folder: Path, *rows: str) -> Annotations:
    header = "filename\tonset\toffset\tevent_labels\n"
    (folder / "AVVP_eval_audio.csv").write_text(header + "".join(f"{row}\n" for row in rows))
    return read_annotations(folder)


def test_a_data_set_of_one_s_own(folder: Path) -> None:
    annotations = read_annotations(folder)
    assert annotations.labels == ("Dog", "Speech")
    assert annotations.split("train").filenames == ("one_0_10", "two_0_10")
    assert annotations.split("train").labels.tolist() == [[True, True], [False, False]]
    assert annotations.segments == 4
    audio = annotations.modality_labels(annotations.split("val"), "audio", 5)
    assert audio.shape == (1, 5, 2)
    assert audio[0, :, 0].tolist() == [False, True, True, False, False]
    assert not audio[0, :, 1].any()
    assert annotations.notes == ()


def test_without_a_label_list_the_classes_are_those_of_llp(folder: Path) -> None:
    (folder / "labels.txt").unlink()
    assert read_annotations(folder).labels == LLP_LABELS


def test_dirt_is_told_of_once_and_counts_as_published(folder: Path) -> None:
    annotations = audio(
        folder, "three_0_10\t1\t3\tDog", "three_0_10\t1\t3\tDog", "three_0_10\t4\t4\tDog", "stray_0_10\t0\t9\tDog"
    )
    heard = annotations.modality_labels(annotations.split("val"), "audio", 5)
    assert heard[0, :, 0].tolist() == [False, True, True, False, False]
    assert len(annotations.notes) == 4
    for part in (
        "1 clip (stray_0_10) in no split",
        "1 row (three_0_10) with onset >= offset",
        "1 repeated row (three_0_10)",
        "1 test clip (four_0_10) without rows",
    ):
        assert sum(part in note for note in annotations.notes) == 1, part


def test_what_lies_past_the_end_is_cut(folder: Path) -> None:
    annotations = audio(folder, "three_0_10\t3\t40\tDog")
    assert (
        annotations.modality_labels(annotations.split("val"), "audio", 5)[0, :, 0].tolist() == [False] * 3 + [True] * 2
    )


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        (
            "AVVP_train.csv",
            "filename\tevent_labels\none\tdog\n",
            "AVVP_train.csv:2: unknown class 'dog'; did you mean Dog?",
        ),
        ("AVVP_train.csv", "filename\tevent_labels\none\tDog\none\tDog\n", "AVVP_train.csv:3: one is listed twice"),
        ("AVVP_train.csv", "filename\tevent_labels\n", "the train split is empty"),
        ("AVVP_val_pd.csv", "", "has no column filename, event_labels"),
        ("AVVP_val_pd.csv", "filename,event_labels\nx,Dog\n", "expected tab-separated"),
        ("AVVP_val_pd.csv", "filename\tevent_labels\nx\n", "AVVP_val_pd.csv:2: 1 columns, expected 2"),
        (
            "AVVP_eval_audio.csv",
            "filename\tonset\toffset\tevent_labels\nx\t0\t1.5\tDog\n",
            "'1.5' is not a whole number",
        ),
        (
            "AVVP_eval_audio.csv",
            "filename\tonset\toffset\tevent_labels\nx\t0\tnan\tDog\n",
            "'nan' is not a whole number",
        ),
        ("AVVP_eval_visual.csv", "filename\tonset\toffset\tevent_labels\nx\t0\t1\tWolf\n", "unknown class 'Wolf'"),
        (
            "AVVP_eval_visual.csv",
            "filename\tonset\toffset\tevent_labels\nx\t0\t3000000000\tDog\n",
            "more than 24 hours",
        ),
        ("AVVP_test_pd.csv", "filename\tevent_labels\none_0_10\tDog\n", "one_0_10 is in train and in test"),
        ("labels.txt", "Dog\ndefault\n", "stands for all classes"),
        ("labels.txt", "", "the label list is empty"),
        ("labels.txt", "Dog\nDog\n", "contains Dog twice"),
        ("labels.txt", "Dog, big\n", "contains a comma"),
    ],
)
def test_files_that_cannot_be_understood(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DatasetError) as error:
        read_annotations(folder)
    assert message in str(error.value)


def test_bytes_that_are_no_text(folder: Path) -> None:
    (folder / "AVVP_train.csv").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DatasetError, match=r"AVVP_train\.csv: cannot be read"):
        read_annotations(folder)


def test_all_problems_are_listed_together(folder: Path) -> None:
    (folder / "AVVP_train.csv").write_text("filename\tevent_labels\n" + "".join(f"c{n}\tWolf\n" for n in range(30)))
    (folder / "AVVP_eval_audio.csv").write_text("filename\tonset\toffset\tevent_labels\nx\t0\t1\tBear\n")
    with pytest.raises(DatasetError) as error:
        read_annotations(folder)
    lines = str(error.value).splitlines()
    assert "AVVP_train.csv:2: unknown class 'Wolf'" in lines[1]
    assert "and 11 more" in lines[-1]


def test_a_folder_without_splits(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="holds none of AVVP_train"):
        read_annotations(tmp_path)
    with pytest.raises(DatasetError, match="no such folder"):
        read_annotations(tmp_path / "nowhere")


def test_a_split_or_event_file_that_is_absent(folder: Path) -> None:
    (folder / "AVVP_test_pd.csv").unlink()
    (folder / "AVVP_eval_visual.csv").unlink()
    annotations = read_annotations(folder)
    with pytest.raises(DatasetError, match="no test split"):
        annotations.split("test")
    with pytest.raises(DatasetError, match="no visual events to compare with"):
        annotations.modality_labels(annotations.split("val"), "visual", 5)


@needs_golden
def test_llp() -> None:
    annotations = read_annotations(LLP)
    assert {name: len(split) for name, split in annotations.splits.items()} == {
        "train": 10000,
        "val": 649,
        "test": 1200,
    }
    assert annotations.labels == LLP_LABELS
    assert annotations.segments == 10
    notes = "\n".join(annotations.notes)
    for dirt in ("8 clips", "7 clips", "6 rows", "8 repeated rows", "5 test clips", "121 test clips"):
        assert dirt in notes
    audio = annotations.modality_labels(annotations.split("test"), "audio", 10)
    assert (~audio.any((1, 2))).sum() >= 5
    assert np.count_nonzero(annotations.split("train").labels.sum(1) == 0) == 0


def test_names_that_other_programs_would_tear(folder: Path) -> None:
    name = "odd\u2028name\x0b \x85 " + "x" * 200_000
    (folder / "AVVP_train.csv").write_bytes(f"filename\tevent_labels\r\n{name}\tDog\r\n".encode())
    assert read_annotations(folder).split("train").filenames == (name,)


class TestBoundedWork:
    def test_table_of_labels(self, tmp_path: Path) -> None:
        """One offset at the end of a day must not make a table of gigabytes."""
        names = "\n".join(f"clip{index}\tDog" for index in range(1_000))
        (tmp_path / "AVVP_val_pd.csv").write_text(f"filename\tevent_labels\n{names}\n")
        for name in ("audio", "visual"):
            row = "clip0\t86000\t86400\tDog"
            (tmp_path / f"AVVP_eval_{name}.csv").write_text(f"filename\tonset\toffset\tevent_labels\n{row}\n")
        annotations = read_annotations(tmp_path)
        with pytest.raises(DatasetError, match="1000 clips of up to 86400 s and 25 classes are more than"):
            annotations.segment_labels(annotations.split("val"), annotations.segments)

    def test_unknown_classes(self, tmp_path: Path) -> None:
        """Similar classes are not looked for in every one of many lines."""
        rows = "\n".join(f"clip{index}\t{'Dogg' * 500}{index}" for index in range(2_000))
        (tmp_path / "AVVP_val_pd.csv").write_text(f"filename\tevent_labels\n{rows}\n")
        started = time.process_time()
        with pytest.raises(DatasetError, match=r"(?s)unknown class 'DoggDogg.*and 981 more"):
            read_annotations(tmp_path)
        assert time.process_time() - started < 5

    def test_number_and_length_of_classes(self, tmp_path: Path) -> None:
        path = tmp_path / "labels.txt"
        path.write_text("a" * 1_001)
        with pytest.raises(DatasetError, match="longer than 1,000 characters"):
            read_labels(path)
        path.write_text("\n".join(map(str, range(10_001))))
        with pytest.raises(DatasetError, match="has 10001 classes, more than 10,000"):
            read_labels(path)
