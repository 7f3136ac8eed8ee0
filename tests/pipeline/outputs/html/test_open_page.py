"""Pages of classes by their names: what they say about scores, and which rules they decide anew."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import avvp
import pytest
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.outputs.html.page_data import page_data
from avvp.pipeline.outputs.html.summary import summarize, why_not_decided
from avvp.pipeline.timeline import Timeline
from support.pages import Show, plain
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

CLASSES = ["red", "blue", "low tone"]


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("film")
    return make_film(folder / "film.mp4", [("red", "low tone", 3), (None, None, 1), ("blue", "high tone", 2)])


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def fixed(bundle: Path) -> Iterator[avvp.Parser]:
    with avvp.load(bundle, trust_parts=[TRUST[1]], classes=CLASSES, rule="fixed") as parser:
        yield parser


def test_the_page_decides_rule_fixed_as_python_does(show: Show, tmp_path: Path, film: Path, fixed: avvp.Parser) -> None:
    timeline = fixed.parse(film)
    write_page(timeline, tmp_path / "page.html", media=film, bands=False)
    opened = show(tmp_path / "page.html")
    assert opened.events() == plain(timeline)
    assert opened.text("#threshold-value") == "0.90"
    assert "score 0" in opened.text("#legend .shade")
    for threshold in (0.5, 0.9, 0.99):
        opened.slide("threshold", threshold)
        assert opened.events() == plain(fixed.parse(film, thresholds=threshold))


def test_the_page_says_why_it_cannot_decide(show: Show, tmp_path: Path, film: Path, fixed: avvp.Parser) -> None:
    timeline = as_decided_by("av2a", fixed.parse(film))
    write_page(timeline, tmp_path / "page.html", media=film, bands=False)
    opened = show(tmp_path / "page.html")
    assert opened.page.locator("#threshold").is_disabled()
    note = "The rule av2a needs more than these scores: parse again with --threshold."
    assert opened.text("#threshold-note") == note
    assert opened.events() == plain(timeline)


def test_a_file_without_sound_has_no_sounds_at_any_threshold(show: Show, tmp_path: Path, fixed: avvp.Parser) -> None:
    silent = make_film(tmp_path / "silent.mp4", [("red", None, 2), ("blue", None, 2)], audio=False)
    write_page(fixed.parse(silent), tmp_path / "page.html", media=silent, bands=False)
    opened = show(tmp_path / "page.html")
    opened.slide("threshold", 0)
    assert {event[0] for event in opened.events()} == {"visual"}


def as_decided_by(rule: str, timeline: Timeline) -> Timeline:
    opened = {**timeline.provenance["open_vocabulary"], "rule": {"name": rule}}
    return replace(timeline, provenance={**timeline.provenance, "open_vocabulary": opened})


def test_the_origin_is_one_sentence_and_what_scores_are(film: Path, fixed: avvp.Parser) -> None:
    data = page_data(fixed.parse(film))
    assert data["threshold"] == 0.9
    assert "with the bundle stand-ins, rule fixed, threshold 0.90 (default), on" in data["summary"]
    assert data["summary"].endswith("they are no probabilities.")


@pytest.mark.parametrize(
    ("provenance", "cause"),
    [
        ({}, ""),
        ({"open_vocabulary": {"rule": {"name": "fixed"}}}, ""),
        ({"open_vocabulary": {"rule": ["fixed"]}}, "The rule unknown needs more than these scores"),
        ({"open_vocabulary": {"rule": {"name": "x\x1b[2J"}}}, "The rule x\\x1b[2J needs more than these scores"),
        ({"open_vocabulary": "yes"}, ""),
        ({"parts": [{"kind": "decision", "name": "mine:decide"}]}, "Decided by mine:decide, which is no part"),
        ({"parts": [{"kind": "extractor", "name": "mine:Net"}, 3]}, ""),
        ({"parts": 3}, ""),
    ],
)
def test_files_of_strangers_say_why_their_events_stay(provenance: dict[str, Any], cause: str) -> None:
    assert why_not_decided(provenance).startswith(cause)
    assert bool(why_not_decided(provenance)) == bool(cause)


def test_thresholds_by_modality_and_by_class_are_said() -> None:
    levels = {"audio_segment": 0.6, "visual_segment": 0.7, "audio_video": 0.0, "visual_video": 0.0, "video": 0.0}
    opened = {"rule": {"name": "scope"}, "thresholds": "calibrated"}
    provenance = {"program": "p", "thresholds": levels, "open_vocabulary": opened}
    assert summarize(provenance).startswith("Parsed by p, rule scope, thresholds by modality (calibrated).")
    by_class = {**provenance, "thresholds": {**levels, "audio_segment": {"Dog": 0.5}}}
    assert "thresholds by class (calibrated)" in summarize(by_class)
