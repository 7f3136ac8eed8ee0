"""Every form of events: what is written is read back, and other programs' readers understand it."""

from __future__ import annotations

import csv
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import numpy as np
import pytest
import srt
import textgrid as textgrid_reader
import webvtt
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats.captions import make_cues
from avvp.pipeline.outputs.formats.events_json import load_schema, to_document
from avvp.pipeline.outputs.formats.registry import FORMATS, find_format, read_events, write_events
from avvp.pipeline.outputs.postprocess import merge_events, split_modalities, with_audio_visual
from avvp.pipeline.timeline import Event, SegmentProbabilities, Timeline
from hypothesis import given, settings
from hypothesis import strategies as st
from praatio import textgrid as praatio_reader
from pympi import Eaf
from support.command import Result

READABLE = sorted(name for name, form in FORMATS.items() if form.is_readable)
LOSSY = {"llp", "ffmetadata"}  # what they keep has tests of their own
HOSTILE = ("<script>alert(1)</script>", 'say "hi" & --> go', "naïve 🐕 名", "-dash", "=1+1", "a\\b%", "tier: x [1]:")
# Times are thousandths of a second: no format is coarser, but LLP's whole seconds.
_times = st.tuples(st.integers(0, 4_000_000), st.integers(1, 60_000)).map(lambda t: (t[0] / 1000, sum(t) / 1000))
_names = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(exclude_categories=("C", "Z")) | st.just(" "), min_size=1, max_size=12)
    .map(str.strip)
    .filter(bool),
)
_scores = st.integers(0, 10**6).map(lambda millionths: millionths / 10**6)


@st.composite
def timelines(draw: st.DrawFn) -> Timeline:
    labels = draw(st.lists(_names, min_size=1, max_size=4, unique=True))
    event = st.builds(
        lambda modality, label, span, score: Event(modality, label, span[0], span[1], score),
        st.sampled_from(("audio", "visual")), st.sampled_from(labels), _times, _scores,
    )  # fmt: skip
    events = draw(st.lists(event, max_size=8, unique_by=lambda e: (e.modality, e.label, e.onset, e.offset)))
    return Timeline.of_events(with_audio_visual(events), path="clip.mp4", duration=4_100.0, labels=labels)


def rounded(timeline: Timeline, form: str) -> list[tuple[object, ...]]:
    """The events of a timeline, as far as a form keeps them, in an order of their own."""
    keep = FORMATS[form].keeps_scores
    return sorted(
        (e.modality, kept_label(e.label, form), e.onset, e.offset, round(e.score, 6) if keep else 1.0)
        for e in timeline.events
    )


def kept_label(label: str, form: str) -> str:
    """RTTM separates its fields by blanks, so that those in names become underscores."""
    return "_".join(label.split()) if form == "rttm" else label


def round_trip(timeline: Timeline, form: str) -> list[Timeline]:
    with tempfile.TemporaryDirectory() as folder:
        paths = FORMATS[form].files(Path(folder) / "clip")
        write_events(timeline, FORMATS[form], paths)
        return read_events(paths[-1])


@pytest.mark.parametrize("form", [name for name in READABLE if name not in LOSSY])
@given(timeline=timelines())
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_back(form: str, timeline: Timeline) -> None:
    (back,) = round_trip(timeline, form)
    assert rounded(back, form) == rounded(timeline, form)
    assert back.name == "clip"
    (again,) = round_trip(back, form)
    assert again.events == back.events


@given(timeline=timelines())
@settings(max_examples=60, deadline=None)
def test_llp_keeps_whole_seconds(timeline: Timeline) -> None:
    """What lies on whole seconds is read back; a class' own overlapping events are one."""
    whole = [
        replace(e, onset=float(int(e.onset)), offset=float(int(e.onset) + 1 + int(e.duration)), score=1.0)
        for e in timeline.events
        if e.modality != "audio_visual"
    ]
    expected = with_audio_visual(merge_events(whole, 0.0))
    (back,) = round_trip(replace(timeline, events=tuple(whole)), "llp")
    assert rounded(back, "llp") == sorted((e.modality, e.label, e.onset, e.offset, 1.0) for e in expected)


def make(*events: tuple[str, str, float, float], labels: Sequence[str] | None = None) -> Timeline:
    made = [Event(m, label, a, b, 0.75) for m, label, a, b in events]  # type: ignore[arg-type]
    return Timeline.of_events(made, path="/films/my clip.mp4", labels=labels, duration=3_700.0)


def text(timeline: Timeline, form: str, index: int = 0) -> str:
    return FORMATS[form].write(timeline)[index].decode()


SAMPLE = make(
    ("audio", "Dog", 0, 2), ("audio", "Speech", 1, 4), ("visual", "Dog", 1, 3), ("audio_visual", "Dog", 1, 2),
    ("audio", "Speech", 3661.5, 3662),
)  # fmt: skip


@pytest.mark.parametrize("form", FORMATS)
def test_no_events_are_no_problem(form: str) -> None:
    empty = Timeline.of_events([], path="clip.mp4", duration=3.0, labels=["Dog"])
    assert len(FORMATS[form].write(empty)) == len(FORMATS[form].suffixes)
    if form in READABLE:
        assert [timeline.events for timeline in round_trip(empty, form)] == [()]


@pytest.mark.parametrize("form", FORMATS)
def test_the_same_events_are_the_same_bytes(form: str) -> None:
    assert FORMATS[form].write(SAMPLE) == FORMATS[form].write(SAMPLE)


def test_json_follows_its_schema_and_keeps_everything() -> None:
    tables = [np.array([[0.25, 1.0], [0.5, 0.0]], np.float32)] * 4
    steps = ({"step": "refine", "merge_gap": 1.0},)
    full = replace(make(("audio", "Dog", 0, 2), labels=["Speech", "Dog"]), processing=steps, warnings=("cut short",))
    full = replace(full, probabilities=SegmentProbabilities(*tables), provenance={"program": "avvp"})
    jsonschema.validate(to_document(full, segments=True), load_schema())
    (back,) = round_trip(full, "json")
    assert (back.labels, back.warnings, back.processing) == (("Speech", "Dog"), ("cut short",), steps)
    assert back.provenance == {"program": "avvp"}
    assert back.media == {"path": "/films/my clip.mp4", "duration": 3700.0, "segments": 2}
    assert back.probabilities is not None
    np.testing.assert_array_equal(back.probabilities.visual_video, tables[0])


@pytest.mark.parametrize("label", HOSTILE)
def test_captions_in_another_reader(label: str, tmp_path: Path) -> None:
    timeline = make(("audio", label, 0, 2), ("audio", "Dog", 1, 3), ("audio", "Dog", 3661.5, 3662.25))
    paths = FORMATS["vtt"].files(tmp_path / "x")
    write_events(timeline, FORMATS["vtt"], paths)
    cues = webvtt.read(str(paths[0]))
    assert [(c.start, c.end) for c in cues] == [
        ("00:00:00.000", "00:00:01.000"), ("00:00:01.000", "00:00:02.000"), ("00:00:02.000", "00:00:03.000"),
        ("01:01:01.500", "01:01:02.250"),
    ]  # fmt: skip
    assert f"[{label.lower()}]" in cues[0].text.replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    assert cues[1].text.split("\n")[1] == "[dog barking]"
    assert "<script" not in text(timeline, "vtt")
    assert "-->" not in cues[0].raw_text
    subtitles = list(srt.parse(text(timeline, "srt")))
    assert [s.index for s in subtitles] == [1, 2, 3, 4]
    assert subtitles[3].start.total_seconds() == 3661.5
    assert "<" not in subtitles[0].content


def test_captions_do_not_flicker() -> None:
    """A pause of a second is bridged, a longer one is not; lines keep their places; both senses have their words."""
    events = make(("audio", "Dog", 0, 2), ("audio", "Dog", 3, 4), ("audio", "Dog", 6, 7), ("audio", "Cat", 1, 6)).events
    cues = [(cue.onset, cue.offset, cue.lines) for cue in make_cues(events, "audio")]
    dog, cat = "[dog barking]", "[cat meowing]"
    assert cues == [(0, 1, (dog,)), (1, 4, (dog, cat)), (4, 6, (cat,)), (6, 7, (dog,))]
    seen = make(*(("visual", label, 0, 1) for label in (*LLP_LABELS, "Glass_breaking")))
    words = make_cues(seen.events, "visual")[0].lines
    assert len(set(words)) == 26
    assert "[glass breaking]" in words
    assert not any("_" in word for word in words)


@pytest.mark.parametrize("label", HOSTILE)
def test_textgrid_in_other_readers(label: str, tmp_path: Path) -> None:
    timeline = make(("audio", label, 0.5, 2), ("audio", "Dog", 1, 3), ("visual", "Dog", 0, 3700))
    paths = FORMATS["textgrid"].files(tmp_path / "x")
    write_events(timeline, FORMATS["textgrid"], paths)
    tiers = {tier.name: tier for tier in textgrid_reader.TextGrid.fromFile(str(paths[0]))}
    assert list(tiers) == ["audio", "audio 2", "visual", "audio_visual"]
    assert [(i.minTime, i.maxTime, i.mark) for i in tiers["audio"] if i.mark] == [(0.5, 2, label)]
    assert tiers["audio"].maxTime == 3700
    for short in (False, True):
        grid = praatio_reader.openTextgrid(str(paths[0]), includeEmptyIntervals=False)
        assert [tuple(entry) for entry in grid.getTier("audio 2").entries] == [(1, 3, "Dog")]
        again = tmp_path / "again.TextGrid"
        grid.save(str(again), "short_textgrid" if short else "long_textgrid", includeBlankSpaces=True)
        again.write_bytes(again.read_text(encoding="utf-8").encode("utf-16"))
        expected = Timeline.of_events(with_audio_visual(timeline.events), path="x")
        assert rounded(read_events(again)[0], "textgrid") == rounded(expected, "textgrid")


@pytest.mark.parametrize("label", HOSTILE)
def test_eaf_in_another_reader(label: str, tmp_path: Path) -> None:
    timeline = make(("audio", label, 0.5, 2), ("audio", "Dog", 1, 3), ("visual", "Dog", 3661.5, 3662))
    paths = FORMATS["eaf"].files(tmp_path / "x")
    write_events(replace(timeline, media_is_known=True), FORMATS["eaf"], paths)
    document = Eaf(str(paths[0]))
    assert list(document.get_tier_names()) == ["audio", "audio 2", "visual", "audio_visual"]
    assert document.get_annotation_data_for_tier("audio") == [(500, 2000, label)]
    assert document.get_annotation_data_for_tier("visual") == [(3661500, 3662000, "Dog")]
    assert document.get_linked_files()[0]["MEDIA_URL"] == "file:///films/my%20clip.mp4"
    write_events(timeline, FORMATS["eaf"], [tmp_path / "stranger.eaf"])
    assert Eaf(str(tmp_path / "stranger.eaf")).get_linked_files()[0]["MEDIA_URL"] == "./my clip.mp4"
    document.to_file(str(tmp_path / "again.eaf"))
    assert rounded(read_events(tmp_path / "again.eaf")[0], "eaf") == rounded(timeline, "eaf")


def test_eaf_holds_the_rules_of_its_schema() -> None:
    """Order of elements, unique ids, references that lead somewhere, ascending times."""
    root = ET.fromstring(FORMATS["eaf"].write(SAMPLE)[0])  # noqa: S314 - our own
    assert [child.tag for child in root] == ["HEADER", "TIME_ORDER", "TIER", "TIER", "TIER", "TIER", "LINGUISTIC_TYPE"]
    slots = {slot.get("TIME_SLOT_ID"): int(slot.get("TIME_VALUE", "")) for slot in root.iter("TIME_SLOT")}
    assert list(slots.values()) == sorted(slots.values())
    annotations = list(root.iter("ALIGNABLE_ANNOTATION"))
    assert len({a.get("ANNOTATION_ID") for a in annotations}) == len(annotations) == 5
    assert all(slots[a.get("TIME_SLOT_REF1")] < slots[a.get("TIME_SLOT_REF2")] for a in annotations)
    assert {t.get("LINGUISTIC_TYPE_REF") for t in root.iter("TIER")} == {
        t.get("LINGUISTIC_TYPE_ID") for t in root.iter("LINGUISTIC_TYPE")
    }


def test_what_xml_cannot_hold_is_replaced() -> None:
    content = FORMATS["eaf"].write(make(("audio", "bell\x07\x00", 0, 1)))[0]
    assert [value.text for value in ET.fromstring(content).iter("ANNOTATION_VALUE")] == ["bell��"]  # noqa: S314


def test_rttm_fields() -> None:
    timeline = make(("audio", "Frying (food)", 1.5, 4), ("visual", "Dog", 0, 1))
    assert text(timeline, "rttm") == "SPEAKER my_clip 1 1.500 2.500 <NA> <NA> Frying_(food) 0.750000 <NA>\n"
    assert text(timeline, "rttm", 1).split()[7] == "Dog"


def test_tables_are_what_spreadsheets_open() -> None:
    rows = list(csv.DictReader(io.StringIO(text(SAMPLE, "csv"))))
    assert len(rows) == 5
    assert rows[0] == {
        "file": "my clip", "modality": "audio", "label": "Dog", "onset": "0", "offset": "2", "score": "0.75",
    }  # fmt: skip
    assert text(SAMPLE, "tsv").splitlines()[0] == "file\tmodality\tlabel\tonset\toffset\tscore"
    awkward = make(("audio", 'tab\t"quote"\nline', 0, 1))
    assert [timeline.events for timeline in round_trip(awkward, "tsv")] == [awkward.events]


def test_llp_files_are_what_the_scorer_reads(tmp_path: Path) -> None:
    timeline = make(("audio", "Dog", 0.4, 2.5), ("audio", "Dog", 7, 7.4), ("visual", "Speech", 1, 3))
    for content, file in zip(
        FORMATS["llp"].write(timeline), ("AVVP_eval_audio.csv", "AVVP_eval_visual.csv"), strict=True
    ):
        (tmp_path / file).write_bytes(content)
    (tmp_path / "AVVP_test_pd.csv").write_text("filename\tevent_labels\nmy clip\tDog,Speech\n")
    annotations = read_annotations(tmp_path)
    audio = annotations.modality_labels(annotations.split("test"), "audio", 10)
    assert np.flatnonzero(audio[0, :, LLP_LABELS.index("Dog")]).tolist() == [0, 1, 2]
    assert not annotations.notes
    (back,) = read_events(tmp_path / "AVVP_eval_visual.csv")
    assert [(e.modality, e.onset, e.offset) for e in back.events] == [("audio", 0, 3), ("visual", 1, 3)]


def test_labels_made_by_hand_in_audacity(tmp_path: Path) -> None:
    """A file of any name is what is heard; points and frequencies are skipped."""
    path = tmp_path / "labels.txt"
    path.write_text("0.5\t2\tDog\n\\\t100\t8000\n3.0\t3.0\tpoint\n4\t5\n", encoding="utf-8")
    (timeline,) = read_events(path)
    assert [(e.modality, e.label, e.onset, e.offset) for e in timeline.events] == [
        ("audio", "Dog", 0.5, 2.0), ("audio", "", 4.0, 5.0),
    ]  # fmt: skip


def test_what_is_only_both_is_heard_and_seen() -> None:
    """As another program may put it: 0 to 3 both, of which 1 to 2 is heard already."""
    timeline = make(("audio_visual", "Dog", 0, 3), ("audio", "Dog", 1, 2))
    own = [(e.modality, e.onset, e.offset) for e in split_modalities(timeline.events)]
    assert sorted(own) == [("audio", 0, 1), ("audio", 1, 2), ("audio", 2, 3), ("visual", 0, 3)]
    assert text(timeline, "llp", 1).splitlines()[1] == "my clip\t0\t3\tDog"
    assert "[dog]" in text(timeline, "vtt", 1)
    assert text(timeline, "rttm", 1).split()[3:5] == ["0.000", "3.000"]


def test_a_moved_event_moves_what_is_both(tmp_path: Path) -> None:
    """Annotation programs keep the old tier of what is both; it follows from the others."""
    paths = FORMATS["textgrid"].files(tmp_path / "x")
    timeline = make(("audio", "Dog", 0, 2), ("visual", "Dog", 1, 3), ("audio_visual", "Dog", 1, 2))
    write_events(timeline, FORMATS["textgrid"], paths)
    grid = praatio_reader.openTextgrid(str(paths[0]), includeEmptyIntervals=False)
    grid.replaceTier("audio", grid.getTier("audio").new(entries=[(0, 1.5, "Dog")]))
    grid.save(str(paths[0]), "long_textgrid", includeBlankSpaces=True)
    (back,) = read_events(paths[0])
    assert ("audio_visual", 1.0, 1.5) in [(e.modality, e.onset, e.offset) for e in back.events]


def test_tables_as_spreadsheets_write_them(tmp_path: Path) -> None:
    rows = "Modality;Label;Onset;Offset;Score\r\naudio;Dog;0;2;\r\n;;;;\r\n"
    for name, content in (("a.csv", rows.encode("utf-8-sig")), ("b.csv", rows.encode("utf-16"))):
        (tmp_path / name).write_bytes(content)
        (timeline,) = read_events(tmp_path / name)
        assert timeline.events == (Event("audio", "Dog", 0.0, 2.0, 1.0),)
        assert not timeline.length_known


def test_long_fields_of_tables(tmp_path: Path) -> None:
    """The csv module's own limit, which is global, is the same afterwards."""
    before, path = csv.field_size_limit(), tmp_path / "x.csv"
    path.write_text(f"modality,label,onset,offset,note\naudio,Dog,0,1,{'x' * 2 * before}\n")
    (timeline,) = read_events(path)
    assert timeline.events == (Event("audio", "Dog", 0.0, 1.0, 1.0),)
    path.write_text(f"modality,label,onset,offset\naudio,{'x' * 20 * before},0,1\n")
    with pytest.raises(FormatError, match="line 2: field larger than field limit"):
        read_events(path)
    assert csv.field_size_limit() == before


def test_dots_and_dashes_in_names_stay(tmp_path: Path) -> None:
    for name in ("my.video.1", "abc_", "x-"):
        timeline = Timeline.of_events([Event("audio", "Dog", 0, 1, 1.0)], path=f"{name}.mp4", duration=2.0)
        for form in READABLE:
            paths = FORMATS[form].files(tmp_path / name)
            write_events(timeline, FORMATS[form], paths)
            assert [back.name for back in read_events(paths[0])] == [name], form


def test_names_tell_the_format() -> None:
    for name, form in (
        ("a.json", "json"), ("a.events.json", "json"), ("a.csv", "csv"), ("a.eval_audio.csv", "llp"),
        ("AVVP_eval_visual.csv", "llp"), ("a.TEXTGRID", "textgrid"), ("a.audio.txt", "audacity"), ("b.txt", "audacity"),
        ("a.visual.rttm", "rttm"), ("a.parquet", "parquet"), ("a.rttm", "rttm"),
        ("a.label-studio.json", "label-studio"),
        ("a.audio.activitynet.json", "activitynet"), ("activitynet.json", "activitynet"), ("a.dcase.tsv", "dcase"),
        ("a.tsv", "tsv"), ("a.Table.1.selections.txt", "raven"), ("a.otio", "otio"), ("a.ffmetadata.txt", "ffmetadata"),
        ("a.chapters.vtt", "chapters"), ("a.audio.vtt", "vtt"),
    ):  # fmt: skip
        found = find_format(Path(name))
        assert found is not None
        assert found[0].name == form
    assert find_format(Path("xjson")) is None
    assert find_format(Path("a.mp4")) is None


@pytest.mark.parametrize("command", ["convert", "parse"])
def test_the_help_names_every_format(command: str, run: Callable[..., Result]) -> None:
    printed = "".join(run(command, "--help").out.split())
    assert "".join(f"{', '.join(FORMATS)} or all.".split()) in printed


BROKEN = {
    "a.json": [b"", b"[]", b"{}", b'{"events": [3]}', b'{"events": [{"label": "x"}]}', b"\xff\xfe", b"[" * 99999,
               b'{"events": [], "labels": [1]}', b'{"events": [], "media": {"duration": NaN}}',
               b'{"events": [], "media": {"duration": 1e999}}', b'{"events": [], "media": {"duration": 1e300}}',
               b'{"events": [], "processing": [3]}', b'{"events": [], "provenance": {"x": 1e999}}',
               b'{"events": [], "segments": {"audio": [[2]]}}', b'{"events": [], "labels": ["a"], "segments": 3}',
               b'{"events": [{"modality": "audio", "label": "a", "onset": 3, "offset": 1}]}'],
    "a.csv": [b"x,y\n1,2\n", b"modality,label,onset,offset\naudio,Dog,1\n", b"modality,label,onset,offset\nx,Dog,1,2\n",
              b'modality,label,onset,offset\naudio,"Dog,1,2\n', b"modality,label,onset,offset\naudio,Dog,1,inf\n"],
    "a.eval_audio.csv": [b"filename,onset\n", b"filename\tonset\toffset\tevent_labels\nx\t1\n",
                         b"filename\tonset\toffset\tevent_labels\nx\t3\t1\tDog\n"],
    "a.audio.txt": [b"hello\n", b"2\t1\tDog\n", b"nan\t1\tDog\n"],
    "a.TextGrid": [b"", b"hello", b'"ooTextFile" "TextGrid" 0 1 <exists> 3', b'"ooTextFile" "TextGrid" 0 "x"',
                   b'"ooTextFile" "TextGrid" 0 1 <absent>', b'"ooTextFile" "TextGrid" 0 1e999 <exists> 0',
                   b'"ooTextFile" "TextGrid" 0 1 <exists> 1 "IntervalTier" "audio" 0 1 1e999',
                   b'"ooTextFile" "TextGrid" 0 1 <exists> inf'],
    "a.eaf": [b"", b"<a>", b"<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>",
              "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>".encode("utf-16"), b"<ANNOTATION_DOCUMENT/>",
              b'<D><TIER TIER_ID="audio"><ANNOTATION><ALIGNABLE_ANNOTATION TIME_SLOT_REF1="x"><ANNOTATION_VALUE>d'
              b"</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION></TIER></D>"],
}  # fmt: skip


@pytest.mark.parametrize(("name", "content"), [(name, c) for name, contents in BROKEN.items() for c in contents])
def test_broken_files_are_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(FormatError, match=name):
        read_events(tmp_path / name)


def test_what_cannot_be_read_is_said(tmp_path: Path) -> None:
    (tmp_path / "a.vtt").write_text("WEBVTT\n")
    for name in ("a.vtt", "a.mp4", "a.json"):
        with pytest.raises(FormatError, match=name):
            read_events(tmp_path / name)


def test_a_foreign_document_needs_events_alone(tmp_path: Path) -> None:
    event = {"modality": "audio", "label": "Dog", "onset": 1, "offset": 2, "colour": "red"}
    (tmp_path / "clip.events.json").write_text(json.dumps({"events": [event]}))
    (timeline,) = read_events(tmp_path / "clip.events.json")
    assert timeline.events == (Event("audio", "Dog", 1.0, 2.0, 1.0),)
    assert (timeline.name, timeline.labels, timeline.segments) == ("clip", ("Dog",), 2)
