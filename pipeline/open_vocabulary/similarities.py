"""Similarities of the seconds of one video with the sentences of classes, and the probabilities made of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from ..timeline import SINGLE_MODALITIES, SegmentProbabilities
from .rules import relative_scores

Tables = Mapping[str, NDArray[np.float64]]  # modality -> table
# Of the similarities of a second; where they differ less, nothing stands out, and differences are those of rounding.
LEAST_DEVIATION = 1e-3
BLOCK_CELLS = 1 << 22  # of a table in memory at a time: 32 MiB of float64


@dataclass(frozen=True, eq=False)
class Similarities:
    """Similarities of T seconds with K entries: C classes, and the background after them.

    They are computed in blocks of seconds where they are needed: hours of video with thousands of entries are large.

    Attributes:
        classes: C.
        embeddings: modality -> (T, D), of length 1; zeros where there is nothing.
        texts: modality -> (K, D), of length 1; NaN without a sentence.
        has: modality -> whether the file has the stream.
    """

    classes: int
    embeddings: Tables
    texts: Tables
    has: Mapping[str, bool] = field(default_factory=lambda: dict.fromkeys(SINGLE_MODALITIES, True))

    @classmethod
    def of(cls, embeddings: Mapping[str, NDArray[np.floating]], texts: Tables, classes: int) -> Similarities:
        """Return the similarities of embeddings, modality -> (T, D) of any length, with texts, modality -> (K, D)."""
        return cls(classes, {modality: unit_rows(rows) for modality, rows in embeddings.items()}, texts)

    def of_streams(self, **has: bool) -> Similarities:
        """Return them for a file that has or lacks streams: audio, visual."""
        return replace(self, has=has)

    def known(self, modality: str) -> NDArray[np.bool_]:
        """Return (K,), which entries have a sentence for a modality."""
        return ~np.isnan(self.texts[modality][:, 0])

    def can_score(self, modality: str) -> bool:
        """Return whether a modality has seconds, and two entries to compare."""
        return self.has[modality] and len(self.embeddings[modality]) > 0 and int(self.known(modality).sum()) > 1

    def relative(self, modality: str, embeddings: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Compute scores that compare the entries with each other, see `relative_scores`.

        Args:
            modality: "audio" or "visual".
            embeddings: (N, D), of length 1; None for those of all seconds.

        Returns:
            (N, C) in [0, 1]: 0.5 where all entries are alike; 0 for classes without a sentence for the modality, and
            for all if the file lacks the stream, or there is nothing to compare.
        """
        rows = self.embeddings[modality] if embeddings is None else embeddings
        scores = np.zeros((len(rows), self.classes))
        if not self.can_score(modality):
            return scores
        known = self.known(modality)
        texts = self.texts[modality][known].T
        own = np.flatnonzero(known[: self.classes])
        for block in blocks(len(rows), texts.shape[1]):
            values = rows[block] @ texts
            found = relative_scores(values)[:, : len(own)]
            found[values.std(axis=1, ddof=1) < LEAST_DEVIATION] = 0.5
            scores[block, own] = found
        return scores


@dataclass(frozen=True, eq=False, repr=False)
class OpenProbabilities(SegmentProbabilities):
    """Scores of one video as probabilities, with the similarities that they come from."""

    similarities: Similarities | None = None

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        return {name: array for name, array in vars(self).items() if array is not None and name != "similarities"}


def blocks(rows: int, width: int) -> Iterator[slice]:
    """Yield the slices of `rows` rows, so that a slice has `BLOCK_CELLS` cells at most, or one row."""
    size = max(1, BLOCK_CELLS // max(width, 1))
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return (N, D) rows in length 1; rows of zeros stay."""
    values = np.asarray(rows, np.float64)
    lengths = np.linalg.norm(values, axis=-1, keepdims=True)
    return values / np.where(lengths > 0, lengths, 1)
