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
MAX_NETWORK_VALUES = 1_000_000_000  # that all layers compute
MAX_MULTIPLY_ADDS = 1_000_000_000_000  # for one input; those of CLIP are 80 billion


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
    """Raise ValueError unless a model for one input has these shapes, and bounded work."""
    operations = [one for one in model.get_ordered_ops() if one.get_type_name() != "Constant"]
    if not all(output.partial_shape.is_static for one in operations for output in one.outputs()):
        raise ValueError("sizes of layers depend on their values")
    values = [sum(_size(output) for output in one.outputs()) for one in operations]
    work = sum(map(_multiply_adds, operations))
    for what, found, most in (
        ("a layer computes {} values", max(values), MAX_LAYER_VALUES),
        ("its layers compute {} values", sum(values), MAX_NETWORK_VALUES),
        ("it takes {} multiply-adds", work, MAX_MULTIPLY_ADDS),
    ):
        if found > most:
            raise ValueError(f"{what.format(f'{found:,}')}, more than {most:,}")
    found = [tuple(port.partial_shape.to_shape()) for port in (*model.inputs, *model.outputs)]
    if found != [inputs, rows]:
        raise ValueError(f"it computes {found[1:]} from {found[:1]}, expected {rows} from {inputs}")


def _multiply_adds(operation: Any) -> int:
    """Return about how many numbers an operation combines; of most kinds, those that it reads and writes."""
    kind = operation.get_type_name()
    ports = [port.get_shape() for port in operation.inputs()]
    written = sum(_size(output) for output in operation.outputs())
    if kind in {"Convolution", "GroupConvolution"}:
        return written * math.prod(ports[1][1 if kind == "Convolution" else 2 :])
    if kind in {"MaxPool", "AvgPool"}:
        return written * math.prod(operation.get_attributes()["kernel"])
    if kind == "MatMul":
        return written * max(ports[0][-2:])
    if kind == "ScaledDotProductAttention":
        return 2 * math.prod(ports[0]) * ports[1][-2]
    return written + sum(map(math.prod, ports))


def _size(output: Any) -> int:
    """Return the values of an output."""
    return math.prod(output.get_shape())
