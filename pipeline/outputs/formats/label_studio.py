"""Label Studio: a task with predictions and the labeling interface for it, and exported annotations.

The interface shows the video above its waveform, with a set of labels per modality for regions of the waveform. Those
are in seconds; regions of `TimelineLabels` are in frames, at a rate that only the interface knows.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from ...event_limits import check_events, check_timelines, parse_event_json, read_number, shown
from ...text import encode_text
from ...timeline import MODALITIES, SINGLE_MODALITIES, Event, Modality, Timeline
from ..postprocess import split_modalities, with_audio_visual
from .tiers import drop_derived, media_name

SUFFIXES = ("label-studio.json", "label-studio.xml")
FRAME_RATE = 25.0  # of Label Studio's Video tag where the interface states none
# Where Label Studio serves files; a storage must be a folder below the one that its option DOCUMENT_ROOT names.
_LOCAL_FILES = "/data/local-files/?d=videos/"
_LOCAL_FILE = re.compile(r".*/local-files/\?d=([^&]*)", re.DOTALL)
_UPLOADED = re.compile(r"[0-9a-f]{8}-(?=.)")  # before the name of a file that was uploaded
_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECIMALS = 6


def write(timeline: Timeline) -> list[bytes]:
    """Write a list of one task, whose video Label Studio serves from its local files, and the labeling interface.

    Args:
        timeline: the events; audio-visual ones follow from the others.

    Returns:
        The task with its predictions, and the interface with the labels of the timeline.
    """
    length, name = timeline.media["duration"], PurePosixPath(str(timeline.media.get("path", "video"))).name
    regions = ",".join(
        "\n    " + json.dumps(_region(event, number, length))
        for number, event in enumerate(split_modalities(timeline.events), 1)
    )
    video = json.dumps(_LOCAL_FILES + quote(name, errors="surrogatepass"))
    task = f'[{{\n "data": {{"video": {video}}},\n "predictions": [{{\n  "model_version": "avvp",\n  "result": ['
    return [f"{task}{regions}\n  ]\n }}]\n}}]\n".encode("ascii"), _interface(timeline.labels)]


def _region(event: Event, number: int, length: float) -> dict[str, Any]:
    value = {"start": event.onset, "end": event.offset, "channel": 0, "labels": [event.label]}
    region = {
        "id": f"event{number}", "from_name": event.modality, "to_name": "sound", "type": "labels",
        "original_length": length, "value": value, "score": round(event.score, _DECIMALS),
    }  # fmt: skip
    return {**region, "meta": {"text": [event.comment]}} if event.comment else region


def _interface(labels: Sequence[str]) -> bytes:
    choices = "".join(f"    <Label value={quoteattr(_NOT_XML.sub('�', label))}/>\n" for label in labels)
    sets = "".join(
        f'  <Header value="{modality}"/>\n  <Labels name="{modality}" toName="sound">\n{choices}  </Labels>\n'
        for modality in SINGLE_MODALITIES
    )
    media = '  <Video name="video" value="$video" sync="sound"/>\n'
    return encode_text(f'<View>\n{media}{sets}  <Audio name="sound" value="$video" sync="video"/>\n</View>\n')


@dataclass
class _Notes:
    """What is to be known about reading an export."""

    others: Counter[str] = field(default_factory=Counter)  # kind of a region -> how many are left out
    points: int = 0  # regions without a duration
    several: int = 0  # tasks with several annotations
    cancelled: int = 0  # tasks that were skipped by all annotators
    frames: int = 0  # regions in frames

    def warnings(self) -> tuple[str, ...]:
        """Return a sentence for each."""
        kinds = ", ".join(f"{shown(kind)}: {count:,}" for kind, count in self.others.most_common(5))
        sentences = {
            f"the last completed annotation was taken of tasks that have several: {self.several:,}": self.several,
            f"tasks that their annotators skipped have no events: {self.cancelled:,}": self.cancelled,
            f"frames were read at {FRAME_RATE:g} a second in regions of timeline labels: {self.frames:,}": self.frames,
            f"regions without a duration are left out: {self.points:,}": self.points,
            f"regions that are not intervals are left out: {kinds}": len(self.others),
        }
        return tuple(sentence for sentence, count in sentences.items() if count)


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read tasks with annotations, or with predictions where they have no annotations.

    Of several annotations of a task the last one that was completed counts. A set of labels whose name begins with a
    modality has its events; others are audio where they label sound, and visual where they label frames.
    Audio-visual events are computed anew from the audio and visual ones.

    Args:
        contents: suffix -> text; the labeling interface is not needed.
        name: name of the timeline of a task whose data name no file.

    Returns:
        One timeline for each task; what was left out is in the warnings.

    Raises:
        ValueError: the content is not an export in the format JSON.
    """
    if SUFFIXES[0] not in contents:
        raise ValueError(f"the interface has no events; pass the .{SUFFIXES[0]} file with tasks")
    document = parse_event_json(contents[SUFFIXES[0]])
    tasks = document if isinstance(document, list) else [document]
    check_timelines(tasks)
    notes, total = _Notes(), list[Event]()
    timelines: dict[str, Timeline] = {}
    for number, task in enumerate(tasks, 1):
        try:
            timeline = _read_task(task, name if len(tasks) == 1 else f"{name}-{number}", notes, total)
        except ValueError as error:
            raise ValueError(f"task {number}: {error}") from error
        path = timeline.media["path"]
        if path in timelines:
            raise ValueError(f"task {number}: another task has the file {shown(path)}")
        timelines[path] = timeline
    read_timelines = list(timelines.values()) or [Timeline.of_events([], path=name)]
    return [replace(timeline, warnings=notes.warnings()) for timeline in read_timelines]


def _read_task(task: Any, name: str, notes: _Notes, total: list[Event]) -> Timeline:
    """Return the timeline of a task. `total` collects the events of all tasks. Raises ValueError."""
    data = task.get("data") if isinstance(task, dict) else None
    if not isinstance(data, dict):
        raise ValueError("has no data; export the project as JSON, not as JSON-MIN or CSV")
    events, length = list[Event](), None
    for region in _regions(task, notes):
        value = region.get("value")
        if not isinstance(value, dict):  # such as a relation between two regions
            notes.others[str(region.get("type"))] += 1
            continue
        if region.get("original_length"):
            length = max(length or 0.0, read_number(region["original_length"], "original_length"))
        for event in _events(region, value, notes):
            check_events(total)
            total.append(event)
            events.append(event)
    return Timeline.of_events(with_audio_visual(drop_derived(events)), path=_file_name(data) or name, duration=length)


def _regions(task: Mapping[str, Any], notes: _Notes) -> Iterator[Mapping[str, Any]]:
    """Yield the regions of the annotation of a task that counts, or of its last prediction. Raises ValueError."""
    annotations, predictions = (_objects(task.get(key), key) for key in ("annotations", "predictions"))
    completed = [annotation for annotation in annotations if not annotation.get("was_cancelled")]
    notes.several += len(completed) > 1
    notes.cancelled += bool(annotations) and not completed
    if completed:
        chosen = max(enumerate(completed), key=lambda item: (str(item[1].get("updated_at") or ""), item[0]))[1]
    elif annotations or not predictions:
        return
    else:
        chosen = predictions[-1]
    yield from _objects(chosen.get("result"), "result")


def _objects(value: Any, name: str) -> list[dict[str, Any]]:
    objects = [] if value is None else value
    if not isinstance(objects, list) or not all(isinstance(item, dict) for item in objects):
        raise ValueError(f"{name} is not a list of objects; export the project as JSON")
    return objects


def _events(region: Mapping[str, Any], value: Mapping[str, Any], notes: _Notes) -> Iterator[Event]:
    """Yield an event for each label of a region. Raises ValueError."""
    spans: list[tuple[float, float]]
    if isinstance(value.get("labels"), list) and "start" in value and "end" in value:
        labels, default = value["labels"], "audio"
        spans = [(read_number(value["start"], "start"), read_number(value["end"], "end"))]
    elif isinstance(value.get("timelinelabels"), list):
        labels, default, notes.frames = value["timelinelabels"], "visual", notes.frames + 1
        ranges = _objects(value.get("ranges"), "ranges")
        spans = [  # of frames from 1, with the last one
            ((read_number(r.get("start"), "start") - 1) / FRAME_RATE, read_number(r.get("end"), "end") / FRAME_RATE)
            for r in ranges
        ]
    else:
        notes.others[str(region.get("type"))] += 1
        return
    if not all(isinstance(label, str) for label in labels):
        raise ValueError(f"{shown(labels)} is not a list of labels")
    modality = _modality(region.get("from_name")) or default
    score = region.get("score")
    for onset, offset in spans:
        notes.points += onset == offset
        for label in labels if onset != offset else ():
            probability = 1.0 if score is None else read_number(score, "score")
            yield Event(modality, label, onset, offset, probability, _comment(region))


def _modality(name: Any) -> Modality | None:
    """Return the modality that the name of a set of labels begins with: "audio", "visual-labels", "audio_visual_2"."""
    words = name.casefold().replace("-", "_") + "_" if isinstance(name, str) else ""
    return next((modality for modality in reversed(MODALITIES) if words.startswith(f"{modality}_")), None)


def _comment(region: Mapping[str, Any]) -> str:
    meta = region.get("meta")
    texts = meta.get("text") if isinstance(meta, dict) else None
    texts = [texts] if isinstance(texts, str) else texts
    return "\n".join(text for text in texts if isinstance(text, str)) if isinstance(texts, list) else ""


def _file_name(data: Mapping[str, Any]) -> str:
    """Return the name of the file of a task, "" where its data have none."""
    addresses = [data[key] for key in ("video", "audio", *data) if isinstance(data.get(key), str)]
    if not addresses:
        return ""
    local = _LOCAL_FILE.match(addresses[0])
    name = media_name(local[1] if local else addresses[0])
    return _UPLOADED.sub("", name, count=1) if "/upload/" in addresses[0] else name
