"""`avvp clips` through the command line: cuts, index, contact sheet, resume, what is refused, hostile files."""

from __future__ import annotations

import csv
import fcntl
import json
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.outputs.cuts.journal import JOURNAL
from PIL import Image
from support.command import Run
from support.cut_media import keyed
from support.media import Clips

HEADER = "file,modality,label,onset,offset,score\n"
EVENTS = {
    "one": "one,audio,Dog,1.3,2.1,0.9\none,visual,Dog,1.9,2.5,0.5\none,visual,Vacuum_cleaner,0.2,0.9,0.8\n",
    "two": "two,audio,Speech,0.5,1.0,0.7\n",
}


@pytest.fixture
def desk(clips: Clips, tmp_path: Path) -> Path:
    """Events of two videos, and the videos in another folder."""
    for folder in ("events", "media"):
        (tmp_path / folder).mkdir()
    for name, rows in EVENTS.items():
        (tmp_path / "events" / f"{name}.csv").write_text(HEADER + rows)
    shutil.copy(keyed(clips, ".mp4"), tmp_path / "media" / "one.mp4")
    shutil.copy(clips.tone, tmp_path / "media" / "two.wav")
    return tmp_path


def arguments(desk: Path, *more: object) -> list[object]:
    return ["clips", desk / "events", "--media", desk / "media", "-o", desk / "cuts", *more]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))


def index(desk: Path) -> list[dict[str, str]]:
    with (desk / "cuts" / "cuts.csv").open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def states(folder: Path) -> dict[str, tuple[int, int]]:
    return {path.name: (path.stat().st_ino, path.stat().st_mtime_ns) for path in folder.iterdir()}


CUTS = ["one_0.20-0.90_Vacuum_cleaner_visual.mp4", "one_1.30-2.50_Dog_both.mp4", "two_0.50-1.00_Speech_audio.wav"]


def test_cuts_index_and_contact_sheet(run: Run, desk: Path) -> None:
    result = run(*arguments(desk, "--pad", "0.1"))
    assert (result.status, result.out) == (0, ""), result.err
    assert names(desk / "cuts") == ["contact-sheet.jpg", "cuts.csv", *CUTS]
    rows = index(desk)
    assert [row["cut"] for row in rows] == CUTS
    dog = rows[1]
    assert (dog["onset"], dog["offset"], dog["start"], dog["onset_in_cut"]) == ("1.3", "2.5", "1.0", "0.3")
    assert (dog["events"], dog["score"], dog["exact"], dog["media"]) == ("2", "0.9", "false", "one.mp4")
    assert probe(desk / "cuts" / CUTS[1]).duration == pytest.approx(float(dog["end"]) - 1.0, abs=0.05)
    assert f"{desk / 'cuts'}: 3 of 3 cuts" in result.err
    assert "begin with a key frame, up to 0.2 s before" in result.err
    with Image.open(desk / "cuts" / "contact-sheet.jpg") as sheet:
        assert sheet.size == (3 * 268 + 12, 204 + 12)


def test_choice_of_events_exact_and_json(run: Run, desk: Path) -> None:
    more = ("--class", "dog", "--modality", "audio", "--exact", "-f", "json", "--no-sheet", "-q")
    result = run(*arguments(desk, *more))
    assert (result.status, result.err) == (0, "")
    assert names(desk / "cuts") == ["cuts.json", "one_1.30-2.10_Dog_audio.mp4"]
    (row,) = json.loads((desk / "cuts" / "cuts.json").read_text())
    assert (row["start"], row["onset_in_cut"], row["exact"]) == (1.3, 0.0, True)
    assert probe(desk / "cuts" / row["cut"]).duration == pytest.approx(0.8, abs=0.05)


def test_one_cut_of_each_event(run: Run, desk: Path) -> None:
    assert run(*arguments(desk, "--class", "Dog", "--no-merge", "--no-sheet")).status == 0
    assert [row["cut"] for row in index(desk)] == ["one_1.30-2.10_Dog_audio.mp4", "one_1.90-2.50_Dog_visual.mp4"]


def test_what_find_found(run: Run, desk: Path) -> None:
    """The moments in which two classes are there at the same time."""
    found = desk / "found.csv"
    assert run("find", desk / "events", "--audio", "Dog", "--visual", "Dog", "-o", found).status == 0
    assert run("clips", found, "--media", desk / "media", "-o", desk / "cuts", "--no-sheet").status == 0
    assert [row["cut"] for row in index(desk)] == ["one_1.90-2.10_Dog_both.mp4"]


def test_no_match_is_said(run: Run, desk: Path) -> None:
    result = run(*arguments(desk, "--class", "Speech", "--min-score", "0.9"))
    assert (result.status, result.err) == (0, "no matches in 2 timelines\n")
    assert not (desk / "cuts").exists()
    assert "no file has a class 'Spech'; the nearest: Speech" in run(*arguments(desk, "--class", "Spech")).err


class TestResume:
    def test_complete_cuts_are_kept(self, run: Run, desk: Path) -> None:
        assert run(*arguments(desk)).status == 0
        before = states(desk / "cuts")
        (desk / "cuts" / CUTS[0]).unlink()
        result = run(*arguments(desk))
        assert result.status == 0, result.err
        assert "3 of 3 cuts, 2 of them from an earlier run" in result.err
        after = states(desk / "cuts")
        assert [after[name] == before[name] for name in CUTS] == [False, True, True]
        assert [row["cut"] for row in index(desk)] == CUTS

    @pytest.mark.parametrize(
        ("options", "change"),
        [
            (["--pad", "0.2"], None),
            (["--exact"], None),
            ([], lambda desk: (desk / "media" / "one.mp4").touch()),
            ([], lambda desk: (desk / "cuts" / CUTS[0]).write_bytes(b"edited")),
        ],
    )
    def test_other_cuts_of_the_same_name_are_not_replaced(
        self, run: Run, desk: Path, options: list[str], change: Callable[[Path], object] | None
    ) -> None:
        assert run(*arguments(desk, "--class", "Vacuum cleaner")).status == 0
        if change is not None:
            change(desk)
        content = (desk / "cuts" / CUTS[0]).read_bytes()
        result = run(*arguments(desk, "--class", "Vacuum cleaner", *options))
        assert result.status == 2
        assert f"{CUTS[0]}: was cut from another file or with other options, or has changed" in result.err
        assert (desk / "cuts" / CUTS[0]).read_bytes() == content
        assert run(*arguments(desk, "--class", "Vacuum cleaner", "--overwrite", *options)).status == 0
        assert (desk / "cuts" / CUTS[0]).read_bytes() != b"edited"

    @pytest.mark.parametrize("name", [*CUTS[:1], "cuts.csv", "contact-sheet.jpg"])
    def test_files_of_others_are_not_replaced(self, run: Run, desk: Path, name: str) -> None:
        (desk / "cuts").mkdir()
        (desk / "cuts" / name).write_text("mine")
        result = run(*arguments(desk))
        assert result.status == 2
        assert f"{name}: was not written by avvp clips; --overwrite replaces it" in result.err
        assert names(desk / "cuts") == [name]
        assert (desk / "cuts" / name).read_text() == "mine"
        assert run(*arguments(desk, "--overwrite")).status == 0
        assert (desk / "cuts" / name).read_bytes() != b"mine"

    @pytest.mark.parametrize("name", [CUTS[0], JOURNAL, "cuts.csv"])
    def test_links_are_not_followed(self, run: Run, desk: Path, name: str) -> None:
        private = desk / "private"
        private.write_text("private")
        (desk / "cuts").mkdir()
        (desk / "cuts" / name).symlink_to(private)
        for more in ((), ("--overwrite",)):
            result = run(*arguments(desk, *more))
            assert result.status == 2
            assert "is a link" in result.err
        assert private.read_text() == "private"

    @pytest.mark.parametrize(
        "journal",
        [b"\x00\xff\n[]\n{}\n", b'{"begun": 3}\n{"name": [], "key": 1}\n', b"[" * 100_000, b'{"begun": "cuts.csv"}'],
    )
    def test_a_journal_that_says_nothing_useful(self, run: Run, desk: Path, journal: bytes) -> None:
        (desk / "cuts").mkdir()
        (desk / "cuts" / JOURNAL).write_bytes(journal)
        assert run(*arguments(desk, "--no-sheet")).status == 0
        assert "3 of them from an earlier run" in run(*arguments(desk, "--no-sheet")).err

    def test_a_run_that_is_killed_goes_on(self, run: Run, desk: Path, clips: Clips) -> None:
        """Twenty videos; the process group is killed when the third cut is there."""
        for number in range(20):
            (desk / "events" / f"v{number}.csv").write_text(f"{HEADER}v{number},audio,Dog,0.5,1.5,0.9\n")
            shutil.copy(keyed(clips, ".mp4"), desk / "media" / f"v{number}.mp4")
        shutil.rmtree(desk / "cuts", ignore_errors=True)
        command = [str(Path(sys.executable).with_name("avvp")), *map(str, arguments(desk, "--no-sheet", "-q"))]
        process = subprocess.Popen(command, start_new_session=True)
        end = time.monotonic() + 60
        while len(list((desk / "cuts").glob("*_*"))) < 3 and time.monotonic() < end:
            time.sleep(0.02)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        first = states(desk / "cuts")
        complete = [name for name in first if "_" in name]
        assert 3 <= len(complete) < 21
        result = run(*arguments(desk, "--no-sheet"))
        assert result.status == 0, result.err
        assert "23 of 23 cuts" in result.err
        again = states(desk / "cuts")
        assert sum(again[name] == first[name] for name in complete) >= len(complete) - 1
        assert not list((desk / "cuts").glob(".avvp-*"))
        assert all(probe(desk / "cuts" / row["cut"]).duration for row in index(desk))

    def test_a_folder_in_use(self, run: Run, desk: Path) -> None:
        (desk / "cuts").mkdir()
        descriptor = os.open(desk / "cuts", os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        result = run(*arguments(desk))
        os.close(descriptor)
        assert result.status == 2
        assert "in use by another process" in result.err


class TestMedia:
    def test_beside_the_events_and_nowhere_else(self, run: Run, desk: Path) -> None:
        """A path in a file of events is not opened, and links out of its folder are not followed."""
        outside = desk / "media" / "one.mp4"
        (desk / "events" / "two.csv").unlink()
        events = desk / "events" / "one.csv"
        events.write_text(EVENTS["one"].join([HEADER, ""]).replace("one,", f"{outside},"))
        command = ("clips", events, "-o", desk / "cuts")
        result = run(*command)
        assert result.status == 2
        assert "without their video; name it with --media" in result.err
        (desk / "events" / "one.mp4").symlink_to(outside)
        assert run(*command).status == 2
        (desk / "events" / "one.mp4").unlink()
        shutil.copy(outside, desk / "events")
        assert run(*command).status == 0

    def test_missing_and_broken_ones_fail_alone(self, run: Run, desk: Path) -> None:
        (desk / "events" / "three.csv").write_text(HEADER + "three,audio,Dog,0,1,0.5\n")
        (desk / "events" / "four.csv").write_text(HEADER + "four,audio,Dog,0,1,0.5\n")
        (desk / "media" / "four.mp4").write_text("no video")
        result = run(*arguments(desk))
        assert result.status == 1
        assert "1 timeline (three) without their video" in result.err
        assert "four.mp4: is not a media file" in result.err
        assert "3 of 4 cuts" in result.err
        assert [row["cut"] for row in index(desk)] == CUTS

    def test_one_file_for_several_timelines_is_refused(self, run: Run, desk: Path) -> None:
        result = run("clips", desk / "events", "--media", desk / "media" / "one.mp4", "-o", desk / "cuts")
        assert result.status == 2
        assert "name their folder" in result.err
        one = ("clips", desk / "events" / "one.csv", "--media", desk / "media" / "one.mp4", "-o", desk / "cuts")
        assert run(*one).status == 0

    def test_playlists_are_not_followed(self, run: Run, desk: Path) -> None:
        (desk / "media" / "one.mp4").write_text(f"#EXTM3U\n#EXTINF:1,\nfile://{desk / 'media' / 'two.wav'}\n")
        for more in ((), ("--exact",)):
            result = run(*arguments(desk, "--class", "Dog", *more))
            assert result.status == 1
            assert "HLS playlist" in result.err
            assert not list((desk / "cuts").glob("*_Dog_*"))


def test_hostile_names_stay_in_the_folder(run: Run, desk: Path) -> None:
    name = os.fsdecode(b"-x %d\n\x1b[31m\xff")
    shutil.copy(desk / "media" / "one.mp4", desk / "media" / f"{name}.mp4")
    label = "../../../../tmp/evil|$(touch x)"
    (desk / "events" / f"{name}.json").write_text(
        json.dumps(
            {
                "version": 1,
                "labels": [label],
                "media": {"path": f"{name}.mp4", "duration": 3.0},
                "events": [{"modality": "audio", "label": label, "onset": 0.5, "offset": 1.0, "score": 0.5}],
            }
        )
    )
    for more in ((), ("--exact", "--overwrite")):
        result = run(*arguments(desk, "--class", label, *more))
        assert result.status == 0, result.err
        assert "\x1b" not in result.err
    assert sorted(path.name for path in desk.iterdir()) == ["cuts", "events", "media"]
    cuts = [name for name in names(desk / "cuts") if "evil" in name]
    assert cuts == ["_-x__d___31m__0.50-1.00__.._.._.._.._tmp_evil__(touch_x)_audio.mp4"]


def test_a_disk_without_space(desk: Path) -> None:
    """A limit on the size of files stands for it. What is complete stays, and the same command goes on."""
    command = [str(Path(sys.executable).with_name("avvp")), *map(str, arguments(desk, "--no-sheet"))]

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (3_000, 3_000))

    result = subprocess.run(command, preexec_fn=limit, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert "cannot be written: File too large" in result.stderr
    assert "Traceback" not in result.stderr
    assert not list((desk / "cuts").glob(".avvp-*"))
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("options", [["--pad", "-1"], ["--pad", "nan"], ["--modality", "heard"], ["--min-score", "2"]])
def test_usage(run: Run, desk: Path, options: list[str]) -> None:
    assert run(*arguments(desk, *options)).status == 2
    assert not (desk / "cuts").exists()
