"""Feature extractors by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from .base import Extractor
from .r2plus1d import r2plus1d_18, r2plus1d_small, r2plus1d_tiny
from .resnet import resnet152, resnet_small, resnet_tiny
from .vggish import vggish, vggish_small, vggish_tiny

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "vggish": vggish,
    "resnet152": resnet152,
    "r2plus1d_18": r2plus1d_18,
    "vggish_small": vggish_small,
    "resnet_small": resnet_small,
    "r2plus1d_small": r2plus1d_small,
    "vggish_tiny": vggish_tiny,
    "resnet_tiny": resnet_tiny,
    "r2plus1d_tiny": r2plus1d_tiny,
}


def extractor_shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of an extractor's tensors without allocating them.

    Args:
        name: key in `EXTRACTORS`.

    Returns:
        Key -> shape.

    Raises:
        ValueError: the name is unknown.
    """
    with torch.device("meta"):
        module = _constructor(name)()
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def build_extractor(name: str, state_dict: Mapping[str, Tensor] | None = None) -> Extractor:
    """Build a feature extractor.

    Args:
        name: key in `EXTRACTORS`.
        state_dict: tensors under the published keys; random parameters when None.

    Returns:
        The extractor in eval mode, without gradients, on the CPU, in the memory layout that it is fastest in.

    Raises:
        ValueError: the name is unknown, or the tensors do not fit the extractor.
    """
    constructor = _constructor(name)
    if state_dict is None:
        extractor = constructor()
    else:
        with torch.device("meta"):  # spend no time on parameters that are replaced immediately
            extractor = constructor()
        extractor.load_published(state_dict)
    extractor.to(memory_format=extractor.memory_format)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    return extractor.eval().requires_grad_(False)


def _constructor(name: str) -> Callable[[], Extractor]:
    if name not in EXTRACTORS:
        raise ValueError(f"unknown extractor {name!r}; known: {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name]
