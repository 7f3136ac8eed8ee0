"""AV2A as published: a clip of ten seconds, from the embeddings of its frames and sounds.

It is here to be compared with, and to measure: it knows ten seconds only, its sounds have no time, and three classes or
fewer are hardly ever found, as no score of one of three can exceed 0.76. `av2a` is the rule for users.

Source:
    AV2A (CVPR 2025) and the outputs of its published program, whose licence is not stated. Where the program's output
    differs from what it computes, as for the events of sounds, this is what it computes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..segments import runs
from .rules import SHIFT_METHODS, fuse, merge_seconds, relative_scores, shifted_thresholds

SECONDS = 10
KINDS = ("visual", "audio", "combined")
_LOOKED_AT = 8  # frames of a whole clip, or of an event
Table = NDArray[np.float64]
ClipEvent = tuple[int, int, int]  # class, onset and offset in seconds, the offset exclusive


@dataclass(frozen=True)
class PublishedSettings:
    """Settings of the published program.

    Attributes:
        alpha: weight of the sounds in combined scores.
        filter_threshold: of a class's score in the whole clip, which keeps it.
        threshold: of the first second.
        refine_threshold: of an event's own score, "llp".
        gamma: how fast the shift of thresholds fades.
        method: one of `rules.SHIFT_METHODS`.
        fusion: "early": combined events by combined scores; "late": where the events of pictures and sounds overlap.
        refinement: "llp": an event stays if its own score exceeds the threshold; "ave": if its class has the highest;
            None: all stay.
        filters: whether classes are filtered at all.

    Raises:
        ValueError: the method is unknown.
    """

    alpha: float = 0.45
    filter_threshold: float = 0.5
    threshold: float = 0.75
    refine_threshold: float = 0.75
    gamma: float = 1.0
    method: str = SHIFT_METHODS[0]
    fusion: Literal["early", "late"] = "early"
    refinement: Literal["llp", "ave"] | None = "llp"
    filters: bool = True

    def __post_init__(self) -> None:
        if self.method not in SHIFT_METHODS:
            raise ValueError(f"method {self.method!r} is not one of {', '.join(SHIFT_METHODS)}")


LANGUAGEBIND = PublishedSettings(alpha=0.5, filter_threshold=0.55, gamma=2.5)
CLIP_CLAP = PublishedSettings()  # the published settings with CLIP and CLAP


@dataclass(frozen=True, eq=False)
class PublishedClip:
    """Embeddings of one clip of ten seconds.

    Attributes:
        frames: (F, D), of all frames, as the program compares them: CLIP's not of length 1.
        sound: onset, offset in seconds -> (E,), the embedding of the sound between them.
        visual_texts: (C, D) of the classes, as the program compares them.
        audio_texts: (C, E).
        video: numbers of frames -> (D,), the one embedding of several frames, as LanguageBind's of videos; None where
            their scores are averaged, as with CLIP.
    """

    frames: NDArray[np.floating]
    sound: Callable[[int, int], NDArray[np.floating]]
    visual_texts: NDArray[np.floating]
    audio_texts: NDArray[np.floating]
    video: Callable[[NDArray[np.int64]], NDArray[np.floating]] | None = None

    def frame_numbers(self, onset: int, offset: int, number: int) -> NDArray[np.int64]:
        """Return the numbers of the frames that stand for some seconds: the first, the last, and those between."""
        rate = len(self.frames) // SECONDS
        first, last = onset * rate, min(offset * rate, len(self.frames))
        return first + np.linspace(0, last - first - 1, number).astype(np.int64)

    def scores(self, onset: int, offset: int, classes: NDArray[np.intp], alpha: float) -> dict[str, Table]:
        """Score some seconds as a whole, relative to some classes. Returns kind -> (K,)."""
        numbers = self.frame_numbers(onset, offset, _LOOKED_AT)
        rows = self.frames[numbers] if self.video is None else self.video(numbers)[None]
        visual = relative_scores(rows.astype(np.float64) @ self.visual_texts[classes].T).mean(axis=0)
        audio = relative_scores(self._heard(onset, offset) @ self.audio_texts[classes].T)[0]
        return {"visual": visual, "audio": audio, "combined": fuse(visual, audio, alpha)}

    def scores_by_second(self, classes: NDArray[np.intp], alpha: float) -> dict[str, Table]:
        """Score ten frames, and the clip's one sound for each. Returns kind -> (10, K)."""
        visual = relative_scores(self.seconds() @ self.visual_texts[classes].T)
        audio = relative_scores(self._heard(0, SECONDS) @ self.audio_texts[classes].T)
        return {"visual": visual, "audio": np.repeat(audio, SECONDS, axis=0), "combined": fuse(visual, audio, alpha)}

    def seconds(self) -> Table:
        """Return (10, D) of the frames that stand for the seconds."""
        return self.frames[self.frame_numbers(0, SECONDS, SECONDS)].astype(np.float64)

    def _heard(self, onset: int, offset: int) -> Table:
        return np.asarray(self.sound(onset, offset), np.float64)[None]


@dataclass(frozen=True, eq=False)
class PublishedResult:
    """What the program finds in a clip, and how.

    Attributes:
        events: kind -> events. Those of "combined" are its audio-visual ones.
        before_refinement: the same.
        classes: kind -> (K,), which classes the filter kept.
        scores: kind -> (10, K).
        thresholds: kind -> (10, K).
    """

    events: Mapping[str, list[ClipEvent]]
    before_refinement: Mapping[str, list[ClipEvent]]
    classes: Mapping[str, NDArray[np.intp]]
    scores: Mapping[str, Table]
    thresholds: Mapping[str, Table]


def parse_as_published(clip: PublishedClip, settings: PublishedSettings = CLIP_CLAP) -> PublishedResult:
    """Find the events of a clip as AV2A's program does.

    Args:
        clip: embeddings of a clip of ten seconds.
        settings: of the program.

    Returns:
        Events of pictures, of sounds and of both, and what they come from.
    """
    kept = _filter_classes(clip, settings)
    kinds = KINDS if settings.fusion == "early" else KINDS[:2]
    scores: dict[str, Table] = {}
    thresholds: dict[str, Table] = {}
    before: dict[str, list[ClipEvent]] = {}
    events: dict[str, list[ClipEvent]] = {}
    for kind in kinds:
        classes = kept[kind]
        scores[kind] = clip.scores_by_second(classes, settings.alpha)[kind]
        rows = None if kind == "audio" else clip.seconds()
        thresholds[kind] = shifted_thresholds(scores[kind], settings.threshold, settings.gamma, settings.method, rows)
        before[kind] = _events(scores[kind] > thresholds[kind], classes)
        events[kind] = _refine(before[kind], clip, kind, classes, settings)
    if settings.fusion == "late":
        number = len(clip.visual_texts)
        both = _table(events["visual"], number) & _table(events["audio"], number)
        events["combined"] = [(c, *run) for c in range(number) for run in runs(both[:, c])]
    return PublishedResult(events, before, kept, scores, thresholds)


def _filter_classes(clip: PublishedClip, settings: PublishedSettings) -> dict[str, NDArray[np.intp]]:
    everything = np.arange(len(clip.visual_texts))
    if not settings.filters:
        return dict.fromkeys(KINDS, everything)
    scores = clip.scores(0, SECONDS, everything, settings.alpha)
    return {kind: np.flatnonzero(scores[kind] > settings.filter_threshold) for kind in KINDS}


def _events(active: NDArray[np.bool_], classes: NDArray[np.intp]) -> list[ClipEvent]:
    return [(int(c), *event) for place, c in enumerate(classes) for event in merge_seconds(active[:, place])]


def _refine(
    events: list[ClipEvent], clip: PublishedClip, kind: str, classes: NDArray[np.intp], settings: PublishedSettings
) -> list[ClipEvent]:
    """Return the events whose seconds alone are like their class; the most alike if none is."""
    if settings.refinement is None or not events:
        return events
    kept, own_scores = [], []
    for event in events:
        c, onset, offset = event
        scores = clip.scores(onset, offset, classes, settings.alpha)[kind]
        own = scores[np.searchsorted(classes, c)]
        own_scores.append(own)
        if own > settings.refine_threshold if settings.refinement == "llp" else own == scores.max():
            kept.append(event)
    return kept or [events[int(np.argmax(own_scores))]]


def _table(events: list[ClipEvent], classes: int) -> NDArray[np.bool_]:
    table = np.zeros((SECONDS, classes), bool)
    for c, onset, offset in events:
        table[onset:offset, c] = True
    return table


def find_event_of_clip(audio: ArrayLike, visual: ArrayLike, background: int | None = None) -> NDArray[np.int64]:
    """Find the one event of a clip as OV-AVEL's training-free baseline does.

    A second has the event where pictures and sounds are nearest to the same class; the first such second gives the
    class of all of them.

    Args:
        audio: (T, C) cosines of the sounds with the classes.
        visual: (T, C) cosines of the pictures.
        background: the class that is none, such as "other"; None without one.

    Returns:
        (T,) classes; the background, or -1 without one, in other seconds.

    Source:
        OV-AVEL (CVPR 2025), its training-free baseline.
    """
    heard, seen = np.argmax(np.asarray(audio), axis=-1), np.argmax(np.asarray(visual), axis=-1)
    agree = heard == seen
    nothing = -1 if background is None else background
    return np.where(agree, heard[int(np.argmax(agree))], nothing).astype(np.int64)


def open_probabilities(audio: ArrayLike, visual: ArrayLike) -> Table:
    """Compute what OV-AVEL's fine-tuned baseline decides by: argmax over the classes is the class of a second.

    Args:
        audio: (..., C) cosines of the sounds with the classes.
        visual: (..., C) cosines of the pictures.

    Returns:
        (..., C): the root of their product where both are positive, from 0 at the least to 1 at the most class of each
        second; zeros where all are alike.

    Source:
        OV-AVEL (CVPR 2025), equation of its fine-tuned baseline.
    """
    root = np.sqrt(np.maximum(np.asarray(audio, np.float64) * np.asarray(visual, np.float64), 0))
    least = root.min(axis=-1, keepdims=True)
    spread = root.max(axis=-1, keepdims=True) - least
    return np.divide(root - least, spread, out=np.zeros_like(root), where=spread > 0)
