"""Every format with every hostile label: the file is valid, holds one event for each that went in, and no other."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
import srt
import webvtt
from avvp.pipeline.outputs.formats.registry import FORMATS, Format, read_events, write_events
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.outputs.postprocess import with_audio_visual
from avvp.pipeline.text import display_label
from avvp.pipeline.timeline import MAX_LABEL_LENGTH, Event, Timeline
from support.hostile_events import BIDI, CONTROLS, MARKUP

LABELS = {
    "newlines": "a\nb\r\nc\rd\u2028e\x85f\x0bg\x0ch",
    "tabs": "a\tb\t\tc",
    "quotes": '"a""b\'c"',
    "one quote": '"',
    "surrogates": "\udc80\ud800x\udfff",
    "controls": CONTROLS,
    "nothing but controls": "\x00\x01\x02\x03",
    "bidi": BIDI,
    "markup": MARKUP,
    "section": "]]>--></style>@DATA@ ${x} %s \\u003c \\",
    "timing": "00:00:01.000 --> 00:00:02.000\n\nNOTE x",
    "blanks": " \u3000 a \xa0 ",
    "separators": "a,b;c|d:e",
    "formula": '=cmd|"/c calc"!A0',
    "long": "x" * MAX_LABEL_LENGTH,
    "wide": "\U0001f415\u0301" * 100,
    "not a character": "\ufffe\uffff\ufeff",
}
# Labels as they are read back, where they are not kept: line ends become one kind, and escapes stay escapes.
KEPT = {"tabs", "quotes", "one quote", "bidi", "markup", "section", "separators", "formula", "long", "wide"}
# Tabs become spaces; RTTM has no blanks in names, and writes what cannot be seen as escapes.
CHANGED = {
    **{form: {"tabs"} for form in ("llp", "audacity", "raven", "dcase")},
    "rttm": {"tabs", "bidi", "section", "formula"},
}


def timeline_of(label: str) -> Timeline:
    events = [Event("audio", label, 0, 2, 0.75), Event("visual", label, 1, 3, 0.5), Event("audio", "z", 4, 5, 1)]
    return Timeline.of_events(with_audio_visual(events), path="clip.mp4", duration=10.0, labels=(label, "z"))


@pytest.mark.parametrize("name", LABELS)
@pytest.mark.parametrize("form", [form for form in FORMATS.values() if form.is_readable], ids=lambda form: form.name)
def test_labels_in_formats_that_are_read(form: Format, name: str, tmp_path: Path) -> None:
    timeline = timeline_of(LABELS[name])
    paths = form.files(tmp_path / "clip")
    write_events(timeline, form, paths)
    (back,) = read_events(paths[0])
    spans = [[(event.modality, event.onset, event.offset) for event in of.events] for of in (timeline, back)]
    assert spans[0] == spans[1]
    labels = {event.label for event in back.events}
    assert len(labels) == 2
    if form.name == "ffmetadata":  # titles are for people
        assert labels == {display_label(LABELS[name]), "Z"}
        return
    assert "z" in labels
    if form.name == "json" or (name in KEPT and name not in CHANGED.get(form.name, ())):
        assert LABELS[name] in labels


@pytest.mark.parametrize("name", LABELS)
def test_labels_in_formats_of_others(name: str, tmp_path: Path) -> None:
    """Read by other programs' readers, strictly."""
    timeline = timeline_of(LABELS[name])
    texts = [form for form in FORMATS.values() if not form.read_bytes]
    written = {form.name: [part.decode("utf-8") for part in form.write(timeline)] for form in texts}
    for kind, parts in written.items():
        assert not any(character in part for part in parts for character in "\x00\x07\x1b"), kind
    rows = list(csv.reader(io.StringIO(written["csv"][0]), strict=True))
    assert {len(row) for row in rows} == {6}
    assert len(rows) == 1 + len(timeline.events)
    assert len(ET.fromstring(written["eaf"][0]).findall(".//ALIGNABLE_ANNOTATION")) == 4  # noqa: S314 - our own
    assert json.loads(written["json"][0])["events"][0]["label"] == LABELS[name]
    (tmp_path / "x.vtt").write_text(written["vtt"][0], encoding="utf-8")
    assert [(cue.start_in_seconds, cue.end_in_seconds) for cue in webvtt.read(str(tmp_path / "x.vtt"))] == [
        (0, 2), (4, 5),
    ]  # fmt: skip
    assert [cue.end.total_seconds() for cue in srt.parse(written["srt"][0], ignore_errors=False)] == [2, 5]
    for line in "".join(written["rttm"]).splitlines():
        assert len(line.split()) == 10, line
    for line in "".join(written["audacity"]).split("\n")[:-1]:
        assert len(line.split("\t")) == 3, line


@pytest.mark.parametrize("name", LABELS)
def test_labels_on_the_page_are_data(name: str, tmp_path: Path) -> None:
    label = LABELS[name]
    timeline = timeline_of(label)
    facts = {"path": f"{label[:200]}.mp4", label: label}
    write_page(
        Timeline(timeline.events, timeline.labels, None, {**timeline.media, **facts}, {label: [label]}, (label,)),
        tmp_path / "x.html",
        note=label,
    )
    page = (tmp_path / "x.html").read_text(encoding="utf-8")
    head, _, rest = page.partition('<script type="application/json" id="data">')
    data, _, script = rest.partition("</script>")
    assert json.loads(data)["labels"] == [label, "z"]
    assert "<script>alert" not in head + script
    assert page.count("<script") == 2
    assert page.count("</script>") == 2
