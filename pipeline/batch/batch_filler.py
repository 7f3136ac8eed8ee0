"""Fill batches of network inputs across videos."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.inputs import InputFormat
from ...extractors.sampling import Stream
from ..preprocess.base import is_groups
from .work import PendingVideo


@dataclass
class Batch:
    """Inputs of one stream, from one video or several.

    Attributes:
        stream: of all inputs.
        inputs: (B, *shape); B is always the stream's batch size. Unused rows are zero when it is emitted.
        owners: video and position in its stream, for each used row.
        copying: threads that still copy inputs into it.
    """

    stream: Stream
    inputs: NDArray[Any]
    owners: list[tuple[PendingVideo, int]] = field(default_factory=list)
    copying: int = 0

    @property
    def is_full(self) -> bool:
        """Whether every row has an owner."""
        return len(self.owners) == len(self.inputs)

    def runs(self) -> Iterator[tuple[PendingVideo, int, int]]:
        """Yield the used rows in order, as few pieces: video, position of the first row in its stream, count."""
        first = 0
        for row, (video, position) in enumerate(self.owners, 1):
            following = self.owners[row] if row < len(self.owners) else None
            if following != (video, position + 1):
                yield video, position - (row - 1 - first), row - first
                first = row


class BatchFiller:
    """Collects inputs of many videos into batches of a fixed size. Thread-safe.

    The size never varies, so a feature row is bit-identical whatever other inputs share its batch.
    """

    def __init__(
        self,
        sizes: Mapping[Stream, int],
        formats: Mapping[Stream, InputFormat],
        emit: Callable[[Batch], None],
        *,
        pinned: bool = False,
    ) -> None:
        """Start with no inputs.

        Args:
            sizes: B of each stream.
            formats: shape and dtype of an input of each stream.
            emit: called with each full batch; may block.
            pinned: whether batches are in pinned memory, from which a GPU copies without another copy before.
        """
        self._sizes, self._formats, self._emit, self._pinned = sizes, formats, emit, pinned
        self._open: dict[Stream, Batch] = {}
        self._lock = threading.Lock()

    def add(self, video: PendingVideo, stream: Stream, inputs: NDArray[Any]) -> None:
        """Copy inputs (n, *shape) of a video into batches; emit those that become full. Groups go to the video."""
        if is_groups(inputs):
            video.add_groups(stream, inputs)
            return
        first = video.expect(stream, len(inputs))
        while len(inputs):
            with self._lock:
                batch = self._open.get(stream) or self._new_batch(stream)
                filled = len(batch.owners)
                part, inputs = np.split(inputs, [len(batch.inputs) - filled])
                batch.owners += [(video, position) for position in range(first, first + len(part))]
                batch.copying += 1
                if batch.is_full:
                    del self._open[stream]
            batch.inputs[filled : filled + len(part)] = part  # at the same time as other threads copy theirs
            first += len(part)
            with self._lock:
                batch.copying -= 1
                complete = batch.is_full and not batch.copying
            if complete:
                self._emit(batch)

    def flush(self) -> None:
        """Emit the batches that are not full. One that a thread copies inputs into is left for the next time."""
        with self._lock:
            batches = [batch for batch in self._open.values() if not batch.copying]
            for batch in batches:
                del self._open[batch.stream]
        for batch in batches:
            batch.inputs[len(batch.owners) :] = 0
            self._emit(batch)

    def _new_batch(self, stream: Stream) -> Batch:
        form, size = self._formats[stream], self._sizes[stream]
        memory = np.empty(size * form.nbytes, np.uint8)
        if self._pinned:  # PyTorch keeps it for the next batches
            memory = torch.empty(size * form.nbytes, dtype=torch.uint8, pin_memory=True).numpy()
        self._open[stream] = Batch(stream, memory.view(form.dtype).reshape(size, *form.shape))
        return self._open[stream]
