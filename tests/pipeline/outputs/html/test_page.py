"""The page in headless Chromium: it plays, jumps, recomputes, and takes strangers' names for text."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.formats.registry import read_events
from avvp.pipeline.outputs.html import page as pages
from avvp.pipeline.outputs.html.index import write_index
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.timeline import Event, GroundTruth, SegmentLabels, Timeline, all_events
from support.command import Result
from support.pages import Opened, Show, make_timeline, plain

pytestmark = pytest.mark.browser
HOSTILE = (
    "<script>window.hacked = 1</script>", "\"quotes' & <b>bold</b>", "emoji 🐕 \u202etxt", "</script><img src=x>",
)  # fmt: skip


@pytest.fixture
def shown(show: Show, tmp_path: Path, clip: Path) -> Opened:
    write_page(make_timeline(), tmp_path / "report.html", media=clip)
    return show(tmp_path / "report.html")


def test_events_are_listed_and_a_click_seeks(shown: Opened) -> None:
    timeline = make_timeline()
    assert shown.events() == plain(timeline)
    assert shown.page.title() == "clip.mp4 · events"
    late = next(event for event in timeline.events if 1 <= event.onset < 3)
    shown.page.locator(f"#events .event.{late.modality}[aria-label^='{late.label.replace('_', ' ')}']").first.click()
    chosen = shown.page.locator("#list tr.chosen")
    assert float(chosen.get_attribute("data-onset") or -1) == pytest.approx(shown.time(), abs=0.01)
    shown.page.locator("#list tbody tr").first.click()
    assert shown.time() == pytest.approx(timeline.events[0].onset, abs=0.01)
    shown.page.locator("#axis").click(position={"x": 200, "y": 12})
    width = shown.page.locator("#axis").bounding_box()["width"]  # type: ignore[index]
    assert shown.page.locator("#clock").text_content() == f"0:0{200 / width * 10:.1f}"


def test_threshold_slider_equals_python(shown: Opened) -> None:
    timeline = make_timeline()
    probabilities = timeline.probabilities
    assert probabilities is not None
    for threshold in (0.0, 0.13, 0.5, 0.77, 1.0):
        shown.slide("threshold", threshold)
        decided = Thresholds.uniform(timeline.labels, threshold, threshold).decide(probabilities)
        expected = replace(timeline, events=all_events(decided, probabilities, timeline.labels))
        assert shown.events() == plain(expected)
    assert shown.page.locator("#nothing").is_visible()


def test_filters(shown: Opened) -> None:
    shown.page.locator("input[data-modality=audio]").uncheck()
    assert {event[0] for event in shown.events()} == {"visual", "audio_visual"}
    shown.page.locator("#search").fill("spee")
    assert {event[1] for event in shown.events()} == {"Speech"}
    shown.slide("min-score", 0.7)
    assert all(event[4] >= 0.7 for event in shown.events())


def test_keys(shown: Opened) -> None:
    press = shown.page.keyboard.press
    timeline = make_timeline()
    press("n")
    press("n")
    second = timeline.events[1]
    label = shown.page.evaluate("document.activeElement.getAttribute('aria-label')")
    assert second.label.replace("_", " ") in label
    press("p")
    assert shown.page.locator("#list tbody tr").first.get_attribute("class") == "chosen"
    press("ArrowRight")
    assert shown.time() == pytest.approx(1, abs=0.05)
    press("ArrowLeft")
    assert shown.time() == pytest.approx(0, abs=0.05)
    press("Space")
    shown.until("!document.querySelector('video').paused")
    press("Space")
    shown.until("document.querySelector('video').paused")
    press("?")
    assert shown.page.locator("#help").is_visible()
    press("Escape")
    before = shown.page.eval_on_selector("#axis", "axis => axis.offsetWidth")
    press("+")
    assert shown.page.eval_on_selector("#axis", "axis => axis.offsetWidth") > 1.5 * before
    shown.page.locator("#search").fill("")
    shown.page.locator("#search").press("e")
    assert shown.page.locator("#editor").is_hidden()


def test_hostile_names_are_shown_as_text(show: Show, tmp_path: Path) -> None:
    labels = (*HOSTILE, "@DATA@")
    events = [Event("audio", label, n, n + 2, 0.5) for n, label in enumerate(labels)]
    timeline = Timeline.of_events(events, path="<img src=x onerror=alert(1)>@SCRIPT@.mp4", labels=labels, duration=10.0)
    timeline = replace(timeline, warnings=(HOSTILE[0],), provenance={"note": HOSTILE[3]})
    write_page(timeline, tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    assert opened.page.evaluate("window.hacked") is None
    assert opened.page.locator("img").count() == 0
    assert opened.page.locator("h1").text_content() == "<img src=x onerror=alert(1)>@SCRIPT@.mp4"
    assert [event[1] for event in opened.events()] == list(labels)
    assert opened.page.locator("#warnings").text_content() == HOSTILE[0]
    write_index(tmp_path, {tmp_path / "report.html": timeline}, title=HOSTILE[3])
    listed = show(tmp_path / "index.html")
    assert listed.page.locator("#files a").text_content() == "<img src=x onerror=alert(1)>@SCRIPT@.mp4"
    assert listed.page.locator("img").count() == 0


def test_a_video_inside_the_page_plays(show: Show, tmp_path: Path, clip: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html", media=clip, embed=True)
    opened = show(tmp_path / "report.html")
    opened.until("document.querySelector('video').readyState >= 2")
    assert opened.page.eval_on_selector("video", "video => video.duration") > 1
    assert len(opened.requests) <= 2


def test_missing_video_shows_a_message(show: Show, tmp_path: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html", media=tmp_path / "gone away.mp4")
    opened = show(tmp_path / "report.html")
    opened.page.locator("#stage p").first.wait_for()
    assert "gone away.mp4" in opened.text("#stage")
    opened.page.locator("#list tbody tr").nth(3).click()
    assert opened.page.locator("#clock").text_content() != ""
    opened.complaints.clear()  # Chromium notes the missing file


def test_too_large_a_video_is_not_embedded(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EMBED_LIMIT", 1000)
    with pytest.raises(SetupError, match="without --embed-video"):
        write_page(make_timeline(), tmp_path / "report.html", media=clip, embed=True)
    assert not (tmp_path / "report.html").exists()


def test_truth_is_shown(show: Show, tmp_path: Path) -> None:
    timeline = make_timeline()
    truth = np.zeros((10, 5), bool)
    truth[2:5, 1] = True
    write_page(timeline, tmp_path / "report.html", truth=GroundTruth(SegmentLabels(truth, truth), "F-score 50"))
    opened = show(tmp_path / "report.html")
    assert opened.page.locator(".true").count() == 2
    assert "F-score 50" in (opened.page.locator("#facts").text_content() or "")
    opened.page.locator("#show-truth").uncheck()
    opened.until("document.querySelectorAll('.true').length === 0")


def test_a_folder_of_results_becomes_a_site(
    run: Callable[..., Result], show: Show, tmp_path: Path, clips: Any, tiny_bundle: Path
) -> None:
    """From the command line: parse two files, report on them, look at one."""
    (tmp_path / "videos").mkdir()
    for name in ("one.mp4", "-two #2.mp4"):
        shutil.copy(clips.steady, tmp_path / "videos" / name)
    where = ("--output-dir", tmp_path / "events", "--weights", tiny_bundle, "--segments", "--threshold", "0.1", "-q")
    assert run("parse", tmp_path / "videos", *where).status == 0
    result = run("report", tmp_path / "events", "--media", tmp_path / "videos", "--output-dir", tmp_path / "site")
    assert result.status == 0, result.err
    assert sorted(path.name for path in (tmp_path / "site").glob("*.html")) == [
        "-two #2.html",
        "index.html",
        "one.html",
    ]
    opened = show(tmp_path / "site" / "index.html")
    opened.page.locator("#files a", has_text="two").click()
    opened.until("document.querySelector('video')?.readyState >= 1")
    assert opened.page.locator("h1").text_content() == "-two #2.mp4"
    (timeline,) = read_events(tmp_path / "events" / "-two #2.events.json")
    assert opened.events() == plain(timeline)
    assert json.loads((tmp_path / "events" / "one.events.json").read_text())["schema_version"] == "1.3"
