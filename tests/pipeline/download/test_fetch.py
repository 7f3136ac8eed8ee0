"""Downloads of single addresses, from a local server."""

from __future__ import annotations

import importlib.util
import pickle
import time
from pathlib import Path

import pytest
from avvp.pipeline.download import disk, fetch
from avvp.pipeline.download.addresses import is_address, name_of
from avvp.pipeline.download.fetch import FetchOptions
from avvp.pipeline.download.reasons import DownloadError, reason_of
from avvp.pipeline.errors import SetupError
from support.media import Clips
from support.media_server import MediaServer


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "into").mkdir()
    return tmp_path / "into"


def test_file_of_an_address(server: MediaServer, folder: Path, clips: Clips) -> None:
    seen: list[tuple[int, int | None]] = []
    path = fetch.fetch(f"{server.url}/steady.mp4", folder, progress=lambda done, total: seen.append((done, total)))
    size = clips.steady.stat().st_size
    assert path == folder / "media.mp4"
    assert path.read_bytes() == clips.steady.read_bytes()
    assert seen[-1] == (size, size)
    assert [entry.name for entry in folder.iterdir()] == ["media.mp4"]


@pytest.mark.parametrize(
    ("name", "reason", "cause"),
    [("gone.mp4", "removed", "404"), ("page.html", "not-media", "Unsupported URL"), ("busy.mp4", "rate-limit", "429")],
)
def test_causes_are_told_apart(server: MediaServer, folder: Path, name: str, reason: str, cause: str) -> None:
    server.files["page.html"] = b"<html><title>no video</title></html>"
    server.statuses["busy.mp4"] = 429
    with pytest.raises(DownloadError, match=cause) as raised:
        fetch.fetch(f"{server.url}/{name}", folder)
    assert raised.value.reason == reason
    assert str(raised.value).startswith(f"{server.url}/{name}: ")
    assert "\n" not in str(raised.value)


def test_nobody_answers(folder: Path, server: MediaServer) -> None:
    server.close()
    with pytest.raises(DownloadError) as raised:
        fetch.fetch(f"{server.url}/steady.mp4", folder)
    assert raised.value.reason == "network"


def test_size_limit_of_what_the_server_states(server: MediaServer, folder: Path) -> None:
    with pytest.raises(DownloadError, match="larger than") as raised:
        fetch.fetch(f"{server.url}/steady.mp4", folder, FetchOptions(max_bytes=1000))
    assert raised.value.reason == "disk"


def test_size_limit_of_what_arrives_and_a_full_disk(
    server: MediaServer, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.files["slow.mp4"] = server.files["steady.mp4"] * 200
    server.drip["slow.mp4"] = 0.05
    monkeypatch.setattr(fetch, "folder_bytes", lambda _: 1 << 40)
    with pytest.raises(DownloadError, match="larger than") as raised:
        fetch.fetch(f"{server.url}/slow.mp4", folder)
    assert raised.value.reason == "disk"
    monkeypatch.undo()
    monkeypatch.setattr(fetch, "free_bytes", lambda _: 0)
    with pytest.raises(DownloadError, match="the disk is full"):
        fetch.fetch(f"{server.url}/slow.mp4", folder)


def test_a_server_that_stops_sending(server: MediaServer, folder: Path) -> None:
    server.files["slow.mp4"] = server.files["steady.mp4"] * 20
    server.drip["slow.mp4"] = 60
    started = time.monotonic()
    with pytest.raises(DownloadError, match="made no progress for 4 s") as raised:
        fetch.fetch(f"{server.url}/slow.mp4", folder, FetchOptions(stalled=4))
    assert raised.value.reason == "network"
    assert time.monotonic() - started < 25


def test_configuration_of_the_user_is_not_read(
    server: MediaServer, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither options, which could start programs, nor a module of the working folder with the name of the tool."""
    for place in (tmp_path / "yt-dlp", tmp_path):
        place.mkdir(exist_ok=True)
        (place / "config").write_text("--exec 'touch executed'\n")
        (place / "yt-dlp.conf").write_text("--exec 'touch executed'\n")
    (tmp_path / "yt_dlp.py").write_text("from pathlib import Path\nPath('executed').touch()\n")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    fetch.fetch(f"{server.url}/steady.mp4", folder)
    assert not list(tmp_path.rglob("executed"))


def test_cookies_are_read_and_not_changed(server: MediaServer, folder: Path, tmp_path: Path) -> None:
    cookies = tmp_path / "cookies.txt"
    cookies.write_text("# Netscape HTTP Cookie File\n127.0.0.1\tFALSE\t/\tFALSE\t0\tkey\tvalue\n")
    cookies.chmod(0o400)
    before = cookies.read_bytes()
    fetch.fetch(f"{server.url}/steady.mp4", folder, FetchOptions(cookies=cookies))
    assert cookies.read_bytes() == before
    with pytest.raises(SetupError, match=r"missing\.txt: cannot be read: No such file"):
        fetch.fetch(f"{server.url}/steady.mp4", folder, FetchOptions(cookies=tmp_path / "missing.txt"))


def test_without_the_extra(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(SetupError, match=r"pip install 'avvp\[web\]'"):
        fetch.fetch("https://host.invalid/x.mp4", folder)


def test_full_disk_before_the_start(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("yt_dlp")
    monkeypatch.setattr(disk, "MIN_FREE_BYTES", 1 << 62)
    with pytest.raises(SetupError, match="the disk is full"):
        fetch.fetch("https://host.invalid/x.mp4", folder)


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "https://a b", "https://a\n--exec x", "-x", "https://" + "a" * 5000]
)
def test_what_is_no_address(folder: Path, address: str) -> None:
    with pytest.raises(DownloadError, match="is not an address of the form"):
        fetch.fetch(address, folder)


def test_credentials_are_hidden() -> None:
    error = DownloadError("https://me:secret@host/v.mp4?token=abc", "https://me:secret@host/v.mp4: HTTP Error 404")
    assert "secret" not in str(error)
    assert "abc" not in str(error)
    assert error.reason == "removed"
    again = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own
    assert (str(again), again.reason) == (str(error), error.reason)


def test_addresses() -> None:
    assert is_address("https://youtu.be/x")
    assert is_address("HTTP://host/x")
    assert not is_address("video.mp4")
    assert not is_address("s3://bucket/x")


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("https://www.youtube.com/watch?v=BjCEufrlXm4&t=3", "BjCEufrlXm4"),
        ("https://youtu.be/BjCEufrlXm4", "BjCEufrlXm4"),
        ("https://www.youtube.com/shorts/-jCEufrlXm4", "-jCEufrlXm4"),
        ("http://host/a/My%20clip.mp4?x=1", "My_20clip"),
        ("http://host/../..", "video"),
        ("http://host", "host"),
        ("https://user:secret@host", "host"),
        ("https://user:sec/ret@host/", "host"),
        ("https://user:secret@host/@channel/clip.mp4", "clip"),
        ("http://host/.hidden", "hidden"),
    ],
)
def test_names(address: str, name: str) -> None:
    assert name_of(address) == name


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ("Private video. Sign in if you've been granted access to this video", "private"),
        ("Video unavailable. This video has been removed by the uploader", "removed"),
        ("Video unavailable. The account associated with this video has been terminated.", "removed"),
        ("Video unavailable", "removed"),
        ("This video is no longer available due to a copyright claim by X", "copyright"),
        ("Sign in to confirm your age. This video may be inappropriate for some users.", "age-restricted"),
        ("The uploader has not made this video available in your country", "region"),
        ("Sign in to confirm you're not a bot", "rate-limit"),
        ("Unable to download API page: HTTP Error 429: Too Many Requests", "rate-limit"),
        ("Unable to download webpage: The read operation timed out", "network"),
        ("Unable to download webpage: HTTP Error 503: Service Unavailable", "network"),
        ("Requested format is not available", "not-media"),
        ("unable to write data: [Errno 28] No space left on device", "disk"),
        ("Something new", "other"),
    ],
)
def test_reasons(message: str, reason: str) -> None:
    assert reason_of(message) == reason
