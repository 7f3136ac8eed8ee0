"""What the page shows besides the events: film, sound, attention, words, where events come from, and nothing at all."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.timeline import SegmentProbabilities, Timeline, all_events
from support.command import Result
from support.pages import DESKTOP, Opened, Show, make_timeline, size

pytestmark = pytest.mark.browser
_INK = """([id, left, top, width, height]) => {
  const ratio = window.devicePixelRatio;
  const [x, y, w, h] = [left, top, width, height].map(pixels => Math.round(pixels * ratio));
  const copy = new OffscreenCanvas(w, h).getContext("2d");
  copy.drawImage(document.getElementById(id), -x, -y);
  const { data } = copy.getImageData(0, 0, w, h);
  let sum = 0;
  for (let at = 3; at < data.length; at += 4) sum += data[at];
  return sum / (data.length / 4) / 255;
}"""
FILM, SOUND = 32, 26  # pixels of the bands


def ink(opened: Opened, *area: float, canvas: str = "bands") -> float:
    """Mean opacity of an area of a canvas: left, top, width, height in pixels."""
    return opened.page.evaluate(_INK, [canvas, *area])


def names(opened: Opened) -> list[str]:
    return opened.page.locator("#corner span").all_text_contents()


def test_film_and_sound_are_on_the_time_axis(show: Show, tmp_path: Path, clip: Path) -> None:
    """The clip has 3 of the 10 seconds."""
    write_page(make_timeline(), tmp_path / "report.html", media=clip)
    opened = show(tmp_path / "report.html", **size(DESKTOP))
    opened.until("document.querySelector('video').readyState >= 1")
    opened.page.wait_for_timeout(100)
    assert names(opened) == ["film", "waveform"]
    width = opened.page.eval_on_selector("#axis", "axis => axis.getBoundingClientRect().width")
    assert ink(opened, 0, 2, width * 0.28, FILM - 4) == 1
    assert ink(opened, 0, FILM, width * 0.28, SOUND) > 0.3 * ink(opened, 0, FILM, 2, SOUND)
    assert ink(opened, 0, FILM, width * 0.28, SOUND) > 2 * ink(opened, width * 0.5, FILM, width * 0.4, SOUND)
    opened.page.locator("#sound").select_option("mel")
    opened.page.wait_for_timeout(100)
    assert names(opened) == ["film", "spectrogram"]
    assert ink(opened, 0, FILM, width * 0.28, SOUND) > 1.2 * ink(opened, width * 0.5, FILM, width * 0.4, SOUND)
    opened.page.locator("#sound").select_option("")
    assert names(opened) == ["film"]


def test_a_page_without_video_takes_one(show: Show, tmp_path: Path, clip: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html", note="there is no video clip.mp4 here")
    opened = show(tmp_path / "report.html")
    assert "there is no video clip.mp4 here" in opened.text("#stage")
    assert opened.page.locator("#play").is_disabled()
    opened.press("n", "n")
    time = opened.text("#clock")
    with opened.page.expect_file_chooser() as chooser:
        opened.page.locator("#stage button").click()
    chooser.value.set_files(clip)
    opened.until("document.querySelector('video')?.readyState >= 1")
    assert opened.text("#clock") == time  # the playhead stays
    opened.press("Home", " ")
    opened.until("!document.querySelector('video').paused")


def test_a_dropped_file_is_played(show: Show, tmp_path: Path, clip: Path) -> None:
    write_page(make_timeline(), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    drop = """(content) => {
      const bytes = Uint8Array.from(atob(content), character => character.charCodeAt(0));
      const carried = new DataTransfer();
      carried.items.add(new File([bytes], "mine.mp4", { type: "video/mp4" }));
      const options = { dataTransfer: carried, bubbles: true, cancelable: true };
      document.body.dispatchEvent(new DragEvent("dragover", options));
      const shown = !document.getElementById("drop").hidden;
      document.body.dispatchEvent(new DragEvent("drop", options));
      return shown;
    }"""
    assert opened.page.evaluate(drop, base64.b64encode(clip.read_bytes()).decode())
    opened.until("document.querySelector('video')?.readyState >= 1")
    assert opened.page.locator("#drop").is_hidden()
    assert opened.page.locator("video").get_attribute("aria-label") == "mine.mp4"


def test_words_are_those_of_the_terminal(show: Show, tmp_path: Path) -> None:
    timeline = make_timeline(labels=("Vacuum_cleaner", "dog"))
    write_page(timeline, tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    assert opened.page.locator(".name .class").all_text_contents() == ["Vacuum cleaner", "Dog"]
    assert set(opened.page.locator(".lane").all_text_contents()) == {"audio", "visual"}
    assert opened.page.locator(".lane .icon").count() == 4
    assert opened.page.locator("#legend li:visible").all_text_contents() == [
        "audio", "visual", "both", "probability 0  1",
    ]  # fmt: skip
    counts = [sum(e.modality == name for e in timeline.events) for name in ("audio", "visual", "audio_visual")]
    assert opened.text("#facts").endswith("{} audio, {} visual, {} both".format(*counts))
    assert set(opened.page.locator("#list td:nth-child(4)").all_text_contents()) == {" audio", " visual", " both"}
    text = opened.page.evaluate("document.body.innerText")
    assert "heard" not in text
    assert "seen" not in text


def quiet(*, threshold: float = 0.5) -> Timeline:
    """Nothing reaches 0.5: Dog has 0.31 in second 7, and Cat 0.45 in a video of 0.2."""
    tables = np.full((4, 10, 2), 0.1, np.float32)
    tables[0, 7, 0], tables[2, :, 0], tables[0, 3, 1], tables[2, :, 1] = 0.31, 0.9, 0.45, 0.2
    probabilities = SegmentProbabilities(*tables)
    thresholds = Thresholds.uniform(("Dog", "Cat"), threshold, threshold)
    events = all_events(thresholds.decide(probabilities), probabilities, ("Dog", "Cat"))
    media = {"path": "clip.mp4", "duration": 10.0}
    return Timeline(events, ("Dog", "Cat"), probabilities, media, {"thresholds": thresholds.to_dict()})


def test_an_empty_page_says_what_came_closest(show: Show, tmp_path: Path) -> None:
    write_page(quiet(), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    assert opened.text("#nothing p") == "Nothing reaches 0.50; closest: Dog, audio 0.31 at 0:07."
    opened.page.locator("#nothing button").click()
    assert opened.text("#clock") == "0:07.0"
    opened.slide("threshold", 0.31)
    assert [event[:4] for event in opened.events()] == [("audio", "Dog", 7, 8)]
    opened.page.locator("#search").fill("nowhere")
    assert opened.text("#nothing p") == "No event passes the filters."
    opened.page.locator("#nothing button").click()
    assert len(opened.events()) == 1


def test_an_empty_page_without_probabilities(show: Show, tmp_path: Path) -> None:
    write_page(Timeline.of_events([], path="a.mp4", duration=3.0), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    assert opened.text("#nothing p") == "No events."
    assert opened.page.locator("#nothing button").is_hidden()


def test_the_origin_is_a_sentence_and_warnings_are_at_the_top(show: Show, tmp_path: Path) -> None:
    timeline = make_timeline()
    provenance = {**timeline.provenance, "version": "0.1.0", "bundle": "demo"}
    warnings = ("the audio ends early", "a frame is damaged")
    write_page(replace(timeline, provenance=provenance, warnings=warnings), tmp_path / "report.html")
    opened = show(tmp_path / "report.html")
    assert opened.text("#warnings summary") == "the audio ends early (and 1 more warning)"
    assert opened.page.locator("#origin").inner_text().split("\n")[0] == "How this was made"
    opened.page.locator("#origin summary").click()
    first = opened.page.locator("#origin > :nth-child(2)")
    assert first.inner_text() == "Parsed by avvp 0.1.0 with the bundle demo, threshold 0.50."
    assert json.loads(opened.text("#provenance"))["provenance"]["bundle"] == "demo"


def test_attention_of_a_class(
    run: Callable[..., Result], show: Show, tmp_path: Path, clips: Any, tiny_bundle: Path
) -> None:
    """As the file of --explain holds it: where a second has all the attention of the class, it has all the ink."""
    arguments = ("-o", tmp_path / "events.json", "--explain", tmp_path / "maps.npz", "--html", tmp_path / "report.html")
    result = run("parse", clips.steady, "--weights", tiny_bundle, "--segments", *arguments, "-q")
    assert result.status == 0, result.err
    opened = show(tmp_path / "report.html", **size(DESKTOP))
    opened.page.locator("#all-classes").check()
    options = opened.page.locator("#attention option").all_text_contents()
    assert options[1:] == opened.page.locator(".name .class").all_text_contents()
    opened.page.locator("#attention").select_option(index=2)
    opened.page.wait_for_timeout(100)
    listed = names(opened)
    assert listed[:2] == ["film", "waveform"]
    assert listed[2:4] == ["block 1 audio", "block 1 visual"]
    data = json.loads(opened.text("#data"))["attention"]
    seconds = 3
    width = opened.page.eval_on_selector("#axis", "axis => axis.getBoundingClientRect().width") / seconds
    for number, block in enumerate(data["blocks"]):
        for lane, modality in enumerate(("audio", "visual")):
            table = np.frombuffer(base64.b64decode(block[modality]), np.uint8).reshape(len(data["labels"]), -1)
            top = FILM + SOUND + (2 * number + lane) * 9 + 2
            shown = [ink(opened, width * (second + 0.3), top, width * 0.4, 4) for second in range(seconds)]
            assert shown == pytest.approx(list(table[1] / 255), abs=0.02)
