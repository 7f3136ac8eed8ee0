"""Captions for media players: WebVTT and SubRip, one file per modality."""

from __future__ import annotations

import heapq
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...clock import format_clock
from ...text import encode_text, escape
from ...timeline import Event, Modality, Timeline
from ..postprocess import TooManyEventsError, merge_events, split_modalities

MAX_CAPTION_SIZE = 32 << 20  # characters of the captions of one modality
LINE_COST = 32  # characters that a line counts for besides its own
MAX_PAUSE = 1.0  # seconds; a caption stays on through pauses of its event that are not longer
# Audio and visual caption of each LLP class; other classes are shown by their names.
_LLP_CAPTIONS = {
    "Speech": ("speech", "person talking"),
    "Car": ("car engine", "car"),
    "Cheering": ("cheering", "people cheering"),
    "Dog": ("dog barking", "dog"),
    "Cat": ("cat meowing", "cat"),
    "Frying_(food)": ("food frying", "food frying"),
    "Basketball_bounce": ("basketball bouncing", "basketball"),
    "Fire_alarm": ("fire alarm ringing", "fire alarm"),
    "Chainsaw": ("chainsaw running", "chainsaw"),
    "Cello": ("cello playing", "cello"),
    "Banjo": ("banjo playing", "banjo"),
    "Singing": ("singing", "person singing"),
    "Chicken_rooster": ("rooster crowing", "chicken"),
    "Violin_fiddle": ("violin playing", "violin"),
    "Vacuum_cleaner": ("vacuum cleaner running", "vacuum cleaner"),
    "Baby_laughter": ("baby laughing", "laughing baby"),
    "Accordion": ("accordion playing", "accordion"),
    "Lawn_mower": ("lawn mower running", "lawn mower"),
    "Motorcycle": ("motorcycle engine", "motorcycle"),
    "Helicopter": ("helicopter rotor", "helicopter"),
    "Acoustic_guitar": ("acoustic guitar playing", "acoustic guitar"),
    "Telephone_bell_ringing": ("telephone ringing", "telephone"),
    "Baby_cry_infant_cry": ("baby crying", "crying baby"),
    "Blender": ("blender running", "blender"),
    "Clapping": ("clapping", "hands clapping"),
}


@dataclass(frozen=True)
class Cue:
    """Caption lines shown during ``[onset, offset)``."""

    onset: float  # seconds
    offset: float
    lines: tuple[str, ...]  # from top to bottom


def make_cues(events: Sequence[Event], modality: Modality) -> list[Cue]:
    """Make cues that do not overlap and change only at the onset or offset of an event.

    A line keeps its place while it is shown: events that begin first are above. A caption stays on through pauses of
    up to a second, so that it does not flicker.

    Args:
        events: of any modality.
        modality: of the events to caption.

    Returns:
        Cues by onset.

    Raises:
        TooManyEventsError: each cue shows all events at its time, and together they exceed `MAX_CAPTION_SIZE`.
    """
    captioned = merge_events((event for event in split_modalities(events) if event.modality == modality), MAX_PAUSE)
    texts = {label: _caption(label, modality) for label in {event.label for event in captioned}}
    cues, size = list[Cue](), 0
    for onset, offset, active in active_events(captioned):
        if active:
            cues.append(Cue(onset, offset, tuple(texts[event.label] for event in active)))
            size += sum(len(text) + LINE_COST for text in cues[-1].lines)
            if size > MAX_CAPTION_SIZE:
                raise TooManyEventsError("too many events at once for captions; choose some with --keep-classes")
    return cues


def active_events(events: Iterable[Event]) -> Iterator[tuple[float, float, tuple[Event, ...]]]:
    """Yield the intervals between the times at which events begin or end, and the events that are active in each.

    Args:
        events: in any order.

    Yields:
        Onset and offset in seconds, and the active events by their onset and label; none in a pause.
    """
    by_onset = sorted(events, key=lambda event: (event.onset, event.label))
    edges = sorted({edge for event in by_onset for edge in (event.onset, event.offset)})
    started, active = 0, dict[int, Event]()  # place in `by_onset`, ascending -> event
    ends: list[tuple[float, int]] = []  # heap of offsets and places
    for onset, offset in pairwise(edges):
        while ends and ends[0][0] <= onset:
            del active[heapq.heappop(ends)[1]]
        while started < len(by_onset) and by_onset[started].onset <= onset:
            active[started] = by_onset[started]
            heapq.heappush(ends, (by_onset[started].offset, started))
            started += 1
        yield onset, offset, tuple(active.values())


def _caption(label: str, modality: Modality) -> str:
    captions = _LLP_CAPTIONS.get(label)
    if captions is None:
        return f"[{escape(' '.join(label.split())).replace('_', ' ').strip().lower()}]"
    return f"[{captions[0] if modality == 'audio' else captions[1]}]"


def write_vtt(timeline: Timeline) -> list[bytes]:
    """Write WebVTT; "&", "<" and ">" are escaped, so that no label is parsed as markup or as a timing line.

    Args:
        timeline: the events.

    Returns:
        The audio captions and the visual captions.
    """
    return [_vtt(timeline, "audio"), _vtt(timeline, "visual")]


def _vtt(timeline: Timeline, modality: Modality) -> bytes:
    blocks = [f"WEBVTT - {modality}"]
    for cue in make_cues(timeline.events, modality):
        text = escape_cue("\n".join(cue.lines))
        blocks.append(f"{cue_times(cue.onset, cue.offset)}\n{text}")
    return encode_text("\n\n".join(blocks) + "\n")


def write_srt(timeline: Timeline) -> list[bytes]:
    """Write SubRip; angle brackets become single quotation marks.

    SubRip has no escapes, and players parse "<" as markup.

    Args:
        timeline: the events.

    Returns:
        The audio captions and the visual captions.
    """
    return [_srt(timeline, "audio"), _srt(timeline, "visual")]


def _srt(timeline: Timeline, modality: Modality) -> bytes:
    blocks = []
    for number, cue in enumerate(make_cues(timeline.events, modality), 1):
        text = "\n".join(cue.lines).replace("<", "\u2039").replace(">", "\u203a")
        times = cue_times(cue.onset, cue.offset).replace(".", ",")
        blocks.append(f"{number}\n{times}\n{text}\n")
    return encode_text("\n".join(blocks))


def cue_times(onset: float, offset: float) -> str:
    """Return the line with the times of a WebVTT cue."""
    return " --> ".join(format_clock(seconds, hour_digits=2, decimals=3) for seconds in (onset, offset))


def escape_cue(text: str) -> str:
    """Escape the text of a WebVTT cue, so that no label is parsed as markup or as a line of times."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
