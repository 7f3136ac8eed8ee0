"""Search the seconds of many videos: every second is compared, nothing is estimated."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...decode.process import available_cores
from ...features.compute_lanes import one_core
from ...timeline import MAX_LABEL_LENGTH, Modality
from ..embeddings import Embeddings
from .kept import Archive, KeptFile, rows_of
from .query import SearchQuery, SearchSettings
from .scores import file_scores, join_seconds, sense_scores

_AHEAD = 8  # files
Progress = Callable[[int, int], None]  # called with what is done, and in total
TOGETHER = " + "  # between the texts of a moment that has all of them


@dataclass(frozen=True)
class FoundMoment:
    """Seconds of a video that say what a text says.

    Attributes:
        name: of the video, as its embeddings state it.
        source: file of the embeddings.
        media: path of the video, as its embeddings state it.
        text: that it was found by; several with " + " between them.
        modality: of which z is at least `min_z` in the best second; "audio_visual" for both.
        onset: in seconds of the video.
        offset: its end, exclusive.
        best: start of the second with the highest z.
        z: in that second.
        heard: z of its sound, None where the sound is not compared or has no direction; of several texts the lowest.
        seen: z of its picture.
    """

    name: str
    source: Path
    media: str
    text: str
    modality: Modality
    onset: float
    offset: float
    best: float
    z: float
    heard: float | None
    seen: float | None

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.offset - self.onset

    @property
    def score(self) -> float:
        """The sigmoid of z, in [0, 1]: what the rules of open bundles make of it."""
        return 1 / (1 + math.exp(-min(max(self.z, -50.0), 50.0)))

    @property
    def key(self) -> tuple[object, ...]:
        """What moments are ordered by: the highest z first."""
        return -self.z, self.name, self.onset, self.text, str(self.source)


@dataclass(frozen=True)
class SearchOutcome:
    """What was found.

    Attributes:
        moments: the best ones.
        total: number of all moments that reach `min_z`; None where an index found the best without the others.
        files: number of files that were searched.
        seconds: of them.
        best: highest z of all seconds; minus infinity where none was compared.
        notes: what was left out, for the user.
    """

    moments: tuple[FoundMoment, ...]
    total: int | None
    files: int
    seconds: int
    best: float
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class Searched:
    """The z of the texts in the seconds of one video: modality -> (T, Q)."""

    source: Path
    embeddings: Embeddings
    tables: Mapping[Modality, NDArray[np.float32]]


@dataclass
class Ranking:
    """The best moments of the files that were searched so far."""

    query: SearchQuery
    settings: SearchSettings
    total: int = 0
    best: float = -math.inf
    _moments: list[FoundMoment] = field(default_factory=list)
    _least: float = -math.inf  # z that a further moment needs

    def add(self, searched: Searched) -> None:
        """Take the moments of one video."""
        if not searched.tables:
            return
        scores = sense_scores(searched.tables, self.settings)
        self.best = max(self.best, float(scores.max()))
        for place in np.flatnonzero(scores.max(axis=0) >= self.settings.min_z).tolist():
            self._add_text(searched, place, scores[:, place])
        if len(self._moments) > 2 * self.settings.top + 1000:
            self._moments = list(self.moments())
            if len(self._moments) == self.settings.top:
                self._least = self._moments[-1].z

    def moments(self) -> tuple[FoundMoment, ...]:
        """Return the best moments in order; those that several files of one video have alike once."""
        unique = {
            (moment.name, moment.text, moment.onset, moment.offset, moment.z): moment
            for moment in sorted(self._moments, key=lambda moment: moment.key, reverse=True)
        }
        return tuple(sorted(unique.values(), key=lambda moment: moment.key)[: self.settings.top])

    def _add_text(self, searched: Searched, place: int, scores: NDArray[np.float32]) -> None:
        settings, texts, embeddings = self.settings, self.query.texts, searched.embeddings
        text = TOGETHER.join(texts)[:MAX_LABEL_LENGTH] if settings.together else texts[place]
        columns = slice(None) if settings.together else slice(place, place + 1)
        intervals = join_seconds(scores >= settings.min_z, settings.gap)
        self.total += len(intervals)
        highest = np.maximum.reduceat(scores, intervals[:, 0])  # the seconds between intervals have less
        for onset, offset in intervals[highest >= self._least].tolist():
            best = onset + int(scores[onset:offset].argmax())
            values: dict[Modality, NDArray[np.float32]] = {
                name: table[best, columns] for name, table in searched.tables.items()
            }
            found: list[Modality] = [name for name, of_texts in values.items() if of_texts.max() >= settings.min_z]
            lowest = {
                modality: float(least) for modality, of_texts in values.items() if (least := of_texts.min()) > -math.inf
            }
            self._moments.append(
                FoundMoment(
                    embeddings.name,
                    searched.source,
                    embeddings.media.path,
                    text,
                    found[0] if len(found) == 1 else "audio_visual",
                    float(embeddings.first_second + onset),
                    _end(embeddings, onset, offset),
                    float(embeddings.first_second + best),
                    float(scores[best]),
                    lowest.get("audio"),
                    lowest.get("visual"),
                )
            )


def _end(embeddings: Embeddings, onset: int, offset: int) -> float:
    """Return the end of a moment on the clock of its file: the last second of a file may be cut short."""
    end = min(float(offset), embeddings.media.duration)
    return embeddings.first_second + (end if end > onset else offset)


def scaled_query(query: SearchQuery, archive: Archive) -> SearchQuery:
    """Return a query with the deviation of the background in the seconds of an archive, measured on a sample."""
    return query.scaled(archive.sample())


def search_all(
    archive: Archive,
    query: SearchQuery,
    settings: SearchSettings,
    progress: Progress = lambda done, total: None,  # noqa: ARG005
) -> SearchOutcome:
    """Compare every second of an archive.

    Args:
        archive: kept embeddings; one file at a time is in memory.
        query: of `scaled_query`.
        settings: what is found.
        progress: called with the number of files that are done and in total.

    Returns:
        The best moments.
    """
    ranking, count, seconds = Ranking(query, settings), 0, 0
    for done, searched in enumerate(search_each(archive, archive.files, query, settings), 1):
        if searched is not None:
            ranking.add(searched)
            count, seconds = count + 1, seconds + searched.embeddings.seconds
        progress(done, len(archive.files))
    return SearchOutcome(ranking.moments(), ranking.total, count, seconds, ranking.best)


def search_each(
    archive: Archive, files: Iterable[KeptFile], query: SearchQuery, settings: SearchSettings
) -> Iterator[Searched | None]:
    """Yield the z of files in order, None for one that cannot be used; some files are read ahead."""

    def search(file: KeptFile) -> Searched | None:
        if (embeddings := archive.open(file)) is None:
            return None
        return Searched(file.path, embeddings, file_scores(rows_of(embeddings), query, settings))

    with one_core(), ThreadPoolExecutor(available_cores()) as pool:
        waiting: deque[Future[Searched | None]] = deque()
        for file in files:
            waiting.append(pool.submit(search, file))
            if len(waiting) > _AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
