"""The generated clip that exported networks are compared on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ...models.labels import LLP_LABELS
from ..decode.options import DEFAULT_OPTIONS
from ..features.extract import decode_inputs
from ..synthetic.clip_plan import plan_clip
from ..synthetic.render import render

CLIP_SEED = 19


def clip_inputs(seconds: int, extractors: Mapping[str, Extractor], profile: str) -> dict[Stream, NDArray[Any]]:
    """Generate a clip and build the inputs of extractors from it.

    Args:
        seconds: length of the clip.
        extractors: name -> extractor of each stream.
        profile: key in `PROFILES`.

    Returns:
        Stream -> inputs (N, *shape) in the order of time.

    Raises:
        MediaError: the clip cannot be decoded.
        OutputError: the clip cannot be written to the folder for temporary files.
    """
    collected: dict[Stream, list[NDArray[Any]]] = {extractor.stream: [] for extractor in extractors.values()}
    with tempfile.TemporaryDirectory(prefix="avvp-export-") as folder:
        path = Path(folder) / "clip.mp4"
        render(plan_clip("clip", (CLIP_SEED,), seconds, len(LLP_LABELS)), path, LLP_LABELS)
        summary = decode_inputs(
            path,
            [extractor.input_format for extractor in extractors.values()],
            lambda stream, inputs: collected[stream].append(inputs.copy()),
            profile=profile,
            decoding=DEFAULT_OPTIONS,
        )
    return {stream: np.concatenate(parts)[summary.rows[stream]] for stream, parts in collected.items()}
