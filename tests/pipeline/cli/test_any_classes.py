"""Commands that carry or show what was found by the names of classes, from one folder of films to the next program."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.outputs.formats.registry import FORMATS, read_events
from support.command import Result
from support.stand_in_teachers import TRUST, make_film, write_stand_ins

Run = Callable[..., Result]
CLASSES = "red, blue, low tone"


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_stand_ins(tmp_path_factory.mktemp("open") / "stand-ins")


@pytest.fixture(scope="module")
def films(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film, one without sound, one without pictures, and what is no film."""
    folder = tmp_path_factory.mktemp("films")
    make_film(folder / "film.mp4", [("red", "low tone", 3), (None, None, 1), ("blue", "high tone", 3)])
    make_film(folder / "silent.mp4", [("red", None, 3)], audio=False)
    make_film(folder / "sound.m4a", [(None, "low tone", 3)], video=False)
    (folder / "broken.mp4").write_bytes(b"nothing")
    return folder


@pytest.fixture
def parse(run: Run, bundle: Path) -> Run:
    """`avvp parse` with the stand-ins."""
    return lambda *words: run("parse", *words, "--weights", bundle, *TRUST)


def found_in(path: Path) -> set[tuple[str, str, float, float]]:
    document = json.loads(path.read_text())
    return {(item["modality"], item["label"], item["onset"], item["offset"]) for item in document["events"]}


FILM = {("visual", "red", 0, 3), ("audio", "low tone", 0, 3), ("visual", "blue", 4, 7)}


def test_every_format_holds_the_classes(parse: Run, films: Path, tmp_path: Path) -> None:
    result = parse(films / "film.mp4", "--classes", CLASSES, "-o", tmp_path / "e.json", "-f", "all", "--segments")
    assert result.status == 0, result.err
    assert found_in(tmp_path / "e.json") == FILM
    for form in FORMATS.values():
        for suffix in form.suffixes:
            assert (tmp_path / f"e.{suffix}").is_file()
        if form.read is not None and len(form.suffixes) == 1:
            [timeline] = read_events(tmp_path / f"e.{form.suffixes[0]}")
            assert {event.label.casefold() for event in timeline.events} <= {"red", "blue", "low tone"}


def test_pictures_of_it(parse: Run, films: Path, tmp_path: Path) -> None:
    drawn = ("--plot", tmp_path / "p.svg", "--html", tmp_path / "p.html")
    result = parse(films / "film.mp4", "--classes", CLASSES, "-o", tmp_path / "e.json", *drawn)
    assert result.status == 0, result.err
    assert "Low tone" in (tmp_path / "p.svg").read_text()
    assert "they are no probabilities" in (tmp_path / "p.html").read_text()


def test_a_part_of_a_file_keeps_its_times(parse: Run, films: Path, tmp_path: Path) -> None:
    result = parse(films / "film.mp4", "--classes", CLASSES, "--start", "5", "--end", "6.5", "-o", tmp_path / "e.json")
    assert result.status == 0, result.err
    assert found_in(tmp_path / "e.json") == {("visual", "blue", 5, 7)}


def test_a_folder_and_what_is_made_of_it(run: Run, parse: Run, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "events"
    result = parse(films, "--output-dir", out, "--classes", CLASSES)
    assert result.status == 1  # of broken.mp4
    assert "3 done, 0 done before, 1 failed" in result.out + result.err
    assert found_in(out / "film.events.json") == FILM
    assert found_in(out / "silent.events.json") == {("visual", "red", 0, 3)}
    assert found_in(out / "sound.events.json") == {("audio", "low tone", 0, 3)}
    again = parse(films, "--output-dir", out, "--classes", CLASSES)
    assert "0 done, 3 done before" in again.out + again.err
    others = (("--classes", "green"), ("--classes", CLASSES, "--rule", "fixed"))
    for other in others:
        changed = parse(films / "film.mp4", films / "silent.mp4", films / "sound.m4a", "--output-dir", out, *other)
        assert "3 done, 0 done before" in changed.out + changed.err, other
    parse(films, "--output-dir", out, "--classes", CLASSES)
    assert "Low tone" in run("find", out, "--audio", "low tone").out
    assert run("clips", out, "--media", films, "--class", "blue", "-o", tmp_path / "cuts").status == 0
    assert [path.name for path in (tmp_path / "cuts").glob("film*")] == ["film_4.00-7.00_blue_visual.mp4"]
    assert run("report", out, "--media", films, "--output-dir", tmp_path / "site").status == 0
    assert (tmp_path / "site" / "film.html").is_file()
    assert run("convert", out, "-o", tmp_path / "all.csv").status == 0
    assert "low tone" in (tmp_path / "all.csv").read_text()
    assert "4 inputs" in run("status", out).out


def test_shards_find_the_same_as_one_run(parse: Run, films: Path, tmp_path: Path) -> None:
    out = tmp_path / "events"
    for shard in ("1/2", "2/2"):
        parse(films, "--output-dir", out, "--classes", CLASSES, "--shard", shard)
    assert found_in(out / "film.events.json") == FILM
    assert found_in(out / "sound.events.json") == {("audio", "low tone", 0, 3)}


@pytest.mark.parametrize("choice", [("--precision", "bf16"), ("--threads", "1", "--batch-size", "3")])
def test_other_ways_to_compute_find_the_same(parse: Run, films: Path, tmp_path: Path, choice: tuple[str, ...]) -> None:
    result = parse(films / "film.mp4", "--classes", CLASSES, "-o", tmp_path / "e.json", *choice)
    assert result.status == 0, result.err
    assert found_in(tmp_path / "e.json") == FILM


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (("--explain", "x.png"), "it has no parser for this"),
        (("--profile", "fast"), "which fast does not approximate"),
        (("--video-threshold", "0.5"), "classes by their names are decided per second; set --threshold"),
        (("--precision", "int8"), "--precision bf16 computes in half the bytes"),
        (("--keep-classes", "green"), "green"),
    ],
)
def test_what_cannot_be_is_said(
    parse: Run, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], cause: str
) -> None:
    monkeypatch.chdir(tmp_path)
    result = parse(films / "film.mp4", "--classes", CLASSES, *words)
    assert (result.status, cause in result.err) == (2, True), result.err
    assert "Traceback" not in result.err


def test_an_open_bundle_that_is_set_for_good_is_the_one_of_classes(
    run: Run, bundle: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AVVP_PARSE_WEIGHTS", str(bundle))
    output = tmp_path / "e.json"
    result = run("parse", films / "film.mp4", *TRUST, "--classes", CLASSES, "-o", output)
    assert result.status == 0, result.err
    assert found_in(output) == FILM
    monkeypatch.setenv("AVVP_PARSE_WEIGHTS", "demo")  # a trained one is for commands without --classes
    result = run("parse", films / "film.mp4", "--classes", CLASSES, "--offline", "--weights-dir", tmp_path)
    assert result.status == 2
    assert "clip_tokenizer" in result.err


def test_thresholds_per_video_are_refused(parse: Run, films: Path, tmp_path: Path) -> None:
    (tmp_path / "t.toml").write_text("[audio.segment]\ndefault = 0.5\n[visual.video]\nred = 0.5\n")
    result = parse(films / "film.mp4", "--classes", CLASSES, "--thresholds", tmp_path / "t.toml")
    assert result.status == 2
    assert "visual.video is not for classes by their names, but audio.segment and visual.segment are" in result.err


@pytest.mark.parametrize(
    "command",
    [
        ("export", "--trust-parts", TRUST[1], "-o", "exported"),
        ("weights", "quantize", "--trust-parts", TRUST[1], "--clips", "films", "-o", "int8"),
    ],
)
def test_networks_that_cannot_be_written(
    run: Run, bundle: Path, films: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "films").symlink_to(films)
    result = run(*command, bundle)
    assert result.status == 2
    assert "classes" in result.err
    assert "internal error" not in result.err
