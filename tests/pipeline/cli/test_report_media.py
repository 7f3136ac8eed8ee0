"""Which media `avvp report` opens: those that the user names or that lie beside the events, never others."""

from __future__ import annotations

import base64
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.command import Result
from support.hostile_events import media

Run = Callable[..., Result]


def page_data(page: Path) -> dict[str, Any]:
    text = page.read_text(encoding="utf-8")
    start = text.index('id="data">') + len('id="data">')
    return json.loads(text[start : text.index("</script>", start)])


@pytest.fixture
def private(tmp_path: Path, clips: Any) -> Path:
    """A video of the user that no file of a stranger may reach."""
    folder = tmp_path / "home"
    folder.mkdir()
    return Path(shutil.copy(clips.steady, folder / "private.mp4"))


@pytest.fixture
def stranger(tmp_path: Path) -> Path:
    folder = tmp_path / "downloads" / "events"
    folder.mkdir(parents=True)
    return folder


def _absolute(private: Path, stranger: Path) -> str:
    assert stranger.is_dir()
    return str(private)


def _relative(private: Path, stranger: Path) -> str:
    assert stranger.is_dir()
    return f"../../home/{private.name}"


def _linked(private: Path, stranger: Path) -> str:
    (stranger / "clip.mp4").symlink_to(private)
    return "clip.mp4"


def _linked_folder(private: Path, stranger: Path) -> str:
    (stranger / "media").symlink_to(private.parent)
    return "media/private.mp4"


def _playlist(private: Path, stranger: Path) -> str:
    (stranger / "clip.m3u8").write_text(f"#EXTM3U\n#EXTINF:5,\n{private}\n")
    return "clip.m3u8"


def _address(private: Path, stranger: Path) -> str:
    assert stranger.is_dir()
    return f"file://{private}"


@pytest.mark.parametrize("place", [_absolute, _relative, _linked, _linked_folder, _playlist, _address])
def test_media_that_a_file_names_are_not_opened(
    place: Callable[[Path, Path], str], private: Path, stranger: Path, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(stranger)
    (stranger / "x.events.json").write_bytes(media(path=place(private, stranger), duration=5.0))
    for target in (("--html", "x.html", "--embed-video"), ("--plot", "x.svg"), ("--output-dir", "site")):
        result = run("report", "x.events.json", *target)
        assert result.status == 0, result.err
        assert "1 without their video" in result.err
        assert "--media" in result.err
    assert "<image" not in (stranger / "x.svg").read_text()  # frames and spectrograms are images
    secret = base64.b64encode(private.read_bytes()[:300]).decode()
    (of_folder,) = set((stranger / "site").glob("*.html")) - {stranger / "site" / "index.html"}
    for page in (stranger / "x.html", of_folder):
        data = page_data(page)
        assert data["media"] is None
        assert "in events; name it with avvp report --media" in data["note"]
        assert secret not in page.read_text()


def test_media_beside_the_events_or_of_the_option_are_opened(
    private: Path, stranger: Path, run: Run, tmp_path: Path
) -> None:
    """Whatever path the file states, only its last part counts."""
    (stranger / "x.events.json").write_bytes(media(path="/films/private.mp4", duration=5.0))
    common = ("report", stranger / "x.events.json", "--html", tmp_path / "x.html")
    for option in (private, private.parent):
        assert run(*common, "--media", option, "--embed-video").status == 0
        assert page_data(tmp_path / "x.html")["media"]["url"].startswith("data:video/mp4;base64,")
    shutil.copy(private, stranger / private.name)
    result = run(*common)
    assert (result.status, result.err) == (0, f"wrote {tmp_path / 'x.html'}\n")
    assert page_data(tmp_path / "x.html")["media"]["url"] == "downloads/events/private.mp4"


@pytest.mark.parametrize(
    "name", ["..", ".", "", "a\0b.mp4", "a\ud800.mp4", "javascript:alert(1).mp4", "x" * 200 + ".mp4"]
)
def test_odd_names_of_media_beside_the_events(name: str, stranger: Path, run: Run, tmp_path: Path) -> None:
    (stranger / "x.events.json").write_bytes(media(path=name, duration=5.0))
    result = run("report", stranger, "--output-dir", tmp_path / "site")
    assert result.status == 0, result.err
    pages = [path.name for path in (tmp_path / "site").glob("*.html")]
    assert len(pages) == 2
    assert page_data(tmp_path / "site" / next(page for page in pages if page != "index.html"))["media"] is None
    assert "href" not in (tmp_path / "site" / "index.html").read_text().split("<script>")[0]


@pytest.mark.parametrize(
    ("name", "made"),
    [
        ("../../x", "x.csv"), ("..", "_.csv"), (".hidden.mp4", "hidden.csv"), ("/etc/passwd", "passwd.csv"),
        ("a\0b", "a_b.csv"), ("a\ud800b.mp4", "a_b.csv"), ("-rf", "-rf.csv"),
    ],
)  # fmt: skip
def test_results_stay_in_their_folder(name: str, made: str, stranger: Path, run: Run, tmp_path: Path) -> None:
    (stranger / "a.json").write_bytes(media(path=name))
    result = run("convert", stranger / "a.json", "-f", "csv", "--output-dir", tmp_path / "out" / "in")
    assert result.status == 0, result.err
    assert [path.name for path in (tmp_path / "out" / "in").iterdir()] == [made]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["in"]


@pytest.mark.parametrize("command", [("convert", "-f", "all"), ("report",)])
def test_names_too_long_for_results(command: tuple[str, ...], stranger: Path, run: Run, tmp_path: Path) -> None:
    (stranger / "a.json").write_bytes(media(path="ü" * 130 + ".mp4"))
    result = run(command[0], stranger / "a.json", *command[1:], "--output-dir", tmp_path / "out")
    assert result.status == 2
    assert "too long for the name of a result" in result.err
    assert not (tmp_path / "out").exists()
