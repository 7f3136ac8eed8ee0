"""Hostile events in the formats of editors, annotation programs and scorers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

_MARKUP = "</script><script>alert(1)</script>\"'>&amp;<!--"
_DCASE_HEADER = "filename\tonset\toffset\tevent_label\n"
_RAVEN_HEADER = "Selection\tView\tBegin Time (s)\tEnd Time (s)\tClass\n"


def hostile_exchange(size: int) -> dict[str, bytes]:
    """Make the files: name with the suffix of its format -> content. size: of what is repeated."""
    files: dict[str, str] = {}
    for suffix, contents in (
        ("label-studio.json", _tasks(size)), ("otio", _timelines(size)), ("audio.activitynet.json", _videos(size)),
        ("audio.rttm", _rttm(size)), ("selections.txt", _selections(size)), ("audio.dcase.tsv", _strong_labels(size)),
        ("ffmetadata.txt", _chapters(size)),
    ):  # fmt: skip
        files |= {f"{name}.{suffix}": content for name, content in contents.items()}
    return {name: content.encode("utf-8", "surrogatepass") for name, content in files.items()}


def _region(start: Any = 0, end: Any = 1, label: Any = "Dog", **more: Any) -> dict[str, Any]:
    return {"from_name": "audio", "type": "labels", "value": {"start": start, "end": end, "labels": [label]}, **more}


def _task(*regions: Any, video: Any = "clip.mp4", **more: Any) -> dict[str, Any]:
    return {"data": {"video": video}, "annotations": [{"result": list(regions), **more}]}


def _tasks(size: int) -> Mapping[str, str]:
    frames = {
        "type": "timelinelabels",
        "value": {"ranges": [{"start": 1, "end": size}] * 9, "timelinelabels": ["a"] * 9},
    }
    documents: dict[str, Any] = {
        "null": None,
        "number": 1,
        "no_tasks": [],
        "no_data": [{"annotations": []}],
        "data_list": [{"data": []}],
        "min": [{"video": "x.mp4", "audio": [{"start": 0, "end": 1}]}],
        "annotations_text": [{"data": {}, "annotations": "x"}],
        "annotations_numbers": [{"data": {}, "annotations": [1]}],
        "result_object": [{"data": {}, "annotations": [{"result": {"a": 1}}]}],
        "cancelled": [_task(_region(), was_cancelled=True)],
        "values": [_task({"value": 1}, {"value": {"labels": 1}}, {}, {"type": ["x"], "value": {"choices": [1]}})],
        "kinds": [_task(*({"type": f"kind {n}\x1b", "value": {}} for n in range(size)))],
        "labels_numbers": [_task(_region(label=1))],
        "label_long": [_task(_region(label="x" * size * 10))],
        "label_markup": [_task(_region(label=_MARKUP), video=_MARKUP)],
        "times_text": [_task(_region("0", "1"))],
        "times_huge": [_task(_region(0, 10**399))],
        "times_backwards": [_task(_region(5, 1))],
        "times_true": [_task(_region(False, True))],
        "score_text": [_task(_region(score="high"))],
        "length": [_task(_region(original_length=10**30))],
        "meta": [_task(_region(meta={"text": ["\x00\x1b", 1, None]}), _region(meta=[1]), _region(meta={"text": {}}))],
        "comment_long": [_task(_region(meta={"text": ["x" * size * 50]}))],
        "from_name": [_task(_region(from_name=[1]), _region(from_name="x" * size))],
        "frames": [_task(*[frames] * size)],
        "frames_wrong": [_task({"type": "timelinelabels", "value": {"ranges": [1], "timelinelabels": ["a"]}})],
        "video_up": [_task(_region(), video="/data/local-files/?d=../../etc/passwd")],
        "video_null": [_task(_region(), video="a\0b.mp4")],
        "video_long": [_task(_region(), video="x" * 5_000)],
        "video_address": [_task(_region(), video="http://[::1/x")],
        "video_query": [_task(_region(), video="/data/local-files/?" + "d=x&" * size)],
        "same_video": [_task(_region()), _task(_region())],
        "tasks_many": [_task(_region(), video=f"{n}.mp4") for n in range(min(size, 100))],
        "regions_many": [_task(*[_region()] * size)],
        "updated": [{"data": {}, "annotations": [{"updated_at": [1], "result": []}, {"updated_at": "x"}]}],
        "deep": [_task(_region(meta=json.loads("[" * 55 + "]" * 55)))],
    }  # fmt: skip
    return {
        **{name: json.dumps(document) for name, document in documents.items()},
        "empty": "",
        "deep_lists": "[" * size * 10,
        "infinite": json.dumps([_task(_region(0, float("inf")))]),
        "tasks_too_many": "[" + ",".join(['{"data": {}}'] * 20_001) + "]",
    }


def _marker(start: Any = 0.0, duration: Any = 25.0, name: Any = "Dog", rate: Any = 25.0, **more: Any) -> dict[str, Any]:
    times = {"start_time": {"value": start, "rate": rate}, "duration": {"value": duration, "rate": rate}}
    return {"OTIO_SCHEMA": "Marker.2", "name": name, "marked_range": times, **more}


def _timeline(*markers: Any, media: Any = None, **track: Any) -> dict[str, Any]:
    clip = {"OTIO_SCHEMA": "Clip.1", "markers": list(markers), "media_reference": media}
    children = [{"OTIO_SCHEMA": "Track.1", "kind": "Audio", "children": [clip], **track}]
    return {"OTIO_SCHEMA": "Timeline.1", "tracks": {"OTIO_SCHEMA": "Stack.1", "children": children}}


def _timelines(size: int) -> Mapping[str, str]:
    own = {"metadata": {"avvp": {"modality": ["x"], "score": 1e300}}}
    documents: dict[str, Any] = {
        "list": [],
        "schema_list": {"OTIO_SCHEMA": ["Timeline.1"]},
        "bare": {"OTIO_SCHEMA": "Timeline.1"},
        "tracks_number": {"OTIO_SCHEMA": "Timeline.1", "tracks": 1, "children": 1},
        "children_numbers": {"OTIO_SCHEMA": "Timeline.1", "children": [1, None]},
        "markers_text": _timeline("x"),
        "no_range": _timeline({"name": "Dog"}),
        "rate_zero": _timeline(_marker(rate=0)),
        "rate_tiny": _timeline(_marker(rate=5e-324)),
        "rate_text": _timeline(_marker(rate="25")),
        "time_huge": _timeline(_marker(10**399)),
        "time_negative": _timeline(_marker(-25.0)),
        "no_duration": _timeline(_marker(duration=0)),
        "name_number": _timeline(_marker(name=1)),
        "name_long": _timeline(_marker(name="x" * size * 10)),
        "name_markup": _timeline(_marker(name=_MARKUP, comment=_MARKUP)),
        "own_wrong": _timeline(_marker(**own)),
        "comment_number": _timeline(_marker(comment=[1], metadata=1)),
        "media_wrong": _timeline(_marker(), media=[1]),
        "media_up": _timeline(_marker(), media={"target_url": "file:///../../etc/passwd"}),
        "media_address": _timeline(_marker(), media={"target_url": "http://[::1/x"}),
        "media_null": _timeline(_marker(), media={"target_url": "a%00b.mp4"}),
        "media_long": _timeline(_marker(), media={"target_url": "x" * 5_000}),
        "media_range": _timeline(_marker(), media={"available_range": {"start_time": 1}}),
        "track_name": _timeline(_marker(), name=["x"] * size, kind={"a": 1}),
        "markers_many": _timeline(*[_marker()] * size),
        "deep": _nested(25),
        "deep_in_limits": _nested(10),
    }  # fmt: skip
    return {
        **{name: json.dumps(document) for name, document in documents.items()},
        "empty": "",
        "deep_lists": '{"OTIO_SCHEMA": "Timeline.1", "children": ' + "[" * size * 10,
    }


def _nested(depth: int) -> dict[str, Any]:
    item: dict[str, Any] = {"OTIO_SCHEMA": "Clip.1", "markers": [_marker()]}
    for _ in range(depth):
        item = {"OTIO_SCHEMA": "Stack.1", "children": [item]}
    return {"OTIO_SCHEMA": "Timeline.1", "tracks": item}


def _videos(size: int) -> Mapping[str, str]:
    segment = {"segment": [0, 1], "label": "Dog", "score": 0.5}
    documents: dict[str, Any] = {
        "list": [],
        "results_list": {"results": [segment]},
        "entries_number": {"results": {"x": 1}},
        "entry_number": {"results": {"x": [1]}},
        "segment_text": {"results": {"x": [{**segment, "segment": "01"}]}},
        "segment_long": {"results": {"x": [{**segment, "segment": [0] * size}]}},
        "segment_null": {"results": {"x": [{**segment, "segment": [None, 1]}]}},
        "segment_huge": {"results": {"x": [{**segment, "segment": [0, 10**399]}]}},
        "label_list": {"results": {"x": [{**segment, "label": ["Dog"]}]}},
        "score_huge": {"results": {"x": [{**segment, "score": 1e300}]}},
        "duration_text": {"database": {"x": {"duration": "9", "annotations": []}}},
        "duration_huge": {"database": {"x": {"duration": 1e300, "annotations": []}}},
        "duration_negative": {"database": {"x": {"duration": -1, "annotations": []}}},
        "annotations_null": {"database": {"x": {"annotations": None}}},
        "names": {"results": {name: [segment] for name in ("..", "/etc/passwd", "\x1b[2J", "\ud800", "x" * 300)}},
        "videos_many": {"results": {f"{n}": [segment] for n in range(min(size, 100))}},
        "videos_too_many": {"results": {f"{n}": [] for n in range(20_001)}},
        "segments_many": {"results": {"x": [segment] * size}},
    }
    return {"empty": "", "deep": '{"results": ' + "[" * size, **{n: json.dumps(of) for n, of in documents.items()}}


def _rttm(size: int) -> Mapping[str, str]:
    line = "SPEAKER x 1 0.0 1.0 <NA> <NA> Dog <NA> <NA>\n"
    return {
        "short": "SPEAKER x 1 0.0 1.0\n",
        "text": "SPEAKER x 1 zero 1.0 <NA> <NA> Dog\n",
        "huge": "SPEAKER x 1 0 1e999 <NA> <NA> Dog\n",
        "digits": f"SPEAKER x 1 0 {'1' * size * 20} <NA> <NA> Dog\n",
        "score": "SPEAKER x 1 0 1 <NA> <NA> Dog 7\n",
        "others": "LEXEME x 1 0 1 hello lex spk 1 <NA>\n" * size,
        "points": "SPEAKER x 1 0 0 <NA> <NA> Dog\n" * size,
        "many": line * size * 3,
        "files": "".join(line.replace("x", f"{n}", 1) for n in range(min(size, 100))),
        "files_too_many": "".join(line.replace(" x ", f" {n} ") for n in range(20_001)),
        "names": "".join(line.replace(" x ", f" {n} ") for n in ("..", "/etc/passwd", "\x1b[2J", "x" * 300)),
        "fields": "SPEAKER " * size * 20,
        "blanks": " " * size * 100 + "x",
        "long": f"SPEAKER x 1 0 1 <NA> <NA> {'x' * size * 10}\n",
    }


def _selections(size: int) -> Mapping[str, str]:
    return {
        "no_class": "Selection\tBegin Time (s)\tEnd Time (s)\n1\t0\t1\n",
        "columns": _RAVEN_HEADER + "1\t0\n",
        "times": _RAVEN_HEADER + "1\tSpectrogram 1\t5\t1\tDog\n",
        "thousands": _RAVEN_HEADER + "1\tSpectrogram 1\t1.234\t2,5\tDog\n",
        "points": _RAVEN_HEADER + "1\tSpectrogram 1\t1\t1\tDog\n" * size,
        "many": _RAVEN_HEADER + "".join(f"{n}\tWaveform 1\t{n}\t{n + 1}\tDog\n" for n in range(min(size, 80_000))),
        "same": _RAVEN_HEADER + "1\tWaveform 1\t0\t1\tDog\n" * size,
        "modality": f"{_RAVEN_HEADER[:-1]}\tModality\n1\tWaveform 1\t0\t1\tDog\ttouch\x1b\n",
        "long": f"{_RAVEN_HEADER}1\tWaveform 1\t0\t1\t{'x' * size * 10}\n",
        "file": f"{_RAVEN_HEADER[:-1]}\tBegin File\n1\tWaveform 1\t0\t1\tDog\t../../etc/passwd\n",
    }


def _strong_labels(size: int) -> Mapping[str, str]:
    return {
        "columns": "filename\tonset\n",
        "rows": _DCASE_HEADER + "x\t0\t1\tDog\n" * size,
        "silent": _DCASE_HEADER + "".join(f"{n}\t\t\t\n" for n in range(min(size, 100))),
        "half": _DCASE_HEADER + "x\t0\t\tDog\n",
        "files_too_many": _DCASE_HEADER + "".join(f"{n}\t\t\t\n" for n in range(20_001)),
        "names": _DCASE_HEADER + "".join(f"{name}\t0\t1\tDog\n" for name in ("..", "../x", "\x1b[2J", "x" * 300)),
        "quote": _DCASE_HEADER + '"x\t0\t1\tDog\n' * 3,
    }


def _chapters(size: int) -> Mapping[str, str]:
    head, times = ";FFMETADATA1\n", "TIMEBASE=1/1\nSTART=0\nEND=1\n"
    return {
        "header": "FFMETADATA\n",
        "no_times": f"{head}[CHAPTER]\ntitle=x\n",
        "base_zero": f"{head}[CHAPTER]\nTIMEBASE=1/0\nSTART=0\nEND=1\n",
        "base_huge": f"{head}[CHAPTER]\nTIMEBASE={'9' * size}/1\nSTART=0\nEND=1\n",
        "time_huge": f"{head}[CHAPTER]\nTIMEBASE=1/1\nSTART=0\nEND={'9' * 18}\n",
        "time_digits": f"{head}[CHAPTER]\nSTART=0\nEND={'9' * size * 20}\n",
        "negative": f"{head}[CHAPTER]\nTIMEBASE=1/1\nSTART=-5\nEND=1\n",
        "backwards": f"{head}[CHAPTER]\nTIMEBASE=1/1\nSTART=5\nEND=1\n",
        "slashes": head + "\\" * size * 20,
        "escaped_lines": head + "\\\n" * size * 10,
        "equals": f"{head}[CHAPTER]\n{times}title={'=' * size * 20}\n",
        "brackets": f"{head}[CHAPTER]\n{times}title={' (audio' * size * 5}\n",
        "events": f"{head}[CHAPTER]\n{times}title={', '.join(f'{n} (both)' for n in range(min(size, 1_000)))}\n",
        "many": head + f"[CHAPTER]\n{times}title=x\n" * size,
        "keys": head + "[CHAPTER]\n" + "a" * size * 20 + "\n",
        "sections": head + "[" * size * 20 + "\n" + "[CHAPTER]\n" * size,
    }
