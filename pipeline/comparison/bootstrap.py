"""Bootstrap intervals of scores and of their differences, over videos."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .limits import MAX_RESAMPLES
from .ratios import ClipRatios, Protocol

_BLOCK = 256  # resamples whose weights are in memory at a time
_MAX_SAMPLES = 1 << 24  # resampled scores in memory at a time, 8 bytes each


@dataclass(frozen=True, kw_only=True)
class Resampling:
    """How clips are resampled. Raises ValueError for numbers out of range."""

    resamples: int = 2000
    seed: int = 0
    confidence: float = 95.0  # percent of the resamples that are inside an interval

    def __post_init__(self) -> None:
        if not 1 <= self.resamples <= MAX_RESAMPLES:
            raise ValueError(f"{self.resamples} resamples; expected 1 to {MAX_RESAMPLES:,}")
        if not 0 < self.confidence < 100:
            raise ValueError(f"a confidence of {self.confidence} percent; expected a number between 0 and 100")


class Intervals(NamedTuple):
    """Scores of all clips and their intervals. NaN where a score does not exist, as of a class that no clip has."""

    values: NDArray[np.float64]
    low: NDArray[np.float64]
    high: NDArray[np.float64]


class Bootstrap(NamedTuple):
    """Scores of M systems in G groups, S each.

    Attributes:
        scores: (M, G, S).
        differences: (M - 1, G, S), of each later system minus the first.
        better: (M - 1, G, S), share of the resamples in which the later system is better.
    """

    scores: Intervals
    differences: Intervals
    better: NDArray[np.float64]


def bootstrap(
    systems: Sequence[ClipRatios], protocol: Protocol, videos: NDArray[np.int64], resampling: Resampling
) -> Bootstrap:
    """Compute scores, differences and their percentile intervals from resampled videos.

    A resample has as many videos as there are, drawn with replacement; all clips of a video go together. The resamples
    are the same for all systems, so that differences are paired, and for all groups.

    Args:
        systems: ratios of each system on the same N clips, (N, G, K).
        protocol: of the scores.
        videos: (N,) number of each clip's video, from 0 on without gaps.
        resampling: how often, and the seed.

    Returns:
        The intervals. A resample in which a group has no clip is left out of the group's intervals.

    Source:
        Efron and Tibshirani: An Introduction to the Bootstrap, 1993, chapter 13 (percentile intervals).
    """
    sums = [ClipRatios(*(_sum_by(part, videos) for part in ratios)) for ratios in systems]
    groups = sums[0].numerators.shape[1]
    step = max(1, _MAX_SAMPLES // (len(systems) * resampling.resamples * len(protocol.scores)))
    parts = [
        _bootstrap_groups(
            [ClipRatios(*(part[:, start : start + step] for part in ratios)) for ratios in sums], protocol, resampling
        )
        for start in range(0, groups, step)
    ]

    def joined(pieces: Iterator[Intervals]) -> Intervals:
        return Intervals(*(np.concatenate(columns, axis=1) for columns in zip(*pieces, strict=True)))

    return Bootstrap(
        joined(part.scores for part in parts),
        joined(part.differences for part in parts),
        np.concatenate([part.better for part in parts], axis=1),
    )


def _bootstrap_groups(systems: Sequence[ClipRatios], protocol: Protocol, resampling: Resampling) -> Bootstrap:
    videos = len(systems[0].numerators)
    whole = _scores(systems, protocol, np.ones((1, videos)))[:, 0]
    samples = np.concatenate(
        [_scores(systems, protocol, weights) for weights in draw_weights(videos, resampling)], axis=1
    )  # (M, R, G, S)
    differences = samples[1:] - samples[:1]
    known = (~np.isnan(differences)).sum(axis=1)
    better = np.divide((differences > 0).sum(axis=1), known, out=np.full(known.shape, np.nan), where=known > 0)
    return Bootstrap(
        Intervals(whole, *_quantiles(samples, resampling.confidence)),
        Intervals(whole[1:] - whole[:1], *_quantiles(differences, resampling.confidence)),
        better,
    )


def draw_weights(videos: int, resampling: Resampling) -> Iterator[NDArray[np.float64]]:
    """Yield how often each video is in each resample, (resamples of a block, videos).

    Args:
        videos: V of them; each resample is V draws with replacement.
        resampling: number of resamples and seed.
    """
    rng = np.random.default_rng(resampling.seed)
    for start in range(0, resampling.resamples, _BLOCK):
        count = min(_BLOCK, resampling.resamples - start)
        drawn = rng.integers(videos, size=(count, videos)) + np.arange(count)[:, None] * videos
        yield np.bincount(drawn.ravel(), minlength=count * videos).reshape(count, videos).astype(float)


def _scores(systems: Sequence[ClipRatios], protocol: Protocol, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the scores of weighted videos, (M, R, G, S). weights: (R, V)."""
    return np.stack([protocol.derive(_ratios(system, weights)) for system in systems])


def _ratios(system: ClipRatios, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    shape = (len(weights), *system.numerators.shape[1:])
    numerators, denominators = ((weights @ part.reshape(len(part), -1)).reshape(shape) for part in system)
    return np.divide(numerators, denominators, out=np.full(shape, np.nan), where=denominators > 0)


def _sum_by(table: NDArray[np.float64], videos: NDArray[np.int64]) -> NDArray[np.float64]:
    """Sum the rows of each video, (N, G, K) -> (V, G, K)."""
    sums = np.zeros((int(videos.max()) + 1, *table.shape[1:]))
    np.add.at(sums, videos, table)
    return sums


def _quantiles(samples: NDArray[np.float64], confidence: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return both ends of the percentile interval along axis 1, of the samples that are not NaN."""
    ordered = np.sort(samples, axis=1)  # NaN last
    last = (~np.isnan(samples)).sum(axis=1, keepdims=True) - 1
    tail = (1 - confidence / 100) / 2

    def quantile(share: float) -> NDArray[np.float64]:
        place = share * np.maximum(last, 0)
        below = np.floor(place).astype(np.int64)
        above = np.minimum(below + 1, np.maximum(last, 0))
        first, second = (np.take_along_axis(ordered, index, axis=1) for index in (below, above))
        return (first + (second - first) * (place - below))[:, 0]

    return quantile(tail), quantile(1 - tail)
