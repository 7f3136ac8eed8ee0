"""Search for events in many timelines, one after the other."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...errors import SetupError
from ...text import escape
from ..formats.read_folders import NamedTimeline
from ..postprocess import TooManyEventsError
from .matches import Moment, find_moments
from .query import KnownClasses, Query

MAX_MATCHES = 200_000  # that are kept, about 500 bytes each


@dataclass(frozen=True)
class Match:
    """What a query found in a timeline.

    Attributes:
        name: of the timeline.
        source: the file of the timeline.
        moment: when, and which events.
    """

    name: str
    source: Path
    moment: Moment


@dataclass(frozen=True)
class SearchResult:
    """What a query found in many timelines.

    Attributes:
        matches: in order, at most as many as asked for.
        total: number of matches, also of those that are not in `matches`.
        timelines: number of timelines that were searched.
        timelines_with_matches: number of those in which something was found.
    """

    matches: tuple[Match, ...]
    total: int
    timelines: int
    timelines_with_matches: int


def _by_file(match: Match) -> tuple[Any, ...]:
    return match.name, str(match.source), match.moment.onset, match.moment.offset


# Name of an order -> key to sort by. Equal ones are ordered by file and time.
ORDERS: dict[str, Callable[[Match], tuple[Any, ...]]] = {
    "file": _by_file,
    "time": lambda match: (match.moment.onset, *_by_file(match)),
    "score": lambda match: (-match.moment.score, *_by_file(match)),
    "duration": lambda match: (-match.moment.duration, *_by_file(match)),
}


def search(
    timelines: Iterable[NamedTimeline], query: Query, *, order: str = "file", limit: int | None = None
) -> SearchResult:
    """Search timelines; only what is found is kept in memory.

    Args:
        timelines: read while they are searched.
        query: what to find.
        order: key of `ORDERS`; the best score and the longest duration come first.
        limit: most matches to return, the first ones in that order; None for all.

    Returns:
        What was found.

    Raises:
        SetupError: no timeline has a class of the query, or there are more than `MAX_MATCHES` matches to return.
        TooManyEventsError: the events of a timeline overlap too often.
    """
    most = MAX_MATCHES if limit is None else min(limit, MAX_MATCHES)
    known = KnownClasses(query)
    matches: list[Match] = []
    total = count = with_matches = 0
    for read in timelines:
        known.add(read.timeline.labels)
        try:
            moments = find_moments(read.timeline, query)
        except TooManyEventsError as error:
            raise TooManyEventsError(f"{escape(read.source)}: {error}") from error
        count, total, with_matches = count + 1, total + len(moments), with_matches + bool(moments)
        matches += [Match(read.name, read.source, moment) for moment in moments]
        if limit is None and len(matches) > MAX_MATCHES:
            raise SetupError(f"more than {MAX_MATCHES:,} matches; raise the least score or set a limit")
        if len(matches) > 2 * most:
            matches = sorted(matches, key=ORDERS[order])[:most]
    known.check()
    return SearchResult(tuple(sorted(matches, key=ORDERS[order])[:most]), total, count, with_matches)
