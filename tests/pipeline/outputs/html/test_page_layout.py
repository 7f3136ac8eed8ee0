"""The geometry of the page, measured in Chromium: what stays in sight, and that bars are as long as their events."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.outputs.html.web_files import read_web
from avvp.pipeline.outputs.plots.timeline import COLOURS
from avvp.pipeline.timeline import Event, Timeline
from support.pages import DESKTOP, PHONE, Show, make_timeline, size

pytestmark = pytest.mark.browser
_VISIBLE_ROWS = """names => {
  const frame = document.getElementById("scroller").getBoundingClientRect();
  const bottom = Math.min(frame.bottom, window.innerHeight);
  return names.filter(name => name.getBoundingClientRect().bottom <= bottom).length;
}"""
_IN_SIGHT = """elements => elements.map(element => {
  const box = element.getBoundingClientRect();
  return box.height > 0 && box.top >= 0 && box.bottom <= window.innerHeight;
})"""
_BARS = """elements => elements.map(element => {
  const box = element.getBoundingClientRect();
  const origin = document.getElementById("rows").getBoundingClientRect().left;
  return [element.getAttribute("aria-label"), box.left - origin, box.width, element.scrollWidth <= element.clientWidth];
})"""


@pytest.mark.parametrize(("window", "rows"), [(DESKTOP, 8), ((1440, 900), 10)])
@pytest.mark.parametrize("notes", [0, 3])
def test_many_rows_are_in_sight(
    show: Show, tmp_path: Path, clip: Path, window: tuple[int, int], rows: int, notes: int
) -> None:
    """With video, film and waveform, and with warnings as well."""
    timeline = make_timeline(18, LLP_LABELS)
    timeline = replace(timeline, warnings=("the model was trained on generated clips only",) * notes)
    write_page(timeline, tmp_path / "report.html", media=clip)
    opened = show(tmp_path / "report.html", **size(window))
    opened.until("document.querySelector('video').readyState >= 1")
    assert opened.page.eval_on_selector_all(".name", _VISIBLE_ROWS) >= rows


@pytest.mark.parametrize("window", [(1440, 900), DESKTOP, (1024, 768), PHONE])
def test_player_clock_and_ruler_stay_in_sight(show: Show, tmp_path: Path, clip: Path, window: tuple[int, int]) -> None:
    write_page(make_timeline(18, LLP_LABELS), tmp_path / "report.html", media=clip)
    opened = show(tmp_path / "report.html", **size(window))
    opened.page.eval_on_selector("#scroller", "scroller => scroller.scrollTop = 1e6")
    assert opened.page.eval_on_selector("#scroller", "scroller => scroller.scrollTop") > 0
    assert opened.page.eval_on_selector_all("#stage, #clock, #ruler", _IN_SIGHT) == [True] * 3
    last = opened.page.locator(".name").last.bounding_box()
    assert last is not None
    assert last["y"] + last["height"] <= window[1]
    opened.page.evaluate("window.scrollTo(0, 1e6)")  # to the end of the page: the player stays
    assert opened.page.eval_on_selector_all("#stage, #clock", _IN_SIGHT) == [True] * 2
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= window[0]


def test_the_panel_collapses(show: Show, tmp_path: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", **size(DESKTOP))
    before = opened.page.locator("#listing").bounding_box()
    opened.page.locator("#panel").click()
    after = opened.page.locator("#listing").bounding_box()
    assert opened.page.locator("#controls").is_hidden()
    assert opened.page.locator("#panel").get_attribute("aria-expanded") == "false"
    assert before is not None
    assert after is not None
    assert after["width"] > before["width"] + 200
    opened.press("/")  # a search needs it
    assert opened.page.locator("#search").evaluate("search => search === document.activeElement")


@pytest.mark.parametrize("seconds", [18, 3600])
@pytest.mark.parametrize("window", [DESKTOP, PHONE])
def test_bars_are_as_long_as_their_events(show: Show, tmp_path: Path, seconds: int, window: tuple[int, int]) -> None:
    """At any zoom: drawn within a pixel of the true width and place, at least a pixel, and text only where it fits."""
    write_page(make_timeline(seconds, LLP_LABELS), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", **size(window))
    for zooms in range(4):
        opened.press(*["+"] * (3 if zooms else 0))
        opened.page.wait_for_timeout(80)
        scale = opened.page.eval_on_selector("#axis", "axis => axis.getBoundingClientRect().width") / seconds
        bars = opened.page.eval_on_selector_all("#events .event", _BARS)
        assert len(bars) > 8 or scale < 3
        for name, left, width, fits in bars:
            onset, offset = (sum(60**n * float(part) for n, part in enumerate(reversed(time.split(":"))))
                             for time in re.findall(r"[\d:.]+", name.split(", ")[-2]))  # fmt: skip
            assert abs(width - max(1, (offset - onset) * scale)) < 1, name
            assert abs(left - onset * scale) < 1, name
            assert fits, name


@pytest.mark.parametrize("window", [PHONE, (1600, 1000)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(show: Show, tmp_path: Path, window: tuple[int, int], scheme: str) -> None:
    write_page(make_timeline(labels=LLP_LABELS), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", color_scheme=scheme, **size(window))
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= window[0]
    assert opened.page.evaluate("document.documentElement.dataset.theme") == scheme


def test_what_is_chosen_comes_into_sight_in_both_directions(show: Show, tmp_path: Path) -> None:
    timeline = make_timeline(600, LLP_LABELS)
    write_page(timeline, tmp_path / "report.html")
    opened = show(tmp_path / "report.html", **size(DESKTOP))
    opened.press(*["+"] * 8)
    last = max(timeline.events, key=lambda event: (event.label == LLP_LABELS[-1], event.onset))
    opened.slide("min-score", 0.0)
    opened.page.locator("#search").fill("")
    opened.page.locator(f"#list tr[data-label='{LLP_LABELS[-1]}']").last.click()
    assert last.label == LLP_LABELS[-1]
    box = opened.page.locator(".event.chosen").bounding_box()
    frame = opened.page.locator("#scroller").bounding_box()
    assert box is not None
    assert frame is not None
    assert frame["x"] + 200 <= box["x"] <= frame["x"] + frame["width"]
    assert frame["y"] <= box["y"] <= frame["y"] + frame["height"] - box["height"]
    row = opened.page.locator("#list tr.chosen").bounding_box()
    table = opened.page.locator("#listing .table").bounding_box()
    assert row is not None
    assert table is not None
    assert table["y"] <= row["y"] <= table["y"] + table["height"] - row["height"] + 1


def read_colours(theme: int) -> dict[str, str]:
    """The colours of the light theme (0) or the dark one (1)."""
    blocks = re.findall(r":root[^{]*{([^}]*#[^}]*)}", read_web("page.css"))
    assert len(blocks) == 2
    return dict(re.findall(r"--([\w-]+): (#\w{6})", blocks[theme]))


def linear(colour: str) -> np.ndarray:
    parts = np.array([int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)])
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)


def contrast(first: str, second: str) -> float:
    """The ratio of WCAG."""
    dark, light = sorted(float(linear(colour) @ [0.2126, 0.7152, 0.0722]) for colour in (first, second))
    return (light + 0.05) / (dark + 0.05)


@pytest.mark.parametrize("theme", [0, 1])
def test_colours_have_contrast(theme: int) -> None:
    """WCAG AA: text and its ground differ by 4.5 to 1 at least, also the scores on bars."""
    colours = read_colours(theme)
    pairs = [(text, ground) for text in ("text", "soft", "audio-ink", "visual-ink", "audio_visual", "joint", "accent")
             for ground in ("ground", "panel", "grid")]  # fmt: skip
    pairs += [
        ("on-audio", "audio"),
        ("on-visual", "visual"),
        ("on-joint", "joint"),
        ("on-accent", "accent"),
        ("text", "warn"),
    ]
    low = {pair: contrast(*(colours[name] for name in pair)) for pair in pairs}
    assert {pair: ratio for pair, ratio in low.items() if ratio < 4.5} == {}


# Machado, Oliveira, Fernandes 2009, severity 1; on linear RGB.
DEUTERANOPIA = np.array(
    [[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]
)
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: str) -> np.ndarray:
    """CIELAB of a colour as people with deuteranopia see it."""
    xyz = TO_XYZ @ np.clip(DEUTERANOPIA @ linear(colour), 0, 1) / np.array([0.95047, 1, 1.08883])
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_colours_are_those_of_the_plot_and_differ_for_everybody() -> None:
    light, dark = read_colours(0), read_colours(1)
    assert {name: light["joint" if name == "audio_visual" else name] for name in COLOURS} == COLOURS
    distances = [float(np.linalg.norm(lab(theme["audio"]) - lab(theme["visual"]))) for theme in (light, dark)]
    assert distances[0] > 45
    assert distances[1] > 35


def test_narrow_bars_are_a_pixel_at_least(show: Show, tmp_path: Path) -> None:
    """In a page of an hour, 4 events of a second and one of 10 s: drawn where they are, as wide as they are."""
    times = [(600.0, 601.0), (610.0, 611.0), (1200.0, 1201.0), (1800.0, 1810.0), (3599.0, 3600.0)]
    events = [Event("audio", "Dog", onset, offset, 0.9) for onset, offset in times]
    write_page(Timeline.of_events(events, path="a.mp4", duration=3600.0), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", **size(DESKTOP))
    opened.page.wait_for_timeout(100)
    width = opened.page.eval_on_selector("#axis", "axis => axis.getBoundingClientRect().width")
    inked = opened.page.evaluate(
        """(y) => {
          const canvas = document.getElementById("heat");
          const copy = new OffscreenCanvas(canvas.width, 1).getContext("2d");
          copy.drawImage(canvas, 0, -y);
          return [...copy.getImageData(0, 0, canvas.width, 1).data].filter((_, at) => at % 4 === 3);
        }""",
        9,  # pixels below the top: within the audio lane
    )
    columns = np.array(inked) / 255
    for onset, offset in times[:3]:
        first = int(onset / 3600 * width)
        true_width = max(1, (offset - onset) / 3600 * width)
        assert columns[first : first + 2].sum() == pytest.approx(true_width, abs=0.2)
    assert opened.page.locator("#events .event").count() == 1  # the longer one


def test_a_part_fills_the_timeline_at_first(show: Show, tmp_path: Path) -> None:
    """Of a hundred seconds, 60 to 80 were parsed: they are in sight alone, until the view is fitted."""
    timeline = make_timeline(100)
    write_page(replace(timeline, media={**timeline.media, "parsed": [60, 80]}), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    scale, left = "document.getElementById('rows').offsetWidth / 100", "document.getElementById('scroller').scrollLeft"
    seconds = float(opened.page.evaluate(f"({left}) / ({scale})"))
    width = "document.getElementById('scroller').clientWidth - document.getElementById('corner').offsetWidth"
    assert seconds == pytest.approx(60, abs=0.5)
    assert float(opened.page.evaluate(f"({width}) / ({scale})")) == pytest.approx(20, abs=0.5)
    opened.press("0")
    assert opened.page.evaluate(left) == 0
    assert opened.complaints == []
