"""The start page in headless Chromium: send, follow, cancel, history, remove; readable at every size."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.serve.pages import sign_in_page
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Browser, FloatRect
from support.pages import DESKTOP, PHONE, Opened, open_page, size
from support.paths import ROOT
from support.serve import Running, running, wait_for

pytestmark = pytest.mark.browser
WEB = ROOT / "pipeline" / "serve" / "web"
LAPTOP = (1440, 900)
Visit = Callable[..., Opened]


@pytest.fixture
def visit(browser: Browser, server: Running) -> Iterator[Visit]:
    """Opens the start page; it complains of nothing and asks nobody else."""
    opened: list[Opened] = []

    def go(address: str = "/", **options: Any) -> Opened:
        opened.append(open_page(browser, server.url + address, **options))
        return opened[-1]

    yield go
    for one in opened:
        assert one.complaints == []
        assert [url for url in one.requests if not url.startswith((server.url, "data:", "blob:"))] == []
        one.page.context.close()


def said(opened: Opened, text: str) -> None:
    """Wait until the live region has said something."""
    opened.until(f"document.getElementById('said').textContent.includes({text!r})")


def test_a_file_that_is_chosen_is_sent_parsed_and_opened(visit: Visit, tmp_path: Path) -> None:
    (tmp_path / "my dog.mp4").write_bytes(b"media")
    opened = visit()
    opened.page.get_by_label("Choose files…").set_input_files(tmp_path / "my dog.mp4")
    said(opened, "my dog.mp4: 2 events in 0:10")
    opened.page.get_by_role("link", name="Open my dog.mp4").click()
    opened.until("document.title.startsWith('my dog.mp4')")
    opened.complaints.clear()  # b"media" is no video that a browser plays


def test_a_file_that_is_dropped_is_sent(visit: Visit, server: Running) -> None:
    opened = visit()
    opened.page.evaluate(
        """() => {
            const dropped = new DataTransfer();
            dropped.items.add(new File(["media"], "<img src=x onerror=alert(1)>.mp4"));
            for (const type of ["dragover", "drop"])
                document.getElementById("drop-zone").dispatchEvent(
                    new DragEvent(type, { dataTransfer: dropped, bubbles: true, cancelable: true }));
        }"""
    )
    said(opened, "2 events in 0:10")
    assert opened.page.locator("#jobs img, #timelines img").count() == 0
    assert server.client.get("/jobs").json()["jobs"][0]["name"] == "<img src=x onerror=alert(1)>.mp4"


def test_files_of_the_folder_are_searched_and_parsed_by_keyboard(visit: Visit) -> None:
    opened = visit()
    opened.page.get_by_label("Part of a file's name").fill("two")
    opened.until("document.querySelectorAll('#folder-files li').length === 1")
    opened.press("Tab", "Enter")
    said(opened, "day two/c.mkv: 2 events in 0:10")
    opened.page.get_by_label("Part of a file's name").fill("nothing")
    opened.until("document.getElementById('files-note').textContent === 'No file has such a name.'")


def test_progress_and_cancel(visit: Visit, server: Running) -> None:
    opened = visit()
    running_id = wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})["id"]
    server.post("slower.mp4")
    opened.until("document.querySelector('#jobs progress')?.value === 0.3")
    assert opened.page.locator("#jobs .state").all_text_contents() == [
        "reading the video, 0:03 of 0:10",
        "waits, 1 job before it",
    ]
    opened.page.get_by_role("button", name="Cancel slower.mp4").click()
    opened.page.get_by_role("button", name="Cancel slow.mp4").click()
    assert wait_for(server.client, running_id)["status"] == "cancelled"
    opened.until("document.querySelectorAll('#jobs .cancelled').length === 2")


def test_causes_are_shown(visit: Visit, server: Running, tmp_path: Path) -> None:
    opened = visit()
    server.done(server.post("broken.mp4"))
    said(opened, "broken.mp4: failed: is not a media file")
    (tmp_path / "large.mp4").write_bytes(bytes((1 << 20) + 1))
    opened.page.get_by_label("Choose files…").set_input_files(tmp_path / "large.mp4")
    opened.until("document.querySelectorAll('#jobs .failed').length === 2")
    assert "failed: larger than 1.0 MB, the most that is taken" in opened.text("#jobs")
    assert not [url for url in opened.requests if url.endswith("/parse")]


def test_history_is_restored_and_a_timeline_removed(visit: Visit, server: Running) -> None:
    job = server.done(server.post("a.mp4"))
    document = server.client.get(job["timeline"]).json()
    document |= {"events": [], "processing": [{"step": "correct", "edits": 2, "by": "<b>Ada</b>"}]}
    server.client.put(job["timeline"], json=document, headers={"if-match": '"1"'})
    opened = visit()
    assert "version 2 by <b>Ada</b>" in opened.page.locator("#timelines .saved").inner_text()
    opened.page.get_by_role("button", name="History of a.mp4").click()
    opened.page.get_by_role("button", name="Restore version 1").click()
    opened.until("document.getElementById('history-note').textContent === 'Version 1 is now version 3.'")
    opened.press("Escape")
    assert len(server.client.get(job["timeline"]).json()["events"]) == 2
    opened.page.get_by_role("button", name="Remove a.mp4").click()
    opened.page.get_by_role("button", name="Keep it").click()
    assert server.client.get(job["timeline"]).status_code == 200
    opened.page.get_by_role("button", name="Remove a.mp4").click()
    opened.page.get_by_role("button", name="Remove", exact=True).click()
    opened.until("!document.getElementById('no-timelines').hidden")
    assert server.client.get(job["timeline"]).status_code == 404


def test_corrections_of_the_page_are_saved_and_a_second_saver_is_told(visit: Visit, server: Running) -> None:
    """With the page of a timeline, in two windows."""
    job = server.done(server.post("a.mp4"))
    first, second = visit(job["page"]), visit(job["page"])
    for opened, name in ((first, "Ada"), (second, "Ben")):
        opened.page.locator("#edit").click()
        opened.page.locator("#edit-by").fill(name)
        opened.page.locator("#list tbody tr button").first.click()
        opened.page.locator("#edit-delete").click()
        opened.page.locator("#save").click()
        note = "Saved." if opened is first else "Not saved: version 2 was saved by Ada at "
        opened.until(f"document.getElementById('note').textContent.includes({note!r})")
        opened.complaints[:] = [text for text in opened.complaints if "412" not in text and "media" not in text]
    document = server.client.get(job["timeline"]).json()
    assert len(document["events"]) == 1
    assert document["processing"][-1]["by"] == "Ada"
    first.page.reload()
    assert len(first.events()) == 1


def test_a_server_that_ends_is_noticed_and_one_that_comes_back_too(visit: Visit, server: Running) -> None:
    opened = visit()
    opened.page.route("**/jobs*", lambda route: route.abort())
    server.post("a.mp4")
    opened.until("!document.getElementById('lost').hidden")
    opened.page.unroute("**/jobs*")
    opened.until("document.getElementById('lost').hidden")
    opened.complaints.clear()


def test_signing_in(browser: Browser, tmp_path: Path) -> None:
    token = "a-token-for-the-browser"  # noqa: S105 - of a test
    with running(tmp_path / "results", token=token) as server:
        opened = open_page(browser, server.url)
        opened.page.get_by_label("Token").fill("wrong")
        opened.page.get_by_role("button", name="Sign in").click()
        opened.page.get_by_text("This is not the token.").wait_for()
        opened.page.get_by_label("Token").fill(token)
        opened.press("Enter")
        opened.page.get_by_role("heading", name="Jobs").wait_for()
        opened.page.context.close()
        opened = open_page(browser, f"{server.url}/login/{server.access.code}")
        opened.page.get_by_role("heading", name="Jobs").wait_for()
        assert opened.page.evaluate("document.cookie") == ""
        opened.page.context.close()


@pytest.mark.parametrize("screen", [LAPTOP, DESKTOP, PHONE])
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_the_screen_and_axe_finds_nothing(
    visit: Visit, server: Running, media: Path, screen: tuple[int, int], scheme: str
) -> None:
    (media / f"{'long_name_' * 20}.mp4").write_bytes(b"media")
    opened = visit(**size(screen), color_scheme=scheme)
    assert opened.page.evaluate("document.documentElement.dataset.theme") == scheme

    def check() -> None:
        assert opened.page.evaluate("document.documentElement.scrollWidth") <= screen[0]
        found = Axe().run(opened.page)
        assert found.violations_count == 0, found.generate_report()

    check()
    server.done(server.post("broken.mp4"))
    server.done(server.post(f"{'long_name_' * 20}.mp4"))
    wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})
    server.post("a.mp4")
    opened.until("document.querySelectorAll('#jobs li').length === 4")
    opened.until("document.querySelectorAll('#timelines tbody tr').length === 1")
    check()
    opened.page.get_by_role("button", name="History of").click()
    check()
    opened.press("Escape")
    opened.page.get_by_role("button", name="Remove long").click()
    check()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_for_signing_in_is_accessible(visit: Visit, scheme: str) -> None:
    opened = visit(**size(PHONE), color_scheme=scheme)
    html = sign_in_page("This is not the token.").decode()
    opened.page.route("**/sign-in", lambda route: route.fulfill(body=html, content_type="text/html"))
    opened.page.goto(f"{opened.page.url}sign-in")
    found = Axe().run(opened.page)
    assert found.violations_count == 0, found.generate_report()
    opened.complaints.clear()  # the browser advises a field for a user's name: there are no users


def test_on_a_phone_buttons_are_large_enough_to_hit(visit: Visit, server: Running) -> None:
    server.done(server.post("a.mp4"))
    opened = visit(**size(PHONE))
    opened.until("document.querySelectorAll('#timelines tbody tr').length === 1")
    for button in opened.page.locator("button:visible, .button:visible, #timelines td:last-child > *").all():
        box: FloatRect | None = button.bounding_box()
        assert box is not None
        assert min(box["width"], box["height"]) >= 24, button.text_content()  # WCAG 2.2, target size


def test_forced_colours_show_the_progress(visit: Visit, server: Running) -> None:
    opened = visit(forced_colors="active")
    wait_for(server.client, server.post("slow.mp4").json()["id"], {"running"})
    opened.until("document.querySelector('#jobs progress')?.value === 0.3")
    border = opened.page.locator("#jobs progress").evaluate("e => getComputedStyle(e).borderTopWidth")
    assert border == "1px"


def test_the_style_of_timelines_does_not_reach_into_the_start_page() -> None:
    """Its colours and basic elements are shared; its rules for parts of its own page must not apply here."""
    rules = (ROOT / "pipeline" / "outputs" / "html" / "web" / "page.css").read_text()
    for name in ("serve.html", "sign-in.html", "entered.html"):
        ids = set(re.findall(r'\bid="([\w-]+)"', (WEB / name).read_text()))
        assert not {name for name in ids if re.search(rf"#{name}\b(?!-)", rules)}
