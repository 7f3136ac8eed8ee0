"""Limits of readers: how much a file of events may hold."""

from __future__ import annotations

from collections.abc import Sized

from ...timeline import MAX_EVENTS

MAX_TIMELINES = 20_000  # of one file; LLP has 11,849 clips


def check_events(events: Sized) -> None:
    """Raise ValueError where a reader has as many events as a timeline may have, before it adds another."""
    if len(events) >= MAX_EVENTS:
        raise ValueError(f"more than {MAX_EVENTS:,} events")


def check_timelines(timelines: Sized) -> None:
    """Raise ValueError for a file with more clips than are read."""
    if len(timelines) > MAX_TIMELINES:
        raise ValueError(f"events of {len(timelines):,} files, more than {MAX_TIMELINES:,}")
