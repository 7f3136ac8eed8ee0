"""Pages on which people look at pseudo labels, and correct them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..outputs.index import write_index
from ..outputs.page import write_page
from ..timeline import SegmentProbabilities, Timeline, all_events

_LARGEST = 60.0  # of a logit, so that no exponential overflows


def write_review(folder: Path, clips: Mapping[str, tuple[Path, Timeline]]) -> None:
    """A page for each clip, and an index. clips: name -> its media, and its labels as a timeline."""
    folder.mkdir(parents=True, exist_ok=True)
    pages: dict[Path, Timeline] = {}
    for name, (media, timeline) in clips.items():
        page = folder / f"{name.replace('/', '_')}.html"
        write_page(timeline, page, media=media)
        pages[page] = timeline
    write_index(folder, pages, "pseudo labels")


class Judged(NamedTuple):
    """What a teacher says of a clip: logits (T, C), the thresholds of the classes, and the labels (T, C)."""

    scores: NDArray[np.float32]
    thresholds: Sequence[float]
    labels: NDArray[np.bool_]

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """``sigmoid(logit - threshold)``: one half is where the threshold lies."""
        above = np.clip(self.scores - np.array(self.thresholds), -_LARGEST, _LARGEST)
        return (1 / (1 + np.exp(-above))).astype(np.float32)


def to_timeline(
    classes: Sequence[str], path: str, heard: Judged, seen: Judged, weak: NDArray[np.bool_] | None
) -> Timeline:
    """Labels as events. The probabilities of the video are its weak labels, (C,), where there are any."""
    audio, visual = heard.probabilities, seen.probabilities
    video = np.ones_like(audio) if weak is None else np.broadcast_to(weak, audio.shape).astype(np.float32)
    probabilities = SegmentProbabilities(audio, visual, video, video)
    events = all_events(heard.labels, seen.labels, probabilities, classes)
    return Timeline(events, tuple(classes), probabilities, {"path": path, "duration": float(len(audio))}, {})
