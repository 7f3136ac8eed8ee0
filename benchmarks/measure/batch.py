"""Batch runs with networks that are already loaded, timed."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import torch
from avvp.pipeline.batch.journal import Journal
from avvp.pipeline.batch.open_storage import open_storage
from avvp.pipeline.batch.plan import BatchJob, make_plan
from avvp.pipeline.batch.run_plan import run_plan
from avvp.pipeline.batch.task import Loaded, Task


def time_batch(
    task: Task[Loaded],
    loaded: Loaded,
    videos: Iterable[Path],
    output: Path,
    on_result: Callable[[float], None] = lambda _: None,
) -> float:
    """Run a task on videos as the command line does: decode, compute, write.

    Args:
        task: what to compute.
        loaded: its networks.
        videos: with distinct names.
        output: a new folder.
        on_result: called with the seconds so far whenever a video is done.

    Returns:
        Seconds from the start of the engine to the last file, without loading the networks.

    Raises:
        SystemExit: a video failed.
    """
    inputs = {video.stem: video for video in videos}
    run = task.start(loaded, open_storage(output))
    with kept_threads(), contextlib.closing(Journal(run.storage)) as journal:
        engine = task.engine(task.compile(run), videos=len(inputs))
        started = time.perf_counter()
        with engine:
            job = BatchJob(inputs, run.storage, run.specs)
            task.prepare(run)
            plan = make_plan(job, journal)
            summary = run_plan(job, plan, journal, engine, lambda *_: on_result(time.perf_counter() - started))
            task.finalize(run, journal)
        seconds = time.perf_counter() - started
    if summary.done != len(inputs):
        sys.exit(f"{len(summary.failures)} of {len(inputs)} videos failed: {next(iter(summary.failures.values()))}")
    return seconds


@contextlib.contextmanager
def kept_threads() -> Iterator[None]:
    """Restore PyTorch's number of threads at the end: the engine and some benchmarks change it."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.set_num_threads(threads)
