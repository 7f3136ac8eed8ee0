"""Timelines of localizers, decided from random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
from avvp.pipeline.inference.localize import decide_one_class, to_probabilities
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.timeline import Event, SegmentProbabilities, Timeline, all_events

LABELS = ("Bark", "Violin_fiddle", "Church_bell")


def make_localized_timeline(
    seconds: int = 10, labels: tuple[str, ...] = LABELS, *, seed: int = 5, path: str = "clip.mp4"
) -> Timeline:
    """Events of the most probable class of each second, as a localizer with a class for the background decides them."""
    rng = np.random.default_rng(seed)
    logits = 3 * rng.standard_normal((seconds // 2, len(labels) + 1)).repeat(2, axis=0)
    probabilities = to_probabilities(against_rivals(logits))
    thresholds = Thresholds.uniform(labels)
    events = all_events(decide_one_class(probabilities, thresholds), probabilities, labels, "avel")
    return localized(events, labels, probabilities, path=path)


def localized(
    events: tuple[Event, ...],
    labels: tuple[str, ...] = LABELS,
    probabilities: SegmentProbabilities | None = None,
    *,
    path: str = "clip.mp4",
    seconds: float = 10.0,
) -> Timeline:
    """A timeline of these events, whose provenance states the task."""
    duration = seconds if probabilities is None else float(len(probabilities.audio))
    media: dict[str, Any] = {"path": path, "duration": duration, "audio_codec": "aac", "video_codec": "h264"}
    provenance = {"program": "avvp", "task": "avel", "thresholds": Thresholds.uniform(labels).to_dict()}
    return Timeline(events, labels, probabilities, media, provenance)


def both(label: str, onset: float, offset: float, score: float = 0.75, comment: str = "") -> Event:
    return Event("audio_visual", label, onset, offset, score, comment)


def against_rivals(logits: np.ndarray) -> np.ndarray:
    """sigmoid(logit - the largest of the others) of all classes but the last, the background: (T, C + 1) -> (T, C)."""
    rows = []
    for second in logits:
        others = [np.delete(second, index).max() for index in range(len(second) - 1)]
        rows.append(1 / (1 + np.exp(np.array(others) - second[:-1])))
    return np.array(rows, np.float32)
