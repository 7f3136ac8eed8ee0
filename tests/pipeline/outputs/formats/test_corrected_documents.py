"""What people add in the page is kept in the JSON document: comments, classes of their own, who and when."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from avvp.pipeline.outputs.formats.events_json import from_document, load_schema, to_document, to_json
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.postprocess import PostProcessing, merge_events, refine, split_modalities
from avvp.pipeline.timeline import MAX_COMMENT, Event, SegmentProbabilities, Timeline

CORRECTION = {"step": "correct", "edits": 2, "by": "Ann", "at": "2026-11-25T10:00:00Z"}


def corrected() -> Timeline:
    """Two classes of a parser and one of a person, in a clip of 3 s."""
    events = (Event("audio", "Dog", 0.0, 2.0, 0.5, 'barks "twice"\n'), Event("visual", "Goat", 1.0, 2.5, 1.0))
    tables = SegmentProbabilities(*np.full((4, 3, 2), 0.5, np.float32))
    media = {"path": "a.mp4", "duration": 3.0}
    return Timeline(events, ("Dog", "Cat", "Goat"), tables, media, {}, processing=(CORRECTION,))


def test_comments_and_own_classes_are_kept() -> None:
    document = json.loads(to_json(corrected(), segments=True))
    jsonschema.validate(document, load_schema())
    assert document == to_document(corrected(), segments=True)
    assert [event.get("comment") for event in document["events"]] == ['barks "twice"\n', None]
    back = from_document(document, "a")
    assert back.events == corrected().events
    assert back.labels == ("Dog", "Cat", "Goat")
    assert back.probabilities is not None
    assert back.probabilities.audio.shape == (3, 2)
    assert back.processing == (CORRECTION,)


@pytest.mark.parametrize("columns", [0, 4])
def test_tables_have_columns_for_the_classes_of_the_parser(columns: int) -> None:
    document = to_document(corrected())
    rows = [[0.5] * columns] * 3
    document["segments"] = dict.fromkeys(("audio", "visual", "audio_video", "visual_video"), rows)
    with pytest.raises(ValueError, match=rf"tables in segments are \(3, {columns}\)"):
        from_document(document, "a")


@pytest.mark.parametrize("comment", [7, None, ["x"], "x" * (MAX_COMMENT + 1)])
def test_comments_are_short_texts(comment: object) -> None:
    document = to_document(corrected())
    document["events"][0]["comment"] = comment
    with pytest.raises(ValueError, match=r"is not an event|longer than 1,000 characters"):
        from_document(document, "a")


def test_merged_events_keep_the_comments_of_both() -> None:
    first, second = (Event("audio", "Dog", start, start + 1.0, 0.5, text) for start, text in ((0.0, "a"), (1.0, "b")))
    (merged,) = merge_events([first, second], 0.0)
    assert merged.comment == "a; b"
    (merged,) = merge_events([first, replace(second, comment="a")], 0.0)
    assert merged.comment == "a"


def test_comments_of_audio_visual_events_are_kept() -> None:
    event = Event("audio_visual", "Dog", 0.0, 1.0, 0.7, "hi")
    assert [single.comment for single in split_modalities([event])] == ["hi", "hi"]
    timeline = replace(corrected(), events=(event,), labels=("Dog", "Cat"))
    refined = refine(timeline, PostProcessing(min_duration=0.5))
    assert {(found.modality, found.comment) for found in refined.events} == {
        ("audio", "hi"), ("visual", "hi"), ("audio_visual", "hi"),
    }  # fmt: skip


def test_points_are_left_out_with_a_warning(tmp_path: Path) -> None:
    """A marker of no length does not refuse the file, nor does a chapter."""
    timeline = Timeline.of_events([Event("audio", "Dog", 1.0, 2.0, 1.0)], path="a.mp4", duration=5.0)
    (text,) = FORMATS["otio"].write(timeline)
    document = json.loads(text)
    (marker,) = document["tracks"]["children"][0]["children"][0]["markers"]
    marker["marked_range"]["duration"]["value"] = 0
    (tmp_path / "a.otio").write_text(json.dumps(document))
    (read,) = read_events(tmp_path / "a.otio")
    assert (read.events, "without a duration are left out: 1" in read.warnings[0]) == ((), True)
    chapters = ";FFMETADATA1\n[CHAPTER]\nTIMEBASE=1/1\nSTART=1\nEND=1\ntitle=Dog (audio)\n"
    (tmp_path / "a.ffmetadata").write_text(chapters)
    assert read_events(tmp_path / "a.ffmetadata")[0].events == ()


def test_selections_of_joined_raven_tables_are_told_apart(tmp_path: Path) -> None:
    rows = ("Selection\tBegin File\tBegin Time (s)\tEnd Time (s)\tClass", "1\ta.wav\t0\t2\tDog", "1\tb.wav\t0\t2\tDog")
    (tmp_path / "all.selections.txt").write_text("\n".join(rows))
    assert [timeline.name for timeline in read_events(tmp_path / "all.selections.txt")] == ["a", "b"]
