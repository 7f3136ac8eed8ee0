"""Read the tensors of a weight file; nothing of it is executed."""

from __future__ import annotations

import json
import os
import pickle
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load
from torch import Tensor

from .errors import WeightsError
from .locate import verify_file
from .manifest import WeightFile, list_files
from .messages import escape, first_line, shown, shown_name
from .module_process import read_module_file
from .parameters import MAX_PARAMETERS
from .tensor_files import MAX_KEY, MAX_TENSORS, check_tensor_file
from .vgg19 import read_keras

_FLOATS = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
_INTEGERS = (torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool)


class _Number:
    """Placeholder of a NumPy number, array or data type in a pickle; its arguments and its state are not used."""

    def __init__(self, *_arguments: object) -> None:
        pass

    def __setstate__(self, _state: object) -> None:
        pass


# Under the names of NumPy 1 and NumPy 2. NumPy's own functions would allocate what a file asks for.
_NUMBERS: list[Any] = [
    (_Number, name)
    for name in (
        *("numpy.dtype", "numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar"),
        *("numpy.ndarray", "numpy.core.multiarray._reconstruct", "numpy._core.multiarray._reconstruct"),
    )
]
_NETWORKS = ("state_dict", "model")  # entries of the files of training runs


def read_state_dict(
    path: Path, *, rounded: bool = False, keep: Callable[[str], bool] | None = None
) -> dict[str, Tensor]:
    """Read the tensors of a weight file, or those of the network in a training run's file.

    The network of such a file is its entry `state_dict` or `model`. Only tensors are unpickled; NumPy numbers and the
    states of random number generators, which training runs store beside the tensors, are skipped. A file that has the
    name of one of the manifest, and its hash, is read as that one has to be, see `manifest.FORMS`.

    Args:
        path: a .safetensors, .pt or .pth file, or Keras' of the manifest.
        rounded: accept float64 numbers that float32 does not hold, and round them.
        keep: whether the tensor of a name is wanted; the others of a safetensors file are not read. None for all.

    Returns:
        Key -> tensor on the CPU; floating-point tensors are float32, which holds each number of the file exactly unless
        they are `rounded`.

    Raises:
        WeightsError: the file is damaged, is too large, is not a dictionary of dense tensors, or holds numbers that are
            not finite or that float32 does not hold.
    """
    known = _known_file(path)
    if known is not None:
        verify_file(known, path)
        content = _READERS[known.form](path)
    else:
        content = _read_tensors(path, keep)
    if isinstance(content, dict):
        content = next((content[name] for name in _NETWORKS if isinstance(content.get(name), dict)), content)
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{escape(path)}: not a plain dictionary of tensors")
    if keep is not None:
        content = {key: value for key, value in content.items() if keep(key)}
    try:
        _check_sizes(content)
        return {key: _to_float32(key, value, rounded=rounded) for key, value in content.items()}
    except ValueError as error:
        raise WeightsError(f"{escape(path)}: {error}") from error


_DAMAGED = (
    SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, TypeError, KeyError,
    IndexError, AttributeError, AssertionError, OverflowError, MemoryError,
)  # fmt: skip


def _known_file(path: Path) -> WeightFile | None:
    """Return the file of the manifest that has this name and is not read like all others."""
    files = (file for file in list_files().values() if file.form in _READERS)
    return next((file for file in files if file.name == path.name), None)


_READERS: dict[str, Callable[[Path], dict[str, Tensor]]] = {"module": read_module_file, "keras": read_keras}


def _read_tensors(path: Path, keep: Callable[[str], bool] | None) -> Any:
    check_tensor_file(path)
    try:
        return _read(path, keep)
    except _DAMAGED as error:
        raise WeightsError(f"{escape(path)}: damaged, or not a weight file: {first_line(error)}") from error


def _read(path: Path, keep: Callable[[str], bool] | None) -> Any:
    if path.suffix == ".safetensors":  # not mapped: a file that is cut later would end the program by a signal
        return load(path.read_bytes() if keep is None else _read_wanted(path, keep))
    with torch.serialization.safe_globals(_NUMBERS), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about pickle protocols and storages of old files
        return torch.load(path, map_location="cpu", weights_only=True)


def _read_wanted(path: Path, keep: Callable[[str], bool]) -> bytes:
    """Return a safetensors file of some of the tensors of another, whose sizes have been checked."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(length))
        size = os.fstat(file.fileno()).st_size - 8 - length
        wanted: dict[str, dict[str, Any]] = {}
        values = bytearray()
        for name, entry in header.items():
            if name == "__metadata__" or not keep(name):
                continue
            first, last = entry["data_offsets"]
            if not 0 <= first <= last <= size or len(values) + last - first > size:
                raise ValueError(f"{shown_name(name)} is said to be outside of the file")
            file.seek(8 + length + first)
            begin = len(values)
            values += file.read(last - first)
            wanted[name] = {**entry, "data_offsets": [begin, len(values)]}
    described = json.dumps(wanted).encode()
    return b"".join((len(described).to_bytes(8, "little"), described, values))


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


def _to_float32(key: str, value: Tensor, *, rounded: bool) -> Tensor:
    """Convert to float32; refuse NaN and infinity, and rounding, here rather than in the first result."""
    value = value.detach()
    if not value.is_floating_point():
        return value
    if value.numel() and not all(bool(bound.isfinite()) for bound in torch.aminmax(value)):  # NaN if one value is
        raise ValueError(f"{shown_name(key)} holds values that are not finite")
    converted = value.float()
    if rounded and not bool(converted.isfinite().all()):
        raise ValueError(f"{shown_name(key)} holds float64 numbers that are too large for float32")
    if value.dtype == torch.float64 and not rounded and not torch.equal(converted.double(), value):
        raise ValueError(f"{shown_name(key)} holds float64 numbers that float32 rounds; save them as float32")
    return converted
