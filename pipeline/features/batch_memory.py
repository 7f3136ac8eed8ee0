"""Check before a run that a batch fits into the memory that is left.

A control group that is full kills the process, without an error that could name the option to lower.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from ...extractors.base import Extractor
from ...extractors.fused import without_onednn
from ...extractors.inputs import InputFormat
from ...extractors.sampling import Stream
from ..errors import SetupError
from ..memory import available_memory

# No layer needs more times the memory of its extractor's input in float32: VGGish's widest reads and writes 64 each.
_WIDEST_LAYER = 128


def check_batch_memory(
    extractors: Mapping[Stream, Extractor], sizes: Mapping[Stream, int], *, threads: int = 1
) -> None:
    """Check that batches fit into the memory that this process may still use.

    Where memory is scarce, one input is computed to learn what a batch needs at the least: the inputs and outputs of
    the largest layer.

    Args:
        extractors: by stream, on the CPU. For other devices nothing is checked.
        sizes: inputs in a batch of each stream.
        threads: batches that are computed at the same time.

    Raises:
        SetupError: a batch does not fit; the message names the option to lower.
    """
    left = available_memory()
    formats: dict[Stream, InputFormat] = {stream: extractor.input_format for stream, extractor in extractors.items()}
    values = max((sizes[stream] * int(np.prod(form.shape)) for stream, form in formats.items()), default=0)
    if left is None or 4 * values * _WIDEST_LAYER * threads < left:
        return
    if any(parameter.device.type != "cpu" for one in extractors.values() for parameter in one.parameters()):
        return
    largest = max((sizes[stream] * _largest_layer(network) for stream, network in extractors.items()), default=0)
    waiting = 2 * sum(sizes[stream] * form.nbytes for stream, form in formats.items())  # being filled, and queued
    needed = threads * largest + waiting
    if needed > left:
        options = "--batch-size" if threads == 1 else "--batch-size or fewer --threads"
        raise SetupError(
            f"a batch needs at least {needed >> 20} MiB of memory, and {left >> 20} MiB may be used: use a smaller"
            f" {options}, or raise the limit"
        )


def _largest_layer(extractor: Extractor) -> int:
    """Return the bytes that the largest operation on one input reads and writes, without its parameters."""
    if (known := extractor.largest_layer()) is not None:
        return known
    form = extractor.input_format
    zeros = torch.from_numpy(np.zeros((1, *form.shape), form.dtype))
    with torch.inference_mode(), without_onednn(extractor), _LargestOperation() as mode:
        extractor(extractor.prepare(zeros))
    return mode.nbytes


class _LargestOperation(TorchDispatchMode):
    """Measures the operations that run within its context.

    Attributes:
        nbytes: of the first argument and the outputs of the largest.
    """

    def __init__(self) -> None:
        super().__init__()
        self.nbytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        outputs = func(*args, **(kwargs or {}))
        values = (*args[:1], *(outputs if isinstance(outputs, tuple | list) else (outputs,)))
        self.nbytes = max(self.nbytes, sum(value.nbytes for value in values if isinstance(value, Tensor)))
        return outputs
