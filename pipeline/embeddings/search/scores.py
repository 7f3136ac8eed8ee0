"""The z of texts in the seconds of one video."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from ...timeline import Modality
from .query import SearchQuery, SearchSettings

_BLOCK = 1024  # rows; larger ones leave the processor's cache


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return (T, D) rows in float32 with length 1; rows of zeros, NaN or infinity become zeros."""
    values = to_float32(rows, np.empty(rows.shape, np.float32))
    lengths = np.sqrt(np.einsum("td,td->t", values, values))
    usable = np.isfinite(lengths) & (lengths > 0)
    values[~usable] = 0
    values /= np.where(usable, lengths, 1)[:, None]
    return values


def to_float32(rows: NDArray[np.floating], buffer: NDArray[np.float32]) -> NDArray[np.float32]:
    """Convert rows into the first rows of a buffer, and return these.

    By PyTorch, which takes a tenth of NumPy's time for float16.
    """
    import torch

    filled = buffer[: len(rows)]
    native = rows if rows.dtype.isnative and rows.flags.writeable else np.array(rows, rows.dtype.newbyteorder("="))
    torch.from_numpy(filled).copy_(torch.from_numpy(native))
    return filled


def text_scores(rows: NDArray[np.floating], vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute the z of texts in seconds.

    Args:
        rows: (T, D) embeddings of seconds, of any length but 0.
        vectors: (D, Q) of `SearchQuery.vectors`.

    Returns:
        (T, Q); minus infinity for a row without direction: of zeros, NaN or infinity.
    """
    import torch

    scores = np.empty((len(rows), vectors.shape[1]), np.float32)
    buffer = np.empty((min(_BLOCK, len(rows)), vectors.shape[0]), np.float32)
    columns = torch.from_numpy(np.ascontiguousarray(vectors.T))
    for first in range(0, len(rows), _BLOCK):
        values = torch.from_numpy(to_float32(rows[first : first + _BLOCK], buffer))
        # By PyTorch: NumPy's threads would wait for each other, on a busy machine for a hundred times as long.
        found = (columns @ values.T) / torch.linalg.vector_norm(values, dim=1)
        scores[first : first + _BLOCK] = found.numpy().T
    scores[~np.isfinite(scores)] = -np.inf
    return scores


def sense_scores(tables: Mapping[Modality, NDArray[np.float32]], settings: SearchSettings) -> NDArray[np.float32]:
    """Combine the z of sounds and of pictures.

    Args:
        tables: modality -> (T, Q), of the streams that the file has and that are read.
        settings: sense, and whether texts are searched for together.

    Returns:
        (T, Q) z, or (T, 1) of all texts together; minus infinity where a stream is missing that is needed.
    """
    found = [tables[modality] for modality in settings.modalities if modality in tables]
    missing = len(found) < len(settings.modalities)
    some = next(iter(tables.values()))
    if not found or (missing and settings.sense == "both"):
        scores = np.full_like(some, -np.inf)
    else:
        scores = (np.minimum if settings.sense == "both" else np.maximum).reduce(found)
    return scores.min(axis=1, keepdims=True) if settings.together else scores


def file_scores(
    rows: Mapping[Modality, NDArray[np.floating]], query: SearchQuery, settings: SearchSettings
) -> Mapping[Modality, NDArray[np.float32]]:
    """Return modality -> (T, Q) z of the streams of a file that are read; `rows` are modality -> (T, D)."""
    return {
        modality: text_scores(rows[modality], query.vectors(modality))
        for modality in settings.modalities
        if modality in rows
    }


def join_seconds(active: NDArray[np.bool_], gap: int) -> NDArray[np.int64]:
    """Join runs of active seconds, with at most `gap` others between them, to (n, 2) intervals [onset, offset)."""
    places = np.flatnonzero(active)
    last = np.flatnonzero(np.diff(places, append=np.iinfo(np.int64).max) > gap + 1)  # of each interval
    first = np.concatenate([[0], last[:-1] + 1])[: len(last)]
    return np.stack([places[first], places[last] + 1], axis=1)
