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

# The 28 events of AVE (Tian et al., ECCV 2018), in the order of their first rows in Annotations.txt.
AVE_LABELS = (
    "Church bell",
    "Male speech, man speaking",
    "Bark",
    "Fixed-wing aircraft, airplane",
    "Race car, auto racing",
    "Female speech, woman speaking",
    "Helicopter",
    "Violin, fiddle",
    "Flute",
    "Ukulele",
    "Frying (food)",
    "Truck",
    "Shofar",
    "Motorcycle",
    "Acoustic guitar",
    "Train horn",
    "Clock",
    "Banjo",
    "Goat",
    "Baby cry, infant cry",
    "Bus",
    "Chainsaw",
    "Cat",
    "Horse",
    "Toilet flush",
    "Rodents, rats, mice",
    "Accordion",
    "Mandolin",
)

LABEL_SETS: dict[str, tuple[str, ...]] = {"llp": LLP_LABELS, "ave": AVE_LABELS}


def stack_label_embeddings(vectors: Mapping[str, Tensor], labels: Sequence[str], *, ordered: bool = True) -> Tensor:
    """Stack one vector per label into a matrix of label embeddings.

    Vectors that are named like the labels are matched by name, others by order: key names in the published file
    `llp_label_glove_embeddings.pt` differ from those of the annotation files (spaces, "fry food").

    Args:
        vectors: C vectors of W values each.
        labels: C class names.
        ordered: whether `vectors` have the order of their file. A .safetensors file has none.

    Returns:
        (C, W) float32.

    Raises:
        ValueError: the number of vectors is not C, their widths differ, they are not floating-point numbers, or they
            have neither the names of the labels nor an order.
    """
    import torch

    if not all(vector.is_floating_point() for vector in vectors.values()):
        raise ValueError("label vectors must hold floating-point numbers")
    rows = [vector.flatten() for vector in vectors.values()]
    if len(rows) != len(labels) or len({len(row) for row in rows}) != 1:
        raise ValueError(f"expected {len(labels)} label vectors of equal width, found {len(rows)}")
    if vectors.keys() == set(labels):
        rows = [vectors[label].flatten() for label in labels]
    elif not ordered:
        raise ValueError("label vectors in a .safetensors file, which has no order, must be named like the classes")
    return torch.stack(rows).float()
