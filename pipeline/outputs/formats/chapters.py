"""Chapters for media players: FFmpeg's metadata files and WebVTT chapters."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from ...event_limits import check_events
from ...tables import split_lines
from ...text import display_label, encode_text
from ...timeline import MODALITY_WORDS, Event, Modality, Timeline
from ..postprocess import TooManyEventsError, merge_events, split_modalities, with_audio_visual
from .captions import LINE_COST, MAX_CAPTION_SIZE, MAX_PAUSE, active_events, cue_times, escape_cue

NO_EVENTS = "No events"  # title of a chapter in which nothing happens
_HEADER = ";FFMETADATA1"
_SECTION = "[CHAPTER]"
_SPECIAL = re.compile(r"([=;#\\\n])")
_VALUE = re.compile(r"((?:[^=\\]|\\.)*)=(.*)", re.DOTALL)
_ESCAPED = re.compile(r"\\(.)", re.DOTALL)
_MODALITIES: Mapping[str, Modality] = {word: modality for modality, word in MODALITY_WORDS.items()}
_EVENT = re.compile(rf"(.*?) \(({'|'.join(_MODALITIES)})\)(?:, |\Z)", re.DOTALL)
_TIMEBASE = re.compile(r"([0-9]{1,10})/([0-9]{1,10})")
_TIME = re.compile(r"-?[0-9]{1,18}")


@dataclass(frozen=True)
class Chapter:
    """An interval ``[onset, offset)`` in seconds with a title."""

    onset: float
    offset: float
    title: str


def make_chapters(timeline: Timeline) -> list[Chapter]:
    """Divide a timeline into chapters: players expect that they neither overlap nor leave gaps.

    A chapter begins wherever an event begins or ends. Its title lists the classes that are active, those that began
    first first: "Dog (both), Speech (audio)". Pauses of an event of up to a second are bridged, as in captions.

    Args:
        timeline: the events.

    Returns:
        Chapters from 0 to the end of the timeline.

    Raises:
        TooManyEventsError: each title lists all events at its time, and together they exceed `MAX_CAPTION_SIZE`.
    """
    end = max([timeline.media["duration"], *(event.offset for event in timeline.events)])
    merged = merge_events(split_modalities(timeline.events), MAX_PAUSE)
    names = {label: display_label(label) for label in {event.label for event in merged}}
    chapters, size = list[Chapter](), 0
    for onset, offset, active in active_events(merged):
        chapters.append(Chapter(onset, offset, _title(active, names)))
        size += len(chapters[-1].title) + LINE_COST
        if size > MAX_CAPTION_SIZE:
            raise TooManyEventsError("too many events at once for chapters; choose some with --keep-classes")
    first, last = (chapters[0].onset, chapters[-1].offset) if chapters else (end, end)
    before = [Chapter(0.0, first, NO_EVENTS)] if first > 0 else []
    after = [Chapter(last, end, NO_EVENTS)] if end > last else []
    return [chapter for chapter in (*before, *chapters, *after) if _milliseconds(chapter)]


def _milliseconds(chapter: Chapter) -> int:
    """Return the length of a chapter as it is written; sums of seconds leave chapters of none between others."""
    return round(chapter.offset * 1000) - round(chapter.onset * 1000)


def _title(active: Sequence[Event], names: Mapping[str, str]) -> str:
    modalities: dict[str, set[Modality]] = {}
    for event in active:
        modalities.setdefault(event.label, set()).add(event.modality)
    words = {
        label: MODALITY_WORDS["audio_visual" if len(found) > 1 else found.pop()] for label, found in modalities.items()
    }
    return ", ".join(f"{names[label]} ({word})" for label, word in words.items()) or NO_EVENTS


def write_vtt(timeline: Timeline) -> list[bytes]:
    """Write WebVTT chapters, for `<track kind="chapters">`.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    blocks = ["WEBVTT - chapters"]
    blocks += [f"{cue_times(c.onset, c.offset)}\n{escape_cue(c.title)}" for c in make_chapters(timeline)]
    return [encode_text("\n\n".join(blocks) + "\n")]


def write_ffmetadata(timeline: Timeline) -> list[bytes]:
    """Write FFmpeg's metadata, milliseconds: `ffmpeg -i video.mp4 -i x.ffmetadata.txt -map_chapters 1 -c copy out.mp4`.

    Args:
        timeline: the events.

    Returns:
        The content of one file.
    """
    lines = [_HEADER]
    for chapter in make_chapters(timeline):
        start, end = round(chapter.onset * 1000), round(chapter.offset * 1000)
        lines += [_SECTION, "TIMEBASE=1/1000", f"START={start}", f"END={end}", f"title={_escape(chapter.title)}"]
    return [encode_text("".join(f"{line}\n" for line in lines))]


def _escape(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", text)


def read_ffmetadata(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the chapters of FFmpeg's metadata as events.

    The titles that this program writes become the events that they list, with the names of classes for people, and
    those that continue in the next chapter become one. Any other title is the class of an audio-visual event.

    Args:
        contents: the text of one file.
        name: name of the timeline.

    Returns:
        One timeline.

    Raises:
        ValueError: the content is not FFmpeg's metadata, or a chapter has no times.
    """
    (text,) = contents.values()
    lines = split_lines(text)
    if not lines[0].startswith(_HEADER):
        raise ValueError(f"the first line is not {_HEADER}")
    events: list[Event] = []
    for number, values in _sections(lines):
        try:
            events += _events(values)
            check_events(events)
        except ValueError as error:
            raise ValueError(f"chapter in line {number}: {error}") from error
    return [Timeline.of_events(with_audio_visual(merge_events(split_modalities(events), 0.0)), path=name)]


def _sections(lines: Sequence[str]) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield the line and the values of each chapter."""
    number, values = 0, dict[str, str]()
    for line_number, line in _whole_lines(lines):
        if line.startswith("["):
            if number:
                yield number, values
            number, values = (line_number if line.strip() == _SECTION else 0), {}
        elif match := _VALUE.fullmatch(line):
            values[match[1]] = _ESCAPED.sub(r"\1", match[2])
    if number:
        yield number, values


def _whole_lines(lines: Sequence[str]) -> Iterator[tuple[int, str]]:
    """Yield lines without comments; one that ends with an escaped newline goes on in the next."""
    parts, first = list[str](), 1
    for number, line in enumerate(lines, 1):
        first = first if parts else number
        parts.append(line)
        if number == len(lines) or (len(line) - len(line.rstrip("\\"))) % 2 == 0:
            if not parts[0].startswith((";", "#")):
                yield first, "\n".join(parts)
            parts = []


def _events(values: Mapping[str, str]) -> list[Event]:
    """Return the events of a chapter. Raises ValueError."""
    base = _TIMEBASE.fullmatch(values.get("TIMEBASE", "1/1000000000"))  # FFmpeg's default
    times = [_TIME.fullmatch(values.get(key, "")) for key in ("START", "END")]
    if base is None or not int(base[2]) or not all(times):
        raise ValueError("has no whole numbers for START and END, or no fraction for TIMEBASE")
    onset, offset = (int(time[0]) * int(base[1]) / int(base[2]) for time in times if time)
    title = values.get("title", "")
    if title == NO_EVENTS or onset == offset:
        return []
    place, found = 0, list[Event]()
    while match := _EVENT.match(title, place):
        found.append(Event(_MODALITIES[match[2]], match[1], onset, offset, 1.0))
        place = match.end()
    return found if found and place == len(title) else [Event("audio_visual", title, onset, offset, 1.0)]
