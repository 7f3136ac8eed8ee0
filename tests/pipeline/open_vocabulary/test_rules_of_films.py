"""The rules through the command line, with films of colours and pitches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red for longer than a window; a low tone in its middle; blue with a high tone."""
    scenes = [("red", None, 30), ("red", "low tone", 5), ("red", None, 30), ("blue", "high tone", 4)]
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes)


def parse(run: Run, film: Path, bundle: Path, tmp_path: Path, *options: str) -> dict[str, Any]:
    target = tmp_path / "e.json"
    classes = ("--classes", "red, blue, low tone")
    kept = ("--embeddings", film.parent / "kept")  # one test decodes the film
    result = run("parse", film, "--weights", bundle, *TRUST, *classes, *kept, *options, "-o", target)
    assert result.status == 0, result.err
    return json.loads(target.read_text())


def events(document: dict[str, Any]) -> set[tuple[str, str, float, float]]:
    return {(item["modality"], item["label"], item["onset"], item["offset"]) for item in document["events"]}


@pytest.mark.parametrize("rule", ["fixed", "av2a", "scope"])
def test_each_rule_finds_what_is_there(run: Run, film: Path, bundle: Path, tmp_path: Path, rule: str) -> None:
    document = parse(run, film, bundle, tmp_path, "--rule", rule)
    expected = {("visual", "red", 0, 65), ("visual", "blue", 65, 69), ("audio", "low tone", 30, 35)}
    assert events(document) == expected
    assert document["provenance"]["open_vocabulary"]["rule"]["name"] == rule


def test_one_sound_for_a_window_has_no_time(run: Run, film: Path, bundle: Path, tmp_path: Path) -> None:
    document = parse(run, film, bundle, tmp_path, "--rule", "av2a", "--published-audio")
    heard = {event for event in events(document) if event[0] == "audio"}
    assert all((onset, offset) in {(0, 60), (60, 69), (0, 69)} for _, _, onset, offset in heard)
    assert {event for event in events(document) if event[0] == "visual"} == {
        ("visual", "red", 0, 65),
        ("visual", "blue", 65, 69),
    }


@pytest.mark.parametrize("rule", ["fixed", "av2a", "scope"])
@pytest.mark.parametrize("stream", ["audio", "video"])
def test_a_missing_stream_has_no_events(run: Run, bundle: Path, tmp_path: Path, rule: str, stream: str) -> None:
    scenes = [("red", "low tone", 3), (None, None, 3)]
    half = make_film(tmp_path / "half.mp4", scenes, **{stream: False})
    found = events(parse(run, half, bundle, tmp_path, "--rule", rule))
    assert found == {("visual", "red", 0, 3) if stream == "audio" else ("audio", "low tone", 0, 3)}
