"""Score timelines of any classes: rankings of scores without thresholds, detections, and OV-AVEL's measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.messages import shown
from ..datasets.annotations import Annotations, DatasetSplit
from ..errors import DatasetError
from ..segments import runs
from ..text import escape
from ..timeline import MODALITIES, SINGLE_MODALITIES
from .detection import DetectionEvaluation, evaluate_detections
from .evaluate_timelines import read_decisions
from .ov_avel import OvAvelEvaluation, score_ov_avel, unseen_rows
from .ranking import RankingEvaluation, rank_classes
from .scored_classes import class_names, select_classes
from .timeline_files import invalid_timeline, limited_events, read_clips

Scores = dict[str, NDArray[np.floating]]  # "audio", "visual" -> (T, C)
Found = dict[tuple[str, str], list[tuple[float, float, float]]]  # modality, class -> onset, offset, score


def rank_timelines(
    folder: Path,
    annotations: Annotations,
    split: str,
    *,
    allow_missing: bool = False,
    classes: Sequence[str] | None = None,
) -> RankingEvaluation:
    """Rank the seconds of all clips by the scores in the timelines of a folder.

    Args:
        folder: of timelines with scores per second (`avvp parse --segments`), see `read_clips`.
        annotations: of the data set.
        split: "val" or "test".
        allow_missing: score only the clips that have a timeline; `notes` states their number.
        classes: names of those to score; None for all of the annotations.

    Returns:
        The rankings.

    Raises:
        DatasetError: timelines are missing or invalid, or have no scores per second; the message lists all of them.
    """
    annotations, notes = select_classes(annotations, classes)
    labels = annotations.labels

    def read(path: Path, document: Mapping[str, Any], _: int) -> Scores:
        return _read_scores(path, document, labels)

    found = read_clips(folder, annotations, split, read, allow_missing=allow_missing)
    return evaluate_rankings(
        annotations, split, found.rows, found.values, source=escape(folder.resolve().name), notes=(*notes, *found.notes)
    )


def evaluate_rankings(
    annotations: Annotations,
    split: str,
    rows: Sequence[int],
    scores: Sequence[Scores],
    *,
    source: str,
    notes: Sequence[str] = (),
) -> RankingEvaluation:
    """Rank the seconds of clips by their scores.

    Args:
        annotations: of the data set.
        split: of the clips.
        rows: of n clips in the split.
        scores: of each of them.
        source: name of the system.
        notes: for the reader.

    Returns:
        The rankings. A clip has the seconds of its scores, as far as annotations go; annotated seconds of events after
        the last score count with score 0.
    """
    clips = annotations.split(split)
    truth = annotations.segment_labels(clips, annotations.segments)
    aligned: dict[str, list[NDArray[np.floating]]] = {name: [] for name in SINGLE_MODALITIES}
    active: dict[str, list[NDArray[np.bool_]]] = {name: [] for name in SINGLE_MODALITIES}
    for row, tables in zip(rows, scores, strict=True):
        annotated = np.flatnonzero((truth.audio[row] | truth.visual[row]).any(axis=1))
        known = annotations.seconds.get(clips.filenames[row], annotations.segments)
        length = max(min(len(tables["audio"]), known), int(annotated[-1]) + 1 if len(annotated) else 1)
        for modality in SINGLE_MODALITIES:
            table = tables[modality][:length]
            aligned[modality].append(np.pad(table, ((0, length - len(table)), (0, 0))))
            active[modality].append(_fit(truth.of(modality)[row], length))
    return RankingEvaluation(
        split, source, len(rows), sum(map(len, active["audio"])), rank_classes(aligned, active, annotations.labels),
        tuple(notes),
    )  # fmt: skip


def detect_timelines(
    folder: Path,
    annotations: Annotations,
    split: str,
    *,
    allow_missing: bool = False,
    classes: Sequence[str] | None = None,
) -> DetectionEvaluation:
    """Score the events in the timelines of a folder as detections.

    Args:
        folder: of timelines, see `read_clips`; an event without a score has 1.
        annotations: of the data set. In UnAV-100's form events are heard and seen, and audio-visual events alone are
            scored, with the annotated times; in others those of both senses too, with whole seconds.
        split: "val" or "test".
        allow_missing: score only the clips that have a timeline; `notes` states their number.
        classes: names of those to score; None for all of the annotations.

    Returns:
        The average precisions.

    Raises:
        DatasetError: timelines are missing or invalid; the message lists all of them.
    """
    annotations, notes = select_classes(annotations, classes)
    find = class_names(annotations.labels, others=classes is not None)

    def read(path: Path, document: Mapping[str, Any], _: int) -> Found:
        found: Found = {}
        try:
            for event in limited_events(document):
                if (label := find(event["label"])) is None:
                    continue
                if label not in places:
                    raise ValueError(f"unknown class {shown(label)}")
                if (modality := event["modality"]) not in MODALITIES:
                    raise ValueError(f"unknown modality {shown(modality)}")
                onset, offset, score = float(event["onset"]), float(event["offset"]), float(event.get("score", 1))
                if not 0 <= onset <= offset < np.inf or not 0 <= score <= 1:
                    raise ValueError(f"[{onset}, {offset}) with score {score} is not an event")
                found.setdefault((modality, label), []).append((onset, offset, score))
        except (ValueError, TypeError, KeyError, OverflowError, AttributeError) as error:
            raise invalid_timeline(path, error) from error
        return found

    places = set(annotations.labels)
    clips = annotations.split(split)
    result = read_clips(folder, annotations, split, read, allow_missing=allow_missing)
    detections: dict[str, dict[str, dict[str, NDArray[np.float64]]]] = {}
    for row, found in zip(result.rows, result.values, strict=True):
        for (modality, label), events in found.items():
            by_class = detections.setdefault(modality, {})
            by_class.setdefault(label, {})[clips.filenames[row]] = np.array(sorted(events))
    precisions = evaluate_detections(detections, _annotated_spans(annotations, clips, result.rows), annotations.labels)
    return DetectionEvaluation(
        split, escape(folder.resolve().name), len(result.rows), precisions, (*notes, *result.notes)
    )


def score_timelines_ov_avel(
    folder: Path,
    annotations: Annotations,
    split: str,
    *,
    allow_missing: bool = False,
    classes: Sequence[str] | None = None,
) -> OvAvelEvaluation:
    """Score the timelines of a folder by OV-AVEL's measures; arguments and errors as for `detect_timelines`."""
    unseen = unseen_rows(annotations, split)
    annotations, notes = select_classes(annotations, classes)
    found = read_decisions(folder, annotations, split, allow_missing=allow_missing, others=classes is not None)
    truth = annotations.segment_labels(annotations.split(split), annotations.segments).select(list(found.rows))
    parts = score_ov_avel(found.labels, truth, unseen[list(found.rows)])
    return OvAvelEvaluation(split, escape(folder.resolve().name), parts, (*notes, *found.notes))


def _annotated_spans(
    annotations: Annotations, clips: DatasetSplit, rows: Sequence[int]
) -> dict[str, dict[str, dict[str, NDArray[np.float64]]]]:
    """Return modality -> class -> clip -> (M, 2) annotated events of some clips of a split."""
    spans: dict[str, dict[str, dict[str, list[tuple[float, float]]]]] = {}
    if annotations.spans:
        for row in rows:
            name = clips.filenames[row]
            for onset, offset, label in annotations.spans.get(name, ()):
                classes = spans.setdefault("audio_visual", {})
                classes.setdefault(annotations.labels[label], {}).setdefault(name, []).append((onset, offset))
    else:
        truth = annotations.segment_labels(clips, annotations.segments)
        of_one = annotations.task == "avel"
        for modality in ("audio_visual",) if of_one else ("audio", "visual", "audio_visual"):
            table = truth.of(modality)
            for row in rows:
                for index in np.flatnonzero(table[row].any(axis=0)):
                    by_clip = spans.setdefault(modality, {}).setdefault(annotations.labels[index], {})
                    by_clip[clips.filenames[row]] = [(float(a), float(b)) for a, b in runs(table[row][:, index])]
    return {
        modality: {
            label: {name: np.array(events, np.float64) for name, events in by_clip.items()}
            for label, by_clip in classes.items()
        }
        for modality, classes in spans.items()
    }


def _read_scores(path: Path, document: Mapping[str, Any], labels: Sequence[str]) -> Scores:
    """Read the scores per second of a timeline, in the order of `labels`; of classes that it lacks they are 0."""
    tables = document.get("segments")
    if not isinstance(tables, dict):
        raise DatasetError(f"{escape(path)}: has no scores per second; 'avvp parse --segments' writes them")
    try:
        names = document["labels"]
        find = class_names(labels, others=True)
        columns = [(find(name), index) for index, name in enumerate(names)]
        places = {label: index for index, label in enumerate(labels)}
        scores: Scores = {}
        for modality in SINGLE_MODALITIES:
            table = np.asarray(tables[modality], np.float32)
            if table.ndim != 2 or table.shape[1] != len(names) or not len(table):
                raise ValueError(f"{modality} scores are {table.shape}, expected (T, {len(names)})")
            if not ((table >= 0) & (table <= 1)).all():
                raise ValueError(f"{modality} scores are not all in [0, 1]")
            scores[modality] = np.zeros((len(table), len(labels)), np.float32)
            for label, index in columns:
                if label is not None:
                    scores[modality][:, places[label]] = table[:, index]
        if len(scores["audio"]) != len(scores["visual"]):
            raise ValueError("audio and visual scores are of different lengths")
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise invalid_timeline(path, error) from error
    return scores


def _fit(table: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
    return np.pad(table[:length], ((0, max(0, length - len(table))), (0, 0)))
