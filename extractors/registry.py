"""The extractors by name."""

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
    """Key names and shapes of an extractor's tensors, without making any."""
    with torch.device("meta"):
        module = _constructor(name)()
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def build_extractor(name: str, state_dict: Mapping[str, Tensor] | None = None) -> Extractor:
    """An extractor in eval mode, frozen, in the memory layout it is fastest in.

    state_dict: the published file's tensors under their own key names; without it the parameters are random.
    Raises ValueError for an unknown name and for tensors that do not fit.
    """
    constructor = _constructor(name)
    if state_dict is None:
        extractor = constructor()
    else:
        with torch.device("meta"):  # no time spent on parameters that are replaced at once
            extractor = constructor()
        extractor.load_published(state_dict)
    extractor.to(memory_format=extractor.memory_format)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    return extractor.eval().requires_grad_(False)


def _constructor(name: str) -> Callable[[], Extractor]:
    if name not in EXTRACTORS:
        raise ValueError(f"unknown extractor {name!r}; known: {', '.join(EXTRACTORS)}")
    return EXTRACTORS[name]
