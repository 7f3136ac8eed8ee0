"""Check of a pretrained VGGish file against published outputs.

The publisher of the weights gives no hash. Two outputs are published instead, computed with the original weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ...extractors.base import Extractor
from ...extractors.mel import EXAMPLE_FRAMES, LOG_OFFSET, MEL_BANDS, log_mel
from ..decode.resampling import resample_torchaudio

# The published sine was resampled by an older resampy, whose filter differs slightly; silence is not resampled.
TOLERANCES = {"sine_1khz": 0.05, "silence": 1e-3}


def check_vggish(extractor: Extractor) -> dict[str, float]:
    """Compare an extractor's embeddings with the published ones.

    Args:
        extractor: VGGish, on the CPU.

    Returns:
        Input name -> largest absolute difference; the file is the published one if none exceeds `TOLERANCES`.
    """
    expected = json.loads(Path(__file__).with_name("vggish_answers.json").read_text(encoding="utf-8"))
    sine = np.sin(2 * np.pi * 1000 * np.linspace(0, 3, 132_300))
    inputs = {
        "sine_1khz": log_mel(resample_torchaudio(sine, 44_100))[:EXAMPLE_FRAMES],
        "silence": np.full((EXAMPLE_FRAMES, MEL_BANDS), np.log(LOG_OFFSET), np.float32),
    }
    differences = {}
    for name, example in inputs.items():
        with torch.inference_mode():
            embedding = extractor(torch.from_numpy(example)[None])[0].numpy()
        differences[name] = float(np.abs(embedding - np.asarray(expected[name])).max())
    return differences
