"""Jobs with a kept source first, all others by an engine that is made when it is needed."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from avvp.pipeline.batch.engine import KeptFirst
from avvp.pipeline.batch.work import Result, VideoJob, VideoOutputs
from avvp.pipeline.errors import DatasetError, MediaError, OutputError


def kept(name: str) -> VideoJob:
    return VideoJob(name, Path(f"{name}.mp4"), (), ("events",), f"embeddings/{name}.safetensors")


def new(name: str) -> VideoJob:
    return VideoJob(name, Path(f"{name}.mp4"), ("audio",), ("events", "embeddings"))


class FakeEngine:
    """Remembers the jobs that it gets."""

    journal_batch = 1

    def __init__(self) -> None:
        self.jobs: list[VideoJob] = []
        self.state = "new"

    def __enter__(self) -> FakeEngine:
        self.state = "started"
        return self

    def __exit__(self, *_: object) -> None:
        self.state = "closed"

    def run(self, jobs: Iterable[VideoJob]) -> Iterator[Result]:
        for job in jobs:
            self.jobs.append(job)
            yield Result(job, 1.0, VideoOutputs({}))


def remake(job: VideoJob) -> VideoOutputs:
    if job.id.startswith("damaged"):
        raise DatasetError("damaged")
    if job.id.startswith("odd"):
        raise MediaError(job.path, "its features are not finite", "not-finite")
    if job.id.startswith("long"):
        raise OutputError("too long") from OSError(errno.ENAMETOOLONG, "name")
    if job.id.startswith("full"):
        raise OutputError("the disk is full") from OSError(errno.ENOSPC, "space")
    return VideoOutputs({}, note="remade")


def run_jobs(*jobs: VideoJob) -> tuple[list[Result], FakeEngine]:
    engine = FakeEngine()

    def make() -> contextlib.AbstractContextManager[FakeEngine]:
        return engine

    with KeptFirst(remake, lambda job: replace(job, source="", streams=("audio",)), make) as executor:
        results = list(executor.run(jobs))
    return results, engine


def test_no_engine_is_made_for_kept_jobs() -> None:
    results, engine = run_jobs(kept("a"), kept("b"))
    assert [result.outputs and result.outputs.note for result in results] == ["remade", "remade"]
    assert engine.state == "new"


def test_the_rest_and_the_damaged_go_to_the_engine() -> None:
    results, engine = run_jobs(kept("a"), kept("damaged"), kept("b"), new("c"), new("d"))
    assert [result.job.id for result in results] == ["a", "b", "damaged", "c", "d"]
    assert [job.id for job in engine.jobs] == ["damaged", "c", "d"]
    assert all(not job.source for job in engine.jobs)
    assert engine.state == "closed"


def test_a_damaged_source_alone_starts_the_engine() -> None:
    results, engine = run_jobs(kept("damaged"))
    assert [result.cause for result in results] == [None]
    assert engine.state == "closed"


def test_failures_of_one_video_are_results() -> None:
    results, _ = run_jobs(kept("odd"), kept("long"), kept("a"))
    assert [result.category for result in results] == ["not-finite", "name", ""]


def test_a_full_disk_ends_the_run() -> None:
    with pytest.raises(OutputError, match="disk is full"):
        run_jobs(kept("full"), kept("a"))


def test_jobs_are_taken_one_at_a_time() -> None:
    """Each is journalled when it is taken: a killed run has started no more than it was at."""
    taken: list[str] = []

    def jobs() -> Iterator[VideoJob]:
        for name in "abc":
            taken.append(name)
            yield kept(name)

    executor = KeptFirst(remake, lambda job: job, FakeEngine)
    next(executor.run(jobs()))
    assert taken == ["a"]
