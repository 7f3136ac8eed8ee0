"""Label lists and label embeddings."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
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


def read_published_label_embeddings(path: Path, labels: Sequence[str]) -> Tensor:
    """(C, W) float32 from the published `llp_label_glove_embeddings.pt`, a dict of C vectors in label order.

    The file's own key names differ from the annotation files' (spaces, commas), so it is used by order.
    Raises ValueError where the file holds something else.
    """
    content = torch.load(path, map_location="cpu", weights_only=True)
    if not isinstance(content, dict) or len(content) != len(labels):
        raise ValueError(f"{path}: expected a dict of {len(labels)} label vectors")
    try:
        rows = [torch.as_tensor(row, dtype=torch.float32).flatten() for row in content.values()]
        return torch.stack(rows)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"{path}: the label vectors are not equally long lists of numbers") from error
