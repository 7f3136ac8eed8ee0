"""Extractors over streams, a batch of seconds at a time: memory grows with the batch, not with the video."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ..extractors.base import Extractor
from .decode import Frames
from .segments import SAMPLE_RATE

# What is being worked on ("audio", "video", ...), seconds of it done, seconds in all where the container says so.
Progress = Callable[[str, float, "float | None"], None]


class Runner:
    """Runs extractors over streams, a batch of seconds at a time."""

    def __init__(
        self, device: torch.device, batch_size: int, duration: float | None, progress: Progress | None
    ) -> None:
        self.duration = duration
        self.device = device
        self.batch_size = batch_size
        self.progress = progress

    def run_sound(self, extractor: Extractor, seconds: Iterable[NDArray[np.float64]]) -> NDArray[np.float32]:
        """(16000,) each -> (seconds, A)."""
        rows = []
        for batch in _batches(seconds, self.batch_size):
            rows.append(self._rows(extractor, np.stack(batch)))
            self.tell("audio", sum(map(len, rows)))
        return np.concatenate(rows) if rows else np.empty((0, extractor.dim), np.float32)

    def silence(self, extractor: Extractor, count: int) -> NDArray[np.float32]:
        """Rows of digital silence, (count, A)."""
        return np.repeat(self._rows(extractor, np.zeros((1, SAMPLE_RATE))), count, axis=0)

    def run_video(
        self, frames: Extractor, clips: Extractor, seconds: Iterable[Frames]
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """(8, H, W, 3) each -> (8 * seconds, V), (seconds, S): one decode for both networks."""
        rows_2d, rows_3d = [], []
        # Each second is reduced to the networks' input as it comes: a batch of raw 8K pictures would fill the memory.
        prepared = ((*_prepare_distinct(frames, second), clips.preprocess(second)) for second in seconds)
        for batch in _batches(prepared, self.batch_size):
            distinct, counts, clip = zip(*batch, strict=True)
            rows_2d.append(np.repeat(self._forward(frames, torch.cat(distinct)), np.concatenate(counts), axis=0))
            rows_3d.append(self._forward(clips, torch.cat(clip)))
            self.tell("video", sum(map(len, rows_3d)))
        return np.concatenate(rows_2d), np.concatenate(rows_3d)

    def _rows(self, extractor: Extractor, media: NDArray[Any]) -> NDArray[np.float32]:
        return self._forward(extractor, extractor.preprocess(media))

    def _forward(self, extractor: Extractor, x: Tensor) -> NDArray[np.float32]:
        with torch.inference_mode():
            return extractor(x.to(self.device)).float().cpu().numpy()

    def tell(self, what: str, seconds: float) -> None:
        """Report progress: what is being worked on, seconds of it done."""
        if self.progress is not None:
            self.progress(what, seconds, self.duration)


def _prepare_distinct(extractor: Extractor, frames: Frames) -> tuple[Tensor, NDArray[np.intp]]:
    """The network's input for those frames that differ from the one before, and how often each is shown.

    A frame that repeats (slow video, a still picture) is computed once.
    """
    fresh = [0] + [k for k in range(1, len(frames)) if not np.array_equal(frames[k], frames[k - 1])]
    return extractor.preprocess(frames[fresh]), np.diff([*fresh, len(frames)])


def _batches(items: Iterable[Any], size: int) -> Iterator[list[Any]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch
