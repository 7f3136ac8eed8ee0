"""Similarities of the seconds of one video with the sentences of classes, and the probabilities made of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..timeline import SINGLE_MODALITIES, SegmentProbabilities

Tables = Mapping[str, NDArray[np.float64]]  # modality -> table


@dataclass(frozen=True, eq=False)
class Similarities:
    """Similarities of T seconds with K entries: C classes, and the background after them.

    Attributes:
        classes: C.
        tables: modality -> (T, K) cosines; of an entry without a sentence for the modality, NaN.
        embeddings: modality -> (T, D), of length 1.
        texts: modality -> (K, D), of length 1; NaN without a sentence.
        has: modality -> whether the file has the stream.
    """

    classes: int
    tables: Tables
    embeddings: Tables
    texts: Tables
    has: Mapping[str, bool] = field(default_factory=lambda: dict.fromkeys(SINGLE_MODALITIES, True))

    @classmethod
    def of(cls, embeddings: Mapping[str, NDArray[np.floating]], texts: Tables, classes: int) -> Similarities:
        """Compute the similarities of embeddings, modality -> (T, D), with texts, modality -> (K, D)."""
        unit = {modality: _unit(rows) for modality, rows in embeddings.items()}
        tables = {modality: unit[modality] @ texts[modality].T for modality in unit}
        return cls(classes, tables, unit, texts)

    def of_streams(self, **has: bool) -> Similarities:
        """Return them for a file that has or lacks streams: audio, visual."""
        return replace(self, has=has)


@dataclass(frozen=True, eq=False, repr=False)
class OpenProbabilities(SegmentProbabilities):
    """Scores of one video as probabilities, with the similarities that they come from."""

    similarities: Similarities | None = None

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        return {name: array for name, array in vars(self).items() if array is not None and name != "similarities"}


def _unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    values = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)
