"""The engine of batch runs: many videos at a time through the networks of one machine.

    decode workers ──inputs──► batches, filled across videos ──► compute threads ──rows──► spools
                                                                                              │
    results ◄──────────────── writer threads: outputs of complete videos ◄───────────────────┘

Each stage waits when the next one is busy (bounded queues), so memory grows neither with the number of videos nor
with their length. The stages are in `engine_stages`.
"""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial
from itertools import chain
from typing import TYPE_CHECKING

from ...extractors.inputs import InputFormat
from ...extractors.sampling import Stream
from ..errors import DatasetError
from ..inference.extractors import DeviceNetworks
from ..preprocess.worker_process import DecodeWorker
from .batch_filler import BatchFiller
from .engine_stages import (
    WRITERS,
    ActiveVideos,
    EngineQueues,
    compute_batches,
    decode_videos,
    forward_errors,
    write_videos,
    written_result,
)
from .stoppable_queue import TICK
from .work import PendingVideo, Result, VideoJob, VideoOutputs

if TYPE_CHECKING:
    from .run_plan import Executor


class Engine:
    """Decode workers, networks and threads, ready for videos. A context manager; leaves no process and no file."""

    journal_batch = 1  # jobs that are best journalled together

    def __init__(
        self,
        thread_networks: Sequence[DeviceNetworks],
        sizes: Mapping[Stream, int],
        make_decoder: Callable[[], DecodeWorker],
        write_outputs: Callable[[PendingVideo], VideoOutputs],
        *,
        workers: int,
    ) -> None:
        """Prepare the threads; they start in `with`.

        Args:
            thread_networks: device and networks of each compute thread; threads on a CPU share their networks
                (see `compute_workers.thread_networks`).
            sizes: inputs in a batch of each stream.
            make_decoder: makes one decode worker.
            write_outputs: called with each complete video, in a writer thread.
            workers: number of decode workers.
        """
        networks = thread_networks[0][1]
        widths: dict[Stream, int] = {stream: network.dim for stream, network in networks.items()}
        formats: dict[Stream, InputFormat] = {stream: network.input_format for stream, network in networks.items()}
        self._queues = queues = EngineQueues.create(len(thread_networks), workers)
        self._videos = videos = ActiveVideos()
        on_gpu = thread_networks[0][0].type == "cuda"
        self._filler = filler = BatchFiller(sizes, formats, queues.batches.put, pinned=on_gpu)
        self._decoders = [make_decoder() for _ in range(workers)]
        self._running = 0  # jobs without a result
        loops = [partial(decode_videos, decoder, queues, videos, filler, widths) for decoder in self._decoders]
        loops += [partial(compute_batches, *pair, queues) for pair in thread_networks]
        loops += [partial(write_videos, write_outputs, queues, videos)] * WRITERS
        self._threads = [
            threading.Thread(target=forward_errors, args=(loop, queues.results), daemon=True) for loop in loops
        ]

    def __enter__(self) -> Engine:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._queues.stop.set()
        for decoder in self._decoders:
            decoder.stop()
        for thread in self._threads:
            thread.join()
        for decoder in self._decoders:
            decoder.close()
        self._videos.close()

    def run(self, jobs: Iterable[VideoJob]) -> Iterator[Result]:
        """Yield results in the order in which videos are complete; take jobs from the iterable as they are needed.

        Raises what is not the fault of one video: a full disk, a device out of memory.
        """
        source = iter(jobs)
        waiting: VideoJob | None = next(source, None)
        while waiting is not None or self._running:
            if waiting is not None and self._queues.jobs.put_within(waiting, 0 if self._running else TICK):
                self._running += 1
                waiting = next(source, None)
                if waiting is not None:
                    continue
            if waiting is None and self._videos.none_decoding(self._queues.jobs):
                self._filler.flush()  # nothing is left that could fill these batches
            with contextlib.suppress(queue.Empty):
                result = self._queues.results.get(timeout=TICK / 4)
                if isinstance(result, BaseException):
                    raise result
                self._running -= 1
                yield result


class KeptFirst:
    """Makes outputs of kept ones, then gives all other jobs to an engine. A context manager.

    The engine is made for the first job that needs it, so that networks are not loaded where there is none.
    """

    def __init__(
        self,
        remake: Callable[[VideoJob], VideoOutputs],
        compute: Callable[[VideoJob], VideoJob],
        make_engine: Callable[[], contextlib.AbstractContextManager[Executor]],
        *,
        journal_batch: int = 1,
    ) -> None:
        """Prepare; nothing is started.

        Args:
            remake: makes the outputs of a job with a source; DatasetError where the source is damaged.
            compute: returns the job that makes the same outputs, and the damaged source, from the input.
            make_engine: makes the engine, which is started in a context.
            journal_batch: jobs that are best journalled together.
        """
        self.journal_batch = journal_batch
        self._remake, self._compute, self._make_engine = remake, compute, make_engine
        self._started = contextlib.ExitStack()

    def __enter__(self) -> KeptFirst:
        return self

    def __exit__(self, *_: object) -> None:
        self._started.close()

    def run(self, jobs: Iterable[VideoJob]) -> Iterator[Result]:
        """Yield one result per job: of those with a source first, as far as they are first among the jobs."""
        waiting, computed = iter(jobs), list[VideoJob]()
        for job in waiting:
            if not job.source:
                computed.append(job)
                break
            try:
                yield written_result(job, time.monotonic(), partial(self._remake, job))
            except DatasetError:
                computed.append(self._compute(job))
        if computed:
            engine = self._started.enter_context(self._make_engine())
            yield from engine.run(chain(computed, waiting))
