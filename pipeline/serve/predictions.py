"""Predictions for tasks of Label Studio: find or fetch their media, parse them, wait."""

from __future__ import annotations

import asyncio
import json
import time
from typing import Any

from starlette.concurrency import iterate_in_threadpool

from ..errors import AVVPError, MediaError, OutputError
from ..outputs.formats import label_studio
from ..timeline import Timeline
from .answers import RequestError
from .jobs.desk import Desk
from .jobs.job import Job, new_id
from .jobs.job_queue import QueueFullError
from .label_studio_media import LabelStudioHost, MediaAddressError, TaskMedia, find_media

_POLL = 0.2  # seconds
_USABLE = frozenset({"queued", "running", "done"})


class Predictions:
    """The events of tasks' media. Media that were parsed before are not parsed again; corrections count.

    Args:
        desk: of the server.
        host: that media may be fetched from; None for none.
    """

    def __init__(self, desk: Desk, host: LabelStudioHost | None) -> None:
        self._desk, self._host = desk, host
        self._fetching = asyncio.Lock()  # one file at a time, so that no file is fetched twice
        self._starting = set[asyncio.Task[Job | str]]()  # held here, so that those that nobody waits for go on

    async def of(self, tasks: list[Any], end: float) -> list[dict[str, Any]]:
        """Return a prediction for each task, in their order.

        Args:
            tasks: of a request.
            end: when to give up, by `time.monotonic`.

        Returns:
            Predictions; one that cannot be made is empty and has an "error".

        Raises:
            RequestError: not all media were parsed in time; those that were are kept.
            QueueFullError: too many jobs wait.
            OutputError: a file that was fetched cannot be stored.
        """
        jobs = [await self._started(task, end) for task in tasks]
        return [await self._conclude(job, end) for job in jobs]

    async def _started(self, task: Any, end: float) -> Job | str:
        """Return what `_start` does. A fetch that takes too long goes on after the answer. Raises RequestError."""
        starting = asyncio.create_task(self._start(task))
        self._starting.add(starting)
        starting.add_done_callback(self._forget_start)
        done, _ = await asyncio.wait({starting}, timeout=max(0.0, end - time.monotonic()))
        if not done:
            raise RequestError(503, "the media are not fetched yet; ask again")
        return starting.result()

    def _forget_start(self, starting: asyncio.Task[Job | str]) -> None:
        self._starting.discard(starting)
        if not starting.cancelled():
            starting.exception()  # was looked at, or concerns nobody any more

    async def _start(self, task: Any) -> Job | str:
        """Return the job of a task's media, a new one where there is none; or why there cannot be one."""
        try:
            media = find_media(task, self._host)
            if media.name and (job := await asyncio.to_thread(self._start_named, media)) is not None:
                return job
            if media.url and (job := self._find_fetched(media.url)) is not None:
                return job
            async with self._fetching:
                return self._find_fetched(media.url) or await self._fetch(media)
        except (QueueFullError, OutputError):
            raise
        except AVVPError as error:
            return error.cause if isinstance(error, MediaError) else str(error)

    def _start_named(self, media: TaskMedia) -> Job | None:
        """Return the job of a file of the folder, None where it is to be fetched. Raises AVVPError."""
        folder = self._desk.media
        try:
            if folder is None:
                raise MediaAddressError("this server was started without a folder")
            status = folder.find(media.name).stat()
        except (AVVPError, OSError):
            if media.url:
                return None
            raise
        wanted = ("folder", media.name, status.st_size, status.st_mtime_ns)
        jobs, _ = self._desk.queue.snapshot()
        for job in reversed(jobs):
            known = (job.source, job.path, job.size, job.mtime_ns)
            if known == wanted and not job.classes and job.status in _USABLE:
                return job
        return self._desk.submit_named(media.name)

    def _find_fetched(self, url: str) -> Job | None:
        jobs, _ = self._desk.queue.snapshot()
        return next((job for job in reversed(jobs) if job.url == url and job.status in _USABLE), None)

    async def _fetch(self, media: TaskMedia) -> Job:
        assert self._host is not None
        self._desk.queue.check_space()
        job_id = new_id()
        chunks = iterate_in_threadpool(self._host.fetch(media.url))
        upload = await self._desk.uploads.store(job_id, media.file_name, chunks)
        return await asyncio.to_thread(self._desk.submit_upload, job_id, upload, url=media.url)

    async def _conclude(self, job: Job | str, end: float) -> dict[str, Any]:
        """Return the prediction of a job, once it has ended. Raises RequestError where that takes too long."""
        model = self._desk.engine.model
        cause = job if isinstance(job, str) else ""
        if isinstance(job, Job):
            queue = self._desk.queue
            while not (ended := queue.get(job.id)).has_ended and not queue.is_closed and time.monotonic() < end:
                await asyncio.sleep(_POLL)
            if not ended.has_ended:
                raise RequestError(503, f"{job.name} is not parsed yet; ask again")
            if ended.status == "done":
                _, path = self._desk.timelines.current(ended.id)
                timeline = await asyncio.to_thread(self._desk.timelines.read, path)
                return {**prediction(timeline), "model_version": model}
            cause = f"{job.name}: {ended.cause or ended.status}"
        return {"result": [], "score": 0.0, "model_version": model, "error": cause}


def prediction(timeline: Timeline) -> dict[str, Any]:
    """Return the events of a timeline as a prediction of Label Studio.

    Args:
        timeline: the events.

    Returns:
        The regions of the format `label-studio`, and the mean score of the events, 0 where there are none.
    """
    task = json.loads(label_studio.write(timeline)[0])[0]
    scores = [event.score for event in timeline.events]
    return {"result": task["predictions"][0]["result"], "score": sum(scores) / max(1, len(scores))}
