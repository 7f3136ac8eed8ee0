"""Search in timelines: conditions, overlaps, orders, limits, and its results as table, CSV and JSON."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Iterable, Iterator
from itertools import product
from pathlib import Path

import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.outputs.formats import csv_tsv
from avvp.pipeline.outputs.formats.read_folders import NamedTimeline
from avvp.pipeline.outputs.postprocess import TooManyEventsError
from avvp.pipeline.outputs.search import search as searching
from avvp.pipeline.outputs.search.matches import find_moments
from avvp.pipeline.outputs.search.query import Condition, Query
from avvp.pipeline.outputs.search.results import describe_count, render_result, write_csv, write_json
from avvp.pipeline.outputs.search.search import search
from avvp.pipeline.timeline import Event, Timeline
from rich.console import Console

STREET = (
    Event("audio", "Dog", 1.0, 4.0, 0.9),
    Event("visual", "Dog", 2.0, 6.0, 0.7),
    Event("audio_visual", "Dog", 2.0, 4.0, 0.65),
    Event("visual", "Vacuum_cleaner", 3.0, 8.0, 0.8),
    Event("audio", "Speech", 3.5, 3.75, 0.5),
)


def timeline_of(events: Iterable[Event], name: str = "street", labels: tuple[str, ...] | None = None) -> Timeline:
    return Timeline.of_events(events, path=f"{name}.mp4", duration=10.0, labels=labels)


def named(*timelines: Timeline) -> Iterator[NamedTimeline]:
    return (NamedTimeline(timeline.name, Path(f"{timeline.name}.csv"), timeline) for timeline in timelines)


def spans(events: Iterable[Event], *conditions: Condition, **options: object) -> list[tuple[float, float, float]]:
    moments = find_moments(timeline_of(events), Query(conditions, **options))  # pyright: ignore[reportArgumentType]
    return [(moment.onset, moment.offset, moment.score) for moment in moments]


class TestConditions:
    def test_no_condition_finds_every_event(self) -> None:
        assert len(spans(STREET)) == len(STREET)

    @pytest.mark.parametrize(
        ("modality", "expected"),
        [
            ("audio", [(1.0, 4.0, 0.9)]),
            ("visual", [(2.0, 6.0, 0.7)]),
            ("audio_visual", [(2.0, 4.0, 0.65)]),
            (None, [(1.0, 4.0, 0.9), (2.0, 6.0, 0.7)]),
        ],
    )
    def test_modality(self, modality: str, expected: list[tuple[float, float, float]]) -> None:
        assert spans(STREET, Condition("Dog", modality)) == expected  # pyright: ignore[reportArgumentType]

    @pytest.mark.parametrize("typed", ["Vacuum_cleaner", "vacuum cleaner", "VACUUM  Cleaner", "vacuum_CLEANER"])
    def test_class_in_any_case_with_spaces_or_underscores(self, typed: str) -> None:
        assert spans(STREET, Condition(typed)) == [(3.0, 8.0, 0.8)]

    def test_events_of_other_programs_that_are_audio_visual_only_count_for_both_modalities(self) -> None:
        only = [Event("audio_visual", "Dog", 1.0, 2.0, 0.6)]
        for modality in ("audio", "visual", "audio_visual"):
            assert spans(only, Condition("Dog", modality)) == [(1.0, 2.0, 0.6)]

    def test_both_is_computed_where_a_file_has_audio_and_visual_events_only(self) -> None:
        assert spans(STREET[:2], Condition("Dog", "audio_visual")) == [(2.0, 4.0, 0.7)]


class TestSeveralConditions:
    def test_all_hold_at_the_same_time(self) -> None:
        assert spans(STREET, Condition("Dog", "audio"), Condition("Vacuum cleaner", "visual")) == [(3.0, 4.0, 0.8)]

    def test_three_conditions(self) -> None:
        conditions = [Condition("Dog", "audio"), Condition("Vacuum cleaner", "visual"), Condition("Speech", "audio")]
        (moment,) = find_moments(timeline_of(STREET), Query(tuple(conditions)))
        assert (moment.onset, moment.offset, moment.score) == (3.5, 3.75, 0.5)
        assert [event.label for event in moment.events] == ["Dog", "Vacuum_cleaner", "Speech"]
        assert (moment.label, moment.modality) == ("Dog + Vacuum_cleaner + Speech", "audio_visual")

    def test_events_that_only_touch_share_no_time(self) -> None:
        touching = [Event("audio", "Dog", 0.0, 2.0, 0.9), Event("audio", "Car", 2.0, 3.0, 0.9)]
        assert spans(touching, Condition("Dog"), Condition("Car")) == []

    def test_any_finds_each_event_once(self) -> None:
        found = spans(STREET, Condition("Dog", "audio"), Condition("Dog"), Condition("Speech"), any_of=True)
        assert found == [(1.0, 4.0, 0.9), (2.0, 6.0, 0.7), (3.5, 3.75, 0.5)]

    def test_least_score_is_that_of_every_event_and_least_duration_that_of_the_shared_time(self) -> None:
        dog_and_cleaner = (Condition("Dog", "audio"), Condition("Vacuum cleaner", "visual"))
        assert spans(STREET, *dog_and_cleaner, min_score=0.8) == [(3.0, 4.0, 0.8)]
        assert spans(STREET, *dog_and_cleaner, min_score=0.85) == []
        assert spans(STREET, *dog_and_cleaner, min_duration=1.0) == [(3.0, 4.0, 0.8)]
        assert spans(STREET, *dog_and_cleaner, min_duration=1.1) == []

    def test_a_duration_that_rounding_shortens_is_kept(self) -> None:
        assert 2.3 - 1.3 < 1
        assert len(spans([Event("audio", "Dog", 1.3, 2.3, 0.9)], min_duration=1.0)) == 1

    @pytest.mark.parametrize("seed", range(20))
    def test_overlaps_are_those_of_a_plain_loop(self, seed: int) -> None:
        chance = random.Random(seed)  # noqa: S311
        events = []
        for index in range(60):
            onset = chance.randint(0, 80) / 10
            modality = chance.choice(["audio", "visual"])
            length = chance.randint(1, 20) / 10
            events.append(Event(modality, chance.choice("AB"), onset, onset + length, index / 100))  # pyright: ignore[reportArgumentType]
        expected = sorted(
            (max(a.onset, b.onset), min(a.offset, b.offset), min(a.score, b.score))
            for a, b in product(events, events)
            if (a.modality, a.label) == ("audio", "A") and b.label == "B"
            if max(a.onset, b.onset) < min(a.offset, b.offset)
        )
        assert sorted(spans(events, Condition("A", "audio"), Condition("B"))) == expected

    def test_events_that_overlap_too_often_are_refused(self) -> None:
        many = [Event("audio", label, i / 1000, 9.0, 0.5) for i in range(600) for label in "AB"]
        with pytest.raises(TooManyEventsError, match=r"street\.csv: more than 300,000 moments"):
            search(named(timeline_of(many)), Query((Condition("A"), Condition("B"))))


class TestSearch:
    def files(self) -> Iterator[NamedTimeline]:
        second = [Event("audio", "Dog", 0.0, 9.0, 0.6), Event("audio", "Dog", 9.0, 9.5, 0.95)]
        return named(timeline_of(STREET, "b"), timeline_of(second, "a"), timeline_of([], "c", ("Dog", "Rain")))

    @pytest.mark.parametrize(
        ("order", "expected"),
        [
            ("file", [("a", 0.0), ("a", 9.0), ("b", 1.0), ("b", 2.0)]),
            ("time", [("a", 0.0), ("b", 1.0), ("b", 2.0), ("a", 9.0)]),
            ("score", [("a", 9.0), ("b", 1.0), ("b", 2.0), ("a", 0.0)]),
            ("duration", [("a", 0.0), ("b", 2.0), ("b", 1.0), ("a", 9.0)]),
        ],
    )
    def test_orders_and_limit(self, order: str, expected: list[tuple[str, float]]) -> None:
        for limit in (None, 1, 2, 3, 10):
            result = search(self.files(), Query((Condition("dog"),)), order=order, limit=limit)
            assert [(match.name, match.moment.onset) for match in result.matches] == expected[:limit]
            assert (result.total, result.timelines, result.timelines_with_matches) == (4, 3, 2)

    def test_limit_bounds_what_is_kept(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(searching, "MAX_MATCHES", 2)
        assert len(search(self.files(), Query(), limit=2).matches) == 2
        with pytest.raises(SetupError, match="more than 2 matches"):
            search(self.files(), Query())

    def test_a_class_without_events_is_no_error(self) -> None:
        result = search(self.files(), Query((Condition("Rain"),)))
        assert describe_count(result) == "no matches in 3 timelines"

    def test_an_unknown_class_is_an_error_with_the_nearest_names(self) -> None:
        with pytest.raises(SetupError, match=r"no file has a class 'Dgo'; the nearest: Dog$"):
            search(self.files(), Query((Condition("Dgo"),)))
        with pytest.raises(SetupError, match="'vacum cleaner'; the nearest: Vacuum_cleaner"):
            search(self.files(), Query((Condition("vacum cleaner"), Condition("Dog"))))
        with pytest.raises(SetupError, match=r"'zzz'; known: Dog, Rain, Speech, \.\.\."):
            search(self.files(), Query((Condition("zzz"),)))


class TestResults:
    def test_csv_is_events_that_can_be_read_again(self) -> None:
        query = Query((Condition("Dog", "audio"), Condition("Vacuum cleaner")))
        text = write_csv(search(named(timeline_of(STREET)), query)).decode()
        (row,) = csv.DictReader(io.StringIO(text))
        assert row == {
            "file": "street", "modality": "audio_visual", "label": "Dog + Vacuum_cleaner", "onset": "3.0",
            "offset": "4.0", "score": "0.8", "events": "audio Dog + visual Vacuum_cleaner", "source": "street.csv",
        }  # fmt: skip
        (timeline,) = csv_tsv.read({"csv": text.replace("\r\n", "\n")}, "found")
        assert timeline.name == "street"
        assert timeline.events == (Event("audio_visual", "Dog + Vacuum_cleaner", 3.0, 4.0, 0.8),)

    def test_json(self) -> None:
        query = Query((Condition("Dog", "audio"), Condition("Speech")), min_score=0.5)
        document = json.loads(write_json(search(named(timeline_of(STREET)), query), query))
        assert document["conditions"] == [
            {"label": "Dog", "modality": "audio"},
            {"label": "Speech", "modality": "any"},
        ]
        (match,) = document["matches"]
        assert (match["file"], match["onset"], match["offset"], match["score"]) == ("street", 3.5, 3.75, 0.5)
        assert [(event["label"], event["onset"], event["score"]) for event in match["events"]] == [
            ("Dog", 1.0, 0.9),
            ("Speech", 3.5, 0.5),
        ]

    def test_table_shows_classes_for_people_and_nothing_unprintable(self) -> None:
        events = [*STREET, Event("audio", "\x1b[2J[red]evil", 0.0, 1.0, 0.4)]
        console = Console(file=io.StringIO(), width=120)
        console.print(render_result(search(named(timeline_of(events)), Query())))
        text = console.file.getvalue()  # pyright: ignore[reportAttributeAccessIssue]
        assert "visual Vacuum cleaner" in text
        assert "\x1b" not in text
        assert r"\x1b[2J[red]evil" in text
        assert "6 matches in 1 of 1 timeline" in text
        assert "0:03.0" in text
