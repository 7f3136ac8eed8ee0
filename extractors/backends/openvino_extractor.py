"""Extractor whose network is an OpenVINO model, compiled for the sizes of its batches."""

from __future__ import annotations

import threading
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..base import Extractor
from .openvino_import import computes_bfloat16, openvino_core

_MOST_COMPILED = 2  # each holds a copy of the parameters


class OpenVINOExtractor(Extractor):
    """Extractor that computes by OpenVINO, on the CPU.

    The model is compiled when a batch of a size comes for the first time. Threads that call it at the same time, see
    `expect_callers`, compute beside each other with `torch.get_num_threads()` cores each, as with PyTorch.

    Args:
        plain: the extractor that the model was converted from: its input, and how that is prepared. It may be on the
            meta device, and is not kept if it is of this program.
        model: `openvino.Model` of `convert`, or one quantized from it.
        precision: "fp32", "bf16", or "int8" for a quantized model, what is not quantized in bf16 if the CPU has it.
    """

    def __init__(self, plain: Extractor, model: Any, precision: str) -> None:
        super().__init__(plain.dim)
        self.model, self.precision = model, precision
        self.part = plain.part
        self.input_format = plain.input_format  # pyright: ignore[reportAttributeAccessIssue] - a ClassVar of the others
        # Those of this program prepare without parameters; a method is not registered as a module with them.
        self._prepare = type(plain).prepare.__get__(self) if plain.part is None else plain.prepare
        self._callers = 1
        self._compiled: dict[tuple[int, int, int], _Compiled] = {}  # inputs, callers, cores of each
        self._lock = threading.Lock()

    def prepare(self, reduced: Tensor) -> Tensor:
        return self._prepare(reduced).float()

    def expect_callers(self, count: int) -> None:
        self._callers = count

    def largest_layer(self) -> int:
        values = 0
        for operation in _fix_size(self.model, 1).get_ordered_ops():
            if operation.get_type_name() not in {"Constant", "Parameter", "Result"}:
                ports = (*operation.inputs()[:1], *operation.outputs())
                values = max(values, sum(int(np.prod(list(port.get_shape()))) for port in ports))
        return values * np.dtype(np.float32).itemsize

    def forward(self, x: Tensor) -> Tensor:
        """Compute rows.

        Args:
            x: (N, ...) of `prepare`, on the CPU.

        Returns:
            (N, dim) float32.
        """
        return torch.from_numpy(self._network(len(x))(x.contiguous().numpy()))

    def compile(self, size: int) -> None:
        """Compile the model for batches of `size` inputs, so that the first batch does not have to wait for it."""
        self._network(size)

    def _network(self, size: int) -> _Compiled:
        key = (size, self._callers, torch.get_num_threads())
        with self._lock:
            if key not in self._compiled:
                while len(self._compiled) >= _MOST_COMPILED:
                    del self._compiled[next(iter(self._compiled))]
                self._compiled[key] = _Compiled(self.model, self.precision, *key)
            return self._compiled[key]


def _fix_size(model: Any, size: int) -> Any:
    """Return a copy of a model, with the same parameters in memory, for batches of one size."""
    fixed = model.clone()
    fixed.reshape([size, *list(fixed.inputs[0].partial_shape)[1:]])
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

    def __call__(self, inputs: Any) -> Any:
        """Compute (N, ...) float32 -> (N, dim) float32, for exactly the N that it is compiled for."""
        request = getattr(self._requests, "value", None)
        if request is None:
            request = self._requests.value = self._model.create_infer_request()
        return request.infer({0: inputs}, share_inputs=True)[0]
