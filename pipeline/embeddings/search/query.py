"""What is searched for: texts as directions in the spaces of sounds and of pictures, and where they are looked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ...timeline import SINGLE_MODALITIES, Modality

Sense = Literal["either", "heard", "seen", "both"]
SENSES: tuple[Sense, ...] = get_args(Sense)
# Modalities that are read for each sense.
SENSE_MODALITIES: Mapping[Sense, tuple[Modality, ...]] = {
    "either": SINGLE_MODALITIES,
    "heard": ("audio",),
    "seen": ("visual",),
    "both": SINGLE_MODALITIES,
}
MIN_Z = 2.0
JOINED_GAP = 1  # seconds
MAX_TEXTS = 100
LEAST_SCALE = 1e-3  # of cosines; where they differ less, nothing stands out
_LEAST_BACKGROUND = 2  # entries: one has no deviation


@dataclass(frozen=True)
class SearchSettings:
    """Which seconds are found, and what they are joined to.

    Attributes:
        sense: "heard" and "seen" read sounds or pictures alone; "either" takes the higher z of the two in each second,
            "both" the lower.
        together: one search for moments that have all texts, in place of one for each text; the lowest z counts.
        min_z: a second is found from this z on.
        gap: found seconds with at most as many others between them are one moment.
        top: most moments to return, at least 1.
    """

    sense: Sense = "either"
    together: bool = False
    min_z: float = MIN_Z
    gap: int = JOINED_GAP
    top: int = 20

    def __post_init__(self) -> None:
        if self.sense not in SENSES:
            raise ValueError(f"sense {self.sense!r} is not one of {', '.join(SENSES)}")
        if self.top < 1 or self.gap < 0:
            raise ValueError("top is at least 1, and gap at least 0")

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """Modalities that are read."""
        return SENSE_MODALITIES[self.sense]


@dataclass(frozen=True, eq=False)
class SearchQuery:
    """Q texts, and the background that they are compared with.

    The z of a text in a second is how far its cosine lies above the mean of the background's cosines, in standard
    deviations of the background: (cos(x, q) - mean_k cos(x, b_k)) / s = x . (q - mean_k b_k) / s. The deviation s is
    one number for all sounds, and one for all pictures: cosines of CLAP and of CLIP spread differently, and divided by
    it they can be compared.

    Attributes:
        texts: as the user typed them.
        directions: modality -> (D, Q): text minus the mean of the background.
        background: modality -> (D, K): entries minus their mean.
        scale: modality -> s; 1 until `scaled`.
    """

    texts: tuple[str, ...]
    directions: Mapping[Modality, NDArray[np.float32]]
    background: Mapping[Modality, NDArray[np.float32]]
    scale: Mapping[Modality, float]

    @classmethod
    def of(cls, texts: Sequence[str], embeddings: Mapping[str, NDArray[np.floating]]) -> SearchQuery:
        """Make one of the embeddings of texts.

        Args:
            texts: Q texts.
            embeddings: modality -> (Q + K, D), of length 1: of the texts, and of the background after them; rows of
                NaN are left out, those of texts not.

        Returns:
            The query, not scaled.

        Raises:
            ValueError: there are no texts, or more than `MAX_TEXTS`, or the background has fewer than two entries for a
                modality.
        """
        if not 0 < len(texts) <= MAX_TEXTS:
            raise ValueError(f"{len(texts)} texts; at least one, and at most {MAX_TEXTS} are searched for at once")
        directions: dict[Modality, NDArray[np.float32]] = {}
        background: dict[Modality, NDArray[np.float32]] = {}
        for modality in SINGLE_MODALITIES:
            table = np.asarray(embeddings[modality], np.float64)
            entries = table[len(texts) :]
            entries = entries[~np.isnan(entries).any(axis=1)]
            if len(entries) < _LEAST_BACKGROUND:
                raise ValueError("a text is compared with a background, which needs two entries at least")
            mean = entries.mean(axis=0)
            directions[modality] = np.ascontiguousarray((table[: len(texts)] - mean).T, np.float32)
            background[modality] = np.ascontiguousarray((entries - mean).T, np.float32)
        return cls(tuple(texts), directions, background, dict.fromkeys(SINGLE_MODALITIES, 1.0))

    @property
    def width(self) -> int:
        """Numbers that a second has in all modalities."""
        return sum(len(table) for table in self.directions.values())

    def scaled(self, samples: Mapping[Modality, NDArray[np.float32]]) -> SearchQuery:
        """Return it with the deviation of the background, measured on seconds.

        Args:
            samples: modality -> (n, D) rows of length 1; the root mean square over them of the deviation over the
                background (K - 1) is s. With no rows, s is 1.
        """
        scale = dict(self.scale)
        for modality, rows in samples.items():
            if len(rows):
                entries = self.background[modality].shape[1]
                squares = np.square(np.asarray(rows, np.float64) @ self.background[modality]).sum(axis=1)
                scale[modality] = max(float(np.sqrt(squares.mean() / (entries - 1))), LEAST_SCALE)
        return replace(self, scale=scale)

    def vectors(self, modality: Modality) -> NDArray[np.float32]:
        """Return (D, Q) vectors whose products with a row of length 1 are the z of the texts."""
        return (self.directions[modality] / self.scale[modality]).astype(np.float32)
