"""How scores become labels: thresholds, the mask of weak labels, streams that are not there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..timeline import SegmentLabels
from .prompts import Prompts
from .weak_labels import WeakLabels

TEACHERS = {"audio": "CLAP", "visual": "CLIP"}
SENSES = {"audio": "heard", "visual": "seen"}
_CODECS = {"audio": "audio_codec", "visual": "video_codec"}

Scored = Mapping[str, Mapping[str, Any]]  # clip with scores of both teachers -> facts of its media


@dataclass(frozen=True, kw_only=True)
class LabelingConfig:
    """How scores become labels. weak: the classes of each clip, None for labels from scores alone.

    calibration: None for the thresholds of the prompts, "distribution", or "dense" by `dense`, clip -> truth.
    data_set: write the clips down as the training split of a data set, too; in_place: the storage is the data set that
    the weak labels are from. origin, notes: for the record.
    """

    prompts: Prompts
    weak: WeakLabels | None = None
    calibration: str | None = None
    dense: Mapping[str, SegmentLabels] = field(default_factory=dict)
    data_set: bool = False
    in_place: bool = False
    origin: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def has_stream(modality: str, media: Mapping[str, Any]) -> bool:
    """Whether the file has such a stream; scores of one that it lacks are those of silence and of black."""
    return media.get(_CODECS[modality]) is not None


def decide(
    prompts: Prompts, weak: WeakLabels | None, name: str, scores: Mapping[str, NDArray[np.float32]],
    media: Mapping[str, Any],
) -> dict[str, NDArray[np.bool_]]:  # fmt: skip
    """Of a clip, by modality (T, C): the logit is above the threshold, and the video has the class and the stream."""
    labels = {}
    for modality, table in scores.items():
        above = table > np.array(getattr(prompts, f"{SENSES[modality]}_threshold"), np.float32)
        labels[modality] = above & (True if weak is None else weak[name]) & has_stream(modality, media)
    return labels
