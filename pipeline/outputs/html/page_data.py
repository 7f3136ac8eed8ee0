"""Data of a page's script: the events, what they were decided from, and what is said about them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from ...segments import runs
from ...text import display_label, escape
from ...timeline import MODALITIES, SINGLE_MODALITIES, Event, GroundTruth, Modality, Timeline, sort_events
from ..formats.events_json import to_document
from ..postprocess import PostProcessing, split_modalities
from .summary import (
    common_threshold,
    decision_rule,
    describe_thresholds,
    has_scores,
    stated_thresholds,
    summarize,
    why_not_decided,
)

_CODEC_KEYS = {"audio": "audio_codec", "visual": "video_codec"}  # in `Timeline.media`; None: no such stream


def page_data(timeline: Timeline, truth: GroundTruth | None = None) -> dict[str, Any]:
    """Return the data of the page's script, JSON-serializable.

    Args:
        timeline: the events; its probabilities become base64 of little-endian float32, (T, C) in row order.
        truth: intervals of the annotated labels and the line on the agreement.
    """
    tables = None if timeline.probabilities is None else timeline.probabilities.arrays()
    document = to_document(replace(timeline, events=()))  # events are stored in a shorter form
    classes = len(timeline.labels) if timeline.probabilities is None else timeline.probabilities.audio.shape[1]
    label_indices = {label: index for index, label in enumerate(timeline.labels)}
    media = timeline.media
    thresholds = stated_thresholds(timeline.provenance)
    return {
        "name": escape(Path(str(media.get("path", timeline.name))).name),
        "stem": re.sub(r"[^\w.\- ]", "_", escape(timeline.name)) or "video",
        "clip": timeline.name,
        "duration": max(timeline.segments, float(media["duration"]), *(e.offset for e in timeline.events), 0.1),
        "segments": timeline.segments,
        "lanes": list(timeline.lanes),
        "part": list(timeline.parsed) if timeline.parsed[0] else None,
        "labels": list(timeline.labels),
        "classes": classes,
        "words": {label: display_label(label) for label in timeline.labels},
        "hash": _hash(timeline),
        "summary": summarize(timeline.provenance),
        "has": {modality: media.get(key, "") is not None for modality, key in _CODEC_KEYS.items()},
        "threshold": common_threshold(thresholds),
        "threshold_words": describe_thresholds(thresholds) or "by class",
        "rule": decision_rule(timeline.provenance),
        "decided_elsewhere": why_not_decided(timeline.provenance),
        "scores": has_scores(timeline.provenance),
        "events": [_compact(event, label_indices) for event in displayed_events(timeline)],
        "probabilities": None if tables is None else {name: _base64(table) for name, table in tables.items()},
        "refinements": [dict(step) for step in timeline.processing if _is_refinement(step)],
        "truth": None if truth is None else {"spans": _spans(truth, timeline.lanes), "agreement": truth.agreement},
        "warnings": [escape(warning) for warning in timeline.warnings],
        "document": {key: value for key, value in document.items() if key != "events"},
    }


def _is_refinement(step: Mapping[str, Any]) -> bool:
    """Return whether a processing step is a valid "refine" step; other programs may have written anything."""
    numbers = [step.get(name) for name in ("merge_gap", "min_duration", "min_score")]
    classes = step.get("classes")
    is_refine = step.get("step") == "refine" and not step.keys() - {"step", *vars(PostProcessing())}
    well_formed = classes is None or (isinstance(classes, list) and all(isinstance(name, str) for name in classes))
    return is_refine and well_formed and all(value is None or isinstance(value, int | float) for value in numbers)


def displayed_events(timeline: Timeline) -> list[Event]:
    """Return the events, with audio and visual ones added where other programs wrote only audio-visual ones.

    Those of a localizer stay as they are.
    """
    if timeline.lanes != SINGLE_MODALITIES:
        return list(timeline.events)
    audio_visual = [event for event in timeline.events if event.modality == "audio_visual"]
    return list(sort_events([*split_modalities(timeline.events), *audio_visual], timeline.labels))


def _compact(event: Event, label_indices: Mapping[str, int]) -> list[float | str]:
    """Return modality index, class index, onset, offset and score, and the comment where there is one."""
    score = round(event.score, 6)
    fields = [MODALITIES.index(event.modality), label_indices[event.label], event.onset, event.offset, score]
    return [*fields, event.comment] if event.comment else fields


def _hash(timeline: Timeline) -> str:
    """Return the SHA-256 of everything that a timeline holds, by which a browser finds its drafts again."""
    document = json.dumps(to_document(timeline), sort_keys=True, separators=(",", ":"))
    digest = hashlib.sha256(document.encode())
    if timeline.probabilities is not None:
        for name, table in sorted(timeline.probabilities.arrays().items()):
            digest.update(name.encode() + np.ascontiguousarray(table, "<f4").tobytes())
    return digest.hexdigest()


def _base64(table: Any) -> str:
    return base64.b64encode(np.ascontiguousarray(table, "<f4").tobytes()).decode()


def _spans(truth: GroundTruth, lanes: Sequence[Modality]) -> list[tuple[str, int, int, int]]:
    tables = {modality: truth.labels.of(modality) for modality in lanes}
    return [
        (modality, index, start, stop)
        for modality, table in tables.items()
        for index in range(table.shape[1])
        for start, stop in runs(table[:, index])
    ]
