"""AV2A's rule for videos of any length: thresholds that fall for what was active, events, and their own scores.

A score is relative to all classes and the background, second by second. In windows of `RuleSettings.window` seconds the
thresholds begin anew. An event whose own score is low loses the seconds that only a fallen threshold let in; the
published program loses the event.

Source:
    AV2A (CVPR 2025). Sounds have a score for each second; one sound for a whole clip is an option.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from .rules import merge_tables, shift_windows
from .similarities import Similarities, blocks, unit_rows
from .vocabulary import RuleSettings

# No threshold falls below this, unless it began there: the score of an entry that is as near as entries are on average.
_LEAST_THRESHOLD = 0.5
_Events = tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.intp]]  # class, onset and offset of each


class Av2a:
    """Thresholds that follow what was active in earlier seconds; events of two seconds or more with their own score."""

    def score(self, similarities: Similarities, settings: RuleSettings) -> dict[str, NDArray[np.float64]]:
        """Return modality -> (T, C) scores, see `Rule.score`."""
        heard = _as_heard(similarities, settings)
        return {modality: heard.relative(modality) for modality in heard.embeddings}

    def decide(
        self,
        scores: Mapping[str, NDArray[np.floating]],
        similarities: Similarities,
        thresholds: Mapping[str, NDArray[np.float64]],
        settings: RuleSettings,
    ) -> dict[str, NDArray[np.bool_]]:
        """Return modality -> (T, C) decisions, see `Rule.decide`."""
        heard = _as_heard(similarities, settings)
        found = {}
        for modality, table in scores.items():
            active = np.zeros(table.shape, bool)
            own = np.flatnonzero(heard.known(modality)[: heard.classes])
            if len(own) and heard.can_score(modality):
                levels = np.asarray(thresholds[modality], np.float64)
                shifted = _decide_windows(table[:, own], levels[own], heard.embeddings[modality], settings)
                active[:, own] = _join(shifted)
                certain = _join(table > levels)
                events = _events_in_doubt(active, certain)
                weak = _own_scores(events, heard, modality) <= np.minimum(levels, settings.refine_threshold)[events[0]]
                for owner, onset, offset in zip(*(part[weak].tolist() for part in events), strict=True):
                    active[onset:offset, owner] = certain[onset:offset, owner]
            found[modality] = active
        return found


def _as_heard(similarities: Similarities, settings: RuleSettings) -> Similarities:
    """Return similarities with the mean sound of each window in place of its seconds, if that is asked for."""
    if not settings.published_audio:
        return similarities
    seconds = similarities.embeddings["audio"]
    means = np.empty_like(seconds)
    for start in range(0, len(seconds), settings.window):
        window = slice(start, start + settings.window)
        means[window] = unit_rows(seconds[window].mean(axis=0))
    return replace(similarities, embeddings={**similarities.embeddings, "audio": means})


def _decide_windows(
    scores: NDArray[np.floating],
    thresholds: NDArray[np.float64],
    embeddings: NDArray[np.float64],
    settings: RuleSettings,
) -> NDArray[np.bool_]:
    """Return (T, C) decisions by shifted thresholds, window by window; many at a time, as few numbers are in each."""
    seconds, classes = scores.shape
    size = min(settings.window, seconds)
    full = seconds // size
    least = np.minimum(thresholds, _LEAST_THRESHOLD)
    active = np.empty(scores.shape, bool)
    # A window costs its table, and a system of equations in as many unknowns as it has classes or seconds.
    cost = size * classes + min(size, classes) ** 2
    spans = [(part.start * size, part.stop * size) for part in blocks(full, cost)]
    for start, stop in (*spans, (full * size, seconds)):
        if start == stop:
            continue
        length = min(size, stop - start)
        windows = scores[start:stop].astype(np.float64).reshape(-1, length, classes)
        rows = embeddings[start:stop].reshape(-1, length, embeddings.shape[1])
        levels = shift_windows(windows, thresholds, settings.gamma, settings.method, rows, moves_unseen=False)
        active[start:stop] = (windows > np.maximum(levels, least)).reshape(-1, classes)
    return active


def _events_in_doubt(active: NDArray[np.bool_], certain: NDArray[np.bool_]) -> _Events:
    """Return the events of (T, C) decisions that are not certain from their first to their last second."""
    doubt = active & ~certain
    classes = np.flatnonzero(doubt.any(axis=0))
    edges = np.diff(active[:, classes].T.astype(np.int8), axis=1, prepend=0, append=0)  # (classes, T + 1)
    places, onsets = np.nonzero(edges == 1)
    offsets = np.nonzero(edges == -1)[1]
    doubts = np.cumsum(doubt[:, classes], axis=0, dtype=np.int32)
    doubted = doubts[offsets - 1, places] > np.where(onsets > 0, doubts[onsets - 1, places], 0)
    return classes[places[doubted]], onsets[doubted], offsets[doubted]


def _own_scores(events: _Events, similarities: Similarities, modality: str) -> NDArray[np.float64]:
    """Return (E,) scores of events as a whole: of the class of each, by the mean of its embeddings."""
    owners, onsets, offsets = events
    rows = similarities.embeddings[modality]
    sums = np.concatenate([np.zeros((1, rows.shape[1])), np.cumsum(rows, axis=0)])
    scores = np.empty(len(owners))
    for part in blocks(len(owners), max(len(similarities.texts[modality]), rows.shape[1])):
        means = unit_rows(sums[offsets[part]] - sums[onsets[part]])
        scores[part] = similarities.relative(modality, means)[np.arange(len(means)), owners[part]]
    return scores


def _join(active: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return (T, C) decisions as events of two seconds or more. A video of one second is not noise for being short."""
    return merge_tables(active) if len(active) > 1 else active
