"""A folder of pages: one program for all of them, small pages, files of others untouched."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.formats.events_json import to_json
from avvp.pipeline.outputs.html.index import write_index
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.outputs.html.site import PROGRAM_FILES, remove_unused_programs, write_program
from avvp.pipeline.outputs.html.thumbnails import thumbnail_path, write_thumbnail
from avvp.pipeline.timeline import SegmentProbabilities, Timeline, all_events
from support.command import Result
from support.pages import Show, make_timeline, plain

PAGES, MAX_BYTES_A_PAGE = 200, 8_000  # 5,000 pages: 40 MB


def decided(number: int) -> Timeline:
    """Ten seconds of 25 classes with probabilities per second and per video, and the origin that a result states."""
    rng = np.random.default_rng(number)
    tables = [rng.random((10, 25)).astype(np.float32) ** 4 for _ in range(2)]
    of_video = [np.repeat(rng.random((1, 25)).astype(np.float32), 10, axis=0) for _ in range(2)]
    probabilities = SegmentProbabilities(*tables, *of_video)
    thresholds = Thresholds.uniform(LLP_LABELS)
    provenance = {
        "program": "avvp", "version": "0.1.0", "bundle": "mine", "untrained": False,
        "weights": {f"network{n}.safetensors": f"{n}" * 64 for n in range(4)},
        "features": {"profile": "clean", "extractors": ["a", "b", "c"], "dims": [128, 2048, 512]},
        "thresholds": thresholds.to_dict(), "device": "cpu", "torch": "2.12.1",
    }  # fmt: skip
    media = {
        "path": f"/data/videos/clip{number}.mp4", "format": "mov,mp4", "container_duration": 10.0, "duration": 10.0,
        "audio_codec": "aac", "video_codec": "h264", "width": 1280, "height": 720, "frames_decoded": 250 + number,
    }  # fmt: skip
    events = all_events(thresholds.decide(probabilities), probabilities, LLP_LABELS)
    return Timeline(events, LLP_LABELS, probabilities, media, provenance)


def folder_size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_pages_of_a_folder_are_small(tmp_path: Path) -> None:
    timelines = {tmp_path / f"clip{number}.html": decided(number) for number in range(PAGES)}
    program = write_program(tmp_path, decided(0))
    for page, timeline in timelines.items():
        write_page(timeline, page, note=f"there is no video {page.stem}.mp4 in videos", shared=program)
    write_index(tmp_path, timelines, "clips")
    shared = folder_size(tmp_path / program.name)
    a_page = (folder_size(tmp_path) - shared) / PAGES
    print(f"program and style {shared / 1000:.0f} kB, a page {a_page:.0f} bytes")  # noqa: T201
    assert a_page < MAX_BYTES_A_PAGE
    assert shared < 300_000


@pytest.mark.browser
def test_a_page_that_shares_its_program_shows_what_it_would_alone(show: Show, tmp_path: Path, clip: Path) -> None:
    first, second = make_timeline(), decided(7)
    (tmp_path / "site").mkdir()
    program = write_program(tmp_path / "site", first)
    for number, timeline in enumerate((first, second)):
        write_page(timeline, tmp_path / "site" / f"{number}.html", media=clip, shared=program)
        write_page(timeline, tmp_path / f"{number}.html", media=clip)
        alone, shared = show(tmp_path / f"{number}.html"), show(tmp_path / "site" / f"{number}.html")
        assert shared.events() == alone.events() == plain(timeline)
        for opened in (alone, shared):
            opened.slide("threshold", 0.3)
        assert shared.events() == alone.events()
        assert len(shared.events()) > len(plain(timeline))
        shared.until("document.querySelector('video').readyState >= 1")


def test_programs_that_no_page_loads_are_removed(tmp_path: Path) -> None:
    old = write_program(tmp_path, replace(make_timeline(), provenance={"program": "older"}))
    kept = write_program(tmp_path, decided(1))
    new = write_program(tmp_path, make_timeline())
    assert len({old.name, kept.name, new.name}) == 3
    write_page(decided(1), tmp_path / "kept.html", shared=kept)
    write_page(make_timeline(), tmp_path / "new.html", shared=new)
    theirs = tmp_path / "assets-0123456789abcdef"
    theirs.mkdir()
    for name in PROGRAM_FILES:
        (theirs / name).write_text("mine")
    (tmp_path / "assets-fedcba9876543210").symlink_to(tmp_path / old.name)
    remove_unused_programs(tmp_path)
    names = {path.name for path in tmp_path.iterdir()}
    assert names == {kept.name, new.name, theirs.name, "assets-fedcba9876543210", "kept.html", "new.html"}


def test_a_folder_with_a_file_of_the_same_name_gets_no_program(tmp_path: Path) -> None:
    """A folder that only looks like one of ours stays, with all of its files."""
    program = write_program(tmp_path, make_timeline())
    (tmp_path / program.name / "notes.txt").write_text("mine")
    other = write_program(tmp_path, decided(1))
    write_page(decided(1), tmp_path / "a.html", shared=other)
    remove_unused_programs(tmp_path)
    assert sorted(path.name for path in (tmp_path / program.name).iterdir()) == ["notes.txt", *PROGRAM_FILES]


@pytest.fixture
def results(tmp_path: Path, clips: Any) -> Path:
    """Two event files, each beside its video."""
    folder = tmp_path / "events"
    folder.mkdir()
    for name in ("one", "-two #2"):
        shutil.copy(clips.steady, folder / f"{name}.mp4")
        timeline = make_timeline(seconds=3, path=f"{name}.mp4")
        (folder / f"{name}.events.json").write_bytes(to_json(timeline, segments=True))
    return folder


def test_report_writes_a_folder_of_pages(run: Callable[..., Result], results: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    assert run("report", results, "--output-dir", site, "-q").status == 0
    (program,) = site.glob("assets-*")
    names = ["-two #2.html", program.name, "index.html", "one.html", "thumbnails"]
    assert sorted(path.name for path in site.iterdir()) == names
    assert sorted(path.name for path in (site / "thumbnails").iterdir()) == ["-two #2.jpg", "one.jpg"]
    assert b'"film"' in (site / "one.html").read_bytes()
    assert run("report", results, "--output-dir", site, "--no-bands", "--min-score", "0.9", "-q").status == 0
    assert b'"film"' not in (site / "one.html").read_bytes()
    assert len(list(site.glob("assets-*"))) == 1


def test_report_replaces_no_picture_of_others(run: Callable[..., Result], results: Path, tmp_path: Path) -> None:
    site = tmp_path / "site"
    (site / "thumbnails").mkdir(parents=True)
    (site / "thumbnails" / "one.jpg").write_bytes(b"mine")
    result = run("report", results, "--output-dir", site)
    assert result.status == 2
    assert "one.jpg: was not written by avvp" in result.err
    assert [path.name for path in site.rglob("*")] == ["thumbnails", "one.jpg"]


def test_a_thumbnail_goes_with_its_media(tmp_path: Path, clip: Path) -> None:
    assert write_thumbnail(tmp_path / "a.html", clip, 1.0)
    assert thumbnail_path(tmp_path / "a.html").read_bytes().startswith(b"\xff\xd8")
    assert write_thumbnail(tmp_path / "a.html", clip, 5_000.0)
    assert not write_thumbnail(tmp_path / "a.html", None, 1.0)
    assert not thumbnail_path(tmp_path / "a.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--plot", "x.png", "--no-bands"], "--no-bands goes with --html"),
        (["--plot", "x.png", "--explain", __file__], "--explain goes with --html"),
        (["--html", "x.html", "--explain", __file__], "is not attention that avvp parse --explain wrote"),
    ],
)
def test_options_without_effect_are_refused(
    run: Callable[..., Result], results: Path, arguments: list[str], message: str
) -> None:
    result = run("report", results / "one.events.json", *arguments)
    assert result.status == 2
    assert message in result.err
