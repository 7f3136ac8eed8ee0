"""Download clips: journalled, resumed after a kill, politely."""

from __future__ import annotations

import csv
import io
import queue
import random
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import NamedTuple

from ...weights.addresses import hide_credentials
from ..batch.journal import InputFingerprint, Journal, JournalEntry
from ..batch.local_storage import LocalStorage
from ..batch.storage import OutputFingerprint
from ..errors import AVVPError, FailureCategory, OutputError
from ..text import escape
from .clip_lists import Clip
from .cut import cut_clip, media_length
from .fetch import FetchOptions, fetch
from .plan import OUTPUT, REASON, DownloadPlan, Missing, output_name, parameters_of
from .reasons import DownloadError, Reason

MISSING_FILE = "missing.csv"
_FOLDER = ".avvp-fetch-"  # temporary folders of videos, in the folder of the clips
_MOST_FAILURES = 10  # videos in a row whose network fails, after which the run stops
_HEADER = ("id", "address", "reason", "cause")
_CATEGORIES: Mapping[Reason, FailureCategory] = {
    "rate-limit": "network", "network": "network", "disk": "disk-full", "not-media": "not-media", "other": "io",
    "too-short": "no-streams",
}  # fmt: skip


@dataclass(frozen=True)
class Politeness:
    """How sites are asked.

    Attributes:
        workers: videos at the same time.
        sleep: seconds between two videos of a worker, and up to twice as many.
        tries: of a video whose network fails.
        backoff: seconds before the second try; each further one waits three times as long.
    """

    workers: int = 1
    sleep: float = 2.0
    tries: int = 3
    backoff: float = 10.0


@dataclass
class DownloadSummary:
    """Counts of a run, in clips.

    Attributes:
        done: downloaded by this run.
        left: not tried.
        missing: id -> why it is not there, those of earlier runs included.
        stopped: why the run ended before the list did; empty if it did not.
    """

    done: int = 0
    left: int = 0
    missing: dict[str, Missing] = field(default_factory=dict)
    stopped: str = ""


class _Result(NamedTuple):
    """Outcome of one video."""

    clips: list[Clip]
    files: dict[str, OutputFingerprint]  # id -> the file
    warnings: dict[str, list[str]]  # id -> warnings
    failures: dict[str, DownloadError]  # id -> failure
    broken: BaseException | None = None  # what ends the run


def download_clips(
    plan: DownloadPlan,
    journal: Journal,
    storage: LocalStorage,
    options: FetchOptions,
    *,
    politeness: Politeness,
    on_progress: Callable[[DownloadSummary], None] = lambda _: None,
) -> DownloadSummary:
    """Download what a plan asks for, and write `missing.csv`.

    Each clip is journalled when it is begun and when it is there or has failed, so a run that is killed at any moment
    goes on with the others. A site that refuses requests (HTTP 429) ends the run.

    Args:
        plan: of `make_plan`.
        journal: of the storage.
        storage: of the clips, locked.
        options: of the downloads.
        politeness: rates and retries.
        on_progress: called after each video.

    Returns:
        Counts, and what is missing.

    Raises:
        OutputError: a file cannot be written.
        SetupError: yt-dlp is not installed, or the disk is full.
    """
    remove_leftovers(storage.root)
    summary = DownloadSummary(left=plan.clips_todo, missing=dict(plan.missing))
    run = _Run(storage, options, politeness)
    in_row = 0
    try:
        for result in run.results(_started(plan, journal, options)):
            if result.broken is not None:
                raise result.broken
            journal.append(*_entries(result, options))
            summary.left -= len(result.clips)
            summary.done += len(result.files)
            for clip in result.clips:
                if (error := result.failures.get(clip.id)) is not None:
                    summary.missing[clip.id] = Missing(clip, error.reason, error.cause)
            reasons = {error.reason for error in result.failures.values()}
            in_row = in_row + 1 if "network" in reasons else 0
            on_progress(summary)
            if "rate-limit" in reasons:
                summary.stopped = "the site refuses more requests for now (HTTP 429, or it asks for a login)"
            elif in_row >= _MOST_FAILURES:
                summary.stopped = f"the network failed for {in_row} videos in a row"
            if summary.stopped:
                break
    finally:
        run.close()
        write_missing(storage, summary.missing.values())
    return summary


def write_missing(storage: LocalStorage, missing: Iterable[Missing]) -> None:
    """Write `missing.csv` with the clips that are not there; remove it where all are.

    Args:
        storage: of the clips.
        missing: in any order; sorted by id.

    Raises:
        OutputError: the file cannot be written.
    """
    rows = sorted((m.clip.id, escape(hide_credentials(m.clip.address)), m.reason, m.cause) for m in missing)
    if not rows:
        storage.remove(MISSING_FILE)
        return
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([_HEADER, *rows])
    storage.write(MISSING_FILE, text.getvalue().encode("utf-8", "backslashreplace"))


def remove_leftovers(folder: Path) -> None:
    """Remove the videos that killed runs have left in a folder, which is locked."""
    for left in folder.glob(f"{_FOLDER}*"):
        if left.is_dir() and not left.is_symlink():
            shutil.rmtree(left, ignore_errors=True)


def _started(plan: DownloadPlan, journal: Journal, options: FetchOptions) -> Iterator[tuple[str, list[Clip]]]:
    """Yield videos and their clips, each after its start is journalled."""
    for address, clips in plan.todo.items():
        journal.append(*(_entry(clip, "started", options) for clip in clips))
        yield address, clips


def _entry(clip: Clip, status: str, options: FetchOptions, **fields: object) -> JournalEntry:
    source = InputFingerprint(hide_credentials(clip.address), -1, -1)
    return JournalEntry(clip.id, status, source, parameters_of(clip, options.max_height), **fields)  # pyright: ignore[reportArgumentType]


def _entries(result: _Result, options: FetchOptions) -> Iterator[JournalEntry]:
    for clip in result.clips:
        if (error := result.failures.get(clip.id)) is not None:
            category = _CATEGORIES.get(error.reason, "missing")
            facts = {REASON: error.reason}
            yield _entry(clip, "failed", options, cause=error.cause, media=facts, category=category)
        else:
            outputs = {OUTPUT: result.files[clip.id]}
            yield _entry(clip, "done", options, outputs=outputs, warnings=result.warnings.get(clip.id, ()))


class _Run:
    """Threads that download videos; the caller's thread journals."""

    def __init__(self, storage: LocalStorage, options: FetchOptions, politeness: Politeness) -> None:
        self._storage, self._options, self._politeness = storage, options, politeness
        self._stop = threading.Event()
        self._threads: list[threading.Thread] = []
        self._results: queue.SimpleQueue[_Result] = queue.SimpleQueue()

    def results(self, videos: Iterator[tuple[str, list[Clip]]]) -> Iterator[_Result]:
        """Download videos and yield their results. Videos are taken in this thread: it alone journals."""
        jobs: queue.SimpleQueue[tuple[str, list[Clip]] | None] = queue.SimpleQueue()
        running = 0
        for _ in range(self._politeness.workers):
            thread = threading.Thread(target=self._work, args=(jobs,), daemon=True)
            thread.start()
            self._threads.append(thread)
            if (video := next(videos, None)) is not None:
                jobs.put(video)
                running += 1
        while running:
            yield self._results.get()
            running -= 1
            if (video := next(videos, None)) is not None:
                jobs.put(video)
                running += 1
        for _ in self._threads:
            jobs.put(None)

    def close(self) -> None:
        """Stop the downloads in progress and wait for the threads."""
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _work(self, jobs: queue.SimpleQueue[tuple[str, list[Clip]] | None]) -> None:
        first = True
        while not self._stop.is_set():
            try:
                job = jobs.get(timeout=0.2)
            except queue.Empty:
                continue
            if job is None:
                return
            if not first:
                # Not at even intervals, at which many workers would ask together.
                self._stop.wait(self._politeness.sleep * random.uniform(1, 2))  # noqa: S311 - no secret
            first = False
            try:
                self._results.put(self._download(*job))
            except BaseException as error:
                self._results.put(_Result(job[1], {}, {}, {}, error))

    def _download(self, address: str, clips: list[Clip]) -> _Result:
        result = _Result(clips, {}, {}, {})
        try:
            with tempfile.TemporaryDirectory(prefix=_FOLDER, dir=self._storage.root) as name:
                video = self._fetch_patiently(address, Path(name))
                for clip in clips:
                    try:
                        self._store(clip, video, Path(name), result)
                    except DownloadError as error:
                        result.failures[clip.id] = error
        except DownloadError as error:
            result.failures.update((clip.id, error) for clip in clips)
        except OSError as error:
            raise OutputError(f"{escape(self._storage.root)}: cannot be written: {error.strerror or error}") from error
        return result

    def _fetch_patiently(self, address: str, folder: Path) -> Path:
        """Download a video, and again after a while where the network fails. Raises DownloadError, AVVPError."""
        wait = self._politeness.backoff
        for attempt in range(1, self._politeness.tries + 1):
            try:
                return fetch(address, folder, self._options, stop=self._stop)
            except DownloadError as error:
                if error.reason != "network" or attempt == self._politeness.tries or self._stop.wait(wait):
                    raise
            for path in folder.iterdir():
                path.unlink()
            wait *= 3
        raise AssertionError("unreachable")

    def _store(self, clip: Clip, video: Path, folder: Path, result: _Result) -> None:
        cut = folder / "cut.mp4"
        if clip.start is None or clip.end is None:
            try:
                media_length(video)
            except AVVPError as error:
                raise DownloadError(clip.address, str(error).rpartition(": ")[2], "not-media") from error
            cut = video
        else:
            result.warnings[clip.id] = cut_clip(video, cut, clip.start, clip.end, address=clip.address)
        name = output_name(clip, video.suffix)
        result.files[clip.id] = self._storage.store(name, partial(shutil.copyfile, cut))
