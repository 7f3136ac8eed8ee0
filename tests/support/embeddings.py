"""Embeddings of videos that nobody has to decode."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from avvp.extractors.profiles import FeatureSpec
from avvp.extractors.sampling import CLAP_RATE
from avvp.pipeline.decode.container.media_facts import MediaFacts
from avvp.pipeline.embeddings.embeddings import Embeddings
from avvp.pipeline.embeddings.files import write_embeddings
from numpy.typing import NDArray


def make_embeddings(
    audio: NDArray[np.floating] | None = None,
    visual: NDArray[np.floating] | None = None,
    *,
    seconds: int = 5,
    dims: tuple[int, int] = (32, 48),
    name: str = "clip",
    warnings: tuple[str, ...] = (),
    seed: int = 0,
) -> Embeddings:
    """Embeddings of one video: unit rows of these arrays, (T, D) each; random ones of so many seconds without them."""
    random = np.random.default_rng(seed)
    tables = [
        random.standard_normal((seconds, width)) if rows is None else np.asarray(rows)
        for rows, width in zip((audio, visual), dims, strict=True)
    ]
    units = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in tables]
    length, widths = len(tables[0]), tuple(rows.shape[1] for rows in tables)
    spec = FeatureSpec("clip-clap", 1, ("clap", "clip"), widths, 1, CLAP_RATE, ("audio", "visual_2d"))
    media = MediaFacts(
        f"/videos/{name}.mp4", "mp4", float(length), float(length), "aac", float(length), "h264", float(length),
        64, 48, 25.0, "ffmpeg", length, 0,
    )  # fmt: skip
    rows = [values.astype(np.float16) for values in units]
    teachers = {"audio": "a" * 64, "visual_2d": "b" * 64}
    return Embeddings(name, *rows, spec=spec, media=media, warnings=warnings, teachers=teachers)


def write_folder(folder: Path, *videos: Embeddings) -> Path:
    """Write a folder of results with embeddings alone."""
    for video in videos:
        path = folder / "embeddings" / f"{video.name}.safetensors"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_embeddings(path, video)
    return folder
