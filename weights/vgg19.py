"""Weights of VGG19 from other programs: Keras' file, and how those of torchvision are recognized."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .errors import WeightsError
from .messages import escape, first_line

CHANNELS = ((64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4)  # of the convolutions of each block
_KERNEL = 3  # rows and columns
# The first three rows of the first filter of torchvision's VGG19_Weights.IMAGENET1K_V1, as torch prints them.
_TORCHVISION_ROWS = (
    (-5.3474e-02, -4.9257e-02, -6.7942e-02), (1.5314e-02, 4.5068e-02, 2.1444e-03), (3.6226e-02, 1.9999e-02, 1.9864e-02)
)  # fmt: skip
_PRINTED = 1e-3  # relative; half precision is as exact


def check_caffe_weights(state: Mapping[str, Tensor]) -> None:
    """Refuse the weights of VGG19 that torchvision trained anew.

    The published features, and our inputs, are those of Oxford's network: levels of 0 to 255 in the order BGR, less the
    means. torchvision's network has the same layers and expects RGB in [0, 1], normalized: it would give other maps
    without any error.

    Args:
        state: tensors under torchvision's names.

    Raises:
        ValueError: they are torchvision's, whatever the file is called.
    """
    first = state.get("features.0.weight")
    rows = torch.tensor(_TORCHVISION_ROWS)
    if first is None or first.dim() != 4 or first[0, 0].shape != rows.shape:
        return
    if torch.allclose(first[0, 0].float(), rows, rtol=_PRINTED, atol=0):
        raise ValueError(
            "these are torchvision's weights of VGG19, which were trained anew on RGB in [0, 1]; the published features"
            " are those of Oxford's (avvp weights fetch vgg19)"
        )


def read_keras(path: Path, channels: Sequence[Sequence[int]] = CHANNELS) -> dict[str, Tensor]:
    """Read the convolutions of VGG19 from Keras' file of weights without the top.

    Args:
        path: an HDF5 file whose hash is known.
        channels: of the convolutions of each block.

    Returns:
        torchvision's names (`features.0.weight`, ...) -> tensors; kernels are (out, in, rows, columns).

    Raises:
        WeightsError: h5py is not installed, or the file holds something else.
    """
    if importlib.util.find_spec("h5py") is None:
        raise WeightsError(
            f"{escape(path)}: HDF5 files need h5py: pip install 'avvp[avel]'; or name the file vgg19_caffe, Oxford's"
            " weights in PyTorch's format, in a bundle of your own"
        )
    import h5py

    try:
        with h5py.File(path, "r") as file:
            return _read_blocks(file, channels)
    except (OSError, KeyError, ValueError, RuntimeError, TypeError) as error:
        raise WeightsError(f"{escape(path)}: not Keras' weights of VGG19: {first_line(error)}") from error


def _read_blocks(file: Any, channels: Sequence[Sequence[int]]) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    place, width = 0, 3
    for block, layers in enumerate(channels, 1):
        for layer, out in enumerate(layers, 1):
            arrays = _read_layer(file, f"block{block}_conv{layer}")
            kernel, bias = (arrays.get(shape) for shape in ((_KERNEL, _KERNEL, width, out), (out,)))
            if kernel is None or bias is None or len(arrays) != 2:
                raise ValueError(f"block{block}_conv{layer} has the shapes {sorted(arrays)}")
            state[f"features.{place}.weight"] = torch.from_numpy(kernel.transpose(3, 2, 0, 1).copy())
            state[f"features.{place}.bias"] = torch.from_numpy(bias)
            place, width = place + 2, out  # a ReLU follows
        place += 1  # a pooling follows
    return state


def _read_layer(file: Any, name: str) -> dict[tuple[int, ...], np.ndarray[Any, Any]]:
    """Return the arrays of a layer by shape; their names differ between releases of Keras. Links are not followed."""
    import h5py

    found: dict[tuple[int, ...], np.ndarray[Any, Any]] = {}
    limit = _KERNEL**2 * max(map(max, CHANNELS)) ** 2

    def visit(_: str, item: Any) -> None:
        if isinstance(item, h5py.Dataset):
            elsewhere = item.external or item.is_virtual
            if elsewhere or item.dtype != np.float32 or (item.size or 0) > limit or len(found) > 1:
                raise ValueError(f"{name} has more, or other, values than a convolution")
            found[item.shape] = item[()]

    if file.get(name, getlink=True).__class__ is not h5py.HardLink or not isinstance(file[name], h5py.Group):
        raise ValueError(f"it has no layer {name}")
    file[name].visititems(visit)
    return found
