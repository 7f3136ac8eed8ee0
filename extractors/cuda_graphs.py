"""Extractors whose work on batches of one size is recorded as a CUDA graph and started with one call.

ResNet-152 starts some hundred kernels for a batch. The threads of a batch run share Python's lock, so a thread that
starts them one by one waits for the lock as often; a graph is one call. benchmarks/gpu.py measures the difference,
which small batches show.
"""

from __future__ import annotations

from threading import Lock

import numpy as np
import torch
from torch import Tensor

from .base import Extractor
from .clap import CLAP
from .fused import FusedExtractor

_WARM_UPS = 3  # cuDNN chooses its algorithms and allocates its memory in the first


def record_graph(extractor: Extractor, batch_size: int, device: torch.device) -> Extractor:
    """Record the work of an extractor on a batch, from reduced inputs to rows.

    Args:
        extractor: on the device, in evaluation mode.
        batch_size: of every batch.
        device: a GPU.

    Returns:
        An extractor that gives the same rows, for batches of this size only; several threads may use it. Extractors of
        other packages, and CLAP, may read values back from the GPU and are returned as they are.
    """
    if not isinstance(extractor, FusedExtractor) or extractor.network is CLAP:
        return extractor
    return GraphedExtractor(extractor, batch_size, device)


class GraphedExtractor(Extractor):
    """A recorded extractor, see `record_graph`. Batches of other threads wait on the GPU, their copies do not."""

    def __init__(self, plain: FusedExtractor, batch_size: int, device: torch.device) -> None:
        super().__init__(plain.dim)
        self.input_format = form = plain.input_format  # pyright: ignore[reportAttributeAccessIssue] - a ClassVar of the others
        self.plain = plain
        self._lock, self._done = Lock(), torch.cuda.Event()
        self._graph = torch.cuda.CUDAGraph()
        with torch.inference_mode(), torch.cuda.device(device):
            self._inputs = torch.from_numpy(np.zeros((batch_size, *form.shape), form.dtype)).to(device)
            stream = torch.cuda.Stream(device)
            stream.wait_stream(torch.cuda.current_stream(device))
            with torch.cuda.stream(stream):
                for _ in range(_WARM_UPS):
                    plain(plain.prepare(self._inputs))
            torch.cuda.synchronize(device)
            with torch.cuda.graph(self._graph, stream=stream, capture_error_mode="thread_local"):
                self._rows = plain(plain.prepare(self._inputs))
            self._done.record(torch.cuda.current_stream(device))

    def forward(self, x: Tensor) -> Tensor:
        """Compute the rows of reduced inputs.

        Args:
            x: (N, *input_format.shape) on the GPU, N the size that was recorded.

        Returns:
            (N, dim) float32, computed when the current stream arrives there.

        Raises:
            ValueError: the batch has another size.
        """
        if x.shape != self._inputs.shape:
            raise ValueError(f"recorded for inputs of shape {tuple(self._inputs.shape)}, not {tuple(x.shape)}")
        stream = torch.cuda.current_stream(x.device)
        with self._lock, torch.cuda.device(x.device), torch.inference_mode():
            stream.wait_event(self._done)  # the last batch, of another thread, uses the same memory
            try:
                self._inputs.copy_(x, non_blocking=True)
                self._graph.replay()
                return self._rows.clone()
            finally:
                self._done.record(stream)
