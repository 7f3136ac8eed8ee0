"""Quantized networks of files as extractors."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from ...extractors.base import Extractor
from ...weights.messages import first_line
from ...weights.quantized import QuantizedFile
from .openvino_extractor import OpenVINOExtractor
from .openvino_import import import_openvino, openvino_core

MAX_LAYER_VALUES = 64_000_000  # numbers that a layer computes for one input; VGG19's largest, 3 million


def load_quantized(outline: Extractor, file: QuantizedFile) -> Extractor:
    """Build the extractor of a quantized network.

    Args:
        outline: the plain extractor, which may be on the meta device.
        file: its quantized network, checked by `read_quantized`.

    Returns:
        An extractor in eval mode, on the CPU.

    Raises:
        SetupError: OpenVINO is not installed or cannot build the network.
        ValueError: the network does not take this extractor's inputs, gives rows of another width, or is too large.
    """
    import_openvino()
    try:
        model = openvino_core().read_model(model=file.program.encode(), weights=file.constants)
        one = model.clone()
        one.reshape([1, *list(one.inputs[0].partial_shape)[1:]])
    except RuntimeError as error:
        raise ValueError(f"OpenVINO cannot read the quantized {file.extractor}: {first_line(error)}") from error
    extractor = OpenVINOExtractor(outline, model, "int8").eval()
    form = outline.input_format
    prepared = extractor.prepare(torch.from_numpy(np.zeros((1, *form.shape), form.dtype)))
    _check_sizes(one, tuple(prepared.shape), (1, outline.dim))
    return extractor


def _check_sizes(model: Any, inputs: tuple[int, ...], rows: tuple[int, ...]) -> None:
    """Raise ValueError unless a model for one input has these shapes, and no layer of it computes too many values."""
    shapes = [output.partial_shape for operation in model.get_ordered_ops() for output in operation.outputs()]
    if not all(shape.is_static for shape in shapes):
        raise ValueError("sizes of layers depend on their values")
    largest = max(math.prod(shape.to_shape()) for shape in shapes)
    if largest > MAX_LAYER_VALUES:
        raise ValueError(f"a layer computes {largest:,} values, more than {MAX_LAYER_VALUES:,}")
    found = [tuple(port.partial_shape.to_shape()) for port in (*model.inputs, *model.outputs)]
    if found != [inputs, rows]:
        raise ValueError(f"it computes {found[1:]} from {found[:1]}, expected {rows} from {inputs}")
