"""Golden values of the published programs, and the fill that lets both sides hold the same parameters.

The values live beside the project, in ../shared/golden; tests that need them skip with a reason where they are not.
"""

from __future__ import annotations

import json
import math
import re
import zlib
from typing import Any

import numpy as np
import pytest
import torch

from support.paths import SHARED

GOLDEN = SHARED / "golden"
MEDIA = SHARED / "media"
LLP = SHARED / "llp"
SEED = 20240

needs_golden = pytest.mark.skipif(not GOLDEN.is_dir(), reason=f"no golden values at {GOLDEN}")
needs_media = pytest.mark.skipif(not MEDIA.is_dir(), reason=f"no real clips at {MEDIA}")


def fill(shapes: dict[str, tuple[int, ...]], seed: int = SEED) -> dict[str, torch.Tensor]:
    """A state dict of these shapes whose values follow from the key names alone (golden/README.md)."""
    state = {key: torch.from_numpy(_values(_source_key(key), shape, seed)) for key, shape in shapes.items()}
    return {key: value.long() if key.endswith("num_batches_tracked") else value for key, value in state.items()}


def fill_module(module: torch.nn.Module, seed: int = SEED) -> dict[str, torch.Tensor]:
    return fill({key: tuple(value.shape) for key, value in module.state_dict().items()}, seed)


def _source_key(key: str) -> str:
    key = re.sub(r"(network\.\d+)\.conv1\.", r"\1.net.0.", key)
    return re.sub(r"(network\.\d+)\.conv2\.", r"\1.net.2.", key)


def _values(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    if key.endswith("num_batches_tracked"):
        return np.zeros(shape, np.float32)
    values = np.random.default_rng([seed, zlib.crc32(key.encode())]).standard_normal(shape)
    if key.endswith("running_var"):
        values = 1 + 0.1 * np.abs(values)
    elif len(shape) >= 2:
        values = values / math.sqrt(math.prod(shape[1:]))
    elif key.endswith("weight"):
        values = 1 + 0.1 * values
    else:
        values = 0.1 * values
    return values.astype(np.float32)


def parser_inputs(seed: int = SEED) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """audio (2, 10, 128), visual (2, 80, 2048), visual 3-d (2, 10, 512) of the parser goldens."""
    rng = np.random.default_rng(seed + 1)
    audio = np.maximum(rng.standard_normal((2, 10, 128)), 0).astype("f4") * np.float32(0.4)
    visual = np.abs(rng.standard_normal((2, 80, 2048))).astype("f4") * np.float32(0.5)
    clips = np.abs(rng.standard_normal((2, 10, 512))).astype("f4")
    return torch.from_numpy(audio), torch.from_numpy(visual), torch.from_numpy(clips)


def parser_targets(seed: int = SEED) -> tuple[torch.Tensor, torch.Tensor]:
    """Audio and visual segment labels (2, 10, 25), drawn after the inputs of the parser goldens."""
    rng = np.random.default_rng(seed + 1)
    for shape in ((2, 10, 128), (2, 80, 2048), (2, 10, 512)):
        rng.standard_normal(shape)
    audio, visual = ((rng.random((2, 10, 25)) < 0.06).astype("f4") for _ in range(2))
    return torch.from_numpy(audio), torch.from_numpy(visual)


def load_json(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / name).read_text())


def load_npz(name: str) -> dict[str, np.ndarray]:
    with np.load(GOLDEN / name) as archive:
        return dict(archive)
