"""Published outputs of the pretrained VGGish: is the file on this machine the real one?

Its publisher gives no hash, but two of its answers are known, computed once with the genuine weights.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from ...extractors.base import Extractor
from ...extractors.mel import EXAMPLE_FRAMES, LOG_OFFSET, MEL_BANDS, log_mel
from ..decode.resampling import resample

# The sine went through an older resampy, whose filter differed slightly; silence involves no filter.
TOLERANCES = {"sine_1khz": 0.05, "silence": 1e-3}


def check_vggish(extractor: Extractor) -> dict[str, float]:
    """The largest absolute difference from each published answer; compare with `TOLERANCES`."""
    answers = json.loads(Path(__file__).with_name("vggish_answers.json").read_text(encoding="utf-8"))
    sine = np.sin(2 * np.pi * 1000 * np.linspace(0, 3, 132_300))
    inputs = {
        "sine_1khz": log_mel(resample(sine, 44_100))[:EXAMPLE_FRAMES],
        "silence": np.full((EXAMPLE_FRAMES, MEL_BANDS), np.log(LOG_OFFSET), np.float32),
    }
    differences = {}
    for name, example in inputs.items():
        with torch.inference_mode():
            embedding = extractor(torch.from_numpy(example)[None])[0].numpy()
        differences[name] = float(np.abs(embedding - np.asarray(answers[name])).max())
    return differences
