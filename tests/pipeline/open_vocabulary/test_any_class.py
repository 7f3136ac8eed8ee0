"""Classes by their names, end to end, with stand-ins for CLIP and CLAP that know colours and pitches."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import avvp
import pytest
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def film(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Red with a low tone, nothing, blue with a high tone."""
    scenes = [("red", "low tone", 3), (None, None, 2), ("blue", "high tone", 4)]
    return make_film(tmp_path_factory.mktemp("film") / "film.mp4", scenes)


def events(path: Path) -> set[tuple[str, str, float, float]]:
    found = json.loads(path.read_text())["events"]
    return {(item["modality"], item["label"], item["onset"], item["offset"]) for item in found}


def test_one_class_is_found_where_it_is(run: Run, bundle: Path, film: Path, tmp_path: Path) -> None:
    result = run("parse", film, "--weights", bundle, *TRUST, "--classes", "red", "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    assert events(tmp_path / "e.json") == {("visual", "red", 0, 3)}


def test_python_finds_the_same(bundle: Path, film: Path) -> None:
    with avvp.load(bundle, trust_parts=[TRUST[1]], classes=["blue", "elephant"]) as parser:
        assert parser.labels == ("blue", "elephant")
        found = {(event.modality, event.label, event.onset, event.offset) for event in parser.parse(film).events}
    assert found == {("visual", "blue", 5, 9)}


def test_a_trained_bundle_has_classes_of_its_own(run: Run, film: Path) -> None:
    result = run("parse", film, "--weights", "demo", "--classes", "red")
    assert result.status == 2
    assert "the classes of bundle 'demo' are those that it was trained on; --classes finds others" in result.err


def test_an_open_bundle_needs_classes(run: Run, bundle: Path, film: Path) -> None:
    result = run("parse", film, "--weights", bundle, *TRUST)
    assert result.status == 2
    assert "finds the classes that you name" in result.err


@pytest.mark.parametrize("background", ["shipped", "none"])
@pytest.mark.parametrize("rule", ["av2a", "scope", "fixed"])
def test_classes_are_only_to_be_seen(
    run: Run, bundle: Path, film: Path, tmp_path: Path, rule: str, background: str
) -> None:
    (tmp_path / "seen.toml").write_text(
        "heard = false\nseen_threshold = 0.75\n"
        + "".join(f"[[class]]\nlabel = '{name}'\n" for name in ("red", "blue", "green", "a dog"))
    )
    compared = ("--background", "none") if background == "none" else ()
    options = ("--weights", bundle, *TRUST, "--classes", f"@{tmp_path / 'seen.toml'}", "--rule", rule, *compared)
    result = run("parse", film, *options, "--embeddings", film.parent / "kept", "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    assert events(tmp_path / "e.json") == {("visual", "red", 0, 3), ("visual", "blue", 5, 9)}


def test_one_sound_for_a_window_is_of_one_rule(run: Run, bundle: Path, film: Path) -> None:
    options = ("--weights", bundle, *TRUST, "--classes", "red", "--published-audio")
    result = run("parse", film, *options, "--rule", "fixed")
    assert result.status == 2
    assert "--published-audio goes with --rule av2a" in result.err
