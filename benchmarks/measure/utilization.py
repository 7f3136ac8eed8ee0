"""How busy a GPU is, as its driver says, while something else runs."""

from __future__ import annotations

import threading
from types import TracebackType

import numpy as np
import torch

_INTERVAL = 0.1  # seconds between two readings


class UtilizationSampler:
    """Reads the share of time in which kernels run. A context manager; `describe` is for its end."""

    def __init__(self, device: torch.device) -> None:
        """Prepare to read this device; of a CPU nothing is read."""
        self._device, self._samples = device, list[float]()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read, daemon=True)

    def __enter__(self) -> UtilizationSampler:
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()

    def describe(self) -> str:
        """Return the mean of the busiest half of the readings, and the peak memory of PyTorch, for a table."""
        if self._device.type != "cuda":
            return "no GPU"
        busiest = sorted(self._samples)[len(self._samples) // 2 :]
        busy = f"GPU busy {np.mean(busiest):.0f} %" if busiest else "no readings (install nvidia-ml-py)"
        return f"{busy}, {torch.cuda.max_memory_allocated(self._device) / 2**30:.1f} GiB"

    def _read(self) -> None:
        while not self._stop.wait(_INTERVAL):
            try:
                self._samples.append(float(torch.cuda.utilization(self._device)))
            except (ModuleNotFoundError, RuntimeError):  # nvidia-ml-py is not installed, or the driver says nothing
                return
