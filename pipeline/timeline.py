"""Events and timelines: what is heard, what is seen, and when. Pure data and arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import PurePath
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from numpy.typing import NDArray

from .files import MEDIA_SUFFIXES
from .segments import MAX_MEDIA_SECONDS, covered_seconds, runs, segment_count

Modality = Literal["audio", "visual", "audio_visual"]
MODALITIES: tuple[Modality, ...] = get_args(Modality)
_HEARD_OR_SEEN = {"audio": ("audio",), "visual": ("visual",), "audio_visual": ("audio", "visual")}


@dataclass(frozen=True)
class Event:
    """One event in one modality over ``[onset, offset)`` seconds. Raises ValueError for what cannot be one."""

    modality: Modality
    label: str
    onset: float
    offset: float
    score: float  # mean probability over the event's seconds

    def __post_init__(self) -> None:
        if self.modality not in MODALITIES:
            raise ValueError(f"modality {self.modality!r} is not one of {', '.join(MODALITIES)}")
        if not 0 <= self.onset < self.offset < math.inf:
            raise ValueError(f"[{self.onset}, {self.offset}) is not an interval of time")
        if not 0 <= self.score <= 1:
            raise ValueError(f"score {self.score} is not a probability")

    @property
    def duration(self) -> float:
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
        """Return the labels of "audio", "visual" or "audio_visual"."""
        return getattr(self, modality)

    def select(self, clips: Any) -> SegmentLabels:
        """Return the labels of some of N clips; `clips` indexes the first axis."""
        return SegmentLabels(self.audio[clips], self.visual[clips])


class GroundTruth(NamedTuple):
    """Annotated (T, C) labels in a timeline's classes and length, and a line that says how well the two agree."""

    labels: SegmentLabels
    agreement: str = ""


@dataclass(frozen=True, eq=False)
class SegmentProbabilities:
    """Predicted probabilities of one video, (T, C) in [0, 1], or of N clips, (N, T, C), zero-padded to the longest.

    Video-level probabilities are repeated for each second: in a video longer than the parser's window they are those of
    the windows that contain the second. Raises ValueError for other shapes and values.

    Attributes:
        audio: per segment.
        visual: per segment.
        audio_video: of the whole video, audio.
        visual_video: of the whole video, visual.
        video: of the whole video, where the decoder pools one probability for both modalities (MMIL).
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


@dataclass(frozen=True, eq=False)
class Timeline:
    """The result for one video."""

    events: tuple[Event, ...]  # ordered by onset, offset, modality, label
    labels: tuple[str, ...]  # the C classes that were looked for
    probabilities: SegmentProbabilities | None  # None where only events are known
    media: Mapping[str, Any]  # facts of the file, see features.MediaFacts
    provenance: Mapping[str, Any]  # weights, profile, thresholds, program, device
    warnings: tuple[str, ...] = field(default=())
    processing: tuple[Mapping[str, Any], ...] = field(default=())  # what was done to the events afterwards
    length_known: bool = True  # False where the duration is only that of the last event

    @property
    def segments(self) -> int:
        """T."""
        if self.probabilities is not None:
            return len(self.probabilities.audio)
        return int(self.media.get("segments") or segment_count(self.media["duration"]))

    def per_second_labels(
        self, labels: Sequence[str], segments: int | None = None
    ) -> SegmentLabels:
        """`per_second_labels` of its events, by default over all of their seconds."""
        length = segments or max([self.segments, *(math.ceil(event.offset) for event in self.events)])
        events = ((event.modality, event.label, event.onset, event.offset) for event in self.events)
        return per_second_labels(events, labels, length)

    def without_probabilities(self) -> Timeline:
        """The events alone, over as many seconds."""
        return replace(self, probabilities=None, media={**self.media, "segments": self.segments})

    @property
    def name(self) -> str:
        """Of the media file, without folder and without the suffix of one."""
        path = PurePath(str(self.media.get("path", "video")))
        return path.stem if path.suffix.lower() in MEDIA_SUFFIXES else path.name

    @classmethod
    def of_events(
        cls, events: Iterable[Event], *, path: str, duration: float | None = None, labels: Sequence[str] | None = None
    ) -> Timeline:
        """Of events that came from elsewhere. By default it ends with its last event, and its classes are theirs.

        Raises ValueError where `labels` lacks one, and for more than `MAX_MEDIA_SECONDS`.
        """
        events = tuple(events)
        end = max([event.offset for event in events] + [duration or 0.0])
        if end > MAX_MEDIA_SECONDS:
            raise ValueError(f"{end:g} seconds are more than {MAX_MEDIA_SECONDS // 3600} hours")
        known = tuple(sorted({event.label for event in events})) if labels is None else tuple(labels)
        if unknown := {event.label for event in events}.difference(known):
            raise ValueError(f"class {min(unknown)!r} is not among the labels")
        media = {"path": path, "duration": end if duration is None else duration}
        return cls(sort_events(events, known), known, None, media, {}, length_known=duration is not None)


def find_events(
    active: NDArray[np.bool_], probabilities: NDArray[np.floating], labels: Sequence[str], modality: Modality
) -> list[Event]:
    """Consecutive active seconds of a class become one event with their mean probability: (T, C) each."""
    return [
        Event(
            modality, label, float(start), float(stop), float(probabilities[start:stop, index].mean(dtype=np.float64))
        )
        for index, label in enumerate(labels)
        for start, stop in runs(active[:, index])
    ]


def all_events(
    active: SegmentLabels,
    probabilities: SegmentProbabilities,
    labels: Sequence[str],
) -> tuple[Event, ...]:
    """Events of each modality, and audio-visual ones where a class is heard and seen in the same second.

    The probability of an audio-visual second is the smaller of the two.
    """
    both = np.minimum(probabilities.audio, probabilities.visual)
    events = [
        *find_events(active.audio, probabilities.audio, labels, "audio"),
        *find_events(active.visual, probabilities.visual, labels, "visual"),
        *find_events(active.audio_visual, both, labels, "audio_visual"),
    ]
    return sort_events(events, labels)


def sort_events(events: Iterable[Event], labels: Sequence[str]) -> tuple[Event, ...]:
    """By onset, offset, modality and class: the order of a timeline."""
    order = {label: index for index, label in enumerate(labels)}
    ranks = {modality: index for index, modality in enumerate(MODALITIES)}
    return tuple(sorted(events, key=lambda e: (e.onset, e.offset, ranks[e.modality], order[e.label])))


def per_second_labels(
    events: Iterable[tuple[str, str, float, float]], labels: Sequence[str], segments: int
) -> SegmentLabels:
    """What is heard and what is seen in each second, (T, C) each, of events (modality, label, onset, offset).

    A second is active where events of the class cover at least half of it; what is both is heard and seen. Raises
    ValueError for what cannot be an event.
    """
    places = {label: index for index, label in enumerate(labels)}
    spans: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for modality, label, onset, offset in events:
        if label not in places:
            raise ValueError(f"unknown class {label!r}")
        if modality not in _HEARD_OR_SEEN:
            raise ValueError(f"unknown modality {modality!r}")
        if not -math.inf < onset <= offset < math.inf:
            raise ValueError(f"[{onset}, {offset}) is not an interval of time")
        for one in _HEARD_OR_SEEN[modality]:
            spans.setdefault((one, places[label]), []).append((onset, offset))
    active = {modality: np.zeros((segments, len(labels)), bool) for modality in ("audio", "visual")}
    for (modality, index), own in spans.items():
        active[modality][:, index] = covered_seconds(own, segments)
    return SegmentLabels(active["audio"], active["visual"])
