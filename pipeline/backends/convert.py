"""Conversion of PyTorch networks to OpenVINO models."""

from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...extractors.base import Extractor
from ...weights.messages import first_line
from ..errors import SetupError
from .openvino_import import import_openvino, openvino_core

TOLERANCE = 1e-4  # relative, of the rows of a converted network in fp32
_REMEDY = "; use --backend torch"
_TRACED = 2  # inputs that a network is traced with
_COMPARED = 3  # inputs that the result is compared with its original on: another number, to find a traced constant


def convert(extractor: Extractor) -> Any:
    """Convert an extractor to an OpenVINO model, and compare the two.

    The graph is traced and read by OpenVINO's PyTorch front end. `openvino.convert_model`, which does the same, reports
    its use over the network.

    Args:
        extractor: plain, in eval mode, with parameters, on the CPU.

    Returns:
        `openvino.Model`: "inputs" (N, ...), what `extractor.prepare` returns, for any N -> "features" (N, dim), in
        float32 throughout. It shares memory with the parameters.

    Raises:
        SetupError: OpenVINO is not installed, cannot convert the network, or computes other rows.
    """
    name = type(extractor).__name__ if extractor.part is None else str(extractor.part)
    form = extractor.input_format
    generator = np.random.default_rng(0)
    top = 255 if np.dtype(form.dtype) == np.uint8 else 1  # uint8 is levels, float is spectrograms or levels in [0, 1]
    reduced = torch.from_numpy((generator.random((_COMPARED, *form.shape)) * top).astype(form.dtype))
    with torch.inference_mode(False), torch.no_grad():
        inputs = extractor.prepare(reduced).float().contiguous()
        model = convert_module(extractor, {"inputs": inputs[:_TRACED]}, ("features",), name, remedy=_REMEDY)
        expected = extractor(inputs).float().numpy()
    compiled = openvino_core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    with _as_setup_error(name, _REMEDY):
        rows = compiled(inputs.numpy())[0]
    if rows.shape != expected.shape or not difference(rows, expected) <= TOLERANCE:
        found = f"shape {rows.shape}" if rows.shape != expected.shape else f"{difference(rows, expected):.1e} relative"
        raise SetupError(f"{name} differs as an OpenVINO model from its original ({found}){_REMEDY}")
    return model


def convert_module(
    module: nn.Module, examples: dict[str, Tensor], outputs: tuple[str, ...], name: str, *, remedy: str = ""
) -> Any:
    """Convert a module to an OpenVINO model, without a comparison.

    Args:
        module: in eval mode, on the CPU; tensors -> a tensor or a tuple of tensors.
        examples: input name -> tensor; the first axis is the batch, the others are as they will be.
        outputs: names.
        name: of the network, for the message.
        remedy: what to do where it cannot be converted, the end of the message.

    Returns:
        `openvino.Model` with these names, for any size of batch. It shares memory with the parameters.

    Raises:
        SetupError: OpenVINO is not installed, or cannot convert the network.
    """
    openvino = import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    with _as_setup_error(name, remedy), quiet(), torch.no_grad():
        decoder = TorchScriptPythonDecoder(
            module, example_input=tuple(examples.values()), trace_kwargs={"check_trace": False}
        )
        front_end = FrontEndManager().load_by_framework("pytorch")
        model = front_end.convert(front_end.load(decoder))
        shapes = [openvino.PartialShape([-1, *example.shape[1:]]) for example in examples.values()]
        model.reshape(dict(zip(model.inputs, shapes, strict=True)))
        for port, port_name in zip((*model.inputs, *model.outputs), (*examples, *outputs), strict=True):
            port.get_tensor().set_names({port_name})
    return model


def difference(rows: Any, expected: Any) -> float:
    """Return the distance of arrays, relative to the length of the second."""
    return float(np.linalg.norm(rows - expected) / max(float(np.linalg.norm(expected)), 1e-30))


@contextlib.contextmanager
def _as_setup_error(name: str, remedy: str) -> Iterator[None]:
    """Raise SetupError for whatever a network of another package, or OpenVINO with it, does."""
    try:
        yield
    except Exception as error:
        cause = f"{type(error).__name__}: {first_line(error)}"
        raise SetupError(f"{name} cannot be converted to OpenVINO ({cause}){remedy}") from error


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Hide the warnings and the log of tracers and converters, which are about their own code."""
    level = logging.root.manager.disable
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(level)
