"""Timelines of localizers: post-processing, terminal, plots, formats and searches of audio-visual events alone."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import pytest
from avvp.pipeline.outputs.formats.events_json import to_document
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.plots.timeline import plot_timeline
from avvp.pipeline.outputs.postprocess import PostProcessing, refine
from avvp.pipeline.outputs.search.matches import find_moments
from avvp.pipeline.outputs.search.query import Condition, Query
from avvp.pipeline.outputs.terminal import render_timeline
from avvp.pipeline.text import display_label
from avvp.pipeline.timeline import SINGLE_MODALITIES, Event, GroundTruth, SegmentLabels, Timeline
from rich.console import Console
from support.localized import LABELS, both, localized, make_localized_timeline


def test_lanes_follow_the_task_and_the_events() -> None:
    timeline = make_localized_timeline()
    assert {event.modality for event in timeline.events} == {"audio_visual"}
    assert timeline.lanes == timeline.modalities == ("audio_visual",)
    assert repr(timeline).splitlines()[0] == "Timeline of clip: 10.0 s, 3 both, probabilities (10, 3)"
    # Events of other modalities, of whatever program, are not hidden.
    mixed = replace(timeline, events=(*timeline.events, Event("audio", "Bark", 9, 10, 1.0)))
    assert mixed.lanes == SINGLE_MODALITIES
    assert replace(timeline, provenance={}).lanes == SINGLE_MODALITIES


def test_gaps_are_merged_unless_another_class_is_in_them() -> None:
    events = (
        both("Bark", 0, 2, 0.6), both("Bark", 3, 4, 0.9),  # a gap of the background
        both("Violin_fiddle", 4, 5, 0.8), both("Bark", 5, 6, 0.5), both("Church_bell", 8, 9, 0.7),
    )  # fmt: skip
    merged = refine(localized(events), PostProcessing(merge_gap=2))
    assert merged.events[0] == both("Bark", 0, 4, merged.events[0].score)
    assert merged.events[0].score == pytest.approx((2 * 0.6 + 0.9) / 3)
    assert merged.events[1:] == (events[2], events[3], events[4])
    assert merged.processing == ({"step": "refine", "merge_gap": 2},)
    kept = refine(localized(events), PostProcessing(classes=("Bark", "Church_bell"), min_duration=2, min_score=0.6))
    assert kept.events == (both("Bark", 0, 2, 0.6),)


@pytest.mark.parametrize("seed", range(8))
def test_each_second_has_one_class_at_most_after_post_processing(seed: int) -> None:
    timeline = make_localized_timeline(60, seed=seed)
    for gap in (1, 4, 60):
        active = refine(timeline, PostProcessing(merge_gap=gap)).per_second_labels(LABELS)
        assert (active.audio.sum(axis=1) <= 1).all()
        np.testing.assert_array_equal(active.audio, active.visual)


def lines(timeline: Timeline, truth: GroundTruth | None = None) -> str:
    console = Console(file=io.StringIO(), width=100, color_system=None)
    console.print(render_timeline(timeline, 100, truth))
    return console.file.getvalue()  # type: ignore[attr-defined]


def test_terminal_has_one_bar_a_class() -> None:
    timeline = localized((both("Bark", 2, 4), both("Violin_fiddle", 6, 7)))
    active = np.zeros((10, 3), bool)
    active[2:5, 0] = active[8:, 2] = True
    shown = lines(timeline, GroundTruth(SegmentLabels(active, active), "accuracy 80.0"))
    assert "10.0 s   2 both" in shown
    rows = [line.split()[:3] for line in shown.splitlines() if "█" in line or "·" in line]
    assert [row[0] for row in rows] == ["Bark", "truth", "Violin", "Church", "truth"]
    assert "audio" not in shown
    assert "visual" not in shown


def test_plot_has_one_panel(tmp_path: Path) -> None:
    timeline = make_localized_timeline()
    plot_timeline(timeline, tmp_path / "plot.svg")
    words = [text for e in ET.parse(tmp_path / "plot.svg").iter() if (text := (e.text or "").strip())]  # noqa: S314
    assert "10.0 s: 3 both" in words
    assert "both" in words
    assert not {"audio", "visual", "both at once"} & set(words)
    assert words.count("Violin fiddle") == 1
    plot_timeline(replace(timeline, events=()), tmp_path / "empty.svg")
    assert "no events" in (tmp_path / "empty.svg").read_text()


def test_json_keeps_the_task_and_the_probabilities(tmp_path: Path) -> None:
    timeline = make_localized_timeline()
    (tmp_path / "a.events.json").write_bytes(FORMATS["json"].write(timeline)[0])
    (again,) = read_events(tmp_path / "a.events.json")
    assert again.lanes == ("audio_visual",)
    assert to_document(again)["events"] == to_document(timeline)["events"]
    assert again.probabilities is not None
    assert timeline.probabilities is not None
    np.testing.assert_allclose(again.probabilities.audio, timeline.probabilities.audio, atol=1e-6)


@pytest.mark.parametrize("name", FORMATS)
def test_every_format_holds_the_events(name: str, tmp_path: Path) -> None:
    """Formats that know audio and visual alone have them in both; all that are read give the same seconds again."""
    form = FORMATS[name]
    timeline = localized((both("Bark", 2, 4), both("Violin_fiddle", 6, 7)))
    contents = form.write(timeline)
    paths = [tmp_path / f"clip.{suffix}" for suffix in form.suffixes]
    for path, content in zip(paths, contents, strict=True):
        path.write_bytes(content)
    if form.read is None:
        assert b"bark" in b"".join(contents).lower()
        return
    (again,) = read_events(paths[0])
    found = {(display_label(e.label), e.onset, e.offset) for e in again.events if e.modality == "audio_visual"}
    assert found == {("Bark", 2, 4), ("Violin fiddle", 6, 7)}


def test_searches_find_events_once_and_in_every_modality() -> None:
    timeline = localized((both("Bark", 2, 4), both("Violin_fiddle", 6, 7)))
    for modality in (None, "audio", "visual", "audio_visual"):
        (moment,) = find_moments(timeline, Query((Condition("violin fiddle", modality),)))
        assert (moment.onset, moment.offset, moment.modality) == (6, 7, "audio_visual")
    assert len(find_moments(timeline, Query())) == 2
    two = Query((Condition("Bark"), Condition("Violin_fiddle")))
    assert find_moments(timeline, two) == []
    assert len(find_moments(timeline, replace(two, any_of=True))) == 2


def test_documents_are_those_of_the_schema() -> None:
    document = json.loads(FORMATS["json"].write(make_localized_timeline())[0])
    assert document["provenance"]["task"] == "avel"
    assert document["segments"]["audio"] == document["segments"]["visual"]
