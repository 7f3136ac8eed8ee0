"""Scoring a parser, or timelines of any program, on a split."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..models.parser import AVParser
from .annotations import Annotations, read_annotations
from .bundle import LoadedParser, check_features
from .dataset import Clips, clip_id, load_clips
from .errors import DatasetError, FeatureMismatchError, printable
from .metrics import Scores, class_scores, overlapping, score
from .predict import Predictions, predict_clips
from .store import open_features
from .thresholds import DEFAULT_THRESHOLD, Thresholds
from .tuning import tune_thresholds

_TIMELINE_SUFFIX = ".events.json"
_MODALITIES = {"audio": ("audio",), "visual": ("visual",), "audio_visual": ("audio", "visual")}
_ROUNDING = 1e-9  # of sums of seconds
_MIN_COVER = 0.5  # share of a second from which on an event counts as being in it


@dataclass(frozen=True)
class Subset:
    """Scores of some of the clips; None where there are no such clips."""

    clips: int
    scores: Scores | None


@dataclass(frozen=True)
class Evaluation:
    """All that is known of one system on one split."""

    split: str
    source: str  # the parser's or the timelines' name
    labels: tuple[str, ...]
    whole: Subset
    overlapping: Subset  # some second has two or more events of one modality
    non_overlapping: Subset
    classes: dict[str, Scores | None]  # class -> its own scores
    notes: tuple[str, ...] = field(default=())

    @property
    def scores(self) -> Scores:
        """Of all clips."""
        assert self.whole.scores is not None  # a split has clips
        return self.whole.scores

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping: scores in percent, null for what no clip could be scored by."""

        def document(scores: Scores | None) -> dict[str, Any] | None:
            return None if scores is None else scores.to_dict()

        subsets = {name: getattr(self, name) for name in ("whole", "overlapping", "non_overlapping")}
        return {
            "split": self.split,
            "source": self.source,
            "notes": list(self.notes),
            "scores": document(self.scores),
            "subsets": {name: {"clips": part.clips, "scores": document(part.scores)} for name, part in subsets.items()},
            "classes": {label: document(scores) for label, scores in self.classes.items()},
        }


@dataclass(frozen=True, eq=False)
class Decisions:
    """What a system says of N clips, (N, T, C) bool each."""

    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]


def score_clips(parser: AVParser, clips: Clips, device: torch.device) -> Scores:
    """The ten scores by the published decision, every threshold at 0.5."""
    labels = parser.config.labels
    uniform = Thresholds.uniform(labels, DEFAULT_THRESHOLD, DEFAULT_THRESHOLD)
    heard, seen = uniform.decide(predict_clips(parser, clips, device))
    return score(heard, seen, *clips.segment_labels)


def evaluate(
    decisions: Decisions,
    true_audio: NDArray[np.bool_],
    true_visual: NDArray[np.bool_],
    *,
    split: str,
    source: str,
    labels: Sequence[str],
    notes: Sequence[str] = (),
) -> Evaluation:
    """All scores of decisions against the truth, (N, T, C) bool each."""
    four = (decisions.heard, decisions.seen, true_audio, true_visual)
    crowded = overlapping(true_audio, true_visual)

    def subset(chosen: NDArray[np.bool_]) -> Subset:
        count = int(chosen.sum())
        return Subset(count, score(*(part[chosen] for part in four)) if count else None)

    return Evaluation(
        split=split,
        source=source,
        labels=tuple(labels),
        whole=subset(np.ones(len(crowded), bool)),
        overlapping=subset(crowded),
        non_overlapping=subset(~crowded),
        classes=dict(zip(labels, class_scores(*four), strict=True)),
        notes=tuple(notes),
    )


def evaluate_timelines(
    folder: Path, annotations: Annotations, split: str, *, allow_missing: bool = False
) -> Evaluation:
    """Score the timelines in a folder: `<filename>.events.json` or `<id>.events.json`, of any program.

    Only `events` is read of each: modality ("audio", "visual" or, for both, "audio_visual"), label, onset and offset in
    seconds. A second is active where events of the class cover at least half of it. What lies past the last
    annotated second of the data set is not scored. Raises DatasetError listing timelines that are missing (unless
    `allow_missing`: then only what is there is scored, and `notes` says so) or cannot be understood.
    """
    chosen = annotations.split(split)
    rows: list[int] = []
    heard: list[NDArray[np.bool_]] = []
    seen: list[NDArray[np.bool_]] = []
    missing: list[str] = []
    problems: list[str] = []
    for index, filename in enumerate(chosen.filenames):
        candidates = (folder / f"{name}{_TIMELINE_SUFFIX}" for name in (filename, clip_id(filename)))
        path = next((path for path in candidates if path.is_file()), None)
        if path is None:
            missing.append(f"{printable(filename)}{_TIMELINE_SUFFIX}")
            continue
        try:
            audio, visual = read_timeline(path, annotations.labels, annotations.segments)
        except DatasetError as error:
            problems.append(str(error))
            continue
        rows.append(index)
        heard.append(audio)
        seen.append(visual)
    if missing and (not allow_missing or not rows):
        problems += [f"missing: {name}" for name in missing]
    if problems:
        hint = "" if allow_missing or not missing else " (--allow-missing scores what is there)"
        raise DatasetError.listing(f"the timelines in {printable(folder)} cannot be scored{hint}", problems)
    notes = [f"{len(rows)} of {len(chosen)} clips: the others have no timeline"] if missing else []
    truth = (annotations.dense(chosen, modality, annotations.segments)[rows] for modality in ("audio", "visual"))
    return evaluate(
        Decisions(np.stack(heard), np.stack(seen)), *truth, split=split, source=printable(folder.resolve().name),
        labels=annotations.labels, notes=notes,
    )  # fmt: skip


def read_timeline(path: Path, labels: Sequence[str], segments: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Which classes are heard and which are seen in which second, (T, C) each. Raises DatasetError."""
    places = {label: index for index, label in enumerate(labels)}
    spans: dict[tuple[str, int], list[tuple[float, float]]] = {}
    try:
        for event in json.loads(path.read_text(encoding="utf-8"))["events"]:
            modality, label = event["modality"], event["label"]
            onset, offset = float(event["onset"]), float(event["offset"])
            if label not in places:
                raise ValueError(f"unknown class {label!r}")
            if modality not in _MODALITIES:
                raise ValueError(f"unknown modality {modality!r}")
            if not -math.inf < onset <= offset < math.inf:
                raise ValueError(f"[{onset}, {offset}) is not an interval of time")
            for one in _MODALITIES[modality]:
                spans.setdefault((one, places[label]), []).append((onset, offset))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError) as error:
        what = f"no {error}" if isinstance(error, KeyError) else printable(error)
        raise DatasetError(f"{printable(path)}: not a timeline: {what}") from error
    active = {modality: np.zeros((segments, len(labels)), bool) for modality in ("audio", "visual")}
    for (modality, index), own in spans.items():
        active[modality][:, index] = _covered(own, segments)
    return active["audio"], active["visual"]


def _covered(spans: Sequence[tuple[float, float]], segments: int) -> NDArray[np.bool_]:
    """(T,): the seconds that intervals, overlapping ones counted once, cover by at least half."""
    starts = np.arange(segments)
    shares = np.zeros(segments)
    reached = -math.inf
    for onset, offset in sorted(spans):
        onset = max(onset, reached)  # noqa: PLW2901 - what an earlier one covers is counted
        if offset > onset:
            shares += np.clip(np.minimum(starts + 1, offset) - np.maximum(starts, onset), 0, 1)
            reached = offset
    return shares >= _MIN_COVER - _ROUNDING


class Judge:
    """A parser, and the data to score it on. Raises as its parts do: features and classes must be the parser's."""

    def __init__(
        self,
        loaded: LoadedParser,
        annotations: Path,
        features: Path,
        *,
        progress: Callable[[str], Callable[[int, int], None]],
    ) -> None:
        self.loaded = loaded
        self.annotations = read_annotations(annotations)
        self.features = open_features(features)
        self.progress = progress
        check_features(loaded, self.features.spec, features)
        check_labels(loaded, self.annotations)

    def evaluate(self, split: str, thresholds: Thresholds, notes: Sequence[str] = ()) -> Evaluation:
        """All scores on a split."""
        clips = load_clips(self.annotations, split, self.features)
        heard, seen = thresholds.decide(self._predict(clips))
        return evaluate(
            Decisions(heard, seen), *clips.segment_labels, split=split, source=self.loaded.name,
            labels=self.annotations.labels, notes=notes,
        )  # fmt: skip

    def tune(self) -> Thresholds:
        """Thresholds chosen on the validation split."""
        clips = load_clips(self.annotations, "val", self.features)
        return tune_thresholds(self._predict(clips), clips, self.annotations.labels, self.progress("tuning thresholds"))

    def _predict(self, clips: Clips) -> Predictions:
        return predict_clips(self.loaded.parser, clips, self.loaded.device, self.progress(f"parsing {clips.split}"))


def check_labels(loaded: LoadedParser, annotations: Annotations) -> None:
    """Raises FeatureMismatchError, naming both, unless parser and annotations have the same classes in one order."""
    ours, theirs = loaded.parser.config.labels, annotations.labels
    if ours == theirs:
        return
    only_ours, only_theirs = ([x for x in one if x not in two] for one, two in ((ours, theirs), (theirs, ours)))
    if only_ours or only_theirs:
        what = f"only the parser has {_names(only_ours)}; only the annotations have {_names(only_theirs)}"
    else:
        what = "the classes are the same, in another order"
    raise FeatureMismatchError(
        f"the parser of {loaded.name!r} ({len(ours)} classes) and the annotations in {printable(annotations.folder)}"
        f" ({len(theirs)} classes) do not go together: {what}"
    )


def _names(labels: Sequence[str]) -> str:
    shown = ", ".join(map(printable, labels[:5]))
    return f"{shown}, ..." if len(labels) > 5 else shown or "none"
