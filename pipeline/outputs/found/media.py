"""The moments of a search as events of timelines, which other parts of the program find the media of and cut."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from ...embeddings.search.search import FoundMoment
from ...timeline import Event, Timeline
from ..search.matches import Moment
from ..search.search import Match
from .results import file_name


def as_event(moment: FoundMoment) -> Event:
    """Return a moment as an event, of which the text is the class and the sigmoid of z the score."""
    return Event(moment.modality, moment.text, moment.onset, moment.offset, moment.score)


def as_timeline(moment: FoundMoment) -> Timeline:
    """Return a timeline with the event of a moment, which names the media."""
    return Timeline.of_events([as_event(moment)], path=moment.media)


def as_matches(moments: Iterable[FoundMoment]) -> list[Match]:
    """Return moments as matches of a search for events, which `plan_cuts` takes."""
    return [
        Match(file_name(moment), moment.source, Moment(moment.onset, moment.offset, moment.score, (as_event(moment),)))
        for moment in moments
    ]


def media_by_match(media: Mapping[FoundMoment, Path | None]) -> dict[tuple[str, Path], Path]:
    """Return name and source of moments -> the file of their media, where there is one."""
    return {(file_name(moment), moment.source): path for moment, path in media.items() if path is not None}
