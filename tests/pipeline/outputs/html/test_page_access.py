"""The page for everybody: axe in every state, forced colours, names of controls, and frames of a page of an hour."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.timeline import GroundTruth, SegmentLabels, Timeline
from axe_playwright_python.sync_playwright import Axe
from support.pages import DESKTOP, PHONE, Opened, Show, make_timeline, size

pytestmark = pytest.mark.browser
STATES: dict[str, Callable[[Opened], object]] = {
    "opened": lambda _: None,
    "all classes": lambda opened: opened.page.locator("#all-classes").check(),
    "an event is edited": lambda opened: opened.press("e", "n", "f"),
    "without panel": lambda opened: opened.page.locator("#panel").click(),
    "origin": lambda opened: opened.page.locator("#origin summary").click(),
    "keys": lambda opened: opened.press("?"),
    "nothing left": lambda opened: (opened.press("Escape", "/"), opened.page.locator("#search").fill("nowhere")),
}


def full_timeline() -> tuple[Timeline, GroundTruth]:
    """With everything that a page can show beside its events."""
    timeline = make_timeline()
    truth = np.zeros((10, 5), bool)
    truth[2:5, 1] = True
    truths = GroundTruth(SegmentLabels(truth, truth), "F-score 50")
    return replace(timeline, warnings=("for tests only", "the audio ends early", "a frame is damaged")), truths


@pytest.mark.parametrize("window", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_any_state(
    show: Show, tmp_path: Path, clip: Path, window: tuple[int, int], scheme: str
) -> None:
    timeline, truth = full_timeline()
    write_page(timeline, tmp_path / "report.html", media=clip, truth=truth)
    opened = show(tmp_path / "report.html", color_scheme=scheme, **size(window))
    found = {}
    for state, reach in STATES.items():
        reach(opened)
        results = Axe().run(opened.page)
        if results.violations_count:
            found[state] = results.generate_report()
    assert found == {}


def test_axe_finds_nothing_in_a_page_without_video(show: Show, tmp_path: Path) -> None:
    write_page(Timeline.of_events([], path="a.mp4", duration=3.0), tmp_path / "report.html", note="no video here")
    results = Axe().run(show(tmp_path / "report.html").page)
    assert not results.violations_count, results.generate_report()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_forced_colours_are_readable(show: Show, tmp_path: Path, scheme: str) -> None:
    """Bars are in the user's colours: audio filled, visual striped, both plain; nothing is told by hue alone."""
    write_page(make_timeline(), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", forced_colors="active", color_scheme=scheme, **size(DESKTOP))
    style = "element => { const s = getComputedStyle(element); return [s.backgroundColor, s.backgroundImage]; }"
    page = opened.page
    ground = page.eval_on_selector("body", "body => getComputedStyle(body).backgroundColor")
    text = page.eval_on_selector("h1", "title => getComputedStyle(title).color")
    assert {ground, text} == {"rgb(0, 0, 0)", "rgb(255, 255, 255)"}
    assert page.locator(".event.audio").first.evaluate(style) == [text, "none"]
    assert "repeating-linear-gradient" in page.locator(".event.visual").first.evaluate(style)[1]
    assert page.locator(".event.audio_visual").first.evaluate(style) == [text, "none"]
    legend = page.locator("#legend .visual i").evaluate(style)
    assert "repeating-linear-gradient" in legend[1]
    assert page.locator("#legend .shade").is_hidden()  # no probabilities, which are told by hue


def test_every_control_has_a_name(show: Show, tmp_path: Path, clip: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html", media=clip)
    opened = show(tmp_path / "report.html")
    opened.press("e")
    unnamed = opened.page.eval_on_selector_all(
        "button, input, select",
        "all => all.filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))"
        ".map(e => e.outerHTML)",
    )
    assert [text for text in unnamed if text != '<button type="button"></button>'] == []  # hidden until nothing is left


MAX_BYTES = 5 << 20
FRAMES = 90  # of the scrolling that is measured


@pytest.mark.parametrize("zooms", [0, 3, 8])
def test_an_hour_scrolls_smoothly(show: Show, tmp_path: Path, zooms: int) -> None:
    timeline = make_timeline(3600, LLP_LABELS)
    write_page(timeline, tmp_path / "hour.html")
    assert (tmp_path / "hour.html").stat().st_size < MAX_BYTES
    opened = show(tmp_path / "hour.html", **size(DESKTOP))
    assert len(timeline.events) > 10_000
    assert len(opened.events()) == 1000
    opened.press(*["+"] * zooms)
    scroll = """([by, frames]) => new Promise(resolve => {
          const scroller = document.getElementById("scroller");
          let done = 0;
          const step = () => {
            scroller.scrollLeft += by;
            scroller.scrollTop = done % 20;
            ++done < frames ? requestAnimationFrame(step) : resolve();
          };
          requestAnimationFrame(step);
        })"""
    client = opened.page.context.new_cdp_session(opened.page)
    client.send("Performance.enable", {"timeDomain": "threadTicks"})

    def page_seconds() -> float:
        """CPU time of the page's scripts, styles and layout. Drawing pixels depends on the machine, and is left out."""
        metrics = {metric["name"]: metric["value"] for metric in client.send("Performance.getMetrics")["metrics"]}
        return sum(metrics[f"{part}Duration"] for part in ("Script", "RecalcStyle", "Layout"))

    before = page_seconds()
    opened.page.evaluate(scroll, [40, FRAMES])
    per_frame = (page_seconds() - before) / FRAMES
    print(f"{zooms} zooms: {1000 * per_frame:.1f} ms of CPU time a frame")  # noqa: T201
    assert 0 < per_frame < 1 / 30
    assert opened.page.locator("#events .event").count() < 1500
