"""The page of a search in headless Chromium: cards, texts, the player, small screens; hostile names are text."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.embeddings.search.query import SearchSettings
from avvp.pipeline.embeddings.search.search import FoundMoment, SearchOutcome
from avvp.pipeline.outputs.found.page import write_found_page
from avvp.pipeline.outputs.found.results import describe_count
from axe_playwright_python.sync_playwright import Axe
from support.media import Clips
from support.pages import DESKTOP, PHONE, Show, size

pytestmark = pytest.mark.browser

MOMENTS = (
    FoundMoment("one", Path("e/one.safetensors"), "one.mp4", "waves", "audio_visual", 1, 4, 2, 6.25, 5.0, 6.25),
    FoundMoment("two", Path("e/two.safetensors"), "two.mp4", "waves", "visual", 0, 1, 0, 3.5, None, 3.5),
    FoundMoment("two", Path("e/two.safetensors"), "two.mp4", "a <b>dog</b>", "audio", 3, 5, 3, 2.0, 2.0, -1.0),
)
NOTE = "left out: <script>alert(1)</script>"


@pytest.fixture
def page(clips: Clips, tmp_path: Path) -> Path:
    outcome = SearchOutcome(MOMENTS, 3, 2, 19, 6.25, (NOTE,))
    media = {moment: clips.steady if moment.name == "one" else None for moment in MOMENTS}
    path = tmp_path / "found.html"
    write_found_page(outcome, SearchSettings(), ["waves", "a <b>dog</b>"], media, path, timeout=60)
    return path


def test_cards_and_their_player(show: Show, page: Path) -> None:
    opened = show(page)
    assert opened.text("#title") == "waves, a <b>dog</b>"
    assert opened.text("#facts") == "heard or seen, z of 2 or more"
    assert opened.text("#count") == "3 moments in 19 s of 2 videos"
    assert opened.text("#notes") == NOTE
    assert opened.page.locator("#moments > li").count() == 3
    assert "waves6.3" in opened.text("#moments > li:first-child")
    assert "0:01 to 0:04heard 5.0 · seen 6.3" in opened.text("#moments > li:first-child")
    assert opened.page.locator("#moments img").count() == 1
    assert opened.page.locator("button.moment").count() == 1  # the other video is not known
    opened.page.locator("button.moment").click()
    opened.until("document.querySelector('video').readyState > 0 && document.querySelector('video').currentTime >= 1")
    assert 1 <= opened.time() < 3
    assert opened.text("#playing") == "one: waves, 0:01 to 0:04"
    assert opened.page.locator('[aria-current="true"]').count() == 1


def test_one_text_can_be_chosen(show: Show, page: Path) -> None:
    opened = show(page)
    assert opened.page.locator("#texts button").all_text_contents() == ["All", "waves", "a <b>dog</b>"]
    opened.page.locator("#texts button").nth(2).click()
    assert opened.page.locator("#moments > li").count() == 1
    assert opened.text("#count") == "1 of 3 moments"
    assert opened.page.locator('#texts [aria-pressed="true"]').all_text_contents() == ["a <b>dog</b>"]
    opened.page.locator("#texts button").first.click()
    assert opened.page.locator("#moments > li").count() == 3


@pytest.mark.parametrize("screen", [DESKTOP, PHONE])
def test_it_fits_the_screen_and_axe_finds_nothing(show: Show, page: Path, screen: tuple[int, int]) -> None:
    opened = show(page, **size(screen), bypass_csp=True)
    assert opened.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")
    for _ in range(2):  # light and dark
        assert Axe().run(opened.page).response["violations"] == []
        opened.page.locator("#theme").click()


def test_a_page_of_nothing(show: Show, tmp_path: Path) -> None:
    outcome = SearchOutcome((), 0, 3, 7200, 1.46)
    write_found_page(outcome, SearchSettings(sense="seen"), ["x"], {}, tmp_path / "found.html", timeout=60)
    opened = show(tmp_path / "found.html")
    assert opened.text("#count") == (
        "nothing in 2.0 h of 3 videos has z 2 or more; the highest z is 1.5: --min-z=1.4 finds it"
    )
    assert opened.page.locator("#moments > li").count() == 0


def test_counts_in_words() -> None:
    settings = SearchSettings()
    one = SearchOutcome(MOMENTS[:1], 1, 1, 60, 6.25)
    assert describe_count(one, settings) == "1 moment in 60 s of 1 video"
    assert describe_count(replace(one, total=5), settings) == "1 of 5 moments in 60 s of 1 video"
    assert describe_count(replace(one, total=None), settings) == "the best 1 moment in 60 s of 1 video"
    for best in (-math.inf, -0.01):
        nothing = SearchOutcome((), 0, 1, 60, best)
        assert describe_count(nothing, settings) == "nothing in 60 s of 1 video has z 2 or more"
