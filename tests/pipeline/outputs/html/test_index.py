"""The index of a folder in headless Chromium: search, sort, classes by file, small screens, many files."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.outputs.html.index import INDEX, write_index
from avvp.pipeline.outputs.html.thumbnails import thumbnail_path, write_thumbnail
from avvp.pipeline.timeline import Event, Timeline
from axe_playwright_python.sync_playwright import Axe
from support.pages import DESKTOP, PHONE, Opened, Show, size

pytestmark = pytest.mark.browser
MANY = 5_000


def of(path: str, *events: tuple[Any, ...], duration: float = 10.0) -> Timeline:
    return Timeline.of_events([Event(*event) for event in events], path=path, duration=duration)


def three() -> dict[str, Timeline]:
    return {
        "b": of("b.mp4", ("audio", "Dog", 0, 2, 0.5), ("audio", "Vacuum_cleaner", 0, 2, 0.5),
                ("visual", "Dog", 1, 3, 0.5), ("audio_visual", "Dog", 1, 2, 0.5), duration=18_770.0),
        "a": of("a.mp4", ("audio", "Car", 0, 2, 0.5), duration=72_010.0),
        "c": of("c 10.mp4", ("audio", "Dog", 0, 2.5, 0.5), ("visual", "Dog", 1, 9, 0.5), ("visual", "Cat", 1, 3, 0.5)),
    }  # fmt: skip


@pytest.fixture
def index(tmp_path: Path) -> Path:
    return write(tmp_path, three())


def write(folder: Path, timelines: Mapping[str, Timeline]) -> Path:
    write_index(folder, {folder / f"{name}.html": timeline for name, timeline in timelines.items()}, "clips")
    return folder / INDEX


def names(opened: Opened) -> list[str]:
    return opened.page.locator("#files tbody a").all_text_contents()


def rows(opened: Opened) -> list[list[str]]:
    """The text of the cells of every row."""
    script = "rows => rows.map(row => [...row.cells].map(cell => cell.textContent))"
    return opened.page.eval_on_selector_all("#files tbody tr", script)


def test_files_are_listed_with_their_events(show: Show, index: Path) -> None:
    opened = show(index)
    assert opened.text("#title") == "clips"
    assert opened.text("#facts") == "3 files, 25:13:10 in all · 7 events of 4 classes"
    assert rows(opened) == [
        ["a.mp4", "20:00:10", "1", "0", "0", "Car 0:02"],
        ["b.mp4", "5:12:50", "2", "1", "1", "Dog 0:03Vacuum cleaner 0:02"],
        ["c 10.mp4", "0:10", "1", "2", "0", "Dog 0:09Cat 0:02"],
    ]
    heads = opened.page.locator("#files thead th").all_text_contents()
    assert heads == ["File", "Length", "audio", "visual", "both", "Classes"]
    sides = opened.page.eval_on_selector_all("#files .number", "all => all.map(e => getComputedStyle(e).textAlign)")
    assert set(sides) == {"right"}


def test_search_says_where_there_are_no_hits(show: Show, index: Path) -> None:
    opened = show(index)
    search = opened.page.locator("#search")
    for text, expected in (
        ("DOG", ["b.mp4", "c 10.mp4"]),
        ("vacuum cl", ["b.mp4"]),
        ("Vacuum_", ["b.mp4"]),
        ("10", ["c 10.mp4"]),
    ):
        search.fill(text)
        assert names(opened) == expected, text
    assert opened.text("#count") == "1 of 3 files"
    search.fill("dog zebra")
    assert opened.text("#nothing") == "No hits: no file fits “dog zebra”."
    assert not opened.page.locator("#rows").is_visible()
    opened.page.locator("#clear").click()
    assert len(names(opened)) == 3
    assert not opened.page.locator("#nothing").is_visible()


def test_a_click_on_a_title_sorts(show: Show, index: Path) -> None:
    opened = show(index)
    opened.page.locator("#files th button", has_text="visual").click()
    assert names(opened) == ["c 10.mp4", "b.mp4", "a.mp4"]
    assert opened.page.locator("th[data-key=visual]").get_attribute("aria-sort") == "descending"
    opened.page.locator("#files th button", has_text="visual").click()
    assert names(opened) == ["a.mp4", "b.mp4", "c 10.mp4"]
    opened.page.locator("#sort").select_option("duration")
    assert names(opened) == ["a.mp4", "b.mp4", "c 10.mp4"]
    opened.page.locator("#direction").click()
    assert names(opened) == ["c 10.mp4", "b.mp4", "a.mp4"]


def test_chosen_classes_are_a_filter(show: Show, index: Path) -> None:
    opened = show(index)
    buttons = opened.page.locator("#classes button")
    assert buttons.all_text_contents() == [
        "Dog2 files, 0:12", "Car1 file, 0:02", "Cat1 file, 0:02", "Vacuum cleaner1 file, 0:02"
    ]  # fmt: skip
    buttons.nth(0).click()
    assert names(opened) == ["b.mp4", "c 10.mp4"]
    buttons.nth(2).click()
    assert names(opened) == ["c 10.mp4"]
    buttons.nth(1).click()
    assert opened.text("#nothing") == "No hits: no file has Dog and Cat and Car."
    opened.press("Escape")
    assert len(names(opened)) == 3
    assert opened.page.locator("#classes [aria-pressed=true]").count() == 0


def test_classes_by_file(show: Show, index: Path) -> None:
    opened = show(index)
    opened.page.locator("#as-matrix").click()
    assert opened.page.locator("#files thead th").all_text_contents() == ["File", "Dog", "Car", "Cat", "Vacuum cleaner"]
    assert rows(opened)[1:] == [["b.mp4", "0:03", "", "", "0:02"], ["c 10.mp4", "0:09", "", "0:02", ""]]
    for measure, expected in (
        ("duration, both", "0:01"),
        ("duration, audio", "0:02"),
        ("events, audio", "1"),
        ("events, both", "1"),
    ):
        opened.page.locator("#measure").select_option(label=measure)
        assert rows(opened)[1][1] == expected, measure
    opened.page.locator("#measure").select_option(label="duration, visual")
    opened.page.locator("#files th button", has_text="Dog").click()
    assert names(opened) == ["c 10.mp4", "b.mp4", "a.mp4"]
    opened.page.locator("#as-list").click()
    assert names(opened) == ["a.mp4", "b.mp4", "c 10.mp4"]


def test_keys(show: Show, index: Path) -> None:
    opened = show(index)
    focused = "document.activeElement.textContent || document.activeElement.id"
    opened.press("/")
    assert opened.page.evaluate(focused) == "search"
    opened.press("ArrowDown")
    assert opened.page.evaluate(focused) == "a.mp4"
    opened.press("ArrowDown", "ArrowDown", "ArrowDown", "ArrowUp")
    assert opened.page.evaluate(focused) == "b.mp4"


def test_hostile_names_are_text(show: Show, tmp_path: Path) -> None:
    label = "<img src=x onerror=alert(1)>"
    index = write(tmp_path, {"x": of("<img src=y>@SCRIPT@.mp4", ("audio", label, 0, 1, 0.5))})
    opened = show(index)
    assert names(opened) == ["<img src=y>@SCRIPT@.mp4"]
    assert opened.page.locator("img").count() == 0
    assert opened.text("#classes .word") == label


def test_thumbnails_are_files_that_load_when_seen(show: Show, tmp_path: Path, clip: Path) -> None:
    pages = {tmp_path / f"a #{number}.html": of(f"{number}.mp4") for number in range(40)}
    assert all(write_thumbnail(page, clip, 1.5) for page in list(pages)[:39])
    assert not write_thumbnail(list(pages)[39], tmp_path / "gone.mp4", 1.5)
    write_index(tmp_path, pages, "clips", pictured=list(pages)[:39])
    opened = show(tmp_path / INDEX, **size(DESKTOP))
    opened.until("document.images[0].complete && document.images[0].naturalWidth === 144")
    assert opened.page.locator("#files img").count() == 39
    assert thumbnail_path(next(iter(pages))).stat().st_size < 5_000
    loaded = [url for url in opened.requests if url.endswith(".jpg")]
    assert 0 < len(loaded) < 39


def test_audio_has_no_thumbnail(tmp_path: Path, clips: Any) -> None:
    assert not write_thumbnail(tmp_path / "a.html", None, 1.0)
    assert not write_thumbnail(tmp_path / "a.html", clips.make("tone.wav", "-f", "lavfi", "-i", "sine=d=1"), 0.5)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("screen", [DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_axe_finds_nothing(
    show: Show, tmp_path: Path, clip: Path, screen: tuple[int, int], scheme: str
) -> None:
    timelines = {**three(), "d": of(f"{'long_name_' * 20}.mp4", *(("audio", label, 0, 1, 0.5) for label in LLP_LABELS))}
    pages = {tmp_path / f"{name}.html": timeline for name, timeline in timelines.items()}
    pictured = [page for page in pages if write_thumbnail(page, clip, 1.0)]
    write_index(tmp_path, pages, "clips", pictured=pictured)
    opened = show(tmp_path / INDEX, **size(screen), color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.dataset.theme") == scheme
    steps = [
        lambda: None,
        opened.page.locator("#as-matrix").click,
        lambda: opened.page.locator("#search").fill("nothing like it"),
    ]
    for number, step in enumerate(steps):
        step()
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= screen[0], number
        found = Axe().run(opened.page)
        assert found.violations_count == 0, found.generate_report()


def test_forced_colours_show_what_is_chosen(show: Show, index: Path) -> None:
    opened = show(index, forced_colors="active")
    opened.page.locator("#classes button").first.click()
    ground = "e => getComputedStyle(e).backgroundColor"
    chosen, other = (opened.page.locator("#classes button").nth(place).evaluate(ground) for place in (0, 1))
    assert chosen != other


def many_timelines() -> dict[str, Timeline]:
    rng = np.random.default_rng(1)
    made = {}
    for number in range(MANY):
        labels = rng.choice(LLP_LABELS, 5, replace=False)
        events = [
            ("audio" if place % 2 else "visual", str(label), place, place + 2, 0.5)
            for place, label in enumerate(labels)
        ]
        made[f"clip{number}"] = of(f"clip{number}.mp4", *events)
    return made


def test_5000_files_open_and_are_searched_quickly(show: Show, tmp_path: Path) -> None:
    index = write(tmp_path, many_timelines())
    assert index.stat().st_size < 3 << 20
    start = time.monotonic()
    opened = show(index)
    opened.until("document.querySelectorAll('#files tbody tr').length === 60")
    seconds = time.monotonic() - start
    searching = opened.page.evaluate(
        """() => {
          const search = document.getElementById("search");
          const before = performance.now();
          for (const text of ["d", "do", "dog", "clip49", ""]) {
            search.value = text;
            search.dispatchEvent(new Event("input"));
            document.body.offsetHeight;
          }
          return (performance.now() - before) / 5;
        }"""
    )
    print(f"{MANY} files: open after {seconds:.2f} s, a search takes {searching:.0f} ms")  # noqa: T201
    assert seconds < 2 * 2  # twice as long where other tests run at the same time
    assert searching < 500  # about 60 on an idle machine
    opened.page.locator("#more").scroll_into_view_if_needed()
    opened.until("document.querySelectorAll('#files tbody tr').length >= 120")
    opened.page.locator("#as-matrix").click()
    assert len(rows(opened)[0]) == 26
    opened.page.eval_on_selector("#rows", "rows => rows.scrollTo(0, rows.scrollHeight)")
    opened.until("document.querySelectorAll('#files tbody tr').length >= 120")
    tops = [
        opened.page.eval_on_selector(place, "e => e.getBoundingClientRect().top") for place in ("#rows", "#files th")
    ]
    assert tops[1] == pytest.approx(tops[0], abs=2)  # the titles stay in sight
