"""Limits of event files, and work that grows with the events rather than with seconds, classes or pairs of events."""

from __future__ import annotations

import json
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline import event_limits, tables, timeline
from avvp.pipeline.errors import FormatError
from avvp.pipeline.evaluation.evaluate_timelines import AnnotatedClip
from avvp.pipeline.metrics import score
from avvp.pipeline.outputs import postprocess
from avvp.pipeline.outputs.formats import captions, elan, events_json, textgrid
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.formats.tiers import to_tiers
from avvp.pipeline.outputs.plots import timeline as plots
from avvp.pipeline.outputs.postprocess import TooManyEventsError, split_modalities
from avvp.pipeline.segments import covered_runs
from avvp.pipeline.text_files import MAX_JSON_DEPTH, parse_json
from avvp.pipeline.timeline import MAX_LABEL_LENGTH, MAX_LABELS, Event, SegmentLabels, Timeline, per_second_labels
from avvp.weights.unicode import TextError
from hypothesis import given, settings
from hypothesis import strategies as st
from support.command import Result
from support.hostile_events import document, event, media

DAY = 86_400
Spans = list[tuple[float, float]]
_tenths = st.tuples(st.integers(-20, 90), st.integers(0, 60)).map(lambda pair: (pair[0] / 10, sum(pair) / 10))


def refusal(content: bytes, folder: Path, name: str = "x.json") -> str:
    (folder / name).write_bytes(content)
    with pytest.raises(FormatError) as error:
        read_events(folder / name)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (document([event("x" * (MAX_LABEL_LENGTH + 1))]), "is longer than 1,000 characters"),
        (document(labels=["Dog", "x" * (MAX_LABEL_LENGTH + 1)]), "is longer than 1,000 characters"),
        (document(labels=["Dog", *map(str, range(MAX_LABELS))]), "1 events of 10,001 classes are too many"),
        (document(warnings=["w"] * 1_001), "warnings has 1,001 entries, more than 1,000"),
        (document(warnings=["w" * 10_001]), "a string of at most 10,000 characters"),
        (document(warnings=[{}]), "a string of at most 10,000 characters"),
        (document(processing=[{"step": "x"}] * 1_001), "processing has 1,001 entries"),
        (document(provenance=json.loads("[" * 64 + "]" * 64)), "at most 64 levels"),
        (media(path="x" * 5_000), "longer than systems allow"),
        (media(path="x/" * 3_000), "longer than systems allow"),
        (media(path=[1]), "media.path is not a string"),
        (media(duration=1.0, segments=3), "media.segments is 3, more than media.duration"),
        (media(duration=2.0, segments=DAY), "media.segments is 86400, more than media.duration"),
        (media(segments=DAY + 1), "more than 24 hours"),
        (b'{"events": [], "events": []}', "has the key 'events' twice"),
        (b'{"events": [{"label": "a", "label": "b"}]}', "has the key 'label' twice"),
        (document([event(["a"])]), "is not an event"),
        (document([event(modality=["audio"])]), "is not an event"),
    ],
)  # fmt: skip
def test_documents_beyond_a_limit_are_refused(content: bytes, said: str, tmp_path: Path) -> None:
    assert said in refusal(content, tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        document([event("x" * MAX_LABEL_LENGTH)]),
        document(labels=["Dog", *map(str, range(MAX_LABELS - 1))]),
        document(provenance=json.loads("[" * 62 + "]" * 62)),
        media(path=None, duration=2.4, segments=2),
        media(segments=DAY),
    ],
)
def test_documents_at_a_limit_are_read(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(content)
    (back,) = read_events(tmp_path / "x.json")
    assert len(back.events) == 1


@pytest.mark.parametrize(
    ("module", "limit", "name", "content", "said"),
    [
        (event_limits, "MAX_EVENTS_BYTES", "x.csv", b"x" * (2 << 20), "larger than 1 MiB"),
        (event_limits, "MAX_WIDE_BYTES", "x.csv", "é".encode() * (1 << 20), "that are not ASCII"),
        (event_limits, "MAX_NODES", "x.json", b"[" + b"{}," * 110_000, "more than 100,000 objects"),
        (event_limits, "MAX_VALUES", "x.json", b"[" + b"1," * 110_000, "or 100,000 values"),
        (tables, "MAX_CELLS", "x.csv", b"modality,label,onset,offset\n" + b"," * 110_000, "100,000 cells"),
        (tables, "MAX_LINES", "x.csv", b"modality,label,onset,offset\n" + b"\n" * 110_000, "100,000 lines"),
        (tables, "MAX_LINES", "x.txt", b"\n" * 110_000, "100,000 lines"),
        (textgrid, "MAX_TOKENS", "x.TextGrid", b'"ooTextFile" "TextGrid" ' + b"x " * 110_000, "100,000 words"),
        (elan, "MAX_MARKUP", "x.eaf", b"<A>" + b"<B/>" * 110_000 + b"</A>", "100,000 tags"),
        (elan, "MAX_ATTRIBUTES", "x.eaf", b"<A>" + b"=" * 110_000 + b"</A>", "100,000 attributes"),
    ],
)  # fmt: skip
def test_sizes_of_files(
    module: Any, limit: str, name: str, content: bytes, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lower = 1 << 20 if limit.endswith("_BYTES") else 100_000
    assert getattr(module, limit) > lower
    monkeypatch.setattr(module, limit, lower)
    assert said in refusal(content, tmp_path, name)


@pytest.mark.parametrize("name", ["x.csv", "x.eval_audio.csv", "x.audio.txt", "x.TextGrid", "x.eaf", "x.json"])
def test_events_beyond_the_limit(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = [Event("audio", f"class {number}", number, number + 1, 1.0) for number in range(9)]
    form = next(form for form in FORMATS.values() if name == f"x.{form.suffixes[0]}")
    (tmp_path / name).write_bytes(form.write(Timeline.of_events(events, path="x"))[0])
    assert len(read_events(tmp_path / name)[0].events) == 9
    for module in (timeline, event_limits, __import__(form.read.__module__, fromlist=["x"])):
        if hasattr(module, "MAX_EVENTS"):
            monkeypatch.setattr(module, "MAX_EVENTS", 8)
    assert "8" in refusal((tmp_path / name).read_bytes(), tmp_path, name)


def test_clips_beyond_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_limits, "MAX_TIMELINES", 2)
    rows = "".join(f"{clip},audio,Dog,0,1\n" for clip in "abc")
    assert "3 files" in refusal(f"file,modality,label,onset,offset\n{rows}".encode(), tmp_path, "x.csv")
    rows = "".join(f"{clip}\t0\t1\tDog\n" for clip in "abc")
    assert "3 files" in refusal(f"filename\tonset\toffset\tevent_labels\n{rows}".encode(), tmp_path, "x.eval_audio.csv")


@pytest.mark.parametrize("text", ["[" * 65 + "]" * 65, '{"a":' * 65 + "1" + "}" * 65, '[{"a":' * 33 + "1" + "}]" * 33])
def test_json_that_is_deep(text: str) -> None:
    with pytest.raises(TextError, match=f"nested too deeply, at most {MAX_JSON_DEPTH} levels"):
        parse_json(text)
    parse_json(text.replace("[", "", 2).replace("]", "", 2).replace('{"a":', "", 2).replace("}", "", 2))


def test_many_annotations_that_end_at_one_slot(tmp_path: Path) -> None:
    """Each would be followed to the end of the chain that they share."""

    def aligned(start: int, stop: int) -> str:
        slots = f'TIME_SLOT_REF1="t{start}" TIME_SLOT_REF2="t{stop}"'
        return f"<ANNOTATION><ALIGNABLE_ANNOTATION {slots}/></ANNOTATION>"

    chain = "".join(aligned(n, n + 1) for n in range(1_000, 2_000)) + "".join(aligned(n, 1_000) for n in range(1_000))
    text = f'<ANNOTATION_DOCUMENT><TIER TIER_ID="audio">{chain}</TIER></ANNOTATION_DOCUMENT>'
    assert "too many annotations of tier 'audio' end at one" in refusal(text.encode(), tmp_path, "x.eaf")


@given(st.lists(_tenths, max_size=6), st.integers(1, 9))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_covered_runs_are_those_of_a_table(spans: Spans, segments: int) -> None:
    """Of hundredths of seconds."""
    covered = np.zeros((segments, 100), bool)
    for onset, offset in spans:
        covered.reshape(-1)[max(0, round(onset * 100)) : max(0, round(offset * 100))] = True
    active = covered.sum(1) >= 50
    again = np.zeros(segments, bool)
    for start, stop in covered_runs(spans, segments):
        assert not again[max(0, start - 1) : stop].any()
        again[start:stop] = True
    assert again.tolist() == active.tolist()


@given(st.lists(_tenths.filter(lambda span: 0 <= span[0] < span[1]), max_size=12))
@settings(max_examples=100, deadline=None, derandomize=True)
def test_each_event_is_on_the_first_free_tier(spans: Spans) -> None:
    of = Timeline.of_events([Event("audio", "Dog", *span, 1.0) for span in spans], path="x")
    expected: list[list[Event]] = [[]]
    for placed in of.events:
        tier = next((tier for tier in expected if not tier or tier[-1].offset <= placed.onset), None)
        if tier is None:
            expected.append(tier := [])
        tier.append(placed)
    assert [tier for name, tier in to_tiers(of).items() if name.startswith("audio") and "_" not in name] == expected


def peak(work: Callable[[], object]) -> float:
    """Return the most memory that is allocated during a call, in MB."""
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1] / 1e6
    finally:
        tracemalloc.stop()


def test_a_day_costs_what_its_events_cost() -> None:
    """10,000 classes of 86,400 s would be tables of 864 MB for each modality."""
    labels = [f"class {number}" for number in range(MAX_LABELS)]
    day = Timeline.of_events([Event("audio", labels[0], 0, DAY, 1.0)], path="x", labels=labels, duration=DAY)
    assert peak(lambda: [form.write(day) for form in FORMATS.values()]) < 30
    clip = AnnotatedClip(tuple(labels), SegmentLabels(*np.zeros((2, 10, MAX_LABELS), bool)))
    clip.truth.audio[:, 0] = True
    truth = clip.compare(day)
    assert peak(lambda: clip.compare(day)) < 60
    assert truth.labels.audio.shape == (10, MAX_LABELS)
    assert truth.agreement.startswith("F-scores per second A 0,")
    with pytest.raises(ValueError, match="too many for a table"):
        per_second_labels([], labels, DAY)


def test_a_data_set_of_many_days(run: Callable[..., Result], tmp_path: Path) -> None:
    (tmp_path / "x.json").write_bytes(document([event(offset=DAY)], labels=["Dog", *map(str, range(1_000))]))
    result = run("convert", tmp_path / "x.json", "--data-set", tmp_path / "data", "--split", "val")
    assert result.status == 2
    assert "1 clips of 1,001 classes have 86,486,400 labels per second" in result.err
    assert not (tmp_path / "data").exists()


def test_scores_of_the_active_part_are_those_of_all_seconds() -> None:
    rng = np.random.default_rng(0)
    labels = ("a", "b", "c", "d")
    for _ in range(20):
        truth = SegmentLabels(*(rng.random((2, 6, 4)) < 0.3))
        times = rng.integers(0, 9, (5, 2))
        events = [Event("audio", labels[rng.integers(3)], a, a + b + 1.0, 1.0) for a, b in times.tolist()]
        of = Timeline.of_events(events, path="x", labels=labels, duration=12.0)
        padded = [np.pad(table, ((0, of.segments - 6), (0, 0)))[None] for table in truth]
        expected = score(*(table[None] for table in of.per_second_labels(labels, of.segments)), *padded)
        assert (
            f"A {expected.segment.audio:.0f}, V {expected.segment.visual:.0f}"
            in AnnotatedClip(labels, truth).compare(of).agreement
        )


@pytest.mark.parametrize("labels", [(), ("a",)])
def test_scores_without_active_seconds(labels: tuple[str, ...]) -> None:
    clip = AnnotatedClip(("a", "b"), SegmentLabels(*np.zeros((2, 4, 2), bool)))
    assert clip.compare(Timeline.of_events([], path="x", labels=labels, duration=9.0)).agreement.startswith(
        "F-scores per second A 100, V 100, AV 100"
    )


def test_derived_events_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    many = [Event("audio", "Dog", number, number + 0.5, 1.0) for number in range(50)]
    both = [Event("audio_visual", "Dog", 0, 50 - number / 10, 1.0) for number in range(50)]
    gaps = sum(number + 0.5 < event.offset for number in range(50) for event in both)
    assert len(split_modalities([*many, *both])) == len(many) + gaps + len(both)
    monkeypatch.setattr(postprocess, "MAX_DERIVED_EVENTS", 1_000)
    with pytest.raises(TooManyEventsError, match="merge them first"):
        split_modalities([*many, *both])


def test_captions_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    nested = [Event("audio", f"class {number}", number, 100 - number, 1.0) for number in range(50)]
    assert len(captions.make_cues(nested, "audio")) == 99
    monkeypatch.setattr(captions, "MAX_CAPTION_SIZE", 10_000)
    with pytest.raises(TooManyEventsError, match="choose some with --keep-classes"):
        captions.make_cues(nested, "audio")


def test_bars_of_a_plot_are_bounded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(plots, "MAX_BARS", 100)
    many = [Event("audio", f"class {n % 5}", n / 10, n / 10 + 0.01, 1.0) for n in range(5_000)]
    plots.plot_timeline(Timeline.of_events(many, path="x"), tmp_path / "x.svg")
    assert (tmp_path / "x.svg").stat().st_size < 200_000
    assert events_json.MAX_NOTES < MAX_LABELS
