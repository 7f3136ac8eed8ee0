"""A server in this process with an engine that only pretends, and the real one in a process of its own."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import uvicorn
from avvp.pipeline.errors import MediaError
from avvp.pipeline.files import write_atomic
from avvp.pipeline.outputs.formats.events_json import to_json
from avvp.pipeline.serve.access import Access
from avvp.pipeline.serve.app import make_app
from avvp.pipeline.serve.hosts import HostNames
from avvp.pipeline.serve.jobs.desk import Desk, DeskSettings, open_desk
from avvp.pipeline.serve.jobs.engine import Engine, EngineSettings, JobStoppedError, Parsed
from avvp.pipeline.serve.jobs.job_queue import Progress
from avvp.pipeline.serve.label_studio_media import LabelStudioHost
from avvp.pipeline.serve.server import listen, server_config
from avvp.pipeline.timeline import Event, Timeline

from .command import RUN_MARK

ENDED = {"done", "failed", "cancelled"}
SETTINGS = EngineSettings(
    weights="none", weights_dir=None, device="cpu", threads=None, threshold=0.5, thresholds=None, decode_timeout=60,
    max_media=3600,
)  # fmt: skip


def make_timeline(name: str, events: int = 2) -> Timeline:
    """A timeline of ten seconds with events of Dog."""
    found = [Event("audio", "Dog", float(number), number + 0.5, 0.75) for number in range(events)]
    return Timeline.of_events(found, path=name, duration=10.0, labels=("Dog", "Speech"))


class FakeEngine(Engine):
    """Parses what begins with "media"; a file with "slow" in its name waits until it is stopped or `release` is set."""

    def __init__(self, settings: EngineSettings) -> None:
        super().__init__(settings)
        self.model = "fake-1"
        self.release = threading.Event()
        self.parsed: list[str] = []
        self.classes: list[tuple[str, ...]] = []  # that requests named, in the order of `parsed`

    def start(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Load nothing."""

    def parse(
        self, path: Path, name: str, target: Path, *, report: Callable[[Progress], None],
        is_stopped: Callable[[], bool], seconds: float, classes: Sequence[str] = (),  # noqa: ARG002
    ) -> Parsed:  # fmt: skip
        report(Progress("video", 3.0, 10.0))
        while "slow" in name and not self.release.wait(0.01):
            if is_stopped():
                raise JobStoppedError
        if not path.read_bytes().startswith(b"media"):
            raise MediaError(path, "is not a media file")
        self.parsed.append(name)
        self.classes.append(tuple(classes))
        write_atomic(target, to_json(make_timeline(name)))
        return Parsed(10.0, 2)


@dataclass
class Running:
    """A server that answers."""

    client: httpx.Client
    desk: Desk
    access: Access
    url: str
    errors: list[Exception]  # that are bugs; a test that causes one removes it

    @property
    def engine(self) -> FakeEngine:
        assert isinstance(self.desk.engine, FakeEngine)
        return self.desk.engine

    def post(self, name: str) -> httpx.Response:
        """Name a file of the folder."""
        return self.client.post("/parse", json={"path": name})

    def send(self, name: str, content: bytes = b"media") -> httpx.Response:
        """Send a file."""
        return self.client.post("/parse", files={"file": (name, content)})

    def done(self, response: httpx.Response) -> dict[str, Any]:
        """Wait for the job of an answer, and return it."""
        assert response.status_code == 202, response.text
        return wait_for(self.client, response.json()["id"])


def wait_for(client: httpx.Client, job_id: str, statuses: set[str] = ENDED) -> dict[str, Any]:
    """Wait for a job to have one of these statuses, and return it."""
    end = time.monotonic() + 60
    while (job := client.get(f"/jobs/{job_id}").json())["status"] not in statuses:
        assert time.monotonic() < end, job
        time.sleep(0.01)
    return job


@contextlib.contextmanager
def running(
    results: Path,
    media: Path | None = None,
    *,
    token: str | None = None,
    host: str = "127.0.0.1",
    allowed: tuple[str, ...] = (),
    label_studio: LabelStudioHost | None = None,
    max_upload: int = 1 << 20,
    vocabulary: Mapping[str, Any] | None = None,
) -> Iterator[Running]:
    """Run a server in a thread of this process, with a fake engine."""
    settings = DeskSettings(results, media, max_upload, replace(SETTINGS, vocabulary=vocabulary))
    with listen("127.0.0.1", 0) as listening, open_desk(settings, make_engine=FakeEngine) as desk:
        port = listening.getsockname()[1]
        access = Access(token, port)
        errors: list[Exception] = []
        app = make_app(
            desk,
            access=access,
            hosts=HostNames(host, allowed),
            label_studio=label_studio,
            title="fake: <b>none</b>",
            report=errors.append,
        )
        server = uvicorn.Server(server_config(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        url = f"http://127.0.0.1:{port}"
        try:
            with httpx.Client(base_url=url, timeout=10, trust_env=False) as client:
                yield Running(client, desk, access, url, errors)
        finally:
            desk.queue.close()
            server.should_exit = True
            thread.join()
            assert errors == []


class Process:
    """`avvp serve` in a process of its own."""

    def __init__(self, *arguments: object, environment: dict[str, str] | None = None) -> None:
        command = [str(Path(sys.executable).with_name("avvp")), "serve", *map(str, arguments)]
        marked = {**os.environ, RUN_MARK: str(os.getpid()), **(environment or {})}
        self.process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=marked, start_new_session=True
        )
        assert self.process.stdout is not None
        self.line = self.process.stdout.readline()
        found = re.search(r"http://\S+", self.line)
        if found is None:
            raise AssertionError(self.process.communicate()[1])
        self.url = found[0].rstrip("/")
        self.client = httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def kill(self) -> None:
        """End it as a power failure does."""
        self.client.close()
        self.process.kill()
        self.process.communicate()

    def interrupt(self) -> tuple[float, int, str]:
        """Press Ctrl-C. Return the seconds that it took to end, the exit status, and standard error."""
        self.client.close()
        begin = time.monotonic()
        self.process.send_signal(signal.SIGINT)
        _, errors = self.process.communicate(timeout=20)
        return time.monotonic() - begin, self.process.returncode, errors
