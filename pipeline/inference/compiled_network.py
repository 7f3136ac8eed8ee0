"""A parser or a localizer that OpenVINO computes, in fp32, for runs of many videos."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ...models.config import ParserConfig
from ...models.localizers.localizer import EventLocalizer
from ..backends.convert import TOLERANCE, convert_module, difference
from ..backends.model_store import ModelStore, model_key
from ..backends.sized_model import SizedModel
from ..errors import SetupError
from .networks import Network, is_localizer
from .output_tables import check_finite
from .programs import Program, parser_program

_BATCH = 8  # windows that are computed together; the network is compiled for these, and for one
_COMPARED = 3  # windows that a converted network is compared with its original on


class CompiledNetwork:
    """A parser or a localizer as an OpenVINO model: windows of features -> tables of probabilities.

    Args:
        network: the original.
        model: `openvino.Model` of its `parser_program`.
        callers: threads that call at the same time.
    """

    def __init__(self, network: Network, model: Any, callers: int) -> None:
        self.config = network.config
        self._model = SizedModel(model, "fp32", callers)
        self._rows = [port.partial_shape[1].get_length() for port in model.inputs[:-1]]

    def tables(self, *streams: Tensor) -> NDArray[np.float32]:
        """Compute the probabilities of windows.

        Args:
            streams: (B, kT, width) of windows of T segments, in the order of the network's arguments, on the CPU.

        Returns:
            (B, P, T, C) as `stack_output` and `stack_localized` make them of the network's output.

        Raises:
            SetupError: features or probabilities are not finite.
        """
        if not all(bool(rows.isfinite().all()) for rows in streams):  # of which OpenVINO's ReLU makes zeros
            raise SetupError("features are NaN or infinite")
        size, length = streams[0].shape[:2]
        window = self.config.segments
        rates = [model_rows // window for model_rows in self._rows]
        padded = [_fit(rows.numpy(), length, rate, window) for rows, rate in zip(streams, rates, strict=True)]
        of_batches = [self._model(*batch) for batch in _batches([*padded, np.full(size, length, np.int64)])]
        outputs = [np.concatenate(parts)[:size] for parts in zip(*of_batches, strict=True)]
        if is_localizer(self.config):
            return check_finite(outputs[0][:, None, :length])
        parts = [rows if rows.ndim == 3 else np.repeat(rows[:, None], window, axis=1) for rows in outputs]
        return check_finite(np.stack(parts, axis=1)[:, :, :length])


def _batches(arrays: list[NDArray[Any]]) -> Iterator[list[NDArray[Any]]]:
    """Divide (B, ...) into batches of `_BATCH` windows, or of one where there are fewer.

    Videos have any number of windows, and a network is compiled for each size of batch. The last batch repeats its last
    window.
    """
    size = len(arrays[0])
    step = _BATCH if size >= _BATCH else 1
    for first in range(0, size, step):
        index = np.minimum(np.arange(first, first + step), size - 1)
        yield [array[index] for array in arrays]


def _fit(rows: NDArray[np.float32], length: int, rate: int, window: int) -> NDArray[np.float32]:
    """Average the rows of each second to `rate`, and pad windows of `length` seconds to `window`."""
    size, _, width = rows.shape
    if rows.shape[1] != length * rate:
        rows = rows.reshape(size, length * rate, -1, width).mean(axis=2)
    return np.pad(rows, ((0, 0), (0, (window - length) * rate), (0, 0)))


def compile_network(
    network: Network,
    frames_per_segment: int,
    *,
    callers: int = 1,
    store: ModelStore | None = None,
    tell: Callable[[str], None] = lambda _: None,
) -> CompiledNetwork | None:
    """Convert a network for OpenVINO, or read what was converted before.

    Args:
        network: in eval mode, on the CPU.
        frames_per_segment: rows per second of the visual 2D features.
        callers: threads that will call at the same time.
        store: of converted models; None is that of the user's cache.
        tell: called with lines for the user.

    Returns:
        None for localizers in float64, which PyTorch computes.

    Raises:
        SetupError: OpenVINO cannot convert it, or gives other probabilities than within `TOLERANCE`.
    """
    needs_frames = isinstance(network.config, ParserConfig) and network.config.needs_frames
    rate = frames_per_segment if needs_frames else 1  # the others read the mean of a second
    program = parser_program(network, rate)
    if isinstance(network, EventLocalizer) and _in_float64(network, program):
        return None
    digest = hashlib.sha256()
    for name, value in sorted(network.state_dict().items()):
        digest.update(f"{name} {tuple(value.shape)} {value.dtype}".encode())
        digest.update(value.contiguous().numpy().data)
    key = model_key(program.module, digest.hexdigest(), config=repr(network.config), rate=str(rate))
    model = (store or ModelStore()).provide(key, lambda: _convert(program), tell)
    return CompiledNetwork(network, model, callers)


def _convert(program: Program) -> Any:
    """Convert a program and compare its outputs. Raises SetupError if it cannot be, or if they differ."""
    model = convert_module(program.module, dict(program.examples), program.outputs, "the parser")
    generator = np.random.default_rng(0)
    *streams, lengths = program.examples.values()
    inputs: list[NDArray[Any]] = [generator.random((_COMPARED, *rows.shape[1:]), dtype=np.float32) for rows in streams]
    window = int(lengths[0])
    inputs.append(np.array([window, max(1, window - 3), window]))
    for found, expected in zip(SizedModel(model, "fp32")(*inputs), program.run(inputs), strict=True):
        if found.shape != expected.shape or not difference(found, expected) <= TOLERANCE:
            raise SetupError("the parser differs as an OpenVINO model from its original")
    return model


def _in_float64(localizer: EventLocalizer, program: Program) -> bool:
    """Return whether a localizer's probabilities are float64, as of CMBS' and CPSP's published files."""
    *streams, _ = program.examples.values()
    with torch.inference_mode():
        return localizer(*streams).segment_probs.dtype == torch.float64
