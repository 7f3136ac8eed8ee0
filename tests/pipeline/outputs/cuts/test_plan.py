"""Which parts are cut, how events are merged, and names that are safe and different."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from avvp.pipeline.outputs.cuts.cut_index import COLUMNS, write_index
from avvp.pipeline.outputs.cuts.journal import FinishedCut
from avvp.pipeline.outputs.cuts.plan import Cut, plan_cuts, safe_part
from avvp.pipeline.outputs.search.matches import Moment
from avvp.pipeline.outputs.search.search import Match
from avvp.pipeline.timeline import Event

SOURCE, MEDIA = Path("one.json"), Path("one.mp4")


def plan(*events: Event, pad: float = 0.0, merge: bool = True, name: str = "one") -> list[Cut]:
    moments = [Moment(event.onset, event.offset, event.score, (event,)) for event in events]
    matches = [Match(name, SOURCE, moment) for moment in moments]
    return plan_cuts(matches, {(name, SOURCE): MEDIA}, {MEDIA: ".mp4"}, pad=pad, merge=merge)


def test_padding_and_names() -> None:
    (cut,) = plan(Event("audio", "Vacuum_cleaner", 0.5, 4.25, 0.9), pad=1)
    assert (cut.start, cut.end, cut.onset, cut.offset) == (0.0, 5.25, 0.5, 4.25)
    assert cut.name == "one_0.50-4.25_Vacuum_cleaner_audio.mp4"


EVENTS = (
    Event("audio", "Dog", 1.0, 2.0, 0.5),
    Event("visual", "Dog", 3.0, 4.0, 0.75),
    Event("audio", "Dog", 6.1, 7.0, 0.6),
    Event("audio", "Car", 1.0, 2.0, 0.9),
)


def test_events_of_a_class_that_overlap_with_their_padding_become_one() -> None:
    car, dogs, last = plan(*EVENTS, pad=1)
    assert (dogs.start, dogs.end, dogs.onset, dogs.offset) == (0.0, 5.0, 1.0, 4.0)
    assert (dogs.events, dogs.score, dogs.modality) == (2, 0.75, "audio_visual")
    assert (last.start, last.events) == (5.1, 1)
    assert [cut.name for cut in (car, dogs, last)] == [
        "one_1.00-2.00_Car_audio.mp4", "one_1.00-4.00_Dog_both.mp4", "one_6.10-7.00_Dog_audio.mp4",
    ]  # fmt: skip


def test_no_merging_on_request_and_none_without_overlap() -> None:
    assert len(plan(*EVENTS, pad=1, merge=False)) == 4
    assert len(plan(*EVENTS, pad=0)) == 4


def test_an_event_inside_another_does_not_shorten_it() -> None:
    (cut,) = plan(Event("audio", "Dog", 0.0, 9.0, 0.5), Event("audio", "Dog", 2.0, 3.0, 0.5))
    assert (cut.onset, cut.offset, cut.end) == (0.0, 9.0, 9.0)


def test_timelines_without_media_are_left_out() -> None:
    match = Match("other", SOURCE, Moment(0, 1, 1.0, (EVENTS[0],)))
    assert plan_cuts([match], {}, {}, pad=0, merge=True) == []


def test_equal_names_get_numbers() -> None:
    same = [Event("audio", label, 1.001, 2.0, 0.5) for label in ("a/b", "a:b", "A:b")]
    assert [cut.name for cut in plan(*same)] == [
        "one_1.00-2.00_A_b_audio.mp4", "one_1.00-2.00_a_b_audio-2.mp4", "one_1.00-2.00_a_b_audio-3.mp4",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Vacuum_cleaner", "Vacuum_cleaner"),
        ("../../etc/passwd", "_.._.._etc_passwd"),
        ("-rf", "_-rf"),
        (".hidden", "_.hidden"),
        ("a\0b\nc\x1b[31m", "a_b_c__31m"),
        ("$(rm x) `y` 'z' \"w\" %d", "_(rm_x)__y___z___w___d"),
        ("\udcff", "_"),
        ("", "_"),
        ("...", "_"),
        ("Mu\u0308ll", "M\u00fcll"),
        ("\u72ac \u0939\u093f", "\u72ac_\u0939\u093f"),
        ("trailing. ", "trailing._"),
    ],
)
def test_names_of_strangers(text: str, expected: str) -> None:
    assert safe_part(text, 100) == expected


def test_long_names_are_cut_between_characters_and_fit() -> None:
    (cut,) = plan(Event("audio", "\u72ac" * 300, 0.0, 86_400.0, 0.5), name="\u00e4" * 300)
    assert len(cut.name.encode()) <= 255
    assert safe_part("\u00e4" * 10, 5) == "\u00e4\u00e4"


def test_index_as_csv_and_json() -> None:
    (cut,) = plan(Event("audio", "Dog", 1.5, 4.0, 0.9), pad=1)
    done = [(cut, FinishedCut(cut.name, "key", 0.25, 5.0, 10))]
    (row,) = json.loads(write_index(done, "json", exact=False))
    assert row == {
        "cut": "one_1.50-4.00_Dog_audio.mp4", "video": "one", "media": "one.mp4", "modality": "audio", "label": "Dog",
        "onset": 1.5, "offset": 4.0, "score": 0.9, "events": 1, "start": 0.25, "end": 5.0, "onset_in_cut": 1.25,
        "exact": False,
    }  # fmt: skip
    (read,) = csv.DictReader(io.StringIO(write_index(done, "csv", exact=True).decode()))
    assert tuple(read) == COLUMNS
    assert read == {name: str(value) for name, value in row.items()} | {"exact": "true"}
