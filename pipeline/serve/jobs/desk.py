"""All that a running server has: folder, uploads, queue, timelines, engine, and the thread that runs the jobs."""

from __future__ import annotations

import contextlib
import threading
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from ...batch.local_storage import LocalStorage
from ...errors import AVVPError, MediaError
from ...files import check_writable, exclusive_lock, make_folder
from ...text import escape
from .classes import read_classes
from .engine import Engine, EngineSettings, JobStoppedError
from .job import Job, new_id, now
from .job_journal import JOURNAL_FOLDER, JobJournal
from .job_queue import JobQueue, UnknownJobError
from .limits import MAX_JOB_SECONDS
from .media_folder import MediaFolder
from .timeline_store import TimelineStore, UnknownTimelineError
from .uploads import Upload, UploadFolder


@dataclass(frozen=True)
class DeskSettings:
    """What a server works with.

    Attributes:
        results: folder of uploads, jobs and timelines.
        media: folder whose files may be named; None for uploads only.
        max_upload: bytes of a file that is sent.
        engine: what is loaded.
    """

    results: Path
    media: Path | None
    max_upload: int
    engine: EngineSettings


class Desk:
    """The state of a server, while its folder is locked; made by `open_desk`.

    Attributes:
        media: the folder whose files may be named, None for uploads only.
        uploads: files that were sent.
        timelines: of the jobs that are done.
        queue: all jobs.
        engine: the networks; used by the thread only.
        vocabulary: of an open bundle, see `EngineSettings`.
        unreadable: lines of the journal that were ignored.
    """

    def __init__(self, settings: DeskSettings, journal: JobJournal, engine: Engine) -> None:
        results = settings.results
        uploads, timelines, events = (results / name for name in ("uploads", "timelines", "events"))
        kept = (uploads, timelines, events, results / JOURNAL_FOLDER)
        self.media = None if settings.media is None else MediaFolder(settings.media, without=kept)
        self.uploads = UploadFolder(uploads, max_bytes=settings.max_upload)
        self.timelines = TimelineStore(timelines, events)
        self.queue = JobQueue(journal, self._forget)
        self.unreadable = journal.unreadable
        self.engine = engine
        self.vocabulary = settings.engine.vocabulary
        self._debug = settings.engine.debug
        self._thread = threading.Thread(target=self._run_jobs, name="jobs", daemon=True)

    def start(self) -> None:
        """Load the networks, remove what a killed server left, then run jobs. Raises SetupError."""
        self.engine.start()
        jobs, _ = self.queue.snapshot()
        for job in jobs:
            if job.status == "queued" and self.timelines.is_corrected(job.id):
                self._keep_corrections(job)
        jobs, _ = self.queue.snapshot()
        if not self.unreadable:
            self.uploads.remove_unknown({job.id for job in jobs if job.status in {"queued", "running", "done"}})
        done = {job.id: job.name for job in jobs if job.status == "done"}
        self.timelines.repair(done, complete=not self.unreadable)
        self._thread.start()

    def _keep_corrections(self, job: Job) -> None:
        """Take a job as done whose timeline has corrections: the journal has lost that it was."""
        try:
            timeline = self.timelines.read(self.timelines.current(job.id)[1])
        except AVVPError as error:
            self.queue.finish(replace(job, status="failed", cause=escape(error)))
            return
        duration = float(timeline.media["duration"])
        self.queue.finish(replace(job, status="done", duration=duration, events=len(timeline.events)))

    def close(self) -> None:
        """Stop the running job, which the next start runs again, and end the engine."""
        self.queue.close()
        if self._thread.is_alive():
            self._thread.join()
        self.engine.close()

    def submit_named(self, name: object, classes: object = None) -> Job:
        """Add a job for a file of the folder, see `read_classes`.

        Raises MediaError, ClassesError, QueueFullError, OutputError.
        """
        named = read_classes(classes, self.vocabulary)
        if self.media is None:
            raise MediaError(Path(str(name)[:200]), "this server was started without a folder; send the file itself")
        path = self.media.find(name)
        try:
            status = path.stat()
        except OSError as error:
            raise MediaError(path, error.strerror or str(error)) from error
        return self.queue.submit(
            Job(
                id=new_id(),
                name=str(name),
                source="folder",
                path=str(name),
                size=status.st_size,
                mtime_ns=status.st_mtime_ns,
                created=now(),
                classes=named,
            )
        )

    def submit_upload(self, job_id: str, upload: Upload, *, url: str = "") -> Job:
        """Add a job for a file that was sent.

        Raises ClassesError, QueueFullError, OutputError; then the file is removed.
        """
        try:
            return self.queue.submit(
                Job(
                    id=job_id,
                    name=upload.name,
                    source="upload",
                    path=f"{job_id}/{upload.name}",
                    size=upload.size,
                    mtime_ns=upload.path.stat().st_mtime_ns,
                    created=now(),
                    url=url,
                    classes=read_classes(upload.classes, self.vocabulary),
                )
            )
        except BaseException:
            self.uploads.remove(job_id)
            raise

    def check_classes(self, classes: object) -> None:
        """Raise ClassesError for classes of a request that cannot be looked for."""
        read_classes(classes, self.vocabulary)

    def done_job(self, job_id: str) -> Job:
        """Return the job of a timeline. Raises UnknownTimelineError."""
        try:
            job = self.queue.get(job_id)
        except UnknownJobError as error:
            raise UnknownTimelineError("no such timeline") from error
        if job.status != "done":
            raise UnknownTimelineError("no such timeline")
        return job

    def media_path(self, job: Job) -> Path:
        """Return the media file of a job. Raises MediaError where it is gone."""
        if job.source == "folder":
            if self.media is None:
                raise MediaError(Path(job.name), "this server was started without the folder that holds this file")
            return self.media.find(job.path)
        path = self.uploads.path(job.path)
        if not path.is_file():
            raise MediaError(Path(job.name), "the file is gone")
        return path

    def cancel(self, job_id: str) -> Job:
        """Cancel a job and remove its upload, see `JobQueue.cancel`."""
        job = self.queue.cancel(job_id)
        if job.status == "cancelled":
            self.uploads.remove(job.id)
        return job

    def _forget(self, job: Job) -> None:
        self.uploads.remove(job.id)
        self.timelines.remove(job.id)

    def _run_jobs(self) -> None:
        """Run one job after the other, until the queue is closed."""
        while (job := self.queue.take()) is not None:
            try:
                ended = self._run(job)
            except JobStoppedError:
                if self.queue.is_closed:
                    return  # the journal says that it runs: the next start runs it again
                ended = replace(job, status="cancelled")
            except MediaError as error:
                ended = replace(job, status="failed", cause=error.cause)
            except AVVPError as error:
                ended = replace(job, status="failed", cause=escape(error))
            except Exception as error:  # a bug must not end the other jobs
                if self._debug:
                    traceback.print_exc()
                text = f"{type(error).__name__}: {escape(error)[:500]}"
                ended = replace(job, status="failed", cause=f"internal error, please report it: {text}")
                self.engine.close()  # its next message may belong to this job; it starts anew for the next one
            ended = self.queue.finish(ended)
            if ended.status != "done":
                self._forget(ended)

    def _run(self, job: Job) -> Job:
        """Parse the file of a job. Raises MediaError, OutputError, SetupError, JobStoppedError."""
        target = self.timelines.first_version(job.id)
        parsed = self.engine.parse(
            self.media_path(job).absolute(),
            job.name,
            target.absolute(),
            report=self.queue.report,
            is_stopped=lambda: self.queue.is_cancelled(job.id),
            seconds=MAX_JOB_SECONDS,
            classes=job.classes,
        )
        self.timelines.add_first(job.id, job.name, parsed.events)
        return replace(job, status="done", duration=parsed.duration, events=parsed.events)


@contextlib.contextmanager
def open_desk(settings: DeskSettings, *, make_engine: Callable[[EngineSettings], Engine] = Engine) -> Iterator[Desk]:
    """Lock the folder of results, read its journal, load the networks, run jobs; end all of it afterwards.

    Args:
        settings: of the server.
        make_engine: makes what parses files.

    Raises:
        SetupError: another server uses the folder, or the networks cannot be loaded.
        OutputError: the folder cannot be written to.
    """
    make_folder(settings.results)
    check_writable(settings.results)
    with exclusive_lock(settings.results):
        journal = JobJournal(LocalStorage(settings.results))
        try:
            desk = Desk(settings, journal, make_engine(settings.engine))
            try:
                desk.start()
                yield desk
            finally:
                desk.close()
        finally:
            journal.close()
