"""Captions for players: WebVTT and SubRip, a file for each modality."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from ...clock import format_clock
from ...text import escape
from ...timeline import Event, Modality, Timeline
from ..postprocess import merge_events, split_modalities

_BRIDGED = 1.0  # seconds for which a caption stays although its event pauses
# What a caption calls the classes of LLP, heard and seen; others go by their names.
_WORDS = {
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
    """Lines that are shown over ``[onset, offset)`` seconds."""

    onset: float
    offset: float
    lines: tuple[str, ...]


def make_cues(events: Sequence[Event], modality: Modality) -> list[Cue]:
    """One cue at a time, without overlaps, that changes only where an event begins or ends.

    A line keeps its place while it is shown: what began first is above. A caption stays on through pauses of up to a
    second, so that it does not flicker.
    """
    shown = merge_events((event for event in split_modalities(events) if event.modality == modality), _BRIDGED)
    waiting = sorted(shown, key=lambda event: (event.onset, event.label))
    edges = sorted({edge for event in shown for edge in (event.onset, event.offset)})
    cues, active, taken = [], list[Event](), 0
    for onset, offset in pairwise(edges):
        active = [event for event in active if event.offset > onset]
        while taken < len(waiting) and waiting[taken].onset <= onset:
            active.append(waiting[taken])
            taken += 1
        if active:
            cues.append(Cue(onset, offset, tuple(_words(event.label, modality) for event in active)))
    return cues


def _words(label: str, modality: Modality) -> str:
    known = _WORDS.get(label)
    if known is None:
        return f"[{escape(' '.join(label.split())).replace('_', ' ').strip().lower()}]"
    return f"[{known[0] if modality == 'audio' else known[1]}]"


def write_vtt(timeline: Timeline) -> list[bytes]:
    """WebVTT; "&", "<" and ">" are escaped, so no label is taken for markup or for a line of times."""
    return [_vtt(timeline, "audio", "heard"), _vtt(timeline, "visual", "seen")]


def _vtt(timeline: Timeline, modality: Modality, what: str) -> bytes:
    blocks = [f"WEBVTT - {what}"]
    for cue in make_cues(timeline.events, modality):
        text = "\n".join(cue.lines).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
        blocks.append(f"{_clock(cue.onset)} --> {_clock(cue.offset)}\n{text}")
    return ("\n\n".join(blocks) + "\n").encode("utf-8", "backslashreplace")


def write_srt(timeline: Timeline) -> list[bytes]:
    """SubRip. It has no escapes, and players take "<" for markup: angle brackets become single quotation marks."""
    return [_srt(timeline, "audio"), _srt(timeline, "visual")]


def _srt(timeline: Timeline, modality: Modality) -> bytes:
    blocks = []
    for number, cue in enumerate(make_cues(timeline.events, modality), 1):
        text = "\n".join(cue.lines).replace("<", "\u2039").replace(">", "\u203a")
        times = f"{_clock(cue.onset)} --> {_clock(cue.offset)}".replace(".", ",")
        blocks.append(f"{number}\n{times}\n{text}\n")
    return "\n".join(blocks).encode("utf-8", "backslashreplace")


def _clock(seconds: float) -> str:
    return format_clock(seconds, hour_digits=2, decimals=3)
