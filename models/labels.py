"""Label lists and label embeddings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor

# The 25 classes of LLP (Tian et al., ECCV 2020) in the published order.
LLP_LABELS = (
    "Speech",
    "Car",
    "Cheering",
    "Dog",
    "Cat",
    "Frying_(food)",
    "Basketball_bounce",
    "Fire_alarm",
    "Chainsaw",
    "Cello",
    "Banjo",
    "Singing",
    "Chicken_rooster",
    "Violin_fiddle",
    "Vacuum_cleaner",
    "Baby_laughter",
    "Accordion",
    "Lawn_mower",
    "Motorcycle",
    "Helicopter",
    "Acoustic_guitar",
    "Telephone_bell_ringing",
    "Baby_cry_infant_cry",
    "Blender",
    "Clapping",
)

LABEL_SETS: dict[str, tuple[str, ...]] = {"llp": LLP_LABELS}


def stack_label_embeddings(vectors: Mapping[str, Tensor], labels: Sequence[str]) -> Tensor:
    """Stack one vector per label into a matrix of label embeddings.

    Vectors are matched to labels by order: key names in the published file `llp_label_glove_embeddings.pt` differ
    from those of the annotation files (spaces, commas).

    Args:
        vectors: C vectors of W values each, in the order of `labels`.
        labels: C class names.

    Returns:
        (C, W) float32.

    Raises:
        ValueError: the number of vectors is not C, their widths differ, or they are not floating-point numbers.
    """
    import torch

    if not all(vector.is_floating_point() for vector in vectors.values()):
        raise ValueError("label vectors must hold floating-point numbers")
    rows = [vector.flatten() for vector in vectors.values()]
    if len(rows) != len(labels) or len({len(row) for row in rows}) != 1:
        raise ValueError(f"expected {len(labels)} label vectors of equal width, found {len(rows)}")
    return torch.stack(rows).float()
