"""OpenTimelineIO: in its own library, as EDL and FCPXML, and as editors write it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import opentimelineio as otio
import pytest
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats import otio as otio_format
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.postprocess import with_audio_visual
from avvp.pipeline.timeline import Event, Timeline
from opentimelineio.opentime import RationalTime, TimeRange
from support.hostile_events import BIDI, CONTROLS, MARKUP

EVENTS = [
    Event("audio", "Dog", 0, 2.02, 0.91, "far away"),
    Event("visual", "Dog", 1, 3, 0.5),
    Event("audio", "Car", 4, 5, 1),
]
TIMELINE = Timeline.of_events(with_audio_visual(EVENTS), path="/films/my clip.mp4", duration=5.0)


def write(timeline: Timeline, folder: Path) -> Path:
    path = folder / "x.otio"
    path.write_bytes(FORMATS["otio"].write(timeline)[0])
    return path


def markers(path: Path) -> list[tuple[str, str, float, float]]:
    timeline = otio.adapters.read_from_file(str(path))
    return [
        (
            marker.name,
            marker.color,
            marker.marked_range.start_time.to_seconds(),
            marker.marked_range.duration.to_seconds(),
        )
        for clip in timeline.find_clips()
        for marker in clip.markers
    ]


def test_markers_in_the_library(tmp_path: Path) -> None:
    path = write(TIMELINE, tmp_path)
    timeline = otio.adapters.read_from_file(str(path))
    assert [(track.kind, len(track)) for track in timeline.tracks] == [("Video", 1), ("Audio", 1)]
    assert timeline.duration().to_seconds() == 5
    (video, audio) = timeline.find_clips()
    assert (video.media_reference.target_url, len(audio.markers)) == ("my%20clip.mp4", 0)
    assert markers(path) == [
        ("Dog", "CYAN", 0, 2.02), ("Dog", "GREEN", 1, pytest.approx(1.02)), ("Dog", "ORANGE", 1, 2),
        ("Car", "CYAN", 4, 1),
    ]  # fmt: skip
    first = video.markers[0]
    assert (first.comment, first.metadata["avvp"]["modality"], first.metadata["avvp"]["score"]) == (
        "far away",
        "audio",
        0.91,
    )
    known = otio.adapters.read_from_file(str(write(replace(TIMELINE, media_is_known=True), tmp_path)))
    assert known.find_clips()[0].media_reference.target_url == "file:///films/my%20clip.mp4"


def test_what_the_library_saves_is_read_back(tmp_path: Path) -> None:
    facts = {**TIMELINE.media, "frame_rate": 30000 / 1001}
    path = write(replace(TIMELINE, media=facts), tmp_path)
    timeline = otio.adapters.read_from_file(str(path))
    assert timeline.find_clips()[0].markers[0].marked_range.start_time.rate == pytest.approx(29.97, abs=0.001)
    otio.adapters.write_to_file(timeline, str(tmp_path / "again.otio"))
    for name in ("x.otio", "again.otio"):
        (back,) = read_events(tmp_path / name)
        assert back.events == TIMELINE.events
        assert (back.name, back.media["duration"]) == ("my clip", 5.0)


@pytest.mark.parametrize("label", [MARKUP, CONTROLS, BIDI, '"', "\\", "x" * 1_000])
def test_labels_in_the_library(label: str, tmp_path: Path) -> None:
    path = write(Timeline.of_events([Event("audio", label, 0, 1, 1)], path="clip.mp4"), tmp_path)
    assert [marker[0] for marker in markers(path)] == [label.partition("\0")[0]]  # its strings end at a null byte
    assert [event.label for event in read_events(path)[0].events] == [label]


def test_edl_and_fcpxml(tmp_path: Path) -> None:
    timeline = otio.adapters.read_from_file(str(write(TIMELINE, tmp_path)))
    edl = otio.adapters.write_to_string(timeline, "cmx_3600")
    assert [line for line in edl.splitlines() if "LOC" in line] == [
        "* LOC: 00:00:00:00 CYAN    DOG", "* LOC: 00:00:01:00 GREEN   DOG", "* LOC: 00:00:01:00 ORANGE  DOG",
        "* LOC: 00:00:04:00 CYAN    CAR",
    ]  # fmt: skip
    root = ET.fromstring(otio.adapters.write_to_string(timeline, "fcpx_xml"))  # noqa: S314 - our own
    assert [(tag.get("value"), tag.get("start"), tag.get("duration")) for tag in root.iter("marker")] == [
        ("Dog", "0s", "101/50s"), ("Dog", "1s", "51/50s"), ("Dog", "1s", "2s"), ("Car", "4s", "1s"),
    ]  # fmt: skip


def edited() -> otio.schema.Timeline:
    """A cut of two videos, as an editor makes it: media whose clock begins at an hour, markers without metadata."""
    timeline = otio.schema.Timeline("cut")
    for name, kind in (("V1", "Video"), ("audio", "Video"), ("A1", "Audio")):
        track = otio.schema.Track(name, kind=kind)
        media = otio.schema.ExternalReference(
            f"file:///films/{'two' if kind == 'Audio' else 'one'}.mov",
            TimeRange(RationalTime(90_000, 25), RationalTime(250, 25)),
        )
        clip = otio.schema.Clip("part", media, TimeRange(RationalTime(90_100, 25), RationalTime(50, 25)))
        span = TimeRange(RationalTime(90_025, 25), RationalTime(50, 25))
        clip.markers.append(otio.schema.Marker("Dog", span, color="RED"))
        clip.markers.append(otio.schema.Marker("Car", span, color="CYAN"))
        track.extend([otio.schema.Gap(duration=RationalTime(10, 25)), clip])
        timeline.tracks.append(track)
    return timeline


def test_a_cut_of_an_editor(tmp_path: Path) -> None:
    """Times are those of the media, from 0; modalities are those of names of tracks, colours and kinds of tracks."""
    otio.adapters.write_to_file(edited(), str(tmp_path / "cut.otio"))
    one, two = read_events(tmp_path / "cut.otio")
    assert (one.name, two.name, one.media["duration"]) == ("one", "two", 10)
    found = [(e.modality, e.label, e.onset, e.offset) for e in one.events if e.modality != "audio_visual"]
    assert found == [
        ("audio", "Car", 1, 3), ("audio", "Car", 1, 3), ("audio", "Dog", 1, 3), ("visual", "Dog", 1, 3),
    ]  # fmt: skip
    assert [(e.modality, e.label) for e in two.events] == [("audio", "Car"), ("audio", "Dog")]
    collection = otio.schema.SerializableCollection("two", [edited()])
    otio.adapters.write_to_file(collection, str(tmp_path / "bin.otio"))
    assert [timeline.events for timeline in read_events(tmp_path / "bin.otio")] == [one.events, two.events]


def document(**marker: Any) -> dict[str, Any]:
    span = {"start_time": {"value": 0, "rate": 25}, "duration": {"value": 25, "rate": 25}}
    clip = {"OTIO_SCHEMA": "Clip.1", "markers": [{"name": "Dog", "marked_range": span, **marker}]}
    return {"OTIO_SCHEMA": "Timeline.1", "tracks": {"OTIO_SCHEMA": "Stack.1", "children": [clip]}}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"OTIO_SCHEMA": "Clip.1"}, 'expected an object with "OTIO_SCHEMA": "Timeline.1"'),
        ({"OTIO_SCHEMA": "Timeline.1", "tracks": 1, "children": 2}, "2 in children is not an object"),
        (document(name=None), "the name of a marker is None, expected text"),
        (document(marked_range={}), "{} is not a range with start_time and duration"),
        (document(marked_range={"start_time": {"rate": 0}, "duration": {}}), "a rate is 0, expected a positive number"),
        (document(metadata={"avvp": {"score": "1"}}), "a score is '1', expected a number"),
        (document(metadata={"avvp": {"score": 7}}), "score 7.0 is not a probability"),
    ],
)
def test_files_that_are_refused(content: Any, said: str, tmp_path: Path) -> None:
    (tmp_path / "x.otio").write_text(json.dumps(content))
    with pytest.raises(FormatError, match=r"x\.otio: not valid otio events") as error:
        read_events(tmp_path / "x.otio")
    assert said in str(error.value)


def test_the_size_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(TIMELINE, tmp_path)
    monkeypatch.setattr(otio_format, "MAX_NODES", 50)
    with pytest.raises(FormatError, match="more than 50 objects, lists and keys"):
        read_events(path)
