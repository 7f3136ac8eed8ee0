"""Files of thresholds: numbers from 0 to 1 of known classes, and nothing else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.models.config import ParserConfig
from avvp.models.localizers.config import LocalizerConfig
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.decisions import load_decision
from avvp.pipeline.inference.thresholds import DecisionRule, Thresholds, read_thresholds
from avvp.pipeline.timeline import SegmentProbabilities

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
        Thresholds.uniform(labels, 0.5, 0.5).changed({"audio_segment": {"Cat": 0.5}})
    assert len(str(error.value)) < 1200


def test_files_that_are_thresholds(tmp_path: Path) -> None:
    written = Thresholds.uniform(LABELS, 0.25, 1)
    (tmp_path / "t.toml").write_text(written.to_toml())
    (tmp_path / "t.json").write_text(json.dumps({"audio": {"segment": {"default": 0, "Speech": 1}}}))
    tables = read_thresholds(tmp_path / "t.toml")
    read = Thresholds.uniform(LABELS, 0.5, 0.5).changed(tables)
    np.testing.assert_array_equal(read.audio_segment, written.audio_segment)
    np.testing.assert_array_equal(read.video, written.video)
    tables = read_thresholds(tmp_path / "t.json")
    np.testing.assert_array_equal(Thresholds.uniform(LABELS, 0.5, 0.5).changed(tables).audio_segment, [0, 1])


def tables(**values: float) -> SegmentProbabilities:
    """One second of one class, 0.5 everywhere but for what is given."""
    names = ["audio", "visual", "audio_video", "visual_video", *(["video"] if "video" in values else [])]
    return SegmentProbabilities(*(np.full((1, 1), values.get(name, 0.5), np.float32) for name in names))


@pytest.mark.parametrize(
    ("video_filter", "probabilities", "expected"),
    [
        ("default", tables(audio_video=0.1), (True, True)),
        ("default", tables(audio_video=0.1, visual_video=0.1), (False, False)),
        ("default", tables(audio_video=0.1, visual_video=0.1, video=0.5), (True, True)),
        ("default", tables(video=0.1), (False, False)),
        ("pooled", tables(video=0.1), (False, False)),
        ("pooled", tables(video=0.5, audio_video=0.1), (True, True)),
        ("own", tables(audio_video=0.1), (False, True)),
        ("own", tables(visual_video=0.1, video=0.9), (True, False)),
        ("union", tables(visual_video=0.1, video=0.1), (True, True)),
        ("union", tables(audio_video=0.1, visual_video=0.1, video=0.9), (False, False)),
    ],
)
def test_filters_by_the_video(
    video_filter: str, probabilities: SegmentProbabilities, expected: tuple[bool, bool]
) -> None:
    rule = DecisionRule(video_filter)
    labels = replace(Thresholds.uniform(("Dog",)), rule=rule).decide(probabilities)
    assert (labels.audio.item(), labels.visual.item()) == expected
    strict = replace(Thresholds.uniform(("Dog",)), rule=replace(rule, strict=True)).decide(probabilities)
    assert not strict.audio.any()
    assert not strict.visual.any()


def test_a_pooled_filter_without_a_pooled_probability() -> None:
    with pytest.raises(ValueError, match="the probabilities have none"):
        replace(Thresholds.uniform(("Dog",)), rule=DecisionRule("pooled")).decide(tables())


def test_thresholds_of_a_configuration() -> None:
    config = ParserConfig(
        labels=LABELS, segment_threshold=0.25, video_threshold=0.45, video_filter="own", strict_thresholds=True
    )
    thresholds = Thresholds.published(config)
    assert thresholds.to_dict() == Thresholds.uniform(LABELS, 0.25, 0.45).to_dict()
    assert thresholds.rule == DecisionRule("own", strict=True)
    assert thresholds.changed(segment=0.1).rule == thresholds.rule
    localizer = LocalizerConfig(labels=LABELS, system="psp")
    assert Thresholds.published(localizer).rule == DecisionRule()


def test_changed_thresholds() -> None:
    start = Thresholds.uniform(LABELS, 0.25, 0.45)
    table = {"visual_video": {"Dog": 0.7}, "audio_segment": {"default": 0.1, "Speech": 0.2}}
    changed = start.changed(table)
    assert changed.visual_video.tolist() == [0.7, 0.45]
    assert changed.audio_segment.tolist() == [0.1, 0.2]
    assert changed.visual_segment.tolist() == [0.25, 0.25]
    assert start.visual_video.tolist() == [0.45, 0.45]
    asked = start.changed(table, video=0.9)
    assert asked.visual_video.tolist() == [0.7, 0.9]
    assert asked.visual_segment.tolist() == [0.25, 0.25]
    assert asked.video.tolist() == [0.9, 0.9]


def test_a_decision_applies_the_rule_of_its_configuration_to_any_thresholds() -> None:
    config = ParserConfig(labels=("Dog",), video_filter="own")
    decide, _ = load_decision(config)
    labels = decide(tables(audio_video=0.1), Thresholds.uniform(("Dog",)))
    assert (labels.audio.item(), labels.visual.item()) == (False, True)
