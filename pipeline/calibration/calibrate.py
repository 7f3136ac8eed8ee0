"""Calibrate the thresholds of an open bundle on annotated clips, and score them on clips that were left out."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...weights.manifest import Bundle
from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id, video_of
from ..errors import DatasetError, SetupError
from ..evaluation.open_clips import OpenClip, open_network, stack_labels
from ..evaluation.scored_classes import class_names
from ..inference.bundle import LoadedBundle
from ..metrics import Scores, score
from ..open_vocabulary.similarities import OpenProbabilities
from ..open_vocabulary.vocabulary import MODALITY_KEYS, Vocabulary
from ..timeline import SINGLE_MODALITIES, SegmentLabels
from .choose import OFFSETS, Choice, Counts, choose_all, count_seconds, move_thresholds

FOLDS = 5  # of the clips; those of a fold are scored with thresholds that the others choose
Thresholds = dict[str, NDArray[np.float64]]  # modality -> (C,)


@dataclass(frozen=True, eq=False)
class Calibration:
    """Thresholds of C classes, and what they score.

    Attributes:
        vocabulary: with the thresholds.
        choices: modality -> how they were chosen.
        clips: number of clips that chose.
        annotated: (C,) whether the data set knows a class.
        before: scores of the thresholds at the start.
        held_out: scores of clips with thresholds that other clips chose; None for fewer than two videos.
        fitted: scores of the clips with the thresholds that they chose themselves, which is no test.
        notes: for the reader.
    """

    vocabulary: Vocabulary
    choices: dict[str, Choice]
    clips: int
    annotated: NDArray[np.bool_]
    before: Scores
    held_out: Scores | None
    fitted: Scores
    notes: tuple[str, ...] = field(default=())

    def kind(self, modality: str, index: int) -> str:
        """Return how the threshold of a class was found: "own", "shared" or "unchanged"; "off" without a sentence."""
        choice = self.choices[modality]
        if not self.vocabulary.classes[index].sentences(modality):
            return "off"
        return "own" if choice.own[index] else "shared" if choice.seconds.any() else "unchanged"

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping."""
        return {
            "clips": self.clips,
            "notes": list(self.notes),
            "scores": {
                "before": self.before.to_dict(),
                "held_out": None if self.held_out is None else self.held_out.to_dict(),
                "fitted": self.fitted.to_dict(),
            },
            "shared_offsets": {MODALITY_KEYS[modality]: choice.shared for modality, choice in self.choices.items()},
            "classes": {
                item.label: {
                    MODALITY_KEYS[modality]: {
                        "threshold": self.vocabulary.thresholds(modality)[index],
                        "seconds": int(choice.seconds[index]),
                        "kind": self.kind(modality, index),
                    }
                    for modality, choice in self.choices.items()
                }
                for index, item in enumerate(self.vocabulary.classes)
            },
        }


def calibratable(bundle: Bundle) -> Bundle:
    """Return an open bundle whose scores can be calibrated: relative ones.

    Args:
        bundle: with the user's classes.

    Returns:
        The bundle; VALOR's thresholds of LLP's names are left out, their sentences stay.

    Raises:
        SetupError: the user's thresholds are of logits.
    """
    vocabulary = Vocabulary.from_dict(bundle.classes or {})
    if vocabulary.scale == "relative":
        return bundle
    if vocabulary.origin != "valor":
        raise SetupError(
            "the thresholds of --classes are of logits; calibration chooses those of relative scores: take the"
            " thresholds and scale = 'logits' out of the file"
        )
    classes = tuple(replace(item, seen_threshold=None, heard_threshold=None) for item in vocabulary.classes)
    plain = replace(vocabulary, classes=classes, origin="default", scale="relative")
    return replace(bundle, classes=plain.to_dict())


class _Clips:
    """Clips with their annotated labels in the classes of the bundle."""

    def __init__(self, loaded: LoadedBundle, annotations: Annotations, split: str, clips: Sequence[OpenClip]) -> None:
        self.network, self.clips = open_network(loaded), clips
        labels = self.network.config.labels
        find = class_names(annotations.labels, others=True)
        places = {label: index for index, label in enumerate(annotations.labels)}
        found = [find(label) for label in labels]
        self.annotated = np.array([label is not None for label in found])
        self.columns = [places[label] for label in found if label is not None]
        self.names = annotations.split(split).filenames
        self.videos = [clip_id(video_of(self.names[clip.row], annotations.videos)) for clip in clips]
        tables = annotations.segment_labels(annotations.split(split), annotations.segments)
        self.truth = [self._truth(annotations, tables.select(clip.row), clip) for clip in clips]

    def _truth(self, annotations: Annotations, labels: SegmentLabels, clip: OpenClip) -> SegmentLabels:
        """Return (T, C) labels, from the first second to the last one that is annotated or has scores."""
        known = annotations.seconds.get(self.names[clip.row], annotations.segments)
        active = np.flatnonzero((labels.audio | labels.visual).any(axis=1))
        length = max(min(len(clip.audio), known), int(active[-1]) + 1 if len(active) else 1)
        return SegmentLabels(*(self._fit(table, length) for table in labels))

    def _fit(self, table: NDArray[np.bool_], length: int) -> NDArray[np.bool_]:
        labels = np.zeros((length, len(self.annotated)), bool)
        rows = table[:length, self.columns]
        labels[: len(rows), self.annotated] = rows
        return labels

    def decide(self, index: int, found: OpenProbabilities, thresholds: Thresholds) -> SegmentLabels:
        """Return the labels of a clip, as long as its annotated ones."""
        clip, length = self.clips[index], len(self.truth[index].audio)
        labels = self.network.decide(found, thresholds)
        has = {"audio": clip.has_audio, "visual": clip.has_video}
        tables = [labels.of(modality)[:length] & has[modality] for modality in SINGLE_MODALITIES]
        return SegmentLabels(*(np.pad(table, ((0, length - len(table)), (0, 0))) for table in tables))

    def score(self, decisions: Sequence[SegmentLabels]) -> Scores:
        """Return the ten scores of the annotated classes."""
        longest = max(len(labels.audio) for labels in self.truth)
        tables = (*stack_labels(decisions, longest), *stack_labels(self.truth, longest))
        return score(*(table[..., self.annotated] for table in tables))


def calibrate(
    loaded: LoadedBundle,
    annotations: Annotations,
    split: str,
    clips: Sequence[OpenClip],
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Calibration:
    """Choose thresholds for the rule that decides, with their highest F over the seconds of annotated clips.

    Every threshold is tried through the whole rule, which may do more than compare scores with it. A clip that lacks a
    stream has no part in the thresholds of its modality.

    Args:
        loaded: an open bundle, of relative scores.
        annotations: of the data set, with labels per second.
        split: of the clips.
        clips: at least one.
        progress: called with the number of steps done and the total.

    Returns:
        The thresholds and their scores.

    Raises:
        DatasetError: the data set knows none of the classes, or has no labels per second of the clips.
    """
    data = _Clips(loaded, annotations, split, clips)
    if not data.annotated.any():
        raise DatasetError("none of the classes is annotated: name those of the annotations, or leave out --classes")
    if not any(labels.audio.any() or labels.visual.any() for labels in data.truth):
        raise DatasetError(f"the {len(clips)} clips of {split} have no annotated second of the classes")
    vocabulary = data.network.config.vocabulary
    start = {modality: np.array(vocabulary.thresholds(modality)) for modality in SINGLE_MODALITIES}
    folds = _folds(data.videos)
    total = 2 * len(clips)
    counts = {
        modality: np.zeros((folds.max() + 1, len(OFFSETS), len(vocabulary.classes), 3), np.int64) for modality in start
    }
    for index, clip in enumerate(clips):
        found = clip.predict(data.network)
        for place, offset in enumerate(OFFSETS):
            labels = data.decide(index, found, _moved(start, offset))
            for modality, has in (("audio", clip.has_audio), ("visual", clip.has_video)):
                if has:
                    seconds = count_seconds(labels.of(modality), data.truth[index].of(modality))
                    counts[modality][folds[index], place] += seconds
        progress(index + 1, total)
    choices = choose_all({modality: table.sum(axis=0) for modality, table in counts.items()}, data.annotated)
    chosen = _choose(start, choices)
    of_fold = [_choose(start, choose_all(_without(counts, fold), data.annotated)) for fold in range(folds.max() + 1)]
    decided: dict[str, list[SegmentLabels]] = {"before": [], "held_out": [], "fitted": []}
    for index, clip in enumerate(clips):
        found = clip.predict(data.network)
        for name, thresholds in (("before", start), ("held_out", of_fold[folds[index]]), ("fitted", chosen)):
            decided[name].append(data.decide(index, found, thresholds))
        progress(len(clips) + index + 1, total)
    return Calibration(
        vocabulary.with_thresholds(
            {name: values.tolist() for name, values in chosen.items()}, "calibrated", **data.network.weights
        ),
        choices,
        len(clips),
        data.annotated,
        before=data.score(decided["before"]),
        held_out=data.score(decided["held_out"]) if folds.max() else None,
        fitted=data.score(decided["fitted"]),
        notes=tuple(_notes(choices, several=bool(folds.max()))),
    )


def _moved(start: Thresholds, offset: float) -> Thresholds:
    return {modality: move_thresholds(values, offset) for modality, values in start.items()}


def _choose(start: Thresholds, choices: dict[str, Choice]) -> Thresholds:
    return {modality: move_thresholds(values, choices[modality].offsets) for modality, values in start.items()}


def _without(counts: dict[str, NDArray[np.int64]], fold: int) -> dict[str, Counts]:
    return {modality: table.sum(axis=0) - table[fold] for modality, table in counts.items()}


def _folds(videos: Sequence[str]) -> NDArray[np.int64]:
    """Return the fold of each clip, by the name of its video: clips of one video are in one, in any order of clips."""
    shuffled = sorted(set(videos), key=lambda name: hashlib.sha256(name.encode(errors="surrogateescape")).digest())
    places = {name: index % min(FOLDS, len(shuffled)) for index, name in enumerate(shuffled)}
    return np.array([places[name] for name in videos])


def _notes(choices: dict[str, Choice], *, several: bool) -> list[str]:
    notes = []
    if not several:
        notes.append("One video chooses all thresholds: there is no other to score them on.")
    for modality, choice in choices.items():
        if not choice.seconds.any():
            notes.append(f"Nothing is annotated as {MODALITY_KEYS[modality]}: these thresholds stay as they were.")
    return notes
