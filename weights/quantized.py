"""Files of quantized networks: a program of OpenVINO and its constants in one safetensors file, checked strictly.

NAME.int8.safetensors has two tensors of bytes, `program` (XML) and `constants`, and says in its metadata of which
extractor it is. A program is a list of operations, so that one of a stranger is read with suspicion: only elements,
attributes and operations are accepted that the networks of this program need, without names of files, operations of
extensions, subgraphs, declarations and entities. What an accepted program computes is bounded where it is built.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load, save

from .errors import WeightsError
from .messages import escape, first_line, shown
from .tensor_files import check_safetensors

QUANTIZED_SUFFIX = ".int8.safetensors"
MAX_PROGRAM_BYTES = 16 << 20  # of XML: 800 for each of `MAX_OPERATIONS`
MAX_CONSTANT_BYTES = 2 << 30  # of CLIP's 304 million parameters in int8, seven times as many
MAX_OPERATIONS = 20_000
_MAX_TEXT = 500  # characters of a name or an attribute
_MAX_RANK = 8
_PROGRAM, _CONSTANTS, _RECORD = "program", "constants", "avvp"
_FORMAT = 1
_ITEM_BITS = {
    "boolean": 8, "i4": 4, "u4": 4, "i8": 8, "u8": 8, "i32": 32, "i64": 64, "f16": 16, "f32": 32,
}  # fmt: skip
_FLOATS = {"f32": np.float32, "f16": np.float16}
_ATTRIBUTE = re.compile(r"[A-Za-z0-9_.,?+ -]*")
_NAME = re.compile(r"[^<>&\"'\x00-\x1f]*")  # of an operation: a label
_NUMBER = re.compile(r"\d{1,9}")
_DIMENSION = re.compile(r"-1|\d{1,10}")
_VERSION = re.compile(r"opset\d{1,2}")
_WINDOW = ("auto_pad", "pads_begin", "pads_end", "strides")
_ELEMENTWISE = ("auto_broadcast",)
_REDUCTION = ("keep_dims",)
# Operation -> attributes that it may have.
_OPERATIONS: dict[str, tuple[str, ...]] = {
    "Parameter": ("element_type", "shape"),
    "Const": ("element_type", "shape", "offset", "size"),
    "Result": (),
    "FakeQuantize": (*_ELEMENTWISE, "levels"),
    "Convert": ("destination_type",),
    "Convolution": (*_WINDOW, "dilations"),
    "GroupConvolution": (*_WINDOW, "dilations"),
    "MaxPool": (*_WINDOW, "dilations", "kernel", "rounding_type", "index_element_type", "axis"),
    "AvgPool": (*_WINDOW, "kernel", "rounding_type", "exclude-pad"),
    "MatMul": ("transpose_a", "transpose_b"),
    "MVN": ("eps", "eps_mode", "normalize_variance"),
    "Interpolate": (
        "antialias", "pads_begin", "pads_end", "coordinate_transformation_mode", "shape_calculation_mode",
        "nearest_mode", "mode", "cube_coeff",
    ),
    "ScaledDotProductAttention": ("causal",),
    "ShapeOf": ("output_type",),
    "Gather": ("batch_dims",),
    "Concat": ("axis",),
    "Split": ("num_splits",),
    "VariadicSplit": (),
    "Broadcast": ("mode",),
    "Reshape": ("special_zero",),
    "StridedSlice": ("begin_mask", "end_mask", "new_axis_mask", "shrink_axis_mask", "ellipsis_mask"),
    "Roll": (),
    "SoftMax": ("axis",),
    "Softmax": ("axis",),
    "Gelu": ("approximation_mode",),
    **dict.fromkeys(("Add", "Subtract", "Multiply", "Maximum", "Minimum", "Power"), _ELEMENTWISE),
    "Divide": (*_ELEMENTWISE, "m_pythondiv"),
    **dict.fromkeys(("ReduceMean", "ReduceL2", "ReduceSum", "ReduceMax"), _REDUCTION),
    **dict.fromkeys(
        ("ReLU", "Sigmoid", "Tanh", "Exp", "Sqrt", "Erf", "Swish", "Slice", "Transpose", "Squeeze", "Unsqueeze"), ()
    ),
    "Clamp": ("min", "max"),
}  # fmt: skip


@dataclass(frozen=True, repr=False)
class QuantizedFile:
    """A quantized network as it is stored.

    Attributes:
        extractor: name of the extractor.
        program: XML of OpenVINO.
        constants: what the program reads at the offsets that it states.
        record: how it was made, for people: numbers and texts by name.
    """

    extractor: str
    program: str
    constants: bytes
    record: Mapping[str, Any]


def is_quantized(file: str) -> bool:
    """Return whether a file of a bundle is a quantized network, by its name."""
    return file.endswith(QUANTIZED_SUFFIX)


def identify_calibration(hashes: Mapping[str, str]) -> str:
    """Return what identifies a set of quantized networks, and so the clips that they were calibrated on.

    Args:
        hashes: extractor name -> sha256 of its file.

    Returns:
        16 hexadecimal digits.
    """
    return hashlib.sha256(json.dumps(hashes, sort_keys=True).encode()).hexdigest()[:16]


def dump_quantized(file: QuantizedFile) -> bytes:
    """Return the content of a file of a quantized network.

    Args:
        file: with a program that `check_program` accepts.

    Returns:
        The bytes of the file.
    """
    record = {"format": _FORMAT, "extractor": file.extractor, "record": dict(file.record)}
    tensors = {_PROGRAM: file.program.encode(), _CONSTANTS: file.constants}
    arrays = {name: np.frombuffer(content, np.uint8) for name, content in tensors.items()}
    return save(arrays, {_RECORD: json.dumps(record, sort_keys=True)})


def read_quantized(path: Path) -> QuantizedFile:
    """Read a file of a quantized network.

    Args:
        path: the file.

    Returns:
        The network; its program has been checked.

    Raises:
        WeightsError: the file is damaged or too large, or its program is none that this program writes.
    """
    check_safetensors(path)
    try:
        content = path.read_bytes()
        record = _read_record(content)
        tensors = load(content)
        if tensors.keys() != {_PROGRAM, _CONSTANTS}:
            raise ValueError(f"holds {shown(sorted(tensors))}, expected {_PROGRAM} and {_CONSTANTS}")
        if any(tensor.dtype != "uint8" or tensor.ndim != 1 for tensor in tensors.values()):
            raise ValueError("its tensors are not bytes")
        if tensors[_PROGRAM].nbytes > MAX_PROGRAM_BYTES:
            raise ValueError(f"its program has more than {MAX_PROGRAM_BYTES >> 20} MiB")
        program, constants = tensors[_PROGRAM].tobytes().decode("utf-8"), tensors[_CONSTANTS].tobytes()
        check_program(program, constants)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError, RecursionError) as error:
        raise WeightsError(f"{escape(path)}: not a quantized network: {first_line(error)}") from error
    return QuantizedFile(record["extractor"], program, constants, record["record"])


def _read_record(content: bytes) -> dict[str, Any]:
    """Return the metadata of a file whose header has been checked. Raises ValueError."""
    header = json.loads(content[8 : 8 + int.from_bytes(content[:8], "little")])
    record = json.loads(header.get("__metadata__", {}).get(_RECORD, "null"))
    if not isinstance(record, dict) or record.get("format") != _FORMAT:
        raise ValueError(f"its metadata is not of format {_FORMAT}, which avvp weights quantize writes")
    if not isinstance(record.get("extractor"), str) or not isinstance(record.get("record"), dict):
        raise ValueError("its metadata does not name its extractor")
    return record


def reduce_program(program: str) -> str:
    """Leave out of a program of OpenVINO what only tools read: notes of its making, and names, which always differ.

    Args:
        program: XML.

    Returns:
        XML that `check_program` accepts if its operations are known.

    Raises:
        ValueError: it is not XML.
    """
    net = _parse(program)
    for parent in net.iter():
        for child in [child for child in parent if child.tag == "rt_info"]:
            parent.remove(child)
    net.set("name", "network")
    for number, layer in enumerate(net.iter("layer")):
        layer.set("name", f"{layer.get('type')}_{number}")
    for element in net.iter():
        element.attrib.pop("names", None)
        element.attrib.pop("output_names", None)
    for element in net.iter():
        element.tail = None
        if not (element.text or "").strip():
            element.text = None
    return ElementTree.tostring(net, encoding="unicode")


def check_program(program: str, constants: bytes) -> None:
    """Check that a program has only what the networks of this program need.

    Args:
        program: XML.
        constants: what its constants are read from.

    Raises:
        ValueError: it has something else; the message does not name the file.
    """
    if len(constants) > MAX_CONSTANT_BYTES:
        raise ValueError(f"its constants have more than {MAX_CONSTANT_BYTES >> 30} GiB")
    net = _parse(program)
    _expect(net, "net", {"name", "version"})
    if [part.tag for part in net] != ["layers", "edges"]:
        raise ValueError(f"a program has layers and edges, not {shown([part.tag for part in net])}")
    layers, edges = net
    _expect(layers, "layers", set())
    _expect(edges, "edges", set())
    if any((element.tail or "").strip() for element in net.iter()):
        raise ValueError("it has text between its elements")
    if len(layers) > MAX_OPERATIONS or len(edges) > 8 * MAX_OPERATIONS:
        raise ValueError(f"more than {MAX_OPERATIONS:,} operations")
    for layer in layers:
        _check_layer(layer, constants)
    for edge in edges:
        _expect(edge, "edge", {"from-layer", "from-port", "to-layer", "to-port"}, number=True)
        if len(edge):
            raise ValueError("an edge has elements")
    kinds = [layer.get("type") for layer in layers]
    if kinds.count("Parameter") != 1 or kinds.count("Result") != 1:
        raise ValueError("a network of features has one input and one output")


def _parse(program: str) -> ElementTree.Element:
    if len(program) > MAX_PROGRAM_BYTES:
        raise ValueError(f"its program has more than {MAX_PROGRAM_BYTES >> 20} MiB")
    if "<!" in program:  # declarations, which could define entities that grow; comments and raw sections
        raise ValueError("its program has declarations or comments, which programs of networks do not have")
    try:
        return ElementTree.fromstring(program)  # noqa: S314 - without declarations there are no entities
    except ElementTree.ParseError as error:
        raise ValueError(f"its program is not XML: {error}") from error


def _check_layer(layer: ElementTree.Element, constants: bytes) -> None:
    _expect(layer, "layer", {"id", "name", "type", "version"})
    kind = layer.get("type", "")
    if kind not in _OPERATIONS:
        raise ValueError(f"the operation {shown(kind)} is none of those that networks of features need")
    if not _VERSION.fullmatch(layer.get("version", "")) or not _NUMBER.fullmatch(layer.get("id", "")):
        raise ValueError(f"an operation {kind} of {shown(layer.get('version'))} is not one of OpenVINO's own")
    data: dict[str, str] = {}
    parts = [part.tag for part in layer]
    if len(set(parts)) != len(parts):
        raise ValueError(f"an operation {kind} has the same part twice")
    for part in layer:
        if part.tag == "data":
            _expect(part, "data", set(_OPERATIONS[kind]), optional=True)
            data = dict(part.attrib)
            if len(part):
                raise ValueError(f"attributes of {kind} have elements")
        elif part.tag in {"input", "output"}:
            _check_ports(part)
        else:
            raise ValueError(f"an operation {kind} has {shown(part.tag)}, which is not accepted")
    if kind == "Const":
        _check_constant(data, constants)


def _check_ports(part: ElementTree.Element) -> None:
    _expect(part, part.tag, set())
    for port in part:
        _expect(port, "port", {"id", "precision"}, optional=True)
        if len(port) > _MAX_RANK:
            raise ValueError(f"a tensor of {len(port)} dimensions, more than {_MAX_RANK}")
        for dimension in port:
            _expect(dimension, "dim", set(), text=True)
            if len(dimension) or not _DIMENSION.fullmatch((dimension.text or "").strip()):
                raise ValueError(f"{shown(dimension.text)} is not the size of a dimension")


def _check_constant(data: Mapping[str, str], constants: bytes) -> None:
    """Raise ValueError unless a constant lies within the constants, has the size of its shape, and is finite."""
    if data.get("element_type") not in _ITEM_BITS:
        raise ValueError(f"a constant of {shown(data.get('element_type'))}, which networks do not have")
    numbers = [data.get("offset", ""), data.get("size", "")]
    sizes = [size.strip() for size in data.get("shape", "").split(",") if size.strip()]
    if not all(re.fullmatch(r"\d{1,12}", number) for number in (*numbers, *sizes)) or len(sizes) > _MAX_RANK:
        raise ValueError("a constant without place, size or shape")
    offset, size = map(int, numbers)
    expected = (math.prod(map(int, sizes)) * _ITEM_BITS[data["element_type"]] + 7) // 8
    if size != expected or offset + size > len(constants):
        raise ValueError(f"a constant of {size} bytes at {offset}: its shape needs {expected} of {len(constants)}")
    if data["element_type"] in _FLOATS:
        values = np.frombuffer(constants, _FLOATS[data["element_type"]], math.prod(map(int, sizes)), offset)
        if not np.isfinite(values).all():
            raise ValueError("it has values that are not finite")


def _expect(
    element: ElementTree.Element,
    tag: str,
    attributes: set[str],
    *,
    optional: bool = False,
    number: bool = False,
    text: bool = False,
) -> None:
    """Raise ValueError unless an element has this tag and these attributes, or some of them, and no text."""
    found = set(element.attrib)
    if element.tag != tag or not (found <= attributes if optional else found == attributes):
        raise ValueError(f"an element {shown(element.tag)} with {shown(sorted(found))}, which is not accepted")
    if not text and (element.text or "").strip():
        raise ValueError(f"an element {tag} has text")
    for name, value in element.attrib.items():
        if len(value) > _MAX_TEXT or not (_NUMBER if number else _ATTRIBUTE if name != "name" else _NAME).fullmatch(
            value
        ):
            raise ValueError(f"{shown(name)} of an element {tag} is {shown(value)}, which is not accepted")
