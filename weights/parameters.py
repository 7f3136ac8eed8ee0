"""Check the parameters of a network that were read from a file, before the network is built or computes with them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from torch import Tensor

from .messages import escape

MAX_PARAMETERS = 1 << 30  # numbers in all tensors of one network: 4 GiB in float32; the largest published has 60M
_COUNTER = "num_batches_tracked"  # of batch norms, the only tensors of integers
_VARIANCE = "running_var"
_SHOWN_NAMES = 3
_SHOWN_CHARACTERS = 80  # of a name


def check_shapes(found: Mapping[str, Sequence[int]], expected: Mapping[str, Sequence[int]]) -> None:
    """Check the names and shapes of tensors; a header is enough, no tensor needs to be read.

    Args:
        found: name -> shape of each tensor of a file.
        expected: name -> shape of each tensor of the network.

    Raises:
        ValueError: a tensor is missing, unknown or of another shape, or the tensors have more than `MAX_PARAMETERS`
            numbers. The message does not name the file.
    """
    if missing := expected.keys() - found.keys():
        raise ValueError(f"lacks {_names(missing)}")
    if unknown := found.keys() - expected.keys():
        raise ValueError(f"holds tensors that the network does not have: {_names(unknown)}")
    for name, shape in expected.items():
        if tuple(found[name]) != tuple(shape):
            raise ValueError(f"{_short(name)} has the shape {tuple(found[name])}, expected {tuple(shape)}")
    check_count(expected)


def check_count(shapes: Mapping[str, Sequence[int]]) -> None:
    """Check the size of a network.

    Args:
        shapes: name -> shape of each tensor.

    Raises:
        ValueError: the tensors have more than `MAX_PARAMETERS` numbers.
    """
    count = sum(map(math.prod, shapes.values()))
    if count > MAX_PARAMETERS:
        raise ValueError(f"has {count:,} parameters, more than {MAX_PARAMETERS:,}, the most that a network may have")


def check_parameters(
    tensors: Mapping[str, Tensor],
    expected: Mapping[str, Sequence[int]],
    *,
    dtypes: Collection[torch.dtype] = (torch.float32,),
) -> None:
    """Check that tensors are the parameters of a network: nothing has to be converted, and all values can be used.

    Args:
        tensors: name -> tensor, as read from a file.
        expected: name -> shape of each tensor of the network.
        dtypes: of the parameters; counters of batch norms are int64.

    Raises:
        ValueError: a tensor is missing, unknown, of another shape or type, or has values that are not finite or, where
            they are variances or counters, negative. The message does not name the file.
    """
    check_shapes({name: tensor.shape for name, tensor in tensors.items()}, expected)
    for name, tensor in tensors.items():
        counter = name.endswith(_COUNTER)
        allowed = (torch.int64,) if counter else dtypes
        if tensor.dtype not in allowed or tensor.layout is not torch.strided:
            kinds = " or ".join(str(dtype).removeprefix("torch.") for dtype in allowed)
            kind = str(tensor.dtype).removeprefix("torch.")
            layout = "" if tensor.layout is torch.strided else f" ({str(tensor.layout).removeprefix('torch.')})"
            raise ValueError(f"{_short(name)} holds {kind}{layout}, expected {kinds}")
        if tensor.numel() == 0:
            continue
        least, most = (float(bound) for bound in torch.aminmax(tensor))  # NaN if one value is
        if not math.isfinite(least) or not math.isfinite(most):
            raise ValueError(f"{_short(name)} holds values that are not finite")
        if least < 0 and (counter or name.endswith(_VARIANCE)):
            raise ValueError(f"{_short(name)} holds negative values")


def _names(names: Collection[str]) -> str:
    more = f" and {len(names) - _SHOWN_NAMES} more" if len(names) > _SHOWN_NAMES else ""
    return ", ".join(_short(name) for name in sorted(names)[:_SHOWN_NAMES]) + more


def _short(name: str) -> str:
    return escape(name[:_SHOWN_CHARACTERS])
