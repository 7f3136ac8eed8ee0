"""The real server in a process of its own: twenty files, a kill in the middle, Ctrl-C, what it needs to start."""

from __future__ import annotations

import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.cli.commands import serve as cli_serve
from avvp.pipeline.serve.access import Access
from avvp.pipeline.serve.jobs.engine import EngineSettings
from playwright.sync_api import Browser
from support.command import Result
from support.media import Clips
from support.pages import open_page
from support.serve import ENDED, Process

WHOLE, BROKEN = 16, 4
SENT = ("clip 00.mp4", "clip 01.mp4", "broken 0.mp4", "broken 1.mp4")


@pytest.fixture
def twenty(tmp_path: Path, clips: Clips) -> Path:
    """Sixteen short clips, and four files that are none."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number in range(WHOLE):
        (folder / f"clip {number:02d}.mp4").write_bytes(clips.blink.read_bytes())
    for number, content in enumerate(
        (b"", os.urandom(5000), b"#EXTM3U\nfile:///etc/passwd\n", clips.headless.read_bytes())
    ):
        (folder / f"broken {number}.mp4").write_bytes(content)
    return folder


@pytest.fixture
def start(tmp_path: Path, tiny_bundle: Path) -> Iterator[Callable[..., Process]]:
    """Start a server on any free port, with the tiny bundle."""
    started: list[Process] = []

    def begin(*arguments: object) -> Process:
        started.append(
            Process(*arguments, "--weights", tiny_bundle, "-o", tmp_path / "results", "--port", 0, "--threads", 1)
        )
        return started[-1]

    yield begin
    for server in started:
        server.kill()


def jobs(server: Process) -> list[dict[str, Any]]:
    return server.client.get("/jobs").json()["jobs"]


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def open_in_browser(browser: Browser, server: Process) -> None:
    """Open a timeline from the start page, and see its video."""
    opened = open_page(browser, server.url)
    opened.until("document.querySelectorAll('#timelines tbody tr').length === 16")
    opened.page.locator("#timelines a", has_text="clip 00.mp4").first.click()
    opened.until("document.querySelector('video')?.readyState >= 1")
    assert opened.page.title().startswith("clip 00.mp4")
    assert [url for url in opened.requests if not url.startswith((server.url, "data:", "blob:"))] == []
    opened.page.context.close()


def processes_of(folder: Path) -> list[str]:
    """Command lines of processes that name a folder, or work with the engine of a server."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                line = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
                parent = (entry / "environ").read_bytes()
            except OSError:
                continue
            if ("engine_main" in line or "worker_main" in line or " serve " in line) and str(folder).encode() in parent:
                found.append(line)
    return found


@pytest.mark.browser
def test_twenty_files_and_a_kill_in_the_middle(
    start: Callable[..., Process], twenty: Path, tmp_path: Path, browser: Browser, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sent and named in the browser; after the kill and another start nothing is lost, and nothing done twice."""
    monkeypatch.setenv("AVVP_TEST_FOLDER", str(tmp_path))  # by which its processes are found
    server = start(twenty)
    opened = open_page(browser, server.url)
    opened.page.locator("#file").set_input_files([twenty / name for name in SENT])
    wait_until(lambda: len(jobs(server)) == len(SENT))
    for name in SENT:
        (twenty / name).unlink()
    opened.page.locator("#folder-search").fill("4")
    opened.page.locator("#folder-search").fill("")
    opened.page.get_by_role("button", name=f"Parse all {WHOLE + BROKEN - len(SENT)}").click()
    wait_until(lambda: len(jobs(server)) == WHOLE + BROKEN)
    wait_until(lambda: sum(job["status"] == "done" for job in jobs(server)) >= 4)
    corrected = next(job for job in jobs(server) if job["status"] == "done")
    document = server.client.get(corrected["timeline"]).json()
    document["events"] = [{"modality": "audio", "label": "Dog", "onset": 0.0, "offset": 0.2, "score": 1.0}]
    saved = server.client.put(corrected["timeline"], json=document, headers={"if-match": '"1"'})
    assert saved.json() == {"version": "2"}
    server.kill()
    opened.until("!document.getElementById('lost').hidden")
    opened.page.context.close()
    wait_until(lambda: not processes_of(tmp_path), 10)
    timelines = tmp_path / "results" / "timelines"
    complete = [path for path in timelines.iterdir() if (path / "versions.json").exists()]
    before = {path.name: (path / "000001.json").stat().st_mtime_ns for path in complete}
    half = tmp_path / "results" / "uploads" / ("f" * 16)
    half.mkdir()
    (half / ".avvp-0-0.part").write_bytes(b"half of a file")

    server = start(twenty)
    assert len(jobs(server)) == WHOLE + BROKEN
    wait_until(lambda: all(job["status"] in ENDED for job in jobs(server)))
    statuses = {job["name"]: job["status"] for job in jobs(server)}
    assert statuses == {
        **{f"clip {number:02d}.mp4": "done" for number in range(WHOLE)},
        **{f"broken {number}.mp4": "failed" for number in range(BROKEN)},
    }
    assert all(job["cause"] and "internal" not in job["cause"] for job in jobs(server) if job["status"] == "failed")
    assert server.client.get(corrected["timeline"]).json()["events"] == document["events"]
    done_before = {job["id"] for job in jobs(server)} & before.keys()
    assert len(done_before) >= 4
    again = {name: (timelines / name / "000001.json").stat().st_mtime_ns for name in before}
    assert sum(again[name] != before[name] for name in before) <= 1  # the one whose end the journal did not know
    uploads = {path.name for path in (tmp_path / "results" / "uploads").iterdir()}
    assert uploads == {job["id"] for job in jobs(server) if job["name"] in SENT and job["status"] == "done"}

    open_in_browser(browser, server)
    seconds, status, errors = server.interrupt()
    assert seconds < 3
    assert (status, "Traceback" in errors) == (0, False)
    wait_until(lambda: not processes_of(tmp_path), 10)


def test_ctrl_c_while_a_long_file_runs_and_one_is_sent(
    start: Callable[..., Process], tmp_path: Path, clips: Clips
) -> None:
    """It ends within a second or two, without an error."""
    (tmp_path / "long").mkdir()
    source = ("-f", "lavfi", "-i", "testsrc2=s=320x240:r=8:d=300")  # five minutes
    long = clips.make("five.mp4", *source, "-c:v", "libx264", "-preset", "ultrafast")
    long.rename(tmp_path / "long" / "long.mp4")
    server = start(tmp_path / "long")
    server.client.post("/parse", json={"path": "long.mp4"})
    wait_until(lambda: (jobs(server)[0]["progress"] or {}).get("done", 0) > 0)
    assert jobs(server)[0]["progress"]["total"] == 300.0
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as idle:
        idle.sendall(b"POST /parse HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n"
                     b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--x\r\n")  # fmt: skip
        time.sleep(0.2)
        seconds, status, errors = server.interrupt()
    assert seconds < 3
    assert (status, "Traceback" in errors) == (0, False)


class TestStart:
    """What is found before anything is loaded: one clear line."""

    @pytest.fixture
    def serve(self, run: Callable[..., Result], tmp_path: Path, tiny_bundle: Path) -> Callable[..., Result]:
        return lambda *more: run("serve", "--weights", tiny_bundle, "-o", tmp_path / "results", *more)

    def test_a_port_that_is_in_use(self, serve: Callable[..., Result]) -> None:
        with socket.create_server(("127.0.0.1", 0)) as other:
            port = other.getsockname()[1]
            result = serve("--port", port)
        assert result.status == 2
        assert result.err == f"Error: port {port} on 127.0.0.1 is in use; choose another one with --port\n"

    @pytest.mark.parametrize("name", ["fastapi", "uvicorn", "python_multipart"])
    def test_the_extra_is_missing(
        self, serve: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, name: str
    ) -> None:
        monkeypatch.setitem(sys.modules, name, None)
        result = serve("--port", 0)
        assert result.status == 2
        assert f"pip install 'avvp[serve]' ({name} is missing)" in result.err

    @pytest.mark.parametrize(
        ("options", "reason"),
        [
            (("--host", "203.0.113.1"), "203.0.113.1, port 9090: "), (("--host", "no.host.invalid"), "--host no.host"),
            (("--host", "a" * 300), "--host aaa"), (("--label-studio", "evil"), "--label-studio 'evil': expected"),
            (("--max-hours", "25"), "--max-hours"), (("no/folder",), "does not exist"), (("--weights", "lost"), "lost"),
            (("--precision", "int8"), "int8 needs quantized networks, and those of tiny are not: avvp weights"),
        ],
    )  # fmt: skip
    def test_other_faults(self, serve: Callable[..., Result], options: tuple[str, ...], reason: str) -> None:
        result = serve(*options)
        assert result.status == 2
        assert reason in result.err
        assert "Traceback" not in result.err

    @pytest.mark.parametrize(
        ("token", "reason"), [("short\n", "at least 16"), ("a b" * 9, "printable"), ("\0" * 20, "")]
    )
    def test_tokens_that_are_too_easy(
        self, serve: Callable[..., Result], tmp_path: Path, token: str, reason: str
    ) -> None:
        (tmp_path / "token.txt").write_text(token)
        result = serve("--token-file", tmp_path / "token.txt", "--port", 0)
        assert result.status == 2
        assert reason in result.err
        assert "token.txt" in result.err

    @pytest.mark.parametrize(("host", "needed"), [("127.0.0.1", False), ("localhost", False), ("0.0.0.0", True)])  # noqa: S104
    def test_other_machines_need_a_token(
        self, serve: Callable[..., Result], monkeypatch: pytest.MonkeyPatch, host: str, needed: bool
    ) -> None:
        tokens: list[str | None] = []

        def pretend(
            _socket: object, settings: Any, _desk: object, *, announce: Callable[[Access, int, str], None], **_: object
        ) -> None:
            tokens.append(settings.token)
            announce(Access(settings.token, 1), 2, "computing in bf16")

        monkeypatch.setattr("avvp.pipeline.serve.server.serve", pretend)
        result = serve("--host", host, "--port", 0, "-q")
        assert result.status == 0
        assert (tokens[0] is not None) == needed
        assert ("/login/" in result.out) == needed
        assert (f"token for other clients: {tokens[0]}" in result.out) == needed
        monkeypatch.setenv(cli_serve.TOKEN_VARIABLE, "token-of-the-environment")
        again = serve("--host", host, "--port", 0)
        assert "token-of" not in again.out
        assert "2 lines of the journal cannot be read" in again.err
        assert "computing in bf16" in again.err
        assert tokens[1] == "token-of-the-environment"

    @pytest.mark.parametrize(
        ("options", "engine"),
        [
            ((), (None, None, None)),
            (("--profile", "fast", "--precision", "bf16"), ("fast", "bf16", None)),
            (("--precision", "fp32", "--backend", "torch"), (None, "fp32", "torch")),
            (("--precision", "auto", "--backend", "auto"), (None, "auto", "auto")),
        ],
    )
    def test_the_engine_is_told_what_to_compute_with(
        self,
        serve: Callable[..., Result],
        monkeypatch: pytest.MonkeyPatch,
        options: tuple[str, ...],
        engine: tuple[str | None, ...],
    ) -> None:
        told: list[EngineSettings] = []
        monkeypatch.setattr(
            "avvp.pipeline.serve.server.serve", lambda _socket, _settings, desk, **_: told.append(desk.engine)
        )
        assert serve("--port", 0, "-q", *options).status == 0
        assert [(one.profile, one.precision, one.backend) for one in told] == [engine]
