"""Quantized networks of tiny extractors, made once for all tests of a process."""

from __future__ import annotations

import hashlib
from functools import cache
from typing import Any

import numpy as np
from avvp.extractors.base import Extractor
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.pipeline.quantization.quantize import quantize_extractor
from avvp.weights.quantized import QuantizedFile
from avvp.weights.untrained import untrained_state
from numpy.typing import NDArray


def make_inputs(extractor: Extractor, count: int, *, seed: int = 0) -> NDArray[np.generic]:
    """Random inputs (count, *shape) of an extractor."""
    form = extractor.input_format
    top = 255 if np.dtype(form.dtype) == np.uint8 else 1
    return (np.random.default_rng(seed).random((count, *form.shape)) * top).astype(form.dtype)


def plain(name: str, *, seed: int = 7) -> Extractor:
    """A tiny extractor with seeded parameters, those of `write_tiny_bundle`."""
    return build_extractor(name, untrained_state(extractor_shapes(name), seed))


_QUANTIZED: dict[tuple[str, str], QuantizedFile] = {}


def quantize_once(name: str, extractor: Extractor, inputs: NDArray[Any]) -> QuantizedFile:
    """`quantize_extractor`, which takes seconds, but with the result of an earlier call for the same inputs."""
    key = name, hashlib.sha256(inputs.tobytes()).hexdigest()
    if key not in _QUANTIZED:
        _QUANTIZED[key] = quantize_extractor(name, extractor, inputs)
    return _QUANTIZED[key]


@cache
def quantize_tiny(name: str) -> QuantizedFile:
    """The quantized network of a tiny extractor, calibrated on noise."""
    extractor = plain(name)
    return quantize_extractor(name, extractor, make_inputs(extractor, 8))
