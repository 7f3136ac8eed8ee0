"""Decide labels from scores: logit thresholds, the mask of weak labels, missing streams."""

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
_CODEC_KEYS = {"audio": "audio_codec", "visual": "video_codec"}

ScoredClips = Mapping[str, Mapping[str, Any]]  # clip with scores of both teachers -> facts of its media file


@dataclass(frozen=True, kw_only=True)
class LabelingConfig:
    """How scores become labels, and what is written beside the labels.

    Attributes:
        prompts: text prompts and thresholds of the classes.
        weak: clip -> its classes; None if unknown: labels are decided by the scores only.
        calibration: how thresholds are chosen: None keeps those of the prompts, "dense" maximises F1 on `dense`,
            "distribution" splits the scores by Otsu's method.
        dense: clip -> labels per second, for calibration.
        data_set: also write the labelled clips as the training split of a data set.
        in_place: the output is the data set that the weak labels come from.
        origin: where the weak labels come from, for the record.
        notes: remarks on the run, for the record.
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
    """Return whether the media file has the stream; the scores of a missing one are those of silence or black."""
    return media.get(_CODEC_KEYS[modality]) is not None


def decide_labels(
    prompts: Prompts,
    scores: Mapping[str, NDArray[np.float32]],
    media: Mapping[str, Any],
    weak: NDArray[np.bool_] | None,
) -> SegmentLabels:
    """Label the segments of one clip.

    A class is active where its logit exceeds the threshold, if the clip has the class and the file has the stream.

    Args:
        prompts: thresholds of the C classes.
        scores: logits by modality, (T, C).
        media: facts of the media file.
        weak: (C,) classes of the clip; None if unknown, which allows all.

    Returns:
        (T, C) per modality.

    Source:
        VALOR (see `prompts.read_prompts`), whose comparison is strict, too.
    """
    allowed = np.ones(len(prompts.labels), bool) if weak is None else weak
    tables = {
        modality: (table > np.array(prompts.thresholds(modality), np.float32)) & allowed & has_stream(modality, media)
        for modality, table in scores.items()
    }
    return SegmentLabels(tables["audio"], tables["visual"])
