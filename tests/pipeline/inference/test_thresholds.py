"""Files of thresholds: numbers from 0 to 1 of known classes, and nothing else."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.thresholds import Thresholds, apply_tables, read_thresholds

LABELS = ("Dog", "Speech")


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("nan", "nan"),
        ("inf", "inf"),
        ("-inf", "-inf"),
        ("-0.001", "-0.001"),
        ("1.001", "1.001"),
        ("50", "50"),
        ("true", "True"),
        ('"0.5"', "'0.5'"),
        ("[0.5]", r"\[0.5\]"),
        ("{a = 0.5}", "{'a': 0.5}"),
        ("2020-01-01", "datetime"),
        (f"0x{'f' * 5000}", "an integer of 20000 bits"),
        (f"[0x{'f' * 5000}]", "a value of type list"),
        (f'"{"x" * 100_000}"', r"\.\.\. \(100000 characters\)"),
        ('"\\u001b[31m\\n"', r"\\x1b\[31m\\n"),
    ],
)
def test_values_that_are_no_thresholds(tmp_path: Path, value: str, shown: str) -> None:
    path = tmp_path / "t.toml"
    path.write_text(f"[audio.segment]\nDog = {value}\n")
    with pytest.raises(SetupError, match=rf"audio\.segment\.Dog is .*{shown}.*, not a number from 0 to 1") as error:
        read_thresholds(path)
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("audio = 0.5", "'audio' is not a table"),
        ("[smell]\nDog = 0.5", "'smell' is not a table; expected audio, visual and video"),
        ("[audio]\nDog = 0.5", "audio.Dog is not a table; expected segment and video"),
        ("[audio]\nsegment = 0.5", "audio.segment is not a table; expected classes and numbers"),
        ("video = 0.5", "video is not a table"),
        (f"[{'x' * 100_000}]", r"\.\.\. \(100000 characters\)"),
        ("a.b.c.d.e = 1", "more than 4 parts"),
        ("#" * (1 << 20) + "##", "characters, more than"),
    ],
)
def test_tables_that_are_no_thresholds(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.toml").write_text(text)
    with pytest.raises(SetupError, match=message) as error:
        read_thresholds(tmp_path / "t.toml")
    assert str(error.value).isprintable()
    assert len(str(error.value)) < 500


@pytest.mark.parametrize("text", ["[NaN]", "[]", "3", '{"audio": {"segment": {"Dog": NaN}}}', "[" * 100_000])
def test_json_that_is_no_thresholds(tmp_path: Path, text: str) -> None:
    (tmp_path / "t.json").write_text(text)
    with pytest.raises(SetupError, match=r"t\.json"):
        read_thresholds(tmp_path / "t.json")


def test_unknown_classes_are_refused_in_a_short_line() -> None:
    labels = tuple(f"class {index}" for index in range(10_000))
    with pytest.raises(SetupError, match="unknown class 'Cat'; known: class 0, class 1, ") as error:
        apply_tables({"audio_segment": {"Cat": 0.5}}, labels, 0.5, 0.5)
    assert len(str(error.value)) < 1200


def test_files_that_are_thresholds(tmp_path: Path) -> None:
    written = Thresholds.uniform(LABELS, 0.25, 1)
    (tmp_path / "t.toml").write_text(written.to_toml())
    (tmp_path / "t.json").write_text(json.dumps({"audio": {"segment": {"default": 0, "Speech": 1}}}))
    tables = read_thresholds(tmp_path / "t.toml")
    read = apply_tables(tables, LABELS, 0.5, 0.5)
    np.testing.assert_array_equal(read.audio_segment, written.audio_segment)
    np.testing.assert_array_equal(read.video, written.video)
    tables = read_thresholds(tmp_path / "t.json")
    np.testing.assert_array_equal(apply_tables(tables, LABELS, 0.5, 0.5).audio_segment, [0, 1])
