"""The generated clip that exported networks are compared on."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.sampling import POOLED_STREAMS, Stream
from ...models.labels import LLP_LABELS
from ..decode.options import DEFAULT_OPTIONS
from ..features.extract import decode_inputs
from ..preprocess.base import is_groups
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
        Stream -> inputs (N, *shape) in the order of time; of streams whose rows are means, the first of each second.

    Raises:
        MediaError: the clip cannot be decoded.
        OutputError: the clip cannot be written to the folder for temporary files.
    """
    collected: dict[Stream, list[NDArray[Any]]] = {extractor.stream: [] for extractor in extractors.values()}
    groups: dict[Stream, list[NDArray[np.int64]]] = {stream: [] for stream in POOLED_STREAMS}

    def put(stream: Stream, inputs: NDArray[Any]) -> None:
        (groups if is_groups(inputs) else collected)[stream].append(inputs.copy())

    with tempfile.TemporaryDirectory(prefix="avvp-export-") as folder:
        path = Path(folder) / "clip.mp4"
        render(plan_clip("clip", (CLIP_SEED,), seconds, len(LLP_LABELS)), path, LLP_LABELS)
        summary = decode_inputs(
            path,
            [extractor.input_format for extractor in extractors.values()],
            put,
            profile=profile,
            decoding=DEFAULT_OPTIONS,
        )
    numbers = {stream: np.array(rows) for stream, rows in summary.rows.items()}
    numbers |= {stream: np.concatenate(parts)[numbers[stream], 0] for stream, parts in groups.items() if parts}
    return {stream: np.concatenate(parts)[numbers[stream]] for stream, parts in collected.items()}
