"""HTML pages for checking and correcting pseudo labels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..batch.journal import Journal
from ..batch.storage import Storage
from ..errors import SetupError
from ..files import make_folder
from ..outputs.html.index import INDEX, write_index
from ..outputs.html.page import write_page
from ..text import escape
from ..timeline import SegmentLabels, SegmentProbabilities, Timeline, all_events
from .prompts import PROMPTS_FILE, parse_prompts
from .record import DECIDED_BY, OPEN_VOCABULARY, REVIEW, read_record, write_record
from .score_files import read_labels, read_scores
from .threshold_scores import ScoredClips, decide_labels
from .weak_labels import WeakLabels

_MAX_STEM = 200  # bytes; file systems allow 255 for a file name
_MAX_LOGIT = 60.0  # exp(60) fits into float32


def check_review(storage: Storage) -> None:
    """Raise SetupError where the review folder has pages that this command did not write."""
    recorded = set(read_record(storage).get("review", ()))
    if foreign := [page for page in storage.names(REVIEW, ".html") if page not in recorded]:
        path = escape(f"{storage.where}/{foreign[0]}")
        raise SetupError(f"{path}: was not written by avvp pseudo-label; move it away")


def find_labelled(storage: Storage) -> ScoredClips:
    """Return the clips that the last run labelled, with the facts of their media files."""
    entries = Journal(storage).entries
    names = read_record(storage).get("labelled", [])
    return {name: entries[name].media for name in names if name in entries}


def sample_labels(
    storage: Storage, weak: WeakLabels | None, scored: ScoredClips, named: Mapping[str, Path], count: int
) -> dict[str, tuple[Path, Timeline]]:
    """Sample labelled clips evenly and build their timelines.

    Args:
        storage: of the run; its prompts.toml has the thresholds, or its record those of a rule.
        weak: clip -> its classes; None if unknown.
        scored: clips that have labels.
        named: clip -> its media file; other clips are not sampled.
        count: at most this many clips.

    Returns:
        Clip -> its media file, and its labels as a timeline.
    """
    record = read_record(storage)
    timeline_of = _by_rule(storage, record) if OPEN_VOCABULARY in record else _by_logits(storage)
    candidates = [name for name in scored if name in named and (weak is None or name in weak)]
    indices = np.linspace(0, len(candidates) - 1, min(count, len(candidates))).round().astype(int).tolist()
    sampled = {}
    for name in (candidates[index] for index in dict.fromkeys(indices)):
        classes = None if weak is None else weak[name]
        sampled[name] = (named[name], timeline_of(name, str(named[name]), scored[name], classes))
    return sampled


def _by_logits(storage: Storage) -> Callable[[str, str, Mapping[str, Any], NDArray[np.bool_] | None], Timeline]:
    """Return what makes the timeline of a clip whose labels thresholds of logits decide."""
    prompts = parse_prompts(storage.read(PROMPTS_FILE) or b"", PROMPTS_FILE)

    def make(name: str, path: str, media: Mapping[str, Any], classes: NDArray[np.bool_] | None) -> Timeline:
        scores = read_scores(storage, len(prompts.labels), name)
        labels = decide_labels(prompts, scores, media, classes)
        audio, visual = (
            TeacherScores(scores[modality], prompts.thresholds(modality), labels.of(modality))
            for modality in ("audio", "visual")
        )
        return to_timeline(prompts.labels, path, audio, visual, classes)

    return make


def _by_rule(
    storage: Storage, record: Mapping[str, Any]
) -> Callable[[str, str, Mapping[str, Any], NDArray[np.bool_] | None], Timeline]:
    """Return what makes the timeline of a clip whose labels a rule has decided; it says by which."""
    names = record["prompts"]["labels"]
    provenance = {"thresholds": record[DECIDED_BY], OPEN_VOCABULARY: record[OPEN_VOCABULARY]}

    def make(name: str, path: str, _: Mapping[str, Any], classes: NDArray[np.bool_] | None) -> Timeline:
        scores = read_scores(storage, len(names), name)
        audio, visual = (
            TeacherScores(table, [0.0] * len(names), read_labels(storage, modality, table.shape, name))
            for modality, table in scores.items()
        )
        return replace(to_timeline(names, path, audio, visual, classes), provenance=provenance)

    return make


def write_review(storage: Storage, root: Path, clips: Mapping[str, tuple[Path, Timeline]]) -> Path:
    """Write a page per clip and an index, and remove the pages of earlier reviews.

    Args:
        storage: of the run.
        root: the storage's folder.
        clips: clip -> its media file, and its labels as a timeline.

    Returns:
        Path of the index.

    Raises:
        OutputError: a page cannot be written.
    """
    folder = root / REVIEW
    make_folder(folder)
    file_names = page_names(clips)
    pages = [f"{REVIEW}/{file_name}" for file_name in (*file_names.values(), INDEX)]
    record = read_record(storage)
    earlier = set(map(str, record.get("review", ())))
    write_record(storage, {**record, "review": sorted(earlier.union(pages))})
    for name, (media, timeline) in clips.items():
        write_page(timeline, folder / file_names[name], media=media)
    write_index(folder, {folder / file_names[name]: timeline for name, (_, timeline) in clips.items()}, "pseudo labels")
    for page in earlier.difference(pages):
        storage.remove(page)
    write_record(storage, {**record, "review": pages})
    return folder / INDEX


def page_names(clips: Iterable[str]) -> dict[str, str]:
    """Return clip -> file name of its page; names differ also where upper and lower case do not count."""
    taken, file_names = {INDEX}, {}
    for name in clips:
        stem = name.replace("/", "_").encode(errors="ignore")[-_MAX_STEM:].decode(errors="ignore")
        while f"{stem}.html".lower() in taken:
            stem += "_"
        file_names[name] = f"{stem}.html"
        taken.add(file_names[name].lower())
    return file_names


class TeacherScores(NamedTuple):
    """Scores of one teacher for one clip.

    Attributes:
        scores: (T, C) logits.
        thresholds: of the logits, per class.
        labels: (T, C) the labels decided from them.
    """

    scores: NDArray[np.float32]
    thresholds: Sequence[float]
    labels: NDArray[np.bool_]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """``sigmoid(logit - threshold)``, (T, C): the threshold is at one half."""
        above = np.clip(self.scores - np.array(self.thresholds), -_MAX_LOGIT, _MAX_LOGIT)
        return (1 / (1 + np.exp(-above))).astype(np.float32)


def to_timeline(
    classes: Sequence[str], path: str, audio: TeacherScores, visual: TeacherScores, weak: NDArray[np.bool_] | None
) -> Timeline:
    """Convert the labels of one clip to a timeline of events.

    Args:
        classes: names of the C classes.
        path: of the media file.
        audio: CLAP's scores and labels.
        visual: CLIP's.
        weak: (C,) classes of the clip, which become the probabilities of the whole video; None sets all to 1.

    Returns:
        Events of all modalities, with the teachers' probabilities per segment.
    """
    audio_probabilities, visual_probabilities = audio.probabilities, visual.probabilities
    shape = audio_probabilities.shape
    video = np.ones(shape, np.float32) if weak is None else np.broadcast_to(weak, shape).astype(np.float32)
    probabilities = SegmentProbabilities(audio_probabilities, visual_probabilities, video, video)
    events = all_events(SegmentLabels(audio.labels, visual.labels), probabilities, classes)
    return Timeline(events, tuple(classes), probabilities, {"path": path, "duration": float(shape[0])}, {})
