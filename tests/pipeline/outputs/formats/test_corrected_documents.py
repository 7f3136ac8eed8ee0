"""What people add in the page is kept in the JSON document: comments, classes of their own, who and when."""

from __future__ import annotations

import json
from dataclasses import replace

import jsonschema
import numpy as np
import pytest
from avvp.pipeline.outputs.formats.events_json import from_document, load_schema, to_document, to_json
from avvp.pipeline.outputs.postprocess import merge_events
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
