"""Corrections in the page: keys, undo, drafts, new classes, comments, and what is saved."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from avvp.pipeline.outputs.formats.events_json import load_schema
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from avvp.pipeline.outputs.html.page import SaveTarget, render_page, write_page
from avvp.pipeline.timeline import Event, Timeline
from playwright.sync_api import Browser, Route
from support.pages import Opened, Show, make_timeline, open_page, plain

pytestmark = pytest.mark.browser
LABELS = ("Dog", "Car", "Cat")
EVENTS = (
    Event("audio", "Dog", 1.0, 4.0, 0.8),
    Event("visual", "Dog", 2.0, 6.0, 0.7),
    Event("audio", "Car", 7, 9, 0.55),
)


def make(*events: Event) -> Timeline:
    return Timeline.of_events(events or EVENTS, path="my clip.mp4", duration=10.0, labels=LABELS)


@pytest.fixture
def opened(show: Show, tmp_path: Path, clip: Path) -> Opened:
    """The three events, in editing mode."""
    write_page(make(), tmp_path / "report.html", media=clip)
    opened = show(tmp_path / "report.html")
    opened.press("e")
    return opened


def listed(opened: Opened) -> set[tuple[Any, ...]]:
    """The audio and visual events."""
    return {event for event in opened.events() if event[0] != "audio_visual"}


def select(opened: Opened, modality: str, words: str) -> None:
    opened.page.locator(f".event.{modality}[aria-label^='{words}']").click()


def test_corrections_are_saved_and_read_by_python(opened: Opened, tmp_path: Path) -> None:
    page = opened.page
    assert page.locator("#threshold-part").is_hidden()
    select(opened, "audio", "Car")
    page.locator("#edit-label").fill("cat")
    page.locator("#edit-onset").fill("6.5")
    page.locator("#edit-onset").blur()
    box = page.locator(".event.visual[aria-label^='Dog']").bounding_box()
    assert box is not None
    middle = box["y"] + box["height"] / 2
    page.mouse.move(box["x"] + box["width"] - 2, middle)  # by its end: a second and a half longer
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] * 1.375 - 2, middle, steps=5)
    page.mouse.up()
    axis = page.locator("#axis").bounding_box()
    assert axis is not None
    page.mouse.dblclick(axis["x"] + axis["width"] * 0.85, middle)
    page.keyboard.press("n")
    select(opened, "audio", "Dog")
    page.keyboard.press("Delete")
    page.locator("#undo").click()
    page.locator("#edit-by").fill("Ann")
    page.locator("#edit-by").blur()
    (path,) = opened.save("#save-json", tmp_path)
    assert path.name == "my clip.events.json"
    jsonschema.validate(json.loads(path.read_text()), load_schema())
    (back,) = read_events(path)
    assert sorted(plain(back)) == [
        ("audio", "Cat", 6.5, 9.0, 1.0),
        ("audio", "Dog", 1.0, 4.0, 0.8),
        ("audio_visual", "Dog", 2.0, 4.0, 0.8),
        ("visual", "Dog", 2.0, 7.5, 1.0),
        ("visual", "Dog", 8.0, 9.0, 1.0),
    ]
    (step,) = back.processing
    assert {**step, "at": ""} == {"step": "correct", "edits": 4, "by": "Ann", "at": ""}
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", step["at"])
    for written in opened.save("#save-llp", tmp_path, 2):
        index = FORMATS["llp"].suffixes.index(written.name.removeprefix("my clip."))
        assert written.read_bytes() == FORMATS["llp"].write(back)[index]


@pytest.mark.parametrize(
    ("keys", "event"),
    [
        ("a", (0.9, 4.0)), ("s", (1.1, 4.0)), ("d", (1.0, 3.9)), ("f", (1.0, 4.1)),
        ("Shift+A", (0.0, 4.0)), ("Shift+S", (2.0, 4.0)), ("Shift+D", (1.0, 3.0)), ("Shift+F", (1.0, 5.0)),
        ("ArrowRight i", (2.0, 4.0)), ("ArrowRight o", (1.0, 2.0)),
        ("Shift+D Shift+D Shift+D", (1.0, 1.1)),
    ],
)  # fmt: skip
def test_edges_are_nudged_and_set_by_keys(opened: Opened, keys: str, event: tuple[float, float]) -> None:
    select(opened, "audio", "Dog")
    opened.press(*keys.split())
    assert ("audio", "Dog", *event, 1.0) in listed(opened)
    assert opened.chosen() == ("Dog", *event)


def test_classes_and_modality_by_keys(opened: Opened) -> None:
    assert opened.page.locator(".name kbd").all_text_contents() == ["1", "2"]
    select(opened, "audio", "Car")
    opened.press("1")
    assert ("audio", "Dog", 7, 9, 1.0) in listed(opened)
    opened.press("m")
    assert ("visual", "Dog", 7, 9, 1.0) in listed(opened)
    opened.press("9")  # there is no such row
    assert opened.chosen() == ("Dog", 7, 9)
    opened.press("e", "a")  # nothing is changed outside of editing
    assert ("visual", "Dog", 7, 9, 1.0) in listed(opened)


def test_every_change_can_be_undone(opened: Opened) -> None:
    before = listed(opened)
    states = [before]
    select(opened, "audio", "Car")
    for key in ("a", "m", "1", "Delete"):
        opened.press(key)
        states.append(listed(opened))
        select(opened, "audio", "Dog") if key == "Delete" else None
    opened.page.locator("#edit-reset").click()
    assert listed(opened) == before
    assert opened.page.locator("#edit-reset").is_disabled()
    assert "edit" not in opened.text("#facts")
    opened.press("Control+z")  # takes "discard all" back
    assert listed(opened) == states[-1]
    for state in reversed(states[:-1]):
        opened.press("Control+z")
        assert listed(opened) == state
    assert opened.page.locator("#undo").is_disabled()
    for state in states[1:]:
        opened.press("Control+Shift+z")
        assert listed(opened) == state
    opened.press("Control+z", "Control+y")
    assert listed(opened) == states[-1]


def test_drafts_survive_a_reload(opened: Opened, tmp_path: Path, clip: Path) -> None:
    select(opened, "audio", "Car")
    opened.press("a")
    opened.page.locator("#edit-comment").fill("a lorry")
    opened.page.locator("#edit-comment").blur()
    edited = listed(opened)
    opened.page.reload()
    assert listed(opened) == edited
    assert "2 edits, not saved yet" in opened.text("#draft")
    assert opened.page.locator("#list small").all_text_contents() == ["a lorry"]
    opened.press("Control+z")
    assert listed(opened) == {event[:5] for event in plain(make())}
    opened.press("Control+Shift+z")
    opened.page.reload()
    assert listed(opened) == edited
    opened.page.locator("#draft-discard").click()
    assert listed(opened) == {event[:5] for event in plain(make())}
    opened.page.reload()
    assert opened.page.locator("#draft").is_hidden()
    write_page(make(EVENTS[0]), tmp_path / "other.html", media=clip)  # another timeline has no draft
    opened.page.goto((tmp_path / "other.html").as_uri())
    assert opened.page.locator("#draft").is_hidden()


def test_a_draft_knows_its_threshold(show: Show, tmp_path: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    opened.slide("threshold", 0.8)
    opened.press("e")
    opened.page.locator("#events .event.audio").first.click()
    opened.press("f")
    edited = opened.events()
    opened.page.reload()
    assert opened.events() == edited
    assert opened.text("#threshold-value") == "0.80"
    assert opened.page.locator("#threshold").is_disabled()


def test_a_class_that_the_model_does_not_know(show: Show, tmp_path: Path) -> None:
    timeline = make_timeline(labels=("Dog", "Baby_cry"))
    write_page(timeline, tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    opened.press("e")
    opened.page.locator("#events .event.audio").first.click()
    offered = opened.page.eval_on_selector_all("#edit-labels option", "all => all.map(one => one.value)")
    assert offered == ["Dog", "Baby cry"]
    opened.page.locator("#edit-label").fill("Glass <b>breaking")
    opened.page.locator("#edit-label").blur()
    assert "new class" in opened.text("#note")
    assert opened.page.locator(".name .class").all_text_contents()[-1].endswith("Glass <b>breaking")
    (path,) = opened.save("#save-json", tmp_path)
    (back,) = read_events(path)
    assert back.labels == ("Dog", "Baby_cry", "Glass <b>breaking")
    assert back.probabilities is not None
    assert back.probabilities.audio.shape == (10, 2)
    assert sum(event.label == "Glass <b>breaking" for event in back.events) == 1
    write_page(back, tmp_path / "again.html")
    again = show(tmp_path / "again.html")
    assert sorted(again.events()) == sorted(plain(back))
    again.slide("threshold", 0.6)  # decides anew, with the classes of the model
    assert {event[1] for event in again.events()} == {"Dog", "Baby_cry"}
    opened.page.locator("#edit-label").fill("constructor")  # a name that every JavaScript object has
    opened.page.locator("#edit-label").blur()
    assert opened.page.locator(".name .class").all_text_contents()[-1].endswith("Constructor")
    opened.press("Control+z", "Control+z")
    assert "Glass" not in opened.page.evaluate("document.getElementById('names').innerText")


def test_comments_are_kept(show: Show, tmp_path: Path) -> None:
    write_page(make(replace(EVENTS[0], comment='from "afar"\n<b>')), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    assert opened.text("#list small") == 'from "afar"\n<b>'
    opened.press("e", "n", "c")
    opened.page.keyboard.type("loud")
    opened.press("Enter", "Tab")
    (path,) = opened.save("#save-json", tmp_path)
    (event,) = read_events(path)[0].events
    assert (event.comment.endswith("loud"), event.score) == (True, 0.8)  # a comment does not change the score


def test_unsure_events_come_first(show: Show, tmp_path: Path) -> None:
    timeline = make_timeline(60)
    write_page(timeline, tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    single = sorted((event for event in timeline.events if event.modality != "audio_visual"), key=lambda e: e.score)
    for event in single[:3]:  # all thresholds are 0.5, and all scores above
        opened.press("u")
        assert opened.chosen() == (event.label, event.onset, event.offset)
    opened.press("Shift+U")
    assert opened.chosen() == (single[1].label, single[1].onset, single[1].offset)


def test_playing_by_keys(opened: Opened) -> None:
    video = "document.querySelector('video')"
    opened.until(f"{video}.readyState >= 3")
    opened.press("l", "l")
    opened.until(f"!{video}.paused")
    assert opened.page.evaluate(f"{video}.playbackRate") == 2
    opened.press("k")
    assert opened.page.evaluate(f"[{video}.paused, {video}.playbackRate]") == [True, 1]
    opened.page.evaluate(f"{video}.currentTime = 2")
    opened.press("j")
    opened.until(f"{video}.currentTime < 1.6")
    opened.press("k")
    opened.page.locator("#speed").select_option("0.5")
    assert opened.page.evaluate(f"{video}.playbackRate") == 0.5
    opened.page.locator("#speed").select_option("4")
    opened.page.locator("#speed").blur()
    select(opened, "audio", "Dog")
    opened.page.locator("#edit-offset").fill("1.6")
    opened.page.locator("#edit-offset").blur()
    opened.page.evaluate("document.activeElement.blur()")
    opened.press("Enter")  # plays the event and stops at its end
    opened.until(f"{video}.paused && {video}.currentTime >= 1.6 && {video}.currentTime < 1.7")
    opened.press("r")
    opened.until(f"!{video}.paused")
    opened.page.wait_for_timeout(600)  # four times its length
    assert 0.9 < opened.time() < 1.9
    assert not opened.page.evaluate(f"{video}.paused")
    opened.press("r")
    opened.until(f"{video}.paused")


def test_the_sheet_of_keys_lists_every_key(opened: Opened) -> None:
    opened.press("?")
    sheet = opened.page.locator("#help")
    assert sheet.is_visible()
    shown = set(sheet.locator("kbd").all_text_contents())
    assert {"space", "j", "k", "l", "enter", "r", "n", "p", "u", "i", "o", "a", "s", "d", "f", "m", "c", "e"} <= shown
    assert {"1 to 9", "delete", "ctrl z", "ctrl shift z", "/", "?", "+", "-", "0"} <= shown
    opened.press("Escape")
    assert sheet.is_hidden()


ADDRESS = "http://localhost/timelines/a/page"


class FakeServer:
    """Answers the page and what it saves."""

    def __init__(self, page: bytes, status: int = 200) -> None:
        self.page, self.status = page, status
        self.saved: list[tuple[str, dict[str, Any]]] = []

    def answer(self, route: Route) -> None:
        if route.request.method == "PUT":
            self.saved.append((route.request.headers["if-match"], json.loads(route.request.post_data or "")))
            body = {"version": "8"} if self.status == 200 else {"detail": "Bob saved it at 10:00"}
            route.fulfill(status=self.status, json=body)
        elif route.request.url == ADDRESS:
            route.fulfill(body=self.page, content_type="text/html")
        else:
            route.fulfill(status=404, body="")


def test_a_server_gets_what_is_saved(browser: Browser) -> None:
    server = FakeServer(render_page(make(), save=SaveTarget("/timelines/a", "7")))
    opened = open_page(browser, "about:blank")
    opened.page.route("**/*", server.answer)
    opened.page.goto(ADDRESS)
    assert opened.page.locator("#home").get_attribute("href") == "/"
    assert opened.page.locator("#save").is_disabled()  # nothing to save
    opened.press("e")
    select(opened, "audio", "Car")
    opened.press("a")
    assert opened.text("#facts").endswith("1 edit, not saved")
    opened.page.locator("#save").click()
    opened.until("document.getElementById('note').textContent === 'Saved.'")
    assert not opened.text("#facts").endswith("not saved")
    assert opened.page.locator("#save").is_disabled()
    opened.press("a")
    server.status = 412
    opened.page.locator("#save").click()
    opened.until("document.getElementById('note').textContent.includes('Bob saved it')")
    assert [version for version, _ in server.saved] == ['"7"', '"8"']
    jsonschema.validate(server.saved[0][1], load_schema())
    assert [event["onset"] for event in server.saved[1][1]["events"] if event["label"] == "Car"] == [6.8]
    opened.page.context.close()


@pytest.mark.parametrize(
    "draft",
    [
        '{"events":[null],"labels":["Dog"],"edits":1}',
        '{"events":[],"labels":["Dog","Car","Cat"],"edits":1,"threshold":"x"}',
        '{"events":[{"modality":"audio","label":"Dog","onset":1,"offset":2}],"labels":["Dog","Car","Cat"],"edits":1}',
        "[", "7", "null", '{"edits":1e9}',
    ],
)  # fmt: skip
def test_damaged_drafts_are_no_drafts(opened: Opened, draft: str) -> None:
    script = """draft => {
      const { hash } = JSON.parse(document.getElementById("data").textContent);
      localStorage.setItem("avvp-draft:" + hash, draft);
    }"""
    opened.page.evaluate(script, draft)
    opened.page.reload()
    assert listed(opened) == {event[:5] for event in plain(make())}
    assert opened.page.locator("#draft").is_hidden()
    opened.press("e")
    select(opened, "audio", "Dog")
    opened.press("f")
    assert ("audio", "Dog", 1.0, 4.1, 1.0) in listed(opened)


def test_what_is_undone_after_it_was_saved_can_be_saved(browser: Browser) -> None:
    """And edits that are made after saving are kept as a draft of the saved version."""
    server = FakeServer(render_page(make(), save=SaveTarget("/timelines/a", "7")))
    opened = open_page(browser, "about:blank")
    opened.page.route("**/*", server.answer)
    opened.page.goto(ADDRESS)
    saved = "document.getElementById('note').textContent === 'Saved.'"
    opened.press("e")
    select(opened, "audio", "Car")
    opened.press("a")
    opened.page.locator("#save").click()
    opened.until(saved)
    opened.press("Control+z")
    assert opened.page.locator("#save").is_enabled()
    opened.page.locator("#save").click()
    opened.until("document.getElementById('save').disabled")
    opened.until(saved)
    assert [event["onset"] for event in server.saved[-1][1]["events"] if event["label"] == "Car"] == [7]
    select(opened, "audio", "Car")
    opened.press("a")
    edited = listed(opened)
    server.page = render_page(make(), save=SaveTarget("/timelines/a", "8"))
    opened.page.reload()
    assert listed(opened) == edited
    opened.page.context.close()


def test_an_event_ends_with_the_media(show: Show, tmp_path: Path) -> None:
    write_page(make(Event("audio", "Dog", 9.97, 10.0, 0.5)), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    opened.press("e", "n")
    opened.page.locator("#edit-offset").fill("9.9")
    opened.page.locator("#edit-offset").blur()
    assert all(offset <= 10 for *_, offset, _ in opened.events())


def test_comments_of_audio_visual_events_outlive_other_edits(show: Show, tmp_path: Path) -> None:
    events = (*EVENTS, Event("audio_visual", "Dog", 2.0, 4.0, 0.7, "a bark"))
    write_page(make(*events), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    opened.press("e")
    select(opened, "audio", "Car")
    opened.press("a")
    assert opened.page.locator("#list small").all_text_contents() == ["a bark"]


def test_classes_that_differ_in_case_are_told_apart(show: Show, tmp_path: Path) -> None:
    events = [Event("audio", label, onset, onset + 1.0, 0.5) for onset, label in enumerate(("Dog", "dog"))]
    write_page(Timeline.of_events(events, path="a.mp4", duration=5.0), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    opened.press("e", "n")
    opened.page.locator("#edit-label").fill("dog")
    opened.page.locator("#edit-label").blur()
    assert [event[1] for event in opened.events()] == ["dog", "dog"]


def test_seeking_ends_the_playing_of_an_event(opened: Opened) -> None:
    video = "document.querySelector('video')"
    opened.until(f"{video}.readyState >= 3")
    select(opened, "audio", "Dog")
    opened.press("Enter")
    opened.until(f"!{video}.paused")
    opened.press("ArrowLeft", "k")
    opened.press("l")
    opened.page.wait_for_timeout(200)
    assert opened.time() < 2
    assert not opened.page.evaluate(f"{video}.paused")
