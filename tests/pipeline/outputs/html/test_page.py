"""The page in headless Chromium: it plays, jumps, recomputes, is corrected, and takes strangers' names for text."""

from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.errors import SetupError
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.html import page as pages
from avvp.pipeline.outputs.html.index import write_index
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.timeline import Event, GroundTruth, SegmentLabels, SegmentProbabilities, Timeline, all_events
from playwright.sync_api import Browser, Page, sync_playwright
from support.command import Result

pytestmark = pytest.mark.browser
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = "AVVP_NEEDS_CHROMIUM"  # set where a skip would hide a failure
HOSTILE = (
    "<script>window.hacked = 1</script>", "\"quotes' & <b>bold</b>", "emoji 🐕 \u202etxt", "</script><img src=x>",
)  # fmt: skip
MAX_BYTES = 5 << 20


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if CHROMIUM is None:
        assert not os.environ.get(NEEDED), "Chromium is not installed"
        pytest.skip("no Chromium here; Debian's package is chromium")
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@dataclass
class Opened:
    """A page that is open, and what it did that it should not have done."""

    page: Page
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def events(self) -> list[tuple[Any, ...]]:
        """Those that are listed, with scores to six digits."""
        rows = self.page.eval_on_selector_all("#list tbody tr", "rows => rows.map(row => ({...row.dataset}))")
        return [
            (r["modality"], r["label"], float(r["onset"]), float(r["offset"]), round(float(r["score"]), 6))
            for r in rows
        ]

    def time(self) -> float:
        return self.page.eval_on_selector("video", "video => video.currentTime")

    def until(self, condition: str) -> None:
        """Waits for it to be true; playwright's own way needs eval, which the page forbids."""
        for _ in range(500):
            if self.page.evaluate(condition):
                return
            self.page.wait_for_timeout(20)
        raise AssertionError(condition)

    def slide(self, name: str, value: float) -> None:
        self.page.eval_on_selector(
            f"#{name}", f"slider => {{ slider.value = {value}; slider.dispatchEvent(new Event('input')); }}"
        )


@pytest.fixture
def show(browser: Browser) -> Iterator[Callable[..., Opened]]:
    """Opens a page; afterwards nothing must have been complained of or fetched from a network."""
    opened: list[Opened] = []

    def open_page(path: Path, **options: Any) -> Opened:
        context = browser.new_context(
            **{"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce"} | options
        )
        one = Opened(context.new_page())
        one.page.on("console", lambda said: one.complaints.append(said.text))
        one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
        one.page.on("request", lambda request: one.requests.append(request.url))
        one.page.goto(path.as_uri())
        opened.append(one)
        return one

    yield open_page
    for one in opened:
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith(("file:", "data:", "blob:"))] == []
        one.page.context.close()


def make_timeline(seconds: int = 10, labels: tuple[str, ...] = LLP_LABELS[:5], path: str = "clip.mp4") -> Timeline:
    rng = np.random.default_rng(3)
    probabilities = SegmentProbabilities(*rng.random((4, seconds, len(labels))).astype(np.float32))
    media = {"path": path, "duration": float(seconds), "audio_codec": "aac", "video_codec": "h264"}
    thresholds = Thresholds.uniform(labels)
    events = all_events(thresholds.decide(probabilities), probabilities, labels)
    return Timeline(events, labels, probabilities, media, {"program": "avvp", "thresholds": thresholds.to_dict()})


def plain(timeline: Timeline) -> list[tuple[Any, ...]]:
    return [(e.modality, e.label, e.onset, e.offset, round(e.score, 6)) for e in timeline.events]


@pytest.fixture
def clip(clips: Any) -> Path:
    return clips.steady


@pytest.fixture
def shown(show: Callable[..., Opened], tmp_path: Path, clip: Path) -> Opened:
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
    shown.page.locator("#scroller").click(position={"x": 200, "y": 12})
    width = shown.page.locator("#scroller").bounding_box()["width"]  # type: ignore[index]
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
    before = shown.page.eval_on_selector("#inner", "inner => inner.offsetWidth")
    press("+")
    assert shown.page.eval_on_selector("#inner", "inner => inner.offsetWidth") > 1.5 * before
    shown.page.locator("#search").fill("")
    shown.page.locator("#search").press("e")
    assert shown.page.locator("#editor").is_hidden()


def save(opened: Opened, button: str, folder: Path, count: int = 1) -> list[Path]:
    found: list[Any] = []
    keep = lambda download: found.append(download)  # noqa: E731, PLW0108 - playwright marks what it calls
    opened.page.on("download", keep)
    opened.page.locator(button).click()
    while len(found) < count:
        opened.page.wait_for_timeout(20)
    opened.page.remove_listener("download", keep)
    for download in found:
        download.save_as(folder / download.suggested_filename)
    return [folder / download.suggested_filename for download in found]


def test_corrections_are_saved_and_read_by_python(show: Callable[..., Opened], tmp_path: Path, clip: Path) -> None:
    events = [
        Event("audio", "Dog", 1.0, 4.0, 0.8),
        Event("visual", "Dog", 2.0, 6.0, 0.7),
        Event("audio", "Car", 7, 9, 0.9),
    ]
    timeline = Timeline.of_events(events, path="my clip.mp4", duration=10.0, labels=("Dog", "Car", "Cat"))
    write_page(timeline, tmp_path / "report.html", media=clip)
    opened = show(tmp_path / "report.html")
    page = opened.page
    assert page.locator("#threshold-part").is_hidden()
    page.keyboard.press("e")
    page.locator(".event.audio[aria-label^='Car']").click()
    page.locator("#edit-label").select_option("Cat")
    page.locator("#edit-onset").fill("6.5")
    page.locator("#edit-onset").blur()
    box = page.locator(".event.visual[aria-label^='Dog']").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 2, middle)  # by its end: a second and a half longer
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 1.375 - 2, middle, steps=5)
    page.mouse.up()
    lane = page.locator("#scroller").bounding_box()
    assert lane is not None
    page.mouse.dblclick(lane["x"] + lane["width"] * 0.85, middle)
    page.keyboard.press("n")
    page.locator(".event.audio[aria-label^='Dog']").click()
    page.keyboard.press("Delete")
    page.locator("#undo").click()
    (path,) = save(opened, "#save-json", tmp_path)
    assert path.name == "my clip.events.json"
    (back,) = read_events(path)
    assert sorted(plain(back)) == [
        ("audio", "Cat", 6.5, 9.0, 1.0),
        ("audio", "Dog", 1.0, 4.0, 0.8),
        ("audio_visual", "Dog", 2.0, 4.0, 0.8),
        ("visual", "Dog", 2.0, 7.5, 1.0),
        ("visual", "Dog", 8.0, 9.0, 1.0),
    ]
    assert back.processing == ({"step": "correct", "edits": 4},)
    for written in save(opened, "#save-llp", tmp_path, 2):
        index = FORMATS["llp"].suffixes.index(written.name.removeprefix("my clip."))
        assert written.read_bytes() == FORMATS["llp"].write(back)[index]


def test_hostile_names_are_shown_as_text(show: Callable[..., Opened], tmp_path: Path) -> None:
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


def test_a_video_inside_the_page_plays(show: Callable[..., Opened], tmp_path: Path, clip: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html", media=clip, embed=True)
    opened = show(tmp_path / "report.html")
    opened.until("document.querySelector('video').readyState >= 2")
    assert opened.page.eval_on_selector("video", "video => video.duration") > 1
    assert len(opened.requests) <= 2


def test_missing_video_shows_a_message(show: Callable[..., Opened], tmp_path: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html", media=tmp_path / "gone away.mp4")
    opened = show(tmp_path / "report.html")
    opened.page.locator("#stage p").wait_for()
    assert "gone away.mp4" in (opened.page.locator("#stage").text_content() or "")
    opened.page.locator("#list tbody tr").nth(3).click()
    assert opened.page.locator("#clock").text_content() != ""
    opened.complaints.clear()  # Chromium notes the missing file


@pytest.mark.parametrize("size", [(390, 844), (1600, 1000)])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen(show: Callable[..., Opened], tmp_path: Path, size: tuple[int, int], scheme: str) -> None:
    write_page(make_timeline(labels=LLP_LABELS), tmp_path / "report.html")
    opened = show(tmp_path / "report.html", viewport={"width": size[0], "height": size[1]}, color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.scrollWidth") <= size[0]
    assert opened.page.evaluate("document.documentElement.dataset.theme") == scheme
    unnamed = opened.page.eval_on_selector_all(
        "button, input, select",
        "all => all.filter(e => !(e.getAttribute('aria-label') || e.textContent.trim() || e.labels?.length))"
        ".map(e => e.outerHTML)",
    )
    assert unnamed == []


FRAMES = 90  # of the scrolling that is measured


def test_an_hour_is_small_and_scrolls_smoothly(show: Callable[..., Opened], tmp_path: Path) -> None:
    timeline = make_timeline(3600, LLP_LABELS)
    write_page(timeline, tmp_path / "hour.html")
    assert (tmp_path / "hour.html").stat().st_size < MAX_BYTES
    opened = show(tmp_path / "hour.html")
    assert len(timeline.events) > 10_000
    assert len(opened.events()) == 1000
    for _ in range(8):
        opened.page.keyboard.press("+")
    scroll = """([by, frames]) => new Promise(resolve => {
          const scroller = document.getElementById("scroller");
          let done = 0;
          const step = () => {
            scroller.scrollLeft += by;
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
    print(f"scrolling by 40 pixels a frame: {1000 * per_frame:.1f} ms of CPU time a frame")  # noqa: T201
    assert 0 < per_frame < 1 / 30
    assert opened.page.locator("#events .event").count() < 2000


def test_the_index_searches_and_sorts(show: Callable[..., Opened], tmp_path: Path) -> None:
    made = {}
    for name, labels in (("b", ("Dog", "Cat")), ("a", ("Car",)), ("c", ("Dog",))):
        events = [Event("audio", label, 0, 2, 0.5) for label in labels] + [Event("visual", labels[0], 1, 3, 0.5)]
        made[tmp_path / f"{name}.html"] = Timeline.of_events(events, path=f"{name}.mp4", duration=10.0)
    for path, timeline in made.items():
        write_page(timeline, path)
    write_index(tmp_path, made, "clips")
    opened = show(tmp_path / "index.html")
    names = lambda: opened.page.locator("#files tbody a").all_text_contents()  # noqa: E731
    assert names() == ["a.mp4", "b.mp4", "c.mp4"]
    opened.page.locator("#files th button", has_text="heard").click()
    opened.page.locator("#files th button", has_text="heard").click()
    assert names()[0] == "b.mp4"
    opened.page.locator("#search").fill("dog")
    assert sorted(names()) == ["b.mp4", "c.mp4"]
    assert opened.page.locator("#classes tbody tr").first.locator("td").all_text_contents() == [
        "Dog",
        "2",
        "2",
        "2",
        "0",
        "6",
    ]
    opened.page.locator("#files a", has_text="c.mp4").click()
    assert opened.page.locator("h1").text_content() == "c.mp4"


def test_colours_have_contrast() -> None:
    """WCAG AA: text and its ground differ by 4.5 to 1 at least, in both themes."""

    def luminance(colour: str) -> float:
        parts = [int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.03928 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    themes = [
        dict(re.findall(r"--(\w+): (#\w{6})", block))
        for block in re.findall(r":root[^{]*{([^}]*#[^}]*)}", pages.read_web("page.css"))
    ]
    assert len(themes) == 2
    for theme in themes:
        for ground in ("ground", "panel"):
            for text in ("text", "soft", "audio", "visual", "audio_visual", "accent"):
                light, dark = sorted((luminance(theme[text]), luminance(theme[ground])), reverse=True)
                assert (light + 0.05) / (dark + 0.05) >= 4.5, (text, ground, theme)


def test_too_large_a_video_is_not_embedded(tmp_path: Path, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "EMBED_LIMIT", 1000)
    with pytest.raises(SetupError, match="without --embed-video"):
        write_page(make_timeline(), tmp_path / "report.html", media=clip, embed=True)
    assert not (tmp_path / "report.html").exists()


def test_truth_is_shown(show: Callable[..., Opened], tmp_path: Path) -> None:
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
    run: Callable[..., Result], show: Callable[..., Opened], tmp_path: Path, clips: Any, tiny_bundle: Path
) -> None:
    """From the command line: parse two files, report on them, look at one."""
    (tmp_path / "videos").mkdir()
    for name in ("one.mp4", "-two #2.mp4"):
        shutil.copy(clips.steady, tmp_path / "videos" / name)
    where = ("--output-dir", tmp_path / "events", "--weights", tiny_bundle, "--segments", "--threshold", "0.1", "-q")
    assert run("parse", tmp_path / "videos", *where).status == 0
    result = run("report", tmp_path / "events", "--media", tmp_path / "videos", "--output-dir", tmp_path / "site")
    assert result.status == 0, result.err
    assert sorted(path.name for path in (tmp_path / "site").iterdir()) == ["-two #2.html", "index.html", "one.html"]
    opened = show(tmp_path / "site" / "index.html")
    opened.page.locator("#files a", has_text="two").click()
    opened.until("document.querySelector('video')?.readyState >= 1")
    assert opened.page.locator("h1").text_content() == "-two #2.mp4"
    (timeline,) = read_events(tmp_path / "events" / "-two #2.events.json")
    assert opened.events() == plain(timeline)
    assert json.loads((tmp_path / "events" / "one.events.json").read_text())["schema_version"] == "1.1"
