"""The threads of the batch engine: decode, compute, write. Each function is the loop of one thread."""

from __future__ import annotations

import contextlib
import errno
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import torch

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ..errors import MediaError, OutputError, SetupError
from ..memory import is_out_of_memory, out_of_memory_message
from ..preprocess.worker_process import DecodeWorker
from .batch_filler import Batch, BatchFiller
from .stoppable_queue import StoppableQueue
from .work import PendingVideo, Result, VideoJob, VideoOutputs

WRITERS = 2  # threads that write outputs
_TOO_LONG = "its name is too long for a result to be named after it"


@dataclass
class EngineQueues:
    """The bounded queues that connect the stages, and the counts that tell when a run is over.

    Attributes:
        stop: set when the threads have to end.
        jobs: waiting for a decoder.
        batches: waiting for a compute thread.
        complete: videos whose rows are all computed, waiting for a writer.
        results: read by `Engine.run`; an exception ends the run.
    """

    stop: threading.Event
    jobs: StoppableQueue[VideoJob]
    batches: StoppableQueue[Batch]
    complete: StoppableQueue[PendingVideo]
    results: queue.Queue[Result | BaseException] = field(default_factory=queue.Queue)

    @classmethod
    def create(cls, compute_threads: int, decoders: int) -> EngineQueues:
        """Create the queues for some compute threads and decode workers.

        A job waits for each worker: what fills the queue may itself wait for a result.
        """
        stop = threading.Event()
        batches: StoppableQueue[Batch] = StoppableQueue(compute_threads + 1, stop)
        return cls(stop, StoppableQueue(decoders, stop), batches, StoppableQueue(2 * WRITERS, stop))


class ActiveVideos:
    """The videos in progress and the number that is being decoded. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._videos: set[PendingVideo] = set()
        self._decoding = 0

    @contextlib.contextmanager
    def decoding(self, video: PendingVideo) -> Any:
        """Count a video as being decoded within the context, and as in progress until `remove`."""
        with self._lock:
            self._videos.add(video)
            self._decoding += 1
        try:
            yield
        finally:
            with self._lock:
                self._decoding -= 1

    def remove(self, video: PendingVideo) -> None:
        """Close a video and forget it."""
        video.close()
        with self._lock:
            self._videos.discard(video)

    def none_decoding(self, jobs: StoppableQueue[VideoJob]) -> bool:
        """Return whether no video is being decoded or queued for it."""
        with self._lock:
            return not self._decoding and jobs.empty()

    def close(self) -> None:
        """Close every video in progress."""
        for video in self._videos:
            video.close()


def decode_videos(
    decoder: DecodeWorker, queues: EngineQueues, videos: ActiveVideos, filler: BatchFiller, widths: Mapping[Stream, int]
) -> None:
    """Decode jobs and hand their network inputs to the filler, until stopped."""
    while (job := queues.jobs.get()) is not None:
        video = PendingVideo(job, widths)
        with videos.decoding(video):
            try:
                summary = decoder.decode(job.path, job.streams, lambda *inputs, video=video: filler.add(video, *inputs))
                complete = video.end(summary)
            except MediaError as error:
                complete = video.end(None, error)
        if complete:
            queues.complete.put(video)


def compute_batches(device: torch.device, networks: Mapping[Stream, Extractor], queues: EngineQueues) -> None:
    """Run networks on batches and give the rows to their videos, until stopped."""
    with torch.inference_mode(), _own_stream(device):
        while (batch := queues.batches.get()) is not None:
            network = networks[batch.stream]
            inputs = torch.from_numpy(batch.inputs).to(device, non_blocking=True)  # pinned where it is for a GPU
            rows = network(network.prepare(inputs)).cpu().numpy()
            for video, position, count in batch.runs():
                own, rows = rows[:count], rows[count:]
                if video.put(batch.stream, position, own):
                    queues.complete.put(video)


def write_videos(
    write_outputs: Callable[[PendingVideo], VideoOutputs], queues: EngineQueues, videos: ActiveVideos
) -> None:
    """Write the outputs of complete videos and queue their results, until stopped."""
    while (video := queues.complete.get()) is not None:
        queues.results.put(written_result(video.job, video.started, partial(_write, write_outputs, video)))
        videos.remove(video)


def _write(write_outputs: Callable[[PendingVideo], VideoOutputs], video: PendingVideo) -> VideoOutputs:
    """Write the outputs of a complete video. Raises MediaError, also where it could not be decoded; OutputError."""
    if video.failure is not None:
        raise video.failure
    return write_outputs(video)


def written_result(job: VideoJob, started: float, write: Callable[[], VideoOutputs]) -> Result:
    """Write the outputs of a job and return its result.

    Args:
        job: the job.
        started: when its work began, of `time.monotonic`.
        write: writes the outputs.

    Returns:
        The result; a failure for a MediaError, and for a name that is too long for an output.

    Raises:
        OutputError: an output cannot be written.
    """
    try:
        outputs = write()
    except MediaError as error:
        failure = error
    except OutputError as error:
        if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.ENAMETOOLONG:
            raise
        failure = MediaError(job.path, _TOO_LONG, "name")
    else:
        return Result(job, time.monotonic() - started, outputs)
    return Result(job, time.monotonic() - started, cause=failure.cause, category=failure.category)


def forward_errors(loop: Callable[[], None], results: queue.Queue[Result | BaseException]) -> None:
    """Run a thread's loop; queue its exception as a result, for the caller of `Engine.run`."""
    try:
        loop()
    except (MemoryError, RuntimeError) as error:
        out_of_memory = is_out_of_memory(error)
        results.put(SetupError(out_of_memory_message("--batch-size", error)) if out_of_memory else error)
    except OSError as error:
        folder = tempfile.gettempdir()
        results.put(OutputError(f"rows of features cannot be kept in {folder}: {error.strerror or error}"))
    except BaseException as error:
        results.put(error)


def _own_stream(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """Return a CUDA stream of the thread's own, so that one thread's copies overlap with another's networks."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))
