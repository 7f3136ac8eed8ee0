"""Label Studio: tasks and interface that fit together, and exports of projects."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest
from avvp.pipeline.errors import FormatError
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.postprocess import with_audio_visual
from avvp.pipeline.timeline import Event, Timeline
from support.hostile_events import CONTROLS, MARKUP

EVENTS = [
    Event("audio", "Dog", 0.5, 2, 0.75, "far away"),
    Event("visual", "Dog", 1, 3, 0.5),
    Event("audio", "Car", 4, 5, 1),
]
TIMELINE = Timeline.of_events(
    with_audio_visual(EVENTS), path="/films/my clip.mp4", duration=9.0, labels=("Dog", "Car", MARKUP, CONTROLS, '"a"')
)


def region(start: Any, end: Any, *labels: str, name: str = "audio", **more: Any) -> dict[str, Any]:
    value = {"start": start, "end": end, "channel": 0, "labels": list(labels)}
    return {
        "id": "x",
        "from_name": name,
        "to_name": "sound",
        "type": "labels",
        "origin": "manual",
        "value": value,
        **more,
    }


def task(*annotations: Any, video: str = "/data/upload/7/3d3ad63e-clip.mp4", **more: Any) -> dict[str, Any]:
    return {"id": 1, "data": {"video": video}, "annotations": list(annotations), "predictions": [], **more}


def annotation(*regions: Any, updated: str = "2026-01-02T00:00:00Z", cancelled: bool = False) -> dict[str, Any]:
    return {"result": list(regions), "updated_at": updated, "was_cancelled": cancelled}


def read(document: Any, folder: Path) -> list[Timeline]:
    path = folder / "x.label-studio.json"
    path.write_text(json.dumps(document))
    return read_events(path)


def events(timeline: Timeline) -> list[tuple[str, str, float, float]]:
    return [(e.modality, e.label, e.onset, e.offset) for e in timeline.events if e.modality != "audio_visual"]


def test_tasks_fit_the_interface() -> None:
    """The rules of Label Studio: names lead to tags, labels are those of their set, times are in the media."""
    tasks, interface = FORMATS["label-studio"].write(TIMELINE)
    root = ET.fromstring(interface)  # noqa: S314 - our own
    objects = {tag.get("name"): tag for tag in root if tag.tag in {"Video", "Audio"}}
    controls = {tag.get("name"): tag for tag in root.iter("Labels")}
    assert [(tag.tag, tag.get("sync")) for tag in objects.values()] == [("Video", "sound"), ("Audio", "video")]
    assert list(controls) == ["audio", "visual"]
    assert {tag.get("toName") for tag in controls.values()} == {"sound"}
    assert [label.get("value") for label in controls["audio"]][:3] == ["Dog", "Car", MARKUP]
    (made,) = json.loads(tasks)
    assert {tag.get("value") for tag in objects.values()} == {"$video"}
    assert made["data"] == {"video": "/data/local-files/?d=videos/my%20clip.mp4"}
    (prediction,) = made["predictions"]
    assert len({entry["id"] for entry in prediction["result"]}) == len(prediction["result"]) == 3
    for entry in prediction["result"]:
        assert entry["type"] == controls[entry["from_name"]].tag.lower()
        assert entry["to_name"] in objects
        assert set(entry["value"]["labels"]) <= {label.get("value") for label in controls[entry["from_name"]]}
        assert 0 <= entry["value"]["start"] < entry["value"]["end"] <= entry["original_length"] == 9.0
    assert prediction["result"][0]["meta"] == {"text": ["far away"]}
    assert prediction["result"][0]["score"] == 0.75


def test_predictions_are_read_back(tmp_path: Path) -> None:
    (back,) = read(json.loads(FORMATS["label-studio"].write(TIMELINE)[0]), tmp_path)
    assert [vars(event) for event in back.events] == [vars(event) for event in TIMELINE.events]
    assert (back.name, back.media["duration"], back.warnings) == ("my clip", 9.0, ())


def test_an_export_with_several_tasks(tmp_path: Path) -> None:
    one = task(annotation(region(0, 1.5, "Dog", "Cat"), region(2, 3, "Dog", name="visual-2")))
    two = task(annotation(region(1, 2, "Car", meta={"text": ["a", "b"]}, score=0.5)), video="s3://bucket/b/two.mp4?x=1")
    first, second = read([one, two], tmp_path)
    assert (first.name, second.name) == ("clip", "two")
    assert events(first) == [("audio", "Cat", 0, 1.5), ("audio", "Dog", 0, 1.5), ("visual", "Dog", 2, 3)]
    assert second.events == (Event("audio", "Car", 1, 2, 0.5, "a\nb"),)
    assert first.warnings == ()


def test_the_annotation_that_was_completed_last_counts(tmp_path: Path) -> None:
    """Neither the place in the list nor a cancelled annotation decides, and predictions do not count beside them."""
    given = task(
        annotation(region(0, 1, "last"), updated="2026-03-01T00:00:00Z"), annotation(region(1, 2, "first")),
        annotation(region(2, 3, "cancelled"), updated="2026-04-01T00:00:00Z", cancelled=True),
        predictions=[annotation(region(3, 4, "predicted"))],
    )  # fmt: skip
    (back,) = read([given], tmp_path)
    assert events(back) == [("audio", "last", 0, 1)]
    assert back.warnings == (
        "x.label-studio.json: the last completed annotation was taken of tasks that have several: 1",
    )
    (back,) = read(
        task(annotation(region(0, 1, "a"), cancelled=True), predictions=[annotation(region(3, 4, "p"))]), tmp_path
    )
    assert events(back) == []
    assert back.warnings == ("x.label-studio.json: tasks that their annotators skipped have no events: 1",)
    (back,) = read(task(predictions=[annotation(region(3, 4, "old")), annotation(region(3, 5, "new"))]), tmp_path)
    assert events(back) == [("audio", "new", 3, 5)]


def test_other_interfaces(tmp_path: Path) -> None:
    """Frames 26 to 50 at 25 a second are the second second; what has no interval is counted."""
    frames = {"ranges": [{"start": 26, "end": 50}], "timelinelabels": ["Wave"]}
    others = [
        {"from_name": "timeline", "type": "timelinelabels", "value": frames},
        {"from_name": "caption", "type": "textarea", "value": {"start": 0, "end": 1, "text": ["hello"]}},
        {"from_name": "kind", "type": "choices", "value": {"choices": ["a"]}}, {"type": "relation", "from_id": "x"},
        region(3, 3, "point"), region(1, 2, "Hum", name="labels"),
    ]  # fmt: skip
    (back,) = read([task(annotation(*others))], tmp_path)
    assert events(back) == [("audio", "Hum", 1, 2), ("visual", "Wave", 1, 2)]
    assert [warning.partition(": ")[2] for warning in back.warnings] == [
        "frames were read at 25 a second in regions of timeline labels: 1",
        "regions without a duration are left out: 1",
        "regions that are not intervals are left out: 'textarea': 1, 'choices': 1, 'relation': 1",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("video", "name"),
    [
        ("/data/local-files/?d=films%2Fa%20b.mp4", "a b"),
        ("/data/local-files/?d=films/a.mp4&x=1", "a"),
        ("/data/upload/12/0123abcd-my-clip.mp4", "my-clip"),
        ("https://example.com/films/a.webm?token=1#t=3", "a"),
        ("C:\\films\\a.mp4", "a"),
        ("0123abcd-a.mp4", "0123abcd-a"),
        ("", "x"),
        ("../..", ".."),
    ],
)
def test_names_of_tasks(video: str, name: str, tmp_path: Path) -> None:
    assert [timeline.name for timeline in read([task(video=video)], tmp_path)] == [name]


@pytest.mark.parametrize(
    ("document", "said"),
    [
        (
            {"video": "x.mp4", "audio": [{"start": 0, "end": 1, "labels": ["a"]}]},
            "task 1: has no data; export the project as",
        ),
        ([task(), {"annotations": [1], "data": {}}], "task 2: annotations is not a list of objects"),
        ([task(), task()], "task 2: another task has the file 'clip.mp4'"),
        ([task(annotation(region("0", 1, "a")))], "task 1: start is '0', expected a number"),
        ([task(annotation(region(0, 10**400, "a")))], "is not a finite number"),
        ([task(annotation(region(2, 1, "a")))], "task 1: [2.0, 1.0) is not an interval"),
        ([task(annotation(region(0, 1, "a", score=2)))], "task 1: score 2.0 is not a probability"),
        ([task(annotation(region(0, 1, "a", original_length=1e9)))], "more than 24 hours"),
    ],
)
def test_exports_that_are_refused(document: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(FormatError, match=r"x\.label-studio\.json: not valid label-studio events") as error:
        read(document, tmp_path)
    assert said in str(error.value)


def test_an_interface_without_its_tasks(tmp_path: Path) -> None:
    (tmp_path / "x.label-studio.xml").write_bytes(FORMATS["label-studio"].write(TIMELINE)[1])
    with pytest.raises(FormatError, match=r"the interface has no events; pass the \.label-studio\.json file"):
        read_events(tmp_path / "x.label-studio.xml")
    (tmp_path / "x.label-studio.json").write_bytes(FORMATS["label-studio"].write(TIMELINE)[0])
    assert read_events(tmp_path / "x.label-studio.xml")[0].events == TIMELINE.events
