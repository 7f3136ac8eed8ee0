"""Client of the engine: a process with the networks of a bundle, which stay loaded from job to job.

A process, because a file that crashes or stops it must not take the server with it. It is started again for the job
after.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ...decode.process import describe_exit, end_worker, python_program
from ...errors import MediaError, OutputError, SetupError
from .job_queue import Progress

_TICK = 0.1  # seconds between two looks at whether a job is to be stopped
_GRACE = 2.0  # seconds that a job has to stop by itself, before the process is killed
_MAX_MESSAGE = 1 << 20  # bytes


class JobStoppedError(Exception):
    """A job was stopped because its user, or the server, wished so."""


@dataclass(frozen=True)
class EngineSettings:
    """What the engine loads, and how it decides.

    Attributes:
        weights: name or folder of a bundle.
        weights_dir: folder to search for weight files first; None for the usual places.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        threads: CPU threads of the networks; None is all cores.
        profile: that approximates the bundle's, to decode under; None for that of the bundle.
        precision: of the feature networks, or "auto"; None for that of the bundle.
        backend: of the feature networks, or "auto"; None for the one of the precision.
        threshold: of all classes, per second and per video; None for those of the bundle.
        thresholds: TOML or JSON file with thresholds per class; None for none.
        decode_timeout: seconds that decoding may take, see `DecodeOptions`.
        max_media: seconds of media that a job may have.
        debug: show tracebacks on standard error.
        trust: packages whose parts the bundle may name, see `WeightSource`.
        vocabulary: of an open bundle, see `Vocabulary.to_dict`; None for a trained one.
        embeddings: folder in which those of an open bundle are kept; None where they are not.
    """

    weights: str
    weights_dir: str | None
    device: str
    threads: int | None
    threshold: float | None
    thresholds: str | None
    decode_timeout: float
    max_media: float
    profile: str | None = None
    precision: str | None = None
    backend: str | None = None
    debug: bool = False
    trust: tuple[str, ...] = ()
    vocabulary: Mapping[str, Any] | None = None
    embeddings: str | None = None


@dataclass(frozen=True)
class Parsed:
    """What is known of a parsed file."""

    duration: float  # seconds
    events: int


class Engine:
    """The process. Not thread-safe: one job at a time."""

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._process: subprocess.Popen[bytes] | None = None
        self._unread = b""
        self.model = ""  # name and hash of the bundle, once it is loaded
        self.choice = ""  # of backend and precision, as a line for the user, if there was one

    def start(self, is_stopped: Callable[[], bool] = lambda: False) -> None:
        """Start the process, unless it runs, and wait until the networks are loaded.

        Raises:
            SetupError: they cannot be loaded.
            JobStoppedError: `is_stopped`.
        """
        if self._process is not None and self._process.poll() is None:
            return
        self.close()
        self._process = subprocess.Popen(
            python_program("serve.jobs.engine_main"),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=None if self._settings.debug else subprocess.DEVNULL,
            start_new_session=True,  # Ctrl-C goes to the server only
        )
        self._send(asdict(self._settings))  # not as an argument: thousands of classes are too long for one
        while True:
            message = self._receive()
            if is_stopped():
                self.close()
                raise JobStoppedError
            if message is None:
                continue
            if "ready" in message:
                self.model, self.choice = str(message["ready"]), str(message.get("choice", ""))
                return
            status = self._process.poll() if "ended" in message else None
            self.close()
            raise SetupError(message.get("failed") or f"the engine {describe_exit(status or 0)} while it was loading")

    def parse(
        self,
        path: Path,
        name: str,
        target: Path,
        *,
        report: Callable[[Progress], None],
        is_stopped: Callable[[], bool],
        seconds: float,
        classes: Sequence[str] = (),
    ) -> Parsed:
        """Parse a file and write its timeline.

        Args:
            path: the media file.
            name: of the file, in the timeline and in messages.
            target: file of the timeline.
            report: called with the progress.
            is_stopped: whether the job is to be stopped; asked several times a second.
            seconds: that the job may take.
            classes: to look for in place of those of the vocabulary; none for those.

        Returns:
            Duration and number of events.

        Raises:
            MediaError: the file cannot be parsed, or took too long, or the process has ended.
            OutputError: the timeline cannot be written.
            SetupError: the networks cannot be loaded.
            JobStoppedError: `is_stopped`.
        """
        end = time.monotonic() + seconds
        self.start(is_stopped)
        self._send({"parse": {"path": str(path), "name": name, "target": str(target), "classes": list(classes)}})
        while True:
            message = self._receive()
            if is_stopped():
                self._stop()
                raise JobStoppedError
            if time.monotonic() > end:
                self._stop()
                raise MediaError(Path(name), f"took longer than {seconds:,.0f} s, the most that a job may take")
            if message is None:
                continue
            if "progress" in message:
                report(Progress(*message["progress"]))
            elif "done" in message:
                return Parsed(**message["done"])
            else:
                self._raise(message, name)

    def _raise(self, message: dict[str, Any], name: str) -> None:
        """Raise the error that a message tells of."""
        if "output" in message:
            raise OutputError(message["output"])
        if "failed" in message:
            raise MediaError(Path(name), message["failed"])
        assert self._process is not None
        status = self._process.wait()
        self.close()
        raise MediaError(Path(name), f"its engine {describe_exit(status)}")

    def _stop(self) -> None:
        """Stop the job: by asking, so that the networks stay loaded, else by ending the process."""
        self._send({"cancel": True})
        end = time.monotonic() + _GRACE
        while time.monotonic() < end:
            message = self._receive()
            if message is not None and "ended" in message:
                break
            if message is not None and "progress" not in message:
                return
        self.close()

    def close(self) -> None:
        """End the process."""
        process, self._process, self._unread = self._process, None, b""
        if process is not None:
            end_worker(process, grace=0.5)  # its decoders end with it

    def _send(self, command: dict[str, Any]) -> None:
        assert self._process is not None
        assert self._process.stdin is not None
        with contextlib.suppress(OSError):  # it has ended, which `_receive` finds
            self._process.stdin.write(json.dumps(command).encode() + b"\n")
            self._process.stdin.flush()

    def _receive(self) -> dict[str, Any] | None:
        """Return the next message, None if there is none within a tick; {"ended": True} where the process has ended."""
        assert self._process is not None
        assert self._process.stdout is not None
        if b"\n" not in self._unread:
            descriptor = self._process.stdout.fileno()
            if not select.select([descriptor], [], [], _TICK)[0]:
                return None
            received = os.read(descriptor, 1 << 16)
            self._unread += received
            if not received or len(self._unread) > _MAX_MESSAGE:
                if received:
                    self._process.kill()
                return {"ended": True}
            if b"\n" not in self._unread:
                return None
        line, _, self._unread = self._unread.partition(b"\n")
        return json.loads(line)
