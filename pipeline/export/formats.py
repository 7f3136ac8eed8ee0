"""Formats of exported networks: how a file is written, and how it is run to compare it with the original."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...weights.messages import first_line
from ..backends.convert import quiet
from ..backends.openvino_import import import_openvino, openvino_core
from ..errors import SetupError
from ..inference.programs import Program

Outputs = list[NDArray[np.float32]]
Run = Callable[[Sequence[NDArray[np.generic]]], Outputs]  # inputs in the order of `Program.examples` -> outputs

_BATCH = "batch"


@dataclass(frozen=True)
class ExportFormat:
    """A format of files.

    Attributes:
        name: key in `EXPORT_FORMATS`.
        suffixes: of the files of a network, the one to open first.
        extra: of this program that installs the packages; empty if they are always there.
        packages: that writing and checking need, by the name that is imported.
        tolerance: largest difference to the original that is accepted, as a part of the largest value of an output, or
            of 1 where that is smaller.
        write: writes a network to a path with the first suffix; returns what runs the written network.
    """

    name: str
    suffixes: tuple[str, ...]
    extra: str
    packages: tuple[str, ...]
    tolerance: float
    write: Callable[[Program, Path], Run]

    def check_packages(self) -> None:
        """Raise SetupError that names the extra if a package is missing."""
        if missing := [name for name in self.packages if importlib.util.find_spec(name) is None]:
            raise SetupError(
                f"exporting to {self.name} needs {', '.join(missing)}, not installed here:"
                f" pip install 'avvp[{self.extra}]'"
            )

    def versions(self) -> dict[str, str]:
        """Return the versions of PyTorch and of the packages of the format."""
        return {name: version(name) for name in ("torch", *self.packages)}


def _write_torch(program: Program, path: Path) -> Run:
    with quiet():
        traced = program.trace()
        with path.open("wb") as file:
            torch.export.save(traced, file)
    module = traced.module()

    def run(arrays: Sequence[NDArray[np.generic]]) -> Outputs:
        with torch.no_grad():
            return [tensor.numpy() for tensor in module(*map(torch.from_numpy, arrays))]

    return run


def _write_onnx(program: Program, path: Path) -> Run:
    _save_onnx(program, path)
    import onnxruntime

    session = onnxruntime.InferenceSession(path.read_bytes(), providers=["CPUExecutionProvider"])
    names = list(program.examples)

    def run(arrays: Sequence[NDArray[np.generic]]) -> Outputs:
        outputs: list[Any] = list(session.run(list(program.outputs), dict(zip(names, arrays, strict=True))))
        return outputs

    return run


def _write_openvino(program: Program, path: Path) -> Run:
    # By way of ONNX: OpenVINO's own converter of PyTorch reports its use over the network.
    openvino = import_openvino()
    onnx_path = path.with_suffix(".onnx")
    _save_onnx(program, onnx_path)
    core = openvino_core()
    openvino.save_model(core.read_model(onnx_path), path, compress_to_fp16=False)
    onnx_path.unlink()
    compiled = core.compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda arrays: [np.array(output) for output in compiled(list(arrays)).values()]


def _save_onnx(program: Program, path: Path) -> None:
    """Write an ONNX file whose inputs and outputs have the names of the program."""
    import onnx

    with quiet():
        traced = program.trace()
        try:
            exported = torch.onnx.export(
                traced, dynamo=True, verbose=False, input_names=list(program.examples), output_names=program.outputs
            )
            assert exported is not None  # for dynamo=True
            model = exported.model_proto
        except Exception as error:
            raise SetupError(
                f"the {program.name} cannot be written as ONNX: {type(error).__name__}: {first_line(error)}"
            ) from error
    _name_batch(model)
    for node in (*model.graph.node, *(node for function in model.functions for node in function.node)):
        del node.metadata_props[:]  # where the code is on this machine
    onnx.save(model, path)


def _name_batch(model: Any) -> None:
    """Give the first axis of inputs and outputs its name in place of torch.export's symbol."""
    graph = model.graph
    symbol = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for dimension in value.type.tensor_type.shape.dim:
            if dimension.dim_param == symbol:
                dimension.dim_param = _BATCH


EXPORT_FORMATS = {
    item.name: item
    for item in (
        ExportFormat("torch", (".pt2",), "", (), 1e-5, _write_torch),
        ExportFormat("onnx", (".onnx",), "onnx", ("onnx", "onnxscript", "onnxruntime"), 1e-4, _write_onnx),
        ExportFormat("openvino", (".xml", ".bin"), "openvino", ("openvino", "onnx", "onnxscript"), 1e-4,
                     _write_openvino),
    )
}  # fmt: skip
