"""Pages in headless Chromium, and the timelines that they show in tests."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.timeline import SegmentProbabilities, Timeline, all_events
from playwright.sync_api import Browser, Page, Playwright

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
NEEDED = "AVVP_NEEDS_CHROMIUM"  # set where a skip would hide a failure
DESKTOP = (1366, 768)
PHONE = (390, 844)


def launch(playwright: Playwright) -> Browser:
    """Start Chromium, or skip the test where there is none."""
    if CHROMIUM is None:
        assert not os.environ.get(NEEDED), "Chromium is not installed"
        pytest.skip("no Chromium here; Debian's package is chromium")
    return playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])


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

    def text(self, selector: str) -> str:
        return self.page.locator(selector).text_content() or ""

    def press(self, *keys: str) -> None:
        for key in keys:
            self.page.keyboard.press(key)

    def chosen(self) -> tuple[str, float, float] | None:
        """Class, onset and offset of the selected event."""
        row = self.page.locator("#list tr.chosen")
        if not row.count():
            return None
        data = row.evaluate("row => ({...row.dataset})")
        return data["label"], float(data["onset"]), float(data["offset"])

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

    def save(self, button: str, folder: Path, count: int = 1) -> list[Path]:
        """Press a button that saves files."""
        found: list[Any] = []
        keep = lambda download: found.append(download)  # noqa: E731, PLW0108 - playwright marks what it calls
        self.page.on("download", keep)
        self.page.locator(button).click()
        while len(found) < count:
            self.page.wait_for_timeout(20)
        self.page.remove_listener("download", keep)
        for download in found:
            download.save_as(folder / download.suggested_filename)
        return [folder / download.suggested_filename for download in found]


Show = Callable[..., Opened]


def open_page(browser: Browser, address: str, **options: Any) -> Opened:
    """Open a page in a context of its own, and write down what it complains of and asks for."""
    defaults = {"viewport": {"width": 1200, "height": 900}, "reduced_motion": "reduce"}
    context = browser.new_context(**{**defaults, **options})
    one = Opened(context.new_page())
    one.page.on("console", lambda said: one.complaints.append(said.text))
    one.page.on("pageerror", lambda error: one.complaints.append(str(error)))
    one.page.on("request", lambda request: one.requests.append(request.url))
    one.page.goto(address)
    return one


def size(width_and_height: Sequence[int]) -> dict[str, dict[str, int]]:
    """The options of `open_page` for a window of this size."""
    return {"viewport": {"width": width_and_height[0], "height": width_and_height[1]}}


def make_timeline(seconds: int = 10, labels: tuple[str, ...] = LLP_LABELS[:5], path: str = "clip.mp4") -> Timeline:
    """Events decided from random probabilities."""
    rng = np.random.default_rng(3)
    probabilities = SegmentProbabilities(*rng.random((4, seconds, len(labels))).astype(np.float32))
    media = {"path": path, "duration": float(seconds), "audio_codec": "aac", "video_codec": "h264"}
    thresholds = Thresholds.uniform(labels)
    events = all_events(thresholds.decide(probabilities), probabilities, labels)
    return Timeline(events, labels, probabilities, media, {"program": "avvp", "thresholds": thresholds.to_dict()})


def plain(timeline: Timeline) -> list[tuple[Any, ...]]:
    return [(e.modality, e.label, e.onset, e.offset, round(e.score, 6)) for e in timeline.events]
