"""Jobs and results that pass through the batch engine."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import Stream
from ..preprocess.media_summary import MediaSummary
from .feature_spool import FeatureSpool
from .storage import OutputFingerprint


@dataclass(frozen=True)
class VideoJob:
    """One video to be done."""

    id: str
    path: Path
    streams: tuple[Stream, ...]  # what of it is to be computed
    products: tuple[str, ...] = ()  # what is to be made of that


@dataclass(frozen=True)
class VideoOutputs:
    """What was made of a video."""

    outputs: Mapping[str, OutputFingerprint]  # product -> file
    warnings: tuple[str, ...] = ()
    media: Mapping[str, Any] = field(default_factory=dict)  # facts of the file, see `media_inputs.MediaFacts`
    note: str = ""  # for the person who waits


class PendingVideo:
    """A video on its way: its inputs are counted, its rows collected. A summary says that no more inputs will come."""

    def __init__(self, work: VideoJob, widths: Mapping[Stream, int]) -> None:
        self.work = work
        self.started = time.monotonic()
        self.summary: MediaSummary | None = None
        self.cause: str | None = None  # of its failure
        self._ended = False
        self._spools = {stream: FeatureSpool(widths[stream]) for stream in work.streams}
        self._given = dict.fromkeys(work.streams, 0)
        self._missing = 0
        self._lock = threading.Lock()

    def expect(self, stream: Stream, count: int) -> int:
        """Count inputs; returns the position of the first."""
        with self._lock:
            first = self._given[stream]
            self._given[stream] += count
            self._missing += count
            return first

    def put(self, stream: Stream, position: int, rows: NDArray[np.float32]) -> bool:
        """Store rows; whether the video is now complete."""
        self._spools[stream].put(position, rows)
        with self._lock:
            self._missing -= len(rows)
            return self._complete()

    def end(self, summary: MediaSummary | None, cause: str | None = None) -> bool:
        """No more inputs; whether the video is now complete."""
        with self._lock:
            self.summary, self.cause, self._ended = summary, cause, True
            return self._complete()

    def blocks(self, stream: Stream, at_once: int = 4096) -> Iterator[NDArray[np.float32]]:
        """The features of a stream in order, so many rows at a time."""
        assert self.summary is not None
        return self._spools[stream].blocks(self.summary.rows[stream], at_once)

    def length(self, stream: Stream) -> int:
        """Rows of a stream's features."""
        assert self.summary is not None
        return len(self.summary.rows[stream])

    def close(self) -> None:
        for spool in self._spools.values():
            spool.close()

    def _complete(self) -> bool:
        return self._ended and not self._missing


@dataclass(frozen=True)
class Result:
    """What became of a video: what was made of it, or the cause of failure."""

    work: VideoJob
    seconds: float
    made: VideoOutputs | None = None
    cause: str | None = None
