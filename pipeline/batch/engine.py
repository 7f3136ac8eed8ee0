"""The engine of batch runs: many videos at once through the networks of one machine.

    decoding processes ──inputs──► batches, filled across videos ──► lanes: networks on a device ──rows──► spools
                                                                                                             │
    results ◄── finishers: write what is made of a complete video ◄──────────────────────────────────────────┘

Every arrow is a bounded queue or a bounded memory: a slow stage stops those before it, and memory grows neither with
the number of videos nor with their length. A batch always has the same size (the last is filled up with zeros), so
that a row is the same to the bit whatever it shares its batch with.
"""

from __future__ import annotations

import contextlib
import errno
import queue
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ..errors import MediaError, OutputError, SetupError
from ..preprocess.worker_process import DecodeWorker
from .work import PendingVideo, Result, VideoJob, VideoOutputs

_TICK = 0.2  # seconds after which a waiting thread looks whether it is to stop
_WRITERS = 2


@dataclass
class _Batch:
    stream: Stream
    inputs: NDArray[Any]
    owners: list[tuple[PendingVideo, int]] = field(default_factory=list)


class Engine:
    """Networks and threads, ready for videos. A context manager that leaves neither processes nor files behind.

    compute_threads: for each compute thread its device and the networks on it; those on a CPU share theirs and
    compute with one core each (see `split_compute_threads`). sizes: inputs in a batch of each stream. finish: called,
    in some thread, with every complete video, to make something of it.
    """

    at_once = 1

    def __init__(
        self,
        compute_threads: list[tuple[torch.device, Mapping[Stream, Extractor]]],
        sizes: Mapping[Stream, int],
        make_decoder: Callable[[], DecodeWorker],
        finish: Callable[[PendingVideo], VideoOutputs],
        *,
        workers: int,
    ) -> None:
        networks = compute_threads[0][1]
        self._widths: dict[Stream, int] = {stream: network.dim for stream, network in networks.items()}
        self._formats = {stream: network.input_format for stream, network in networks.items()}
        self._sizes, self._write = sizes, finish
        self._filling: dict[Stream, _Batch] = {}
        self._filling_lock = threading.Lock()
        self._batches: queue.Queue[_Batch] = queue.Queue(len(compute_threads) + 1)
        self._complete: queue.Queue[PendingVideo] = queue.Queue(2 * _WRITERS)
        self._works: queue.Queue[VideoJob] = queue.Queue(1)
        self._results: queue.Queue[Result | BaseException] = queue.Queue()
        self._videos: set[PendingVideo] = set()
        self._stop = threading.Event()
        self._decoding = 0
        self._open = 0
        self._count_lock = threading.Lock()
        self._decoders = [make_decoder() for _ in range(workers)]
        loops = [lambda decoder=decoder: self._decode_loop(decoder) for decoder in self._decoders]
        loops += [
            lambda compute_thread=compute_thread: self._compute_loop(*compute_thread)
            for compute_thread in compute_threads
        ]
        loops += [self._writer_loop] * _WRITERS
        self._threads = [threading.Thread(target=self._guard, args=(loop,), daemon=True) for loop in loops]

    def __enter__(self) -> Engine:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for decoder in self._decoders:
            decoder.stop()
        for thread in self._threads:
            thread.join()
        for decoder in self._decoders:
            decoder.close()
        for video in self._videos:
            video.close()

    def run(self, works: Iterable[VideoJob]) -> Iterator[Result]:
        """The results of videos in the order in which they are complete. The works are asked for as they are needed.

        Raises whatever went wrong that is not one video's fault: a full disk, a device out of memory.
        """
        source = iter(works)
        coming: VideoJob | None = next(source, None)
        while coming is not None or self._open:
            if coming is not None:
                with contextlib.suppress(queue.Full):
                    self._works.put(coming, timeout=0 if self._open else _TICK)
                    with self._count_lock:
                        self._open += 1
                    coming = next(source, None)
                    if coming is None:
                        self._flush_if_idle()
                    continue
            with contextlib.suppress(queue.Empty):
                result = self._results.get(timeout=_TICK / 4)
                if isinstance(result, BaseException):
                    raise result
                with self._count_lock:
                    self._open -= 1
                yield result
            if coming is None:
                self._flush_if_idle()

    def _decode_loop(self, decoder: DecodeWorker) -> None:
        while (work := self._take(self._works)) is not None:
            with self._count_lock:
                self._decoding += 1
            video = PendingVideo(work, self._widths)
            self._videos.add(video)
            try:
                summary = decoder.decode(work.path, work.streams, lambda *given, video=video: self._put(video, *given))
                complete = video.end(summary)
            except MediaError as error:
                complete = video.end(None, error.cause)
            finally:
                with self._count_lock:
                    self._decoding -= 1
            if complete:
                self._offer(self._complete, video)

    def _put(self, video: PendingVideo, stream: Stream, inputs: NDArray[Any]) -> None:
        first = video.expect(stream, len(inputs))
        with self._filling_lock:
            for offset, one in enumerate(inputs):
                batch = self._filling.get(stream)
                if batch is None:
                    form = self._formats[stream]
                    empty = np.zeros((self._sizes[stream], *form.shape), form.dtype)
                    batch = self._filling[stream] = _Batch(stream, empty)
                batch.inputs[len(batch.owners)] = one
                batch.owners.append((video, first + offset))
                if len(batch.owners) == len(batch.inputs):
                    del self._filling[stream]
                    self._offer(self._batches, batch)

    def _flush_if_idle(self) -> None:
        """When nothing is left to decode, batches that are not full go through as they are."""
        with self._count_lock:
            if self._decoding or not self._works.empty():
                return
        with self._filling_lock:
            batches = list(self._filling.values())
            self._filling.clear()
        for batch in batches:
            self._offer(self._batches, batch)

    def _compute_loop(self, device: torch.device, networks: Mapping[Stream, Extractor]) -> None:
        with torch.inference_mode(), _own_stream(device):
            while (batch := self._take(self._batches)) is not None:
                network = networks[batch.stream]
                reduced = torch.from_numpy(batch.inputs)
                if device.type == "cuda":
                    reduced = reduced.pin_memory().to(device, non_blocking=True)
                rows = network(network.prepare(reduced)).cpu().numpy()
                for (video, position), row in zip(batch.owners, rows, strict=False):
                    if video.put(batch.stream, position, row[None]):
                        self._offer(self._complete, video)

    def _writer_loop(self) -> None:
        while (video := self._take(self._complete)) is not None:
            made, cause = None, video.cause
            if cause is None:
                try:
                    made = self._write(video)
                except MediaError as error:
                    cause = error.cause
                except OutputError as error:
                    if not isinstance(error.__cause__, OSError) or error.__cause__.errno != errno.ENAMETOOLONG:
                        raise
                    cause = "its name is too long for a result to be named after it"
            seconds = time.monotonic() - video.started
            self._results.put(Result(video.work, seconds, made, cause))
            video.close()
            self._videos.discard(video)

    def _guard(self, loop: Callable[[], None]) -> None:
        """What goes wrong in a thread is told where the results are read."""
        try:
            loop()
        except torch.OutOfMemoryError as error:
            self._results.put(SetupError(f"the device is out of memory; use a smaller --batch-size ({error})"))
        except OSError as error:
            where = tempfile.gettempdir()
            self._results.put(OutputError(f"rows of features cannot be kept in {where}: {error.strerror or error}"))
        except BaseException as error:
            self._results.put(error)

    def _take(self, source: queue.Queue[Any]) -> Any:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Empty):
                return source.get(timeout=_TICK)
        return None

    def _offer(self, target: queue.Queue[Any], item: Any) -> None:
        while not self._stop.is_set():
            with contextlib.suppress(queue.Full):
                target.put(item, timeout=_TICK)
                return


def _own_stream(device: torch.device) -> contextlib.AbstractContextManager[Any]:
    """So that the copies of one lane and the networks of another go on together."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.cuda.stream(torch.cuda.Stream(device))
