"""Data types that pass through the batch engine: jobs, videos in progress, results."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import POOLED_STREAMS, Stream
from ..errors import MediaError
from ..preprocess.media_summary import MediaSummary
from .feature_spool import FeatureSpool, PooledSpool
from .storage import OutputFingerprint


@dataclass(frozen=True)
class VideoJob:
    """One video to process.

    Attributes:
        id: unique in the run; names the outputs.
        path: the media file.
        streams: whose features are computed.
        output_names: the outputs to write, keys of the task's output specs.
        source: file in the storage that they are made of, in place of the input; empty where the input is decoded.
    """

    id: str
    path: Path
    streams: tuple[Stream, ...]
    output_names: tuple[str, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class VideoOutputs:
    """What was written for one video.

    Attributes:
        files: output name -> fingerprint of the file.
        warnings: of decoding.
        media: facts of the file, see `media_summary.MediaFacts`.
        note: one line for the user, such as the classes that were found.
    """

    files: Mapping[str, OutputFingerprint]
    warnings: tuple[str, ...] = ()
    media: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""


@dataclass(frozen=True)
class Result:
    """Outcome of one job.

    Attributes:
        job: the job.
        seconds: from the start of decoding to the last output.
        outputs: what was written; None for a failure.
        cause: of the failure, for users; None where there is none.
        category: of the cause, see `failures`; empty where there is none.
    """

    job: VideoJob
    seconds: float
    outputs: VideoOutputs | None = None
    cause: str | None = None
    category: str = ""


class PendingVideo:
    """A video in progress: counts its inputs, stores its rows, knows when all rows are there. Thread-safe."""

    def __init__(self, job: VideoJob, widths: Mapping[Stream, int]) -> None:
        """Start with no inputs; widths: values per feature row of each stream."""
        self.job = job
        self.started = time.monotonic()
        self.summary: MediaSummary | None = None
        self.failure: MediaError | None = None
        self._decoded = False
        self._spools = {
            stream: PooledSpool(widths[stream]) if stream in POOLED_STREAMS else FeatureSpool(widths[stream])
            for stream in job.streams
        }
        self._input_counts = dict.fromkeys(job.streams, 0)
        self._missing_rows = 0
        self._lock = threading.Lock()

    def expect(self, stream: Stream, count: int) -> int:
        """Register `count` inputs of a stream; return the position of the first."""
        with self._lock:
            first = self._input_counts[stream]
            self._input_counts[stream] += count
            self._missing_rows += count
            return first

    def add_groups(self, stream: Stream, groups: NDArray[np.int64]) -> None:
        """Add groups (n, F) of inputs of a stream whose rows are averaged."""
        spool = self._spools[stream]
        assert isinstance(spool, PooledSpool)
        spool.add_groups(groups)

    def put(self, stream: Stream, position: int, rows: NDArray[np.float32]) -> bool:
        """Store the computed rows of inputs from a position on; return whether the video is now complete."""
        self._spools[stream].put(position, rows)
        with self._lock:
            self._missing_rows -= len(rows)
            return self._complete()

    def end(self, summary: MediaSummary | None, failure: MediaError | None = None) -> bool:
        """Register the end of decoding, or its failure; return whether the video is now complete."""
        with self._lock:
            self.summary, self.failure, self._decoded = summary, failure, True
            return self._complete()

    def blocks(self, stream: Stream, block_rows: int | None = None) -> Iterator[NDArray[np.float32]]:
        """Yield the features of a stream in order of time, up to `block_rows` rows at a time, see `FeatureSpool`."""
        assert self.summary is not None
        return self._spools[stream].blocks(self.summary.rows[stream], block_rows)

    def length(self, stream: Stream) -> int:
        """Return the number of feature rows of a stream."""
        assert self.summary is not None
        return len(self.summary.rows[stream])

    def close(self) -> None:
        """Remove the temporary files."""
        for spool in self._spools.values():
            spool.close()

    def _complete(self) -> bool:
        return self._decoded and not self._missing_rows
