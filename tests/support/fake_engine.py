"""An engine of batch runs that computes nothing: tests of journals and storages need results, not features."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.parse_task import ParseTask
from avvp.pipeline.batch.task import RunContext, Task
from avvp.pipeline.batch.work import Result, VideoJob, VideoOutputs

MEDIA = {"duration": 1.0, "format": "mp4", "decoder": "none", "frames_decoded": 8, "frames_damaged": 0}


@dataclass
class FakeEngine:
    """Writes a few bytes for each output, made of the file's content; a file that begins with "bad" fails."""

    context: RunContext[Any]
    journal_batch = 1

    def __enter__(self) -> FakeEngine:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def run(self, jobs: Iterable[VideoJob]) -> Iterator[Result]:
        for job in jobs:
            content = job.path.read_bytes()
            if content.startswith(b"bad"):
                yield Result(job, 0.1, cause="it is bad", category="damaged")
                continue
            files = {
                output: self.context.storage.store(
                    self.context.specs[output].path(job.id), partial(_write, output.encode() + b" of " + content)
                )
                for output in job.output_names
            }
            yield Result(job, 0.1, VideoOutputs(files, (), MEDIA))


def _write(content: bytes, path: Path) -> None:
    path.write_bytes(content)


def use_fake_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `avvp extract` and `avvp parse` use `FakeEngine`, and load the networks of a bundle once."""

    def make(_task: Task[Any], context: RunContext[Any], *, videos: int) -> FakeEngine:
        assert videos
        return FakeEngine(context)

    monkeypatch.setattr(Task, "engine", make)
    for kind in (ExtractTask, ParseTask):
        monkeypatch.setattr(kind, "load", _cached(kind.load))


_loaded: dict[tuple[str, str], Any] = {}


def _cached(load: Callable[..., Any]) -> Callable[..., Any]:
    def load_once(task: Any, progress: Any = None) -> Any:
        key = type(task).__name__, str(task.bundle.root)
        if key not in _loaded:
            _loaded[key] = load(task, progress)
        return _loaded[key]

    return load_once
