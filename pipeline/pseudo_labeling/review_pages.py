"""Pages on which people look at pseudo labels, and correct them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ..batch.storage import Storage
from ..errors import SetupError
from ..files import make_folder
from ..outputs.html.index import INDEX, write_index
from ..outputs.html.page import write_page
from ..text import escape
from ..timeline import SegmentLabels, SegmentProbabilities, Timeline, all_events
from .record import read_record, write_record

REVIEW = "review"
_LONGEST = 200  # bytes of a name of a page, so that files can be called so
_LARGEST = 60.0  # of a logit, so that no exponential overflows


def check_review(storage: Storage) -> None:
    """Raises SetupError where pages of others are in the folder of the review."""
    own = set(read_record(storage).get("review", ()))
    if foreign := [page for page in storage.names(REVIEW, ".html") if page not in own]:
        raise SetupError(f"{escape(f'{storage.where}/{foreign[0]}')}: was not made by this command; move it away")


def write_review(storage: Storage, root: Path, clips: Mapping[str, tuple[Path, Timeline]]) -> Path:
    """A page for each clip and an index, which is returned; pages of earlier reviews go.

    root: the storage's folder. clips: name -> its media, and its labels as a timeline. Raises OutputError.
    """
    folder = root / REVIEW
    make_folder(folder)
    names = page_names(clips)
    own = [f"{REVIEW}/{page}" for page in (*names.values(), INDEX)]
    record = read_record(storage)
    before = set(map(str, record.get("review", ())))
    write_record(storage, {**record, "review": sorted(before.union(own))})
    for name, (media, timeline) in clips.items():
        write_page(timeline, folder / names[name], media=media)
    write_index(folder, {folder / names[name]: timeline for name, (_, timeline) in clips.items()}, "pseudo labels")
    for page in before.difference(own):
        storage.remove(page)
    write_record(storage, {**record, "review": own})
    return folder / INDEX


def page_names(clips: Iterable[str]) -> dict[str, str]:
    """Of clips: no two the same, not even where upper and lower case are, and none the index."""
    taken, names = {INDEX}, {}
    for name in clips:
        stem = name.replace("/", "_").encode(errors="ignore")[-_LONGEST:].decode(errors="ignore")
        while f"{stem}.html".lower() in taken:
            stem += "_"
        names[name] = f"{stem}.html"
        taken.add(names[name].lower())
    return names


class TeacherScores(NamedTuple):
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
    classes: Sequence[str], path: str, heard: TeacherScores, seen: TeacherScores, weak: NDArray[np.bool_] | None
) -> Timeline:
    """Labels as events. The probabilities of the video are its weak labels, (C,), where there are any."""
    audio, visual = heard.probabilities, seen.probabilities
    video = np.ones_like(audio) if weak is None else np.broadcast_to(weak, audio.shape).astype(np.float32)
    probabilities = SegmentProbabilities(audio, visual, video, video)
    events = all_events(SegmentLabels(heard.labels, seen.labels), probabilities, classes)
    return Timeline(events, tuple(classes), probabilities, {"path": path, "duration": float(len(audio))}, {})
