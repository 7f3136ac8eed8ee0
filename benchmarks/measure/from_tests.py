"""Generated data sets and tiny teachers, from the helpers of the tests."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from avvp.extractors.profiles import FeatureSpec

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support.bundles import write_tiny_bundle as write_parsing_bundle
from support.llp_like import Recipe, generate
from support.teachers import write_teachers, write_tokenizer

__all__ = ["write_dataset", "write_parsing_bundle", "write_teachers", "write_tokenizer"]


def write_dataset(
    folder: Path, counts: Mapping[str, int], spec: FeatureSpec, labels: Sequence[str]
) -> tuple[Path, Path]:
    """Write a data set of random events, with features that follow from them.

    Args:
        folder: made here.
        counts: split -> number of clips.
        spec: extractors and widths of the features.
        labels: C class names.

    Returns:
        The folders of the features and of the annotations.
    """
    audio, visual_2d, visual_3d = spec.dims
    generate(
        folder,
        Recipe(dict(counts), dims=(audio, visual_2d, visual_3d), extractors=spec.extractors, labels=tuple(labels)),
    )
    return folder / "features", folder / "annotations"
