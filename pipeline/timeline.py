"""Data types for events, per-second labels and probabilities, and the conversions between them."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from .descriptions import MAX_LINES, describe, describe_columns
from .files import MEDIA_SUFFIXES
from .presented import TimelineMethods
from .segments import MAX_MEDIA_SECONDS, covered_runs, runs, segment_count
from .text import display_label, escape, shorten

Modality = Literal["audio", "visual", "audio_visual"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
SINGLE_MODALITIES: tuple[Modality, Modality] = ("audio", "visual")
AVEL = "avel"  # `task` in the provenance of localizers: one class a second, heard and seen
# What people read, in the terminal, plots, pages and docs alike.
MODALITY_WORDS: dict[Modality, str] = {"audio": "audio", "visual": "visual", "audio_visual": "both"}
MAX_COMMENT = 1_000  # characters of a comment on an event
MAX_LABEL_LENGTH = 1_000  # characters of the name of a class
MAX_LABELS = 10_000  # classes of a timeline that is read from a file
MAX_EVENTS = 100_000  # of a timeline that is read from a file: more than one per second of the longest media
MAX_NAME = 255  # characters of the name of a media file, as far as systems allow
MAX_PATH = 4_096  # characters of its path
MAX_TABLE_CELLS = 1 << 26  # seconds x classes of a table of labels, a byte each and modality
_SINGLE_MODALITIES = {"audio": ("audio",), "visual": ("visual",), "audio_visual": ("audio", "visual")}


@dataclass(frozen=True)
class Event:
    """One event in one modality.

    Attributes:
        modality: one of `MODALITIES`.
        label: class name.
        onset: start in seconds, at least 0.
        offset: end in seconds, exclusive; later than the onset.
        score: mean probability over the event's seconds, in [0, 1].
        comment: what people wrote about it.

    Raises:
        ValueError: a value is out of range.
    """

    modality: Modality
    label: str
    onset: float
    offset: float
    score: float
    comment: str = ""

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"modality {self.modality!r} is not one of {', '.join(MODALITIES)}")
        if not 0 <= self.onset < self.offset < math.inf:
            raise ValueError(f"[{self.onset}, {self.offset}) is not an interval in seconds")
        if not 0 <= self.score <= 1:
            raise ValueError(f"score {self.score} is not a probability")
        if len(self.label) > MAX_LABEL_LENGTH:
            raise ValueError(f"label {shorten(self.label)} is longer than {MAX_LABEL_LENGTH:,} characters")
        if len(self.comment) > MAX_COMMENT:
            raise ValueError(f"comment {shorten(self.comment)} is longer than {MAX_COMMENT:,} characters")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.offset - self.onset


class SegmentLabels(NamedTuple):
    """Active classes per segment and modality.

    Attributes:
        audio: (T, C) bool of one clip, or (N, T, C) of N clips.
        visual: the same shape.
    """

    audio: NDArray[np.bool_]
    visual: NDArray[np.bool_]

    @property
    def audio_visual(self) -> NDArray[np.bool_]:
        """Classes active in both modalities, same shape."""
        return self.audio & self.visual

    def of(self, modality: str) -> NDArray[np.bool_]:
        """Return the labels of one modality, a member of `MODALITIES`."""
        return getattr(self, modality)

    def select(self, clips: Any) -> SegmentLabels:
        """Return the labels of the clips that `clips`, an index into the first axis, selects."""
        return SegmentLabels(self.audio[clips], self.visual[clips])


class GroundTruth(NamedTuple):
    """Annotated labels of one video, to be shown beside its predicted timeline."""

    labels: SegmentLabels  # (T, C), with the timeline's classes, not longer than it
    agreement: str = ""  # one line with the F-scores of the timeline


@dataclass(frozen=True, eq=False, repr=False)
class SegmentProbabilities:
    """Predicted probabilities of one video, (T, C) in [0, 1], or of N clips, (N, T, C), zero-padded to the longest.

    Video-level probabilities are repeated for each second. In a video longer than the parser's window, each second has
    the mean over the windows that contain it.

    Attributes:
        audio: per segment.
        visual: per segment.
        audio_video: video level, audio.
        visual_video: video level, visual.
        video: video level, both modalities; None unless the decoder pools one probability for both (MMIL).

    Raises:
        ValueError: the shapes differ, or a value is outside [0, 1].
    """

    audio: NDArray[np.float32]
    visual: NDArray[np.float32]
    audio_video: NDArray[np.float32]
    visual_video: NDArray[np.float32]
    video: NDArray[np.float32] | None = None

    def __post_init__(self) -> None:
        for name, array in self.arrays().items():
            if array.ndim not in {2, 3} or array.shape != self.audio.shape:
                raise ValueError(f"{name} probabilities are {array.shape}, expected {self.audio.shape}")
            if not ((array >= 0) & (array <= 1)).all():
                raise ValueError(f"{name} probabilities are not all in [0, 1]")

    def arrays(self) -> dict[str, NDArray[np.float32]]:
        """Return the arrays that are not None, by name."""
        return {name: array for name, array in vars(self).items() if array is not None}

    def __repr__(self) -> str:
        return f"SegmentProbabilities of shape {self.audio.shape}: {', '.join(self.arrays())}"


@dataclass(frozen=True, eq=False, repr=False)
class Timeline(TimelineMethods):
    """Events of one video, with the probabilities they were decided from."""

    events: tuple[Event, ...]  # ordered by onset, offset, modality, label
    # The classes that the parser predicts, which the columns of the probabilities stand for; after them, classes that
    # people added.
    labels: tuple[str, ...]
    probabilities: SegmentProbabilities | None  # None if only events are known
    media: Mapping[str, Any]  # facts of the media file, see `MediaFacts`
    provenance: Mapping[str, Any]  # program, weights, profile, thresholds, device
    warnings: tuple[str, ...] = field(default=())
    processing: tuple[Mapping[str, Any], ...] = field(default=())  # post-processing steps, in order
    length_known: bool = True  # False if the duration is only the end of the last event
    media_is_known: bool = True  # False if `media` is what a file says: its path is shown, and never opened

    def __repr__(self) -> str:
        counts = [f"{sum(e.modality == m for e in self.events)} {MODALITY_WORDS[m]}" for m in self.modalities]
        with_probabilities = "" if self.probabilities is None else f", probabilities {self.probabilities.audio.shape}"
        title = f"Timeline of {escape(self.name)}: {self.media['duration']:.1f} s, {', '.join(counts)}"
        shown = (
            (f"{e.onset:.2f} to {e.offset:.2f} s", MODALITY_WORDS[e.modality], f"{e.score:.2f}", display_label(e.label))
            for e in self.events[: MAX_LINES + 1]
        )
        lines = describe_columns(shown)
        return describe(title + with_probabilities, lines, of=len(self.events), more="events", warnings=self.warnings)

    @property
    def lanes(self) -> tuple[Modality, ...]:
        """The modalities that are decided and corrected: audio and visual; of a localizer, audio-visual alone."""
        alone = self.provenance.get("task") == AVEL and all(event.modality == "audio_visual" for event in self.events)
        return ("audio_visual",) if alone else SINGLE_MODALITIES

    @property
    def modalities(self) -> tuple[Modality, ...]:
        """The modalities of its events: those of `lanes`, and audio-visual."""
        return MODALITIES if self.lanes == SINGLE_MODALITIES else self.lanes

    @property
    def segments(self) -> int:
        """Number of seconds T."""
        if self.probabilities is not None:
            return len(self.probabilities.audio)
        return int(self.media.get("segments") or segment_count(self.media["duration"]))

    def per_second_labels(self, labels: Sequence[str], segments: int | None = None) -> SegmentLabels:
        """Convert the events to (T, C) labels.

        Args:
            labels: C class names.
            segments: T; by default long enough for all events.

        Returns:
            The labels, see the function `per_second_labels`.

        Raises:
            ValueError: `labels` lacks the class of an event.
        """
        return per_second_labels(self._spans(), labels, segments or self.length)

    def active_runs(self, segments: int | None = None) -> dict[tuple[str, str], list[tuple[int, int]]]:
        """Return the runs of active seconds of each modality and class, see the function `active_runs`.

        Args:
            segments: T; by default long enough for all events.
        """
        return active_runs(self._spans(), self.labels, segments or self.length)

    @property
    def parsed(self) -> tuple[int, int]:
        """The seconds [start, end) that were parsed: all, unless `media` states a part of them."""
        start, end = self.media.get("parsed") or (0, self.segments)
        return (int(start), int(end)) if end <= self.segments else (0, self.segments)

    @property
    def length(self) -> int:
        """Number of seconds, also of those after the media in which events end."""
        return max([self.segments, *(math.ceil(event.offset) for event in self.events)])

    def _spans(self) -> Iterator[tuple[str, str, float, float]]:
        return ((event.modality, event.label, event.onset, event.offset) for event in self.events)

    def without_probabilities(self) -> Timeline:
        """Return the timeline without probabilities; the number of seconds stays the same."""
        return replace(self, probabilities=None, media={**self.media, "segments": self.segments})

    @property
    def name(self) -> str:
        """File name of the media file, without folder and media suffix."""
        path = PurePath(str(self.media.get("path", "video")))
        return path.stem if path.suffix.lower() in MEDIA_SUFFIXES else path.name

    @classmethod
    def of_events(
        cls, events: Iterable[Event], *, path: str, duration: float | None = None, labels: Sequence[str] | None = None
    ) -> Timeline:
        """Make a timeline of events that were read from a file, not predicted by a parser.

        Args:
            events: in any order.
            path: of the media file; gives the timeline its name, and is not opened.
            duration: in seconds; by default the end of the last event.
            labels: C class names; by default those of the events, sorted.

        Returns:
            A timeline without probabilities.

        Raises:
            ValueError: `labels` lacks the class of an event, the timeline is longer than `MAX_MEDIA_SECONDS`, or it
                has more events or classes, or a longer path, than the limits of this module.
        """
        events = tuple(events)
        if len(path) > MAX_PATH or len(PurePath(path).name) > MAX_NAME:
            raise ValueError(f"the name of the media, {shorten(path)}, is longer than systems allow")
        end = max([event.offset for event in events] + [duration or 0.0])
        if end > MAX_MEDIA_SECONDS:
            raise ValueError(f"{end:g} seconds are more than {MAX_MEDIA_SECONDS // 3600} hours")
        classes = tuple(sorted({event.label for event in events})) if labels is None else tuple(labels)
        if max(len(events) / MAX_EVENTS, len(classes) / MAX_LABELS) > 1:
            raise ValueError(
                f"{len(events):,} events of {len(classes):,} classes are too many: at most {MAX_EVENTS:,} events of"
                f" {MAX_LABELS:,} classes are read"
            )
        if unknown := {event.label for event in events}.difference(classes):
            raise ValueError(f"class {shorten(min(unknown))} is not among the labels")
        if too_long := [label for label in classes if len(label) > MAX_LABEL_LENGTH]:
            raise ValueError(f"label {shorten(too_long[0])} is longer than {MAX_LABEL_LENGTH:,} characters")
        media = {"path": path, "duration": end if duration is None else duration}
        ordered, length_known = sort_events(events, classes), duration is not None
        return cls(ordered, classes, None, media, {}, length_known=length_known, media_is_known=False)


def find_events(
    active: NDArray[np.bool_], probabilities: NDArray[np.floating], labels: Sequence[str], modality: Modality
) -> list[Event]:
    """Join consecutive active seconds of a class to events.

    Args:
        active: (T, C).
        probabilities: (T, C) in [0, 1]; an event's score is their mean over its seconds.
        labels: C class names.
        modality: of the events.

    Returns:
        The events, ordered by class and onset.
    """
    return [
        Event(
            modality, label, float(start), float(stop), float(probabilities[start:stop, index].mean(dtype=np.float64))
        )
        for index, label in enumerate(labels)
        for start, stop in runs(active[:, index])
    ]


def all_events(
    active: SegmentLabels, probabilities: SegmentProbabilities, labels: Sequence[str], task: str = ""
) -> tuple[Event, ...]:
    """Find the events of one video.

    A class is audio-visual where it is active in both modalities; its probability there is the smaller of the two.

    Args:
        active: (T, C) labels.
        probabilities: (T, C), of the same video.
        labels: C class names.
        task: `AVEL` for the audio-visual events alone.

    Returns:
        The events in the order of `sort_events`.
    """
    both = np.minimum(probabilities.audio, probabilities.visual)
    events = find_events(active.audio_visual, both, labels, "audio_visual")
    if task != AVEL:
        events += find_events(active.audio, probabilities.audio, labels, "audio")
        events += find_events(active.visual, probabilities.visual, labels, "visual")
    return sort_events(events, labels)


def sort_events(events: Iterable[Event], labels: Sequence[str]) -> tuple[Event, ...]:
    """Sort events by onset, offset, modality and class.

    Args:
        events: in any order.
        labels: class names; classes are ordered as here.

    Returns:
        The sorted events.
    """
    order = {label: index for index, label in enumerate(labels)}
    ranks = {modality: index for index, modality in enumerate(MODALITIES)}
    return tuple(sorted(events, key=lambda e: (e.onset, e.offset, ranks[e.modality], order[e.label])))


def per_second_labels(
    events: Iterable[tuple[str, str, float, float]], labels: Sequence[str], segments: int
) -> SegmentLabels:
    """Convert events to labels per second: active where events of the class cover at least half of the second.

    Args:
        events: (modality, label, onset, offset) each; audio-visual events count for both modalities.
        labels: C class names.
        segments: T; events beyond are cut.

    Returns:
        (T, C) labels.

    Raises:
        ValueError: an event has an unknown class or modality, or is not a time interval; the table would have more
            than `MAX_TABLE_CELLS`.
    """
    found = active_runs(events, labels, segments)
    if segments * len(labels) > MAX_TABLE_CELLS:
        raise ValueError(f"{segments:,} seconds of {len(labels):,} classes are too many for a table of labels")
    columns = {label: index for index, label in enumerate(labels)}
    active = {modality: np.zeros((segments, len(labels)), bool) for modality in ("audio", "visual")}
    for (modality, label), spans in found.items():
        for start, stop in spans:
            active[modality][start:stop, columns[label]] = True
    return SegmentLabels(active["audio"], active["visual"])


def active_runs(
    events: Iterable[tuple[str, str, float, float]], labels: Collection[str], segments: int
) -> dict[tuple[str, str], list[tuple[int, int]]]:
    """Find the runs of seconds of which events of a class cover at least half each.

    The work grows with the number of events, not with seconds or classes.

    Args:
        events: as for `per_second_labels`.
        labels: class names.
        segments: T; events beyond are cut.

    Returns:
        ("audio" or "visual", label) -> its maximal runs, half-open, ascending; only of classes with events.

    Raises:
        ValueError: an event has an unknown class or modality, or is not a time interval.
    """
    known = set(labels)
    intervals: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for modality, label, onset, offset in events:
        if label not in known:
            raise ValueError(f"unknown class {label!r}")
        if modality not in _SINGLE_MODALITIES:
            raise ValueError(f"unknown modality {modality!r}")
        if not -math.inf < onset <= offset < math.inf:
            raise ValueError(f"[{onset}, {offset}) is not an interval in seconds")
        for single in _SINGLE_MODALITIES[modality]:
            intervals.setdefault((single, label), []).append((onset, offset))
    return {key: covered_runs(spans, segments) for key, spans in intervals.items()}
