"""The tour of a researcher who needs the data set: a list of clips, a site, kills, and what is gone."""

from __future__ import annotations

import csv
import io
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.batch.journal import Journal
from avvp.pipeline.batch.local_storage import LocalStorage
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.download import run as download_run
from avvp.pipeline.download.clip_lists import Clip, read_clips, read_times
from avvp.pipeline.download.fetch import FetchOptions
from avvp.pipeline.download.plan import make_plan
from avvp.pipeline.download.run import Politeness, download_clips
from avvp.pipeline.errors import DatasetError, SetupError
from support.clock_media import frames, numbered, read_numbers, read_tones, tones
from support.command import Run
from support.media import ffmpeg
from support.media_server import MediaServer

AVVP = str(Path(sys.executable).with_name("avvp"))
QUICK = ("--sleep", 0)


@pytest.fixture(scope="module")
def video(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """12 s whose frames and tones tell the time, with keyframes 4 s apart."""
    path = tmp_path_factory.mktemp("video") / "video.mp4"
    sources = (*frames(), *tones(0, 12, rate=16_000))
    ffmpeg(*sources, "-c:v", "libx264", "-pix_fmt", "yuv420p", "-g", 100, "-c:a", "aac", path, feed=numbered(0, 300))
    return path.read_bytes()


@pytest.fixture
def site(server: MediaServer, video: bytes) -> MediaServer:
    for name in ("one", "two", "three"):
        server.files[f"{name}.mp4"] = video
    return server


def write_list(folder: Path, *names: str) -> Path:
    path = folder / "AVVP_train.csv"
    path.write_text("filename\tevent_labels\n" + "".join(f"{name}\tSpeech,Dog\n" for name in names))
    return path


def arguments(site: MediaServer, annotations: Path, folder: Path, *more: object) -> list[str]:
    template = f"{site.url}/{{id}}.mp4"
    command = ["download", "--annotations", annotations, "-o", folder, "--address-template", template, *QUICK, *more]
    return list(map(str, command))


def test_the_tour(site: MediaServer, tmp_path: Path, run: Run) -> None:
    annotations = write_list(tmp_path, "one_5_8", "two_0_10", "gone_0_10", "two_10_20", "three_30_40", "page_1_2")
    site.files["page.mp4"] = b"<html>no video</html>"
    folder = tmp_path / "videos"

    plan = run(*arguments(site, annotations, folder, "--dry-run"))
    assert (plan.status, site.requests) == (0, [])
    assert plan.out.startswith("6 clips: 0 there, 6 to download of 5 videos\nto download: 6 clips (")
    assert not folder.exists()

    first = run(*arguments(site, annotations, folder))
    assert first.status == 1
    assert sorted(path.name for path in folder.glob("*.mp4")) == ["one_5_8.mp4", "two_0_10.mp4", "two_10_20.mp4"]
    rows = {row["id"]: row for row in csv.DictReader(io.StringIO((folder / "missing.csv").read_text()))}
    assert {name: row["reason"] for name, row in rows.items()} == {
        "gone_0_10": "removed",
        "page_1_2": "not-media",
        "three_30_40": "too-short",
    }
    assert rows["gone_0_10"]["address"] == f"{site.url}/gone.mp4"
    assert "404" in rows["gone_0_10"]["cause"]
    assert rows["three_30_40"]["cause"] == "ends at 12.0 s, before the clip that begins at 30 s"
    assert "3 clips are in" in first.err
    assert "3 are missing (" in first.err

    # The cut begins at its second, not at the keyframe 1 s before, and is as long as asked for.
    with open_media(folder / "one_5_8.mp4") as media:
        seconds = list(media)
    assert [second.index for second in seconds] == [0, 1, 2]
    shown = np.concatenate([read_numbers(second.frames) for second in seconds if second.frames is not None])
    times = (np.arange(24) + 0.5) / 8 + 5
    assert (np.abs(shown - np.floor(times * 25)) <= 1).all()
    heard = read_tones(np.concatenate([second.audio for second in seconds if second.audio is not None]))
    assert [int(np.median(heard[16 * k : 16 * k + 16])) for k in range(3)] == [5, 6, 7]
    with open_media(folder / "two_10_20.mp4") as media:
        assert media.duration == pytest.approx(2.0, abs=0.1)
    entries = Journal(LocalStorage(folder)).entries
    assert entries["two_10_20"].warnings == ("the video ends in the clip: 2.0 of 10 s",)
    assert site.asked_for("two.mp4") == site.asked_for("one.mp4")  # two clips of one video, one download

    # A second run asks only for what may have come back.
    site.requests.clear()
    second = run(*arguments(site, annotations, folder))
    assert second.status == 1
    assert set(site.requests) == {"page.mp4"}
    site.files["gone.mp4"] = site.files["one.mp4"]
    third = run(*arguments(site, annotations, folder, "--retry-missing"))
    assert (folder / "gone_0_10.mp4").exists()
    assert "4 clips are in" in third.err
    assert set(site.requests) >= {"gone.mp4", "three.mp4"}


def test_kills_at_any_moment(site: MediaServer, tmp_path: Path, run: Run) -> None:
    names = [f"v{number}" for number in range(4)]
    for name in names:
        site.files[f"{name}.mp4"] = site.files["one.mp4"]
        site.drip[f"{name}.mp4"] = 0.05
    annotations = write_list(tmp_path, *(f"{name}_2_4" for name in names))
    folder = tmp_path / "videos"
    command = [AVVP, *arguments(site, annotations, folder, "--workers", 2)]
    for seconds in (3.0, 5.0):
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
        time.sleep(seconds)
        process.send_signal(signal.SIGKILL)
        process.wait()
        for path in folder.glob("*.mp4"):  # each is complete, or not there
            with open_media(path) as media:
                assert len(list(media)) == 2
    assert wait_for_no_child(folder)
    finished = run(*arguments(site, annotations, folder, "--workers", 2))
    assert finished.status == 0, finished.err
    assert sorted(path.name for path in folder.glob("*.mp4")) == [f"{name}_2_4.mp4" for name in names]
    assert not list(folder.glob(".avvp*"))
    assert not (folder / "missing.csv").exists()
    assert run(*arguments(site, annotations, folder)).status == 0


def wait_for_no_child(folder: Path) -> bool:
    """Whether no yt-dlp works in the folder any more, soon after its parent was killed."""
    for _ in range(50):
        places = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                places.append(str((process / "cwd").readlink()))
            except OSError:
                continue
        if not any(place.startswith(str(folder)) for place in places):
            return True
        time.sleep(0.1)
    return False


def test_a_site_that_refuses_ends_the_run(site: MediaServer, tmp_path: Path, run: Run) -> None:
    site.statuses["two.mp4"] = 429
    annotations = write_list(tmp_path, "one_0_1", "two_0_1", "three_0_1")
    result = run(*arguments(site, annotations, tmp_path / "videos"))
    assert result.status == 1
    assert "stopped: the site refuses more requests for now (HTTP 429" in result.err
    assert "repeat the command, with a larger --sleep" in result.err
    assert "three.mp4" not in site.requests
    site.statuses.clear()
    assert run(*arguments(site, annotations, tmp_path / "videos")).status == 0


def test_network_failures_are_retried_with_pauses(site: MediaServer, tmp_path: Path) -> None:
    site.statuses["one.mp4"] = [503] * 20
    clip = Clip("one_0_1", f"{site.url}/one.mp4", 0, 1)
    storage = LocalStorage(tmp_path)
    plan = make_plan([clip], Journal(storage), storage, max_height=720, retry_missing=False, overwrite=False)
    polite = Politeness(sleep=0, tries=2, backoff=1.5)
    journal = Journal(storage)
    started = time.monotonic()
    summary = download_clips(plan, journal, storage, FetchOptions(), politeness=polite)
    assert time.monotonic() - started > 1.5
    assert [missing.reason for missing in summary.missing.values()] == ["network"]
    journal.close()
    site.statuses.clear()
    journal = Journal(storage)  # a later run asks again, unlike for what is gone
    plan = make_plan([clip], journal, storage, max_height=720, retry_missing=False, overwrite=False)
    assert download_clips(plan, journal, storage, FetchOptions(), politeness=polite).done == 1
    journal.close()


def test_network_that_is_down_ends_the_run(site: MediaServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    site.close()
    monkeypatch.setattr(download_run, "_MOST_FAILURES", 2)
    clips = [Clip(f"{name}_0_1", f"{site.url}/{name}.mp4", 0, 1) for name in "abcd"]
    storage = LocalStorage(tmp_path)
    journal = Journal(storage)
    plan = make_plan(clips, journal, storage, max_height=720, retry_missing=False, overwrite=False)
    summary = download_clips(plan, journal, storage, FetchOptions(), politeness=Politeness(sleep=0, tries=1))
    journal.close()
    assert summary.stopped == "the network failed for 2 videos in a row"
    assert summary.left == 2


def test_pauses_between_videos(site: MediaServer, tmp_path: Path, run: Run) -> None:
    annotations = write_list(tmp_path, "one_0_1", "two_0_1")
    started = time.monotonic()
    command = arguments(site, annotations, tmp_path / "videos")
    command[command.index("--sleep") + 1] = "3"
    assert run(*command).status == 0
    first_of_two = next(t for name, t in zip(site.requests, site.times, strict=True) if name == "two.mp4")
    last_of_one = max(t for name, t in zip(site.requests, site.times, strict=True) if name == "one.mp4")
    assert first_of_two - last_of_one > 3
    assert time.monotonic() - started > 3


def test_files_of_the_user_stay(site: MediaServer, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    (folder / "one_0_1.mkv").write_bytes(b"mine")
    annotations = write_list(tmp_path, "one_0_1", "two_0_1")
    result = run(*arguments(site, annotations, folder))
    assert result.status == 0
    assert "2 clips: 1 there, 1 to download" in result.err
    assert (folder / "one_0_1.mkv").read_bytes() == b"mine"
    assert "one.mp4" not in site.requests


def test_whole_videos_of_a_plain_list(site: MediaServer, tmp_path: Path, video: bytes, run: Run) -> None:
    names = tmp_path / "list.txt"
    names.write_text(f"# my list\none\n\n{site.url}/two.mp4\n")
    result = run(*arguments(site, names, tmp_path / "videos"))
    assert result.status == 0, result.err
    assert {path.name: path.read_bytes() for path in (tmp_path / "videos").glob("*.mp4")} == {
        "one.mp4": video,
        "two.mp4": video,
    }


def test_a_folder_that_another_run_uses(site: MediaServer, tmp_path: Path, run: Run) -> None:
    folder = tmp_path / "videos"
    folder.mkdir()
    with LocalStorage(folder).exclusive_lock():
        result = run(*arguments(site, write_list(tmp_path, "one_0_1"), folder))
    assert result.status == 2
    assert "in use by another process" in result.err


def test_damaged_ids_are_listed_and_nothing_is_asked(tmp_path: Path, run: Run) -> None:
    pytest.importorskip("yt_dlp")
    annotations = write_list(tmp_path, "P7x4FV4lg_0_10")  # LLP's test annotations hold a few such names
    result = run("download", "--annotations", annotations, "-o", tmp_path / "videos")
    assert result.status == 1
    assert "1 with an id that names no video ('P7x4FV4lg' is not the id of a YouTube video" in result.err
    assert "gone" not in result.err
    assert "is not the id of a YouTube video" in (tmp_path / "videos" / "missing.csv").read_text()


def test_lists(tmp_path: Path) -> None:
    path = write_list(tmp_path, "BjCEufrlXm4_20_30", "-jCEufr_1_2_3_4.5")
    assert read_clips([path]) == [
        Clip("BjCEufrlXm4_20_30", "https://www.youtube.com/watch?v=BjCEufrlXm4", 20, 30),
        Clip("-jCEufr_1_2_3_4.5", "https://www.youtube.com/watch?v=-jCEufr_1_2", 3, 4.5),
    ]
    plain = tmp_path / "plain.txt"
    plain.write_text("BjCEufr_1_2\nhttps://host/a.mp4?x=1\n")  # the first is an id that looks like a cut
    assert read_clips([plain]) == [
        Clip("BjCEufr_1_2", "https://www.youtube.com/watch?v=BjCEufr_1_2"),
        Clip("a", "https://host/a.mp4?x=1"),
    ]


def test_audioset_and_ave(tmp_path: Path) -> None:
    audioset = tmp_path / "segments.csv"
    audioset.write_text('# YTID, start_seconds, end_seconds, positive_labels\nRUhOCu3LNXM, 30.000, 40.000, "/m/1"\n')
    assert read_clips([audioset])[0] == Clip("RUhOCu3LNXM_30_40", "https://www.youtube.com/watch?v=RUhOCu3LNXM", 30, 40)
    ave = tmp_path / "Annotations.txt"
    ave.write_text("Category&VideoID&Quality&StartTime&EndTime\nChurch bell&RUhOCu3LNXM&good&0&10\n")
    with pytest.raises(DatasetError, match="give AudioSet's tables with --times"):
        read_clips([ave])
    assert read_clips([ave], times=read_times(audioset)) == [
        Clip("RUhOCu3LNXM", "https://www.youtube.com/watch?v=RUhOCu3LNXM", 30, 40)
    ]
    with pytest.raises(DatasetError, match="line 1: expected id, start, end"):
        read_times(ave)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("filename\n../../x_0_1\n", "is not an id: letters, digits"),
        ("filename\n.hidden_0_1\n", "is not an id"),
        ("filename\nBjCEufrlXm4_9_3\n", "does not end after its start"),
        ("filename\n", "no clips"),
        ("https://a/x.mp4\nhttps://b/x.mp4\n", "x is the name of two clips"),
        ("filename,labels\na,b,c\n", "line 2"),
        ("", "no clips"),
    ],
)
def test_lists_that_are_wrong(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "list.txt"
    path.write_text(content)
    with pytest.raises(DatasetError, match=message):
        read_clips([path])


@pytest.mark.parametrize("template", ["https://host/x.mp4", "file:///{id}", "https://{id}/{id}"])
def test_templates_that_are_wrong(tmp_path: Path, template: str) -> None:
    with pytest.raises(SetupError, match="an address template is"):
        read_clips([write_list(tmp_path, "a_0_1")], template=template)


def test_hostile_journal(site: MediaServer, tmp_path: Path) -> None:
    """An entry of a stranger cannot name a file outside, or a reason that is none."""
    storage = LocalStorage(tmp_path)
    (tmp_path / "journal").mkdir()
    entry = {
        "id": "one_0_1", "status": "failed", "input": {"path": "x", "size": -1, "mtime_ns": -1, "sha256": ""},
        "parameters": {}, "outputs": {}, "cause": "c", "warnings": [], "media": {"reason": "<b>"}, "seconds": 0.0,
        "time": 0.0,
    }  # fmt: skip
    (tmp_path / "journal" / "x.jsonl").write_text(json.dumps(entry) + "\n")
    clip = Clip("one_0_1", f"{site.url}/one.mp4", 0, 1)
    journal = Journal(storage)
    assert journal.unreadable == 0
    plan = make_plan([clip], journal, storage, max_height=720, retry_missing=False, overwrite=False)
    assert plan.clips_todo == 1
