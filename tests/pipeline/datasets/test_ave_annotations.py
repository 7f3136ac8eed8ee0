"""Annotations in AVE's form: both forms of the rows, splits from texts and from HDF5 files, and what is refused."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Sequence
from pathlib import Path

import h5py
import numpy as np
import pytest
from avvp.pipeline.datasets import ave_annotations
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.ave_rows import AveRow, split_ave_row
from avvp.pipeline.errors import DatasetError, SetupError
from avvp.pipeline.features import h5_files
from support.paths import SHARED

AVE = SHARED / "ave"
needs_ave = pytest.mark.skipif(not AVE.is_dir(), reason=f"no annotations of AVE at {AVE}")
HEADER = "Category&VideoID&Quality&StartTime&EndTime\n"
ROWS = (
    "Rock & roll&aaaaaaaaaaa&good&0&3\n",
    "Rodents, rats, mice&-bbbbbbbbb_&good&2&10\n",
    "Rock & roll&ccccccccccc&good&4&4\n",
    "Rodents, rats, mice&aaaaaaaaaaa&good&0&3\n",
    "Frying (food)&ddddddddddd&good&9&10\n",
)
CLASSES = 3


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "Annotations.txt").write_text("".join(ROWS))
    (tmp_path / "trainSet.txt").write_text(ROWS[4] + ROWS[0])
    (tmp_path / "valSet.txt").write_text(ROWS[3])
    (tmp_path / "testSet.txt").write_text(ROWS[1] + ROWS[2])
    return tmp_path


def write_h5(path: Path, values: object, name: str = "order") -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset(name, data=values)


def use_orders(folder: Path, **orders: Sequence[int]) -> None:
    for file in folder.glob("*Set.txt"):
        file.unlink()
    for split, order in orders.items():
        write_h5(folder / f"{split}_order.h5", np.asarray(order, np.int64))


def test_a_row_is_split_at_its_last_separators() -> None:
    assert split_ave_row(" Rock & roll&-x &good&0&10") == AveRow("Rock & roll", "-x", "good", "0", "10")
    assert split_ave_row("a&b&c&d") is None
    header = split_ave_row(HEADER)
    assert header is not None
    assert header.is_header


def test_rows_become_clips_with_one_event_that_is_heard_and_seen(folder: Path) -> None:
    annotations = read_annotations(folder)
    assert annotations.task == "avel"
    assert annotations.labels == ("Rock & roll", "Rodents, rats, mice", "Frying (food)")
    assert annotations.split("train").filenames == ("ddddddddddd", "aaaaaaaaaaa")
    assert annotations.split("train").labels.tolist() == [[False, False, True], [True, False, False]]
    assert annotations.split("val").filenames == ("aaaaaaaaaaa.2",)
    assert annotations.split("test").labels.tolist() == [[False, True, False], [False] * CLASSES]
    assert annotations.segments == 10
    labels = annotations.segment_labels(annotations.split("test"), 10)
    assert labels.audio[0].T.tolist() == [[False] * 10, [False] * 2 + [True] * 8, [False] * 10]
    assert not labels.audio[1].any()
    np.testing.assert_array_equal(labels.audio, labels.visual)


@pytest.mark.parametrize(
    "text",
    [
        HEADER + "".join(ROWS),
        "\ufeff" + HEADER + "".join(ROWS),
        ("\n" + HEADER + "\n".join(ROWS)).replace("\n", "\r\n"),
        "".join(ROWS).removesuffix("\n"),
    ],
    ids=["header", "byte order mark", "Windows", "no last newline"],
)
def test_forms_of_the_file(folder: Path, text: str) -> None:
    plain = read_annotations(folder)
    (folder / "Annotations.txt").write_bytes(text.encode())
    (folder / "trainSet.txt").write_bytes((HEADER + ROWS[4] + ROWS[0]).replace("\n", "\r\n").encode())
    annotations = read_annotations(folder)
    assert annotations.events == plain.events
    assert annotations.split("train").filenames == plain.split("train").filenames


def test_irregularities_are_named(folder: Path) -> None:
    (folder / "testSet.txt").write_text(ROWS[2])
    assert read_annotations(folder).notes == (
        "Annotations.txt: 1 video (aaaaaaaaaaa) with several rows: each is a clip, the second is called ID.2",
        "Annotations.txt: 1 clip (ccccccccccc) without an event, from a second to the same: background",
        "Annotations.txt: 1 of 5 rows are in no split: not used",
        "1 video (aaaaaaaaaaa) in train and, with another row, in val: not independent",
    )


def test_splits_of_order_files(folder: Path) -> None:
    texts = read_annotations(folder)
    use_orders(folder, train=[4, 0], val=[3], test=[1, 2])
    orders = read_annotations(folder)
    assert {name: split.filenames for name, split in orders.splits.items()} == {
        name: split.filenames for name, split in texts.splits.items()
    }
    (folder / "valSet.txt").write_text(ROWS[3])
    assert read_annotations(folder).notices == ("val_order.h5: not read, because valSet.txt says the same",)


def test_order_files_need_h5py(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (h5_files, ave_annotations):
        monkeypatch.setattr(module, "has_h5py", lambda: False)
    write_h5(folder / "labels_noisy.h5", np.eye(4, dtype=np.float32)[[3]], "avadataset")
    annotations = read_annotations(folder)
    assert "noisy" not in annotations.splits
    assert annotations.notices == (
        "labels_noisy.h5: not read, so there are no noisy clips; it needs: pip install 'avvp[avel]'",
    )
    use_orders(folder, train=[0])
    with pytest.raises(SetupError, match=r"train_order\.h5: HDF5 files need h5py; .* pip install 'avvp\[avel\]'"):
        read_annotations(folder)


@pytest.mark.parametrize(
    ("orders", "message"),
    [
        (
            {"train": [4, 0], "test": [1, 5]},
            "test_order.h5: is of other annotations: Annotations.txt has the rows 0 to 4",
        ),
        ({"train": [-1, 0]}, "and not -1"),
        ({"train": [0, 1, 0]}, "train_order.h5: lists 1 row (0) twice"),
        ({"train": [0, 1], "val": [2], "test": [1]}, "1 row (1) of Annotations.txt in train and in test"),
        ({"train": [0, 1, 2, 3, 4, 0]}, "train_order.h5: 6 numbers, more than 5"),
        ({"train": []}, "the train split is empty"),
        ({}, "no list says which rows of Annotations.txt are in which split: trainSet.txt"),
    ],
)
def test_order_files_that_do_not_fit(folder: Path, orders: dict[str, Sequence[int]], message: str) -> None:
    use_orders(folder, **orders)
    with pytest.raises(DatasetError) as error:
        read_annotations(folder)
    assert message in str(error.value)


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("Annotations.txt", "", "Annotations.txt: has no rows"),
        ("Annotations.txt", HEADER, "Annotations.txt: has no rows"),
        ("Annotations.txt", ROWS[0] + HEADER, "Annotations.txt:2: 'StartTime' is not a whole number of seconds"),
        ("Annotations.txt", "Bark\tx\tgood\t0\t10\n", "expected class&video&quality&start&end, not"),
        ("Annotations.txt", "Bark&x&good&0\n", "Annotations.txt:1: expected class&video"),
        ("Annotations.txt", "Bark&&good&0&1\n", "'' is not the id of a video"),
        ("Annotations.txt", "Bark&x&good&5&4\n", "Annotations.txt:1: [5, 4) is not an interval of seconds from 0 on"),
        ("Annotations.txt", "Bark&x&good&-1&4\n", "[-1, 4) is not an interval"),
        ("Annotations.txt", "Bark&x&good&0&1.5\n", "'1.5' is not a whole number of seconds"),
        ("Annotations.txt", "Bark&x&good&0&nan\n", "'nan' is not a whole number"),
        ("Annotations.txt", "Bark&x&good&0&90000\n", "more than 24 hours"),
        ("Annotations.txt", "&x&good&0&1\n", "the class '' cannot be used: it is empty"),
        ("Annotations.txt", "a\x1bb&x&good&0&1\n", "control character"),
        ("Annotations.txt", "default&x&good&0&1\n", "stands for all classes"),
        ("Annotations.txt", "A&x&g&0&1\nB&x&g&0&1\nA&x.2&g&0&1\n", "x.2 is the name of two clips"),
        (
            "trainSet.txt",
            ROWS[0] * 2,
            "trainSet.txt:2: 'Rock & roll&aaaaaaaaaaa&good&0&3' is listed more often than in",
        ),
        ("trainSet.txt", "Bark&x&good&0&10\n", "trainSet.txt:1: 'Bark&x&good&0&10' is no row of Annotations.txt"),
        ("trainSet.txt", ROWS[0].replace("3", "4"), "is no row of Annotations.txt"),
        ("trainSet.txt", "", "the train split is empty"),
        ("valSet.txt", ROWS[1], "1 row (1) of Annotations.txt in val and in test"),
        ("noisySet.txt", "n1\nn1\n", "noisySet.txt: lists n1 twice"),
        ("noisySet.txt", "ccccccccccc\n", "ccccccccccc is a clip of Annotations.txt and a noisy clip"),
        ("AVVP_train.csv", "filename\tevent_labels\n", "holds Annotations.txt and AVVP_train.csv: two data sets"),
    ],
)
def test_files_that_cannot_be_understood(folder: Path, name: str, text: str, message: str) -> None:
    (folder / name).write_text(text)
    with pytest.raises(DatasetError) as error:
        read_annotations(folder)
    assert message in str(error.value)


def test_problems_are_listed_together_and_bounded(folder: Path) -> None:
    (folder / "Annotations.txt").write_text("Bark&x&good&0&x\n" * 5_000)
    with pytest.raises(DatasetError) as error:
        read_annotations(folder)
    assert "Annotations.txt:20:" in str(error.value)
    assert str(error.value).endswith("... and 981 more")


def test_too_many_classes(folder: Path) -> None:
    (folder / "Annotations.txt").write_text("".join(f"c{n}&x{n}&good&0&1\n" for n in range(10_001)))
    with pytest.raises(DatasetError, match=r"10,001 classes, more than 10,000"):
        read_annotations(folder)


def test_rows_that_are_equal_are_two_clips(folder: Path) -> None:
    (folder / "Annotations.txt").write_text("".join(ROWS) + ROWS[0])
    (folder / "trainSet.txt").write_text(ROWS[0] * 2)
    assert read_annotations(folder).split("train").filenames == ("aaaaaaaaaaa", "aaaaaaaaaaa.3")


def test_noisy_clips_by_name_and_by_number(folder: Path) -> None:
    with pytest.raises(DatasetError, match=r"noisySet\.txt or .*labels_noisy\.h5: no such file.*no noisy split"):
        read_annotations(folder).split("noisy")
    write_h5(folder / "labels_noisy.h5", np.eye(4, dtype=np.float32)[[3, 3]], "avadataset")
    noisy = read_annotations(folder).split("noisy")
    assert noisy.filenames == ("noisy_000", "noisy_001")
    assert noisy.labels.tolist() == [[False] * CLASSES] * 2
    (folder / "noisySet.txt").write_text("clip one\nclip two\n")
    annotations = read_annotations(folder)
    assert annotations.split("noisy").filenames == ("clip one", "clip two")
    assert annotations.notices == ("labels_noisy.h5: not read, because there is noisySet.txt",)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (np.zeros((2, 3), np.float32), "shape (2, 3), expected (100,000 or fewer, 4)"),
        (np.eye(4, dtype=np.float32), "has clips with an event"),
        (np.zeros((2, 4), np.int64), "values of the type int64, expected floating-point numbers"),
    ],
)
def test_noisy_labels_that_do_not_fit(folder: Path, values: np.ndarray, message: str) -> None:
    write_h5(folder / "labels_noisy.h5", values, "avadataset")
    with pytest.raises(DatasetError) as error:
        read_annotations(folder)
    assert message in str(error.value)


@needs_ave
def test_the_published_annotations() -> None:
    content = (AVE / "Annotations.txt").read_bytes()
    assert hashlib.sha256(content).hexdigest().startswith("0d24a9ec")
    annotations = read_annotations(AVE)
    assert len(annotations.labels) == 28
    assert annotations.labels[:2] + annotations.labels[-2:] == (
        *("Church bell", "Male speech, man speaking"),
        *("Accordion", "Mandolin"),
    )
    assert annotations.labels.index("Rodents, rats, mice") == 25
    assert {name: len(split) for name, split in annotations.splits.items()} == {
        "train": 3339,
        "val": 402,
        "test": 402,
        "noisy": 178,
    }
    assert annotations.segments == 10
    assert sum(".2" in name for split in annotations.splits.values() for name in split.filenames) == 45
    shares = {
        name: annotations.segment_labels(annotations.split(name), 10).audio.any(axis=2).mean() * 100
        for name in ("train", "val", "test")
    }
    # avel_metrics.json: 100 minus the accuracy of a system that says background everywhere.
    assert shares == pytest.approx({"train": 83.135669362, "val": 81.791044776, "test": 82.213930348})
    train = annotations.split("train")
    assert not train.labels[train.filenames.index("VWi2ENBuTbw")].any()
    notes = "\n".join(annotations.notes)
    for part in ("45 videos", "1 clip (VWi2ENBuTbw)", "10 videos (-GJvu5hr6w4, ", "8 videos (-9_5_2i4igQ, "):
        assert part in notes
    assert "in no split" not in notes


def test_texts_that_are_changed_end_in_annotations_or_in_an_error(folder: Path) -> None:
    rng = random.Random(0)  # noqa: S311 - edits of a test
    pieces = [
        "&",
        "\n",
        "\r",
        "\t",
        "\0",
        "9" * 30,
        "-1",
        "1e400",
        "1,5",
        "\ufeff",
        "\x1b[2J",
        "\u2028",
        "VideoID",
        ROWS[0],
    ]
    contents = {name: (folder / name).read_text() for name in ("Annotations.txt", "trainSet.txt", "testSet.txt")}
    outcomes = {True: 0, False: 0}
    for _ in range(150):
        name = rng.choice(list(contents))
        text = contents[name]
        for _ in range(rng.randint(1, 3)):
            start = rng.randrange(len(text) + 1)
            text = text[:start] + rng.choice(pieces) + text[start + rng.choice([0, 0, 1, 5]) :]
        (folder / name).write_text(text, newline="")
        try:
            annotations = read_annotations(folder)
        except DatasetError as error:
            assert str(folder) in str(error) or name in str(error)
            outcomes[False] += 1
        else:
            assert all(0 <= row.onset < row.offset for row in annotations.events["audio"])
            outcomes[True] += 1
        (folder / name).write_text(contents[name])
    assert min(outcomes.values()) > 5, outcomes
