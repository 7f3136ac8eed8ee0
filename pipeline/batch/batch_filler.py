"""Fill batches of network inputs across videos."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
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
        inputs: (B, *shape); B is always the stream's batch size. Unused rows are zero.
        owners: video and position in its stream, for each used row.
    """

    stream: Stream
    inputs: NDArray[Any]
    owners: list[tuple[PendingVideo, int]] = field(default_factory=list)


class BatchFiller:
    """Collects inputs of many videos into batches of a fixed size. Thread-safe.

    The size never varies, so a feature row is bit-identical whatever other inputs share its batch.
    """

    def __init__(
        self,
        sizes: Mapping[Stream, int],
        formats: Mapping[Stream, InputFormat],
        emit: Callable[[Batch], None],
    ) -> None:
        """Start with no inputs.

        Args:
            sizes: B of each stream.
            formats: shape and dtype of an input of each stream.
            emit: called with each full batch; may block.
        """
        self._sizes, self._formats, self._emit = sizes, formats, emit
        self._open: dict[Stream, Batch] = {}
        self._lock = threading.Lock()

    def add(self, video: PendingVideo, stream: Stream, inputs: NDArray[Any]) -> None:
        """Copy inputs (n, *shape) of a video into batches; emit those that become full. Groups go to the video."""
        if is_groups(inputs):
            video.add_groups(stream, inputs)
            return
        first = video.expect(stream, len(inputs))
        with self._lock:
            for position, one_input in enumerate(inputs, first):
                batch = self._open.get(stream)
                if batch is None:
                    form = self._formats[stream]
                    zeros = np.zeros((self._sizes[stream], *form.shape), form.dtype)
                    batch = self._open[stream] = Batch(stream, zeros)
                batch.inputs[len(batch.owners)] = one_input
                batch.owners.append((video, position))
                if len(batch.owners) == len(batch.inputs):
                    del self._open[stream]
                    self._emit(batch)

    def flush(self) -> None:
        """Emit the batches that are not full."""
        with self._lock:
            batches = list(self._open.values())
            self._open.clear()
        for batch in batches:
            self._emit(batch)
