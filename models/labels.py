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
    """(C, W) float32 from a mapping of C vectors in label order, such as `llp_label_glove_embeddings.pt` holds.

    The published file's own key names differ from the annotation files' (spaces, commas), so it is used by order.
    Raises ValueError where the vectors are not one of equal width for each label.
    """
    import torch

    rows = [vector.flatten() for vector in vectors.values()]
    if len(rows) != len(labels) or len({len(row) for row in rows}) != 1:
        raise ValueError(f"expected {len(labels)} label vectors of equal width, found {len(rows)}")
    return torch.stack(rows).float()
