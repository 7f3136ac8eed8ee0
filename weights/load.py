"""Read the tensors of a weight file; nothing of it is executed."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from .errors import WeightsError
from .messages import escape, first_line, shown, shown_name
from .parameters import MAX_PARAMETERS
from .tensor_files import MAX_TENSORS, check_tensor_file

MAX_KEY = 500  # characters of a tensor's name
_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


class _Number:
    """Placeholder of a NumPy number or data type in a pickle; its arguments and its state are not used."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


# Under the names of NumPy 1 and NumPy 2. NumPy's own functions would allocate what a file asks for.
_NUMBERS: list[Any] = [
    (_Number, name) for name in ("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar")
]


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file; the `state_dict` entry of a training run's file is read as well.

    Only tensors are unpickled; NumPy numbers, which training runs store beside the tensors, are skipped.

    Args:
        path: a .safetensors, .pt or .pth file.

    Returns:
        Key -> tensor on the CPU; floating-point tensors are float32, which holds each number of the file exactly.

    Raises:
        WeightsError: the file is damaged, is too large, is not a dictionary of dense tensors, or holds numbers that are
            not finite or that float32 does not hold.
    """
    check_tensor_file(path)
    try:
        content = _read(path)
    except _DAMAGED as error:
        raise WeightsError(f"{escape(path)}: damaged, or not a weight file: {first_line(error)}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):  # file of a training run
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{escape(path)}: not a plain dictionary of tensors")
    try:
        _check_sizes(content)
        return {key: _to_float32(key, value) for key, value in content.items()}
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error


_DAMAGED = (
    SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError, KeyError,
    IndexError, AttributeError, AssertionError, OverflowError, MemoryError,
)  # fmt: skip


def _read(path: Path) -> Any:
    if path.suffix == ".safetensors":
        return load(path.read_bytes())  # not mapped: a file that is cut later would end the program by a signal
    with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols and storages of old files
        return torch.load(path, map_location="cpu", weights_only=True)


def _check_sizes(tensors: dict[str, Tensor]) -> None:
    """Check all tensors before the values of one are read: views of the same few numbers can have any size."""
    if len(tensors) > MAX_TENSORS:
        raise ValueError(f"{len(tensors):,} tensors, more than {MAX_TENSORS:,}")
    count = 0
    for key, tensor in tensors.items():
        if len(key) > MAX_KEY:
            raise ValueError(f"a tensor's name has {len(key)} characters, more than {MAX_KEY}")
        if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested or tensor.device.type != "cpu":
            raise ValueError(f"{shown_name(key)} is not a dense tensor")
        if tensor.dtype not in (*_FLOATS, *_INTEGERS):
            raise ValueError(
                f"{shown_name(key)} holds {str(tensor.dtype).removeprefix('torch.')}, which are not parameters"
            )
        if tensor.numel() * tensor.element_size() > tensor.untyped_storage().nbytes():
            raise ValueError(
                f"{shown_name(key)} has the shape {shown(tuple(tensor.shape))}, but the file has fewer numbers"
            )
        count += tensor.numel()
    if count > MAX_PARAMETERS:
        raise ValueError(f"{count:,} numbers, more than {MAX_PARAMETERS:,}, the most that a network may have")


def _to_float32(key: str, value: Tensor) -> Tensor:
    """Convert to float32 without rounding; refuse NaN and infinity here rather than in the first result."""
    value = value.detach()
    if not value.is_floating_point():
        return value
    if value.numel() and not all(bool(bound.isfinite()) for bound in torch.aminmax(value)):  # NaN if one value is
        raise ValueError(f"{shown_name(key)} holds values that are not finite")
    converted = value.float()
    if value.dtype == torch.float64 and not torch.equal(converted.double(), value):
        raise ValueError(f"{shown_name(key)} holds float64 numbers that float32 rounds; save them as float32")
    return converted
