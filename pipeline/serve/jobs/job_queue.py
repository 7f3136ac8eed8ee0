"""The queue: jobs that wait, the one that runs, those that have ended. Thread-safe."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, replace

from ...errors import AVVPError, OutputError
from .job import Job
from .job_journal import JobJournal
from .limits import MAX_ENDED, MAX_QUEUED, MAX_STARTS, MAX_TIMELINES


class QueueFullError(AVVPError):
    """No further job is accepted."""


class UnknownJobError(AVVPError):
    """There is no job of this id."""


class JobEndedError(AVVPError):
    """A job cannot be cancelled any more."""


@dataclass(frozen=True)
class Progress:
    """How far the running job is.

    Attributes:
        stage: "loading", "audio", "video", "frames", "features", "events" or "film".
        done: seconds of the media.
        total: seconds of the media, None where the container does not state them.
    """

    stage: str = "loading"
    done: float = 0.0
    total: float | None = None


class JobQueue:
    """All jobs of the server. Each change is in the journal before it is seen.

    Args:
        journal: of the server; its jobs are taken over. Those that ran when the server ended wait again.
        forget: called with each job that is not remembered any more, to remove its files.
    """

    def __init__(self, journal: JobJournal, forget: Callable[[Job], None]) -> None:
        self._journal, self._forget = journal, forget
        self._changed = threading.Condition()
        self._jobs = dict(journal.jobs)
        self._progress = Progress()
        self._cancelled: set[str] = set()  # of the job that runs
        self._closed = False
        for job in list(self._jobs.values()):
            if job.status == "running":
                self._jobs[job.id] = self._run_again(job)

    def _run_again(self, job: Job) -> Job:
        if job.starts < MAX_STARTS:
            return replace(job, status="queued")
        cause = f"the server has ended {job.starts} times while it parsed this file"
        ended = replace(job, status="failed", cause=cause)
        self._journal.append(ended)
        return ended

    def submit(self, job: Job) -> Job:
        """Add a job to the end of the queue.

        Raises:
            QueueFullError: too many jobs wait, or too many timelines are kept.
            OutputError: the journal cannot be written; the job is not added.
        """
        with self._changed:
            self.check_space()
            self._journal.append(job)
            self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def check_space(self) -> None:
        """Raise QueueFullError where `submit` would."""
        with self._changed:
            statuses = [job.status for job in self._jobs.values()]
        if statuses.count("queued") >= MAX_QUEUED:
            raise QueueFullError(f"{MAX_QUEUED} jobs wait already; try again when some of them are done")
        if statuses.count("done") + statuses.count("queued") >= MAX_TIMELINES:
            raise QueueFullError(f"{MAX_TIMELINES:,} timelines are kept already; remove some that are not needed")

    def take(self) -> Job | None:
        """Wait for a job and start it; None once the queue is closed.

        A job whose start cannot be written to the journal has failed.
        """
        with self._changed:
            while not self._closed:
                waiting = next((job for job in self._jobs.values() if job.status == "queued"), None)
                if waiting is None:
                    self._changed.wait()
                    continue
                running = replace(waiting, status="running", starts=waiting.starts + 1)
                try:
                    self._journal.append(running)
                except OutputError as error:
                    self._jobs[waiting.id] = replace(waiting, status="failed", cause=str(error))
                    self._forget(waiting)
                    self._changed.notify_all()
                    continue
                self._jobs[running.id] = running
                self._progress = Progress()
                return running
        return None

    def finish(self, ended: Job) -> Job:
        """Record how the running job has ended. One that was cancelled meanwhile is cancelled.

        A timeline that the journal does not know would be parsed again at the next start, over its corrections: where
        the journal cannot be written, the job has failed.
        """
        with self._changed:
            if ended.id in self._cancelled:
                ended = replace(ended, status="cancelled", cause="")
            try:
                self._journal.append(ended)
            except OutputError as error:
                ended = replace(ended, status="failed", cause=str(error))
            self._jobs[ended.id] = ended
            self._cancelled.discard(ended.id)
            forgotten = self._forget_old()
            self._changed.notify_all()
        for job in forgotten:
            self._forget(job)
        return ended

    def _forget_old(self) -> list[Job]:
        """Drop the oldest jobs without a timeline beyond the limit. Their lines go with the next start."""
        without = [job for job in self._jobs.values() if job.status in {"failed", "cancelled"}]
        forgotten = without[: max(0, len(without) - MAX_ENDED)]
        for job in forgotten:
            del self._jobs[job.id]
        return forgotten

    def cancel(self, job_id: str) -> Job:
        """Cancel a job: at once where it waits, within seconds where it runs.

        Raises:
            UnknownJobError: there is no such job.
            JobEndedError: it has ended.
            OutputError: the journal cannot be written.
        """
        with self._changed:
            job = self.get(job_id)
            if job.has_ended:
                raise JobEndedError(f"job {job.id} has ended already: {job.status}")
            if job.status == "running":
                self._journal.append(replace(job, status="cancelled"))  # also where the server ends before the job
                self._cancelled.add(job.id)
            else:
                job = replace(job, status="cancelled")
                self._journal.append(job)
                self._jobs[job.id] = job
            self._changed.notify_all()
        return job

    def remove(self, job_id: str) -> None:
        """Forget a job that has ended, also after the next start. Raises UnknownJobError, OutputError."""
        with self._changed:
            job = self.get(job_id)
            if not job.has_ended:
                raise UnknownJobError(f"job {job.id} has not ended")
            self._journal.append(replace(job, status="removed"))
            del self._jobs[job.id]
        self._forget(job)

    def is_cancelled(self, job_id: str) -> bool:
        """Return whether the running job is to be stopped."""
        return job_id in self._cancelled or self._closed

    def report(self, progress: Progress) -> None:
        """Set how far the running job is."""
        self._progress = progress

    def get(self, job_id: str) -> Job:
        """Return a job. Raises UnknownJobError."""
        with self._changed:
            if job_id not in self._jobs:
                raise UnknownJobError("no such job")
            return self._jobs[job_id]

    def snapshot(self) -> tuple[list[Job], Progress]:
        """Return all jobs, oldest first, and how far the running one is."""
        with self._changed:
            return list(self._jobs.values()), self._progress

    def close(self) -> None:
        """End `take`, and stop the running job; the journal still says that it runs."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def is_closed(self) -> bool:
        """Whether the server ends."""
        return self._closed
