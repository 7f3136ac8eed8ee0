"""An OpenVINO model that is compiled for each size of batch when the first one comes."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from .openvino_import import computes_bfloat16, openvino_core

_MOST_COMPILED = 2  # each holds a copy of the parameters


class SizedModel:
    """A model for batches of any size, which several threads may call at the same time.

    Threads compute beside each other with `torch.get_num_threads()` cores each, as with PyTorch.

    Args:
        model: `openvino.Model` whose inputs and outputs have the batch as their first axis.
        precision: "fp32", "bf16", or "int8" for a quantized model, what is not quantized in bf16 if the CPU has it.
        callers: threads that call at the same time.

    Attributes:
        model: the same.
        callers: the same; it may be changed.
    """

    def __init__(self, model: Any, precision: str, callers: int = 1) -> None:
        self.model, self.callers = model, callers
        self._precision = precision
        self._compiled: dict[tuple[int, int, int], _Compiled] = {}  # inputs, callers, cores of each
        self._lock = threading.Lock()

    def __call__(self, *inputs: NDArray[np.generic]) -> list[NDArray[np.float32]]:
        """Compute a batch.

        Args:
            inputs: (N, ...) of the types of the model, in the order of its inputs.

        Returns:
            Its outputs, (N, ...) each.
        """
        return self.compile(len(inputs[0]))(inputs)

    def compile(self, size: int) -> _Compiled:
        """Compile the model for batches of `size`, so that the first does not have to wait for it."""
        key = (size, self.callers, torch.get_num_threads())
        with self._lock:
            if key not in self._compiled:
                while len(self._compiled) >= _MOST_COMPILED:
                    del self._compiled[next(iter(self._compiled))]
                self._compiled[key] = _Compiled(self.model, self._precision, *key)
            return self._compiled[key]

    def largest_layer(self) -> int:
        """Return the bytes that the largest operation on one input reads and writes, without its parameters."""
        values = 0
        for operation in _fix_size(self.model, 1).get_ordered_ops():
            if operation.get_type_name() not in {"Constant", "Parameter", "Result"}:
                ports = (*operation.inputs()[:1], *operation.outputs())
                values = max(values, sum(int(np.prod(list(port.get_shape()))) for port in ports))
        return values * np.dtype(np.float32).itemsize


def _fix_size(model: Any, size: int) -> Any:
    """Return a copy of a model, with the same parameters in memory, for batches of one size."""
    fixed = model.clone()
    fixed.reshape({port: [size, *list(port.partial_shape)[1:]] for port in fixed.inputs})
    return fixed


class _Compiled:
    """A model compiled for batches of one size; each thread has a request, with memory for activations, of its own."""

    def __init__(self, model: Any, precision: str, size: int, callers: int, cores: int) -> None:
        in_bfloat16 = precision == "bf16" or (precision == "int8" and computes_bfloat16())
        self._model = openvino_core().compile_model(
            _fix_size(model, size),
            "CPU",
            {
                "INFERENCE_PRECISION_HINT": "bf16" if in_bfloat16 else "f32",
                "PERFORMANCE_HINT": "THROUGHPUT" if callers > 1 else "LATENCY",
                "NUM_STREAMS": callers,
                "INFERENCE_NUM_THREADS": callers * cores,
                # Pinned, the streams of several networks would wait for the same cores while others are idle.
                "ENABLE_CPU_PINNING": False,
            },
        )
        self._requests = threading.local()

    def __call__(self, inputs: tuple[Any, ...]) -> list[Any]:
        """Compute inputs of exactly the N that the model is compiled for."""
        request = getattr(self._requests, "value", None)
        if request is None:
            request = self._requests.value = self._model.create_infer_request()
        return list(request.infer(dict(enumerate(inputs)), share_inputs=True).values())
