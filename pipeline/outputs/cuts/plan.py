"""Which parts of which media are cut, and what their files are called."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from ...timeline import MODALITY_WORDS, Modality
from ..search.search import Match

_MAX_VIDEO_BYTES, _MAX_CLASS_BYTES = 120, 60  # of the parts of a name; a name may have 255
_KEPT = "-.+,()"  # besides letters, marks and digits


@dataclass(frozen=True)
class Cut:
    """One file to be cut out of a media file.

    Attributes:
        name: of the file.
        video: name of the timeline.
        media: the file to cut.
        label: class of its events.
        modality: of its events; "audio_visual" where they have several.
        onset: of its first event, in seconds.
        offset: end of its last event.
        score: the best of its events.
        events: number of its events.
        start: where the cut is to begin: the onset without the padding, at least 0.
        end: where it is to end.
    """

    name: str
    video: str
    media: Path
    label: str
    modality: Modality
    onset: float
    offset: float
    score: float
    events: int
    start: float
    end: float


def plan_cuts(
    matches: Iterable[Match],
    media: Mapping[tuple[str, Path], Path],
    suffixes: Mapping[Path, str],
    *,
    pad: float,
    merge: bool,
) -> list[Cut]:
    """Choose the parts to cut.

    Args:
        matches: events of any number of timelines.
        media: name and file of a timeline -> its media file; matches of others are left out.
        suffixes: media file -> suffix of its cuts.
        pad: seconds before and after each event.
        merge: join events of a class whose padded times overlap or touch, so that no second of a class is cut twice.

    Returns:
        The cuts, by timeline, time and class, with different names.
    """
    found = ((match, media.get((match.name, match.source))) for match in matches)
    cuts = [_cut(match, file, pad) for match, file in found if file is not None]
    if merge:
        cuts = _merge(cuts)
    cuts.sort(key=lambda cut: (cut.video, str(cut.media), cut.onset, cut.offset, cut.label, cut.modality))
    return _with_names(cuts, suffixes)


def _cut(match: Match, media: Path, pad: float) -> Cut:
    moment = match.moment
    return Cut(
        "",
        match.name,
        media,
        moment.label,
        moment.modality,
        moment.onset,
        moment.offset,
        moment.score,
        1,
        max(0.0, moment.onset - pad),
        moment.offset + pad,
    )


def _merge(cuts: Sequence[Cut]) -> list[Cut]:
    merged: list[Cut] = []
    for cut in sorted(cuts, key=lambda cut: (cut.video, str(cut.media), cut.label, cut.start, cut.end)):
        last = merged[-1] if merged else None
        same = last is not None and (last.video, last.media, last.label) == (cut.video, cut.media, cut.label)
        if last is None or not same or cut.start > last.end:
            merged.append(cut)
            continue
        merged[-1] = replace(
            last,
            modality=last.modality if last.modality == cut.modality else "audio_visual",
            offset=max(last.offset, cut.offset),
            end=max(last.end, cut.end),
            score=max(last.score, cut.score),
            events=last.events + cut.events,
        )
    return merged


def _with_names(cuts: Iterable[Cut], suffixes: Mapping[Path, str]) -> list[Cut]:
    taken = set[str]()
    named = []
    for cut in cuts:
        video = safe_part(cut.video, _MAX_VIDEO_BYTES)
        times = f"{cut.onset:.2f}-{cut.offset:.2f}"
        stem = f"{video}_{times}_{safe_part(cut.label, _MAX_CLASS_BYTES)}_{MODALITY_WORDS[cut.modality]}"
        named.append(replace(cut, name=_unique(stem, suffixes[cut.media], taken)))
    return named


def safe_part(text: str, most: int) -> str:
    """Return a part of a name of a file that every system and shell takes for nothing else.

    Args:
        text: as a file of events states it.
        most: bytes of the result.

    Returns:
        The text in Unicode's composed form: letters, digits, marks and a few signs, others as underscores; it begins
        with neither a dot nor a hyphen.
    """
    composed = unicodedata.normalize("NFC", text)
    kept = "".join(sign if sign in _KEPT or unicodedata.category(sign)[0] in "LMN" else "_" for sign in composed)
    short = kept.encode()[:most].decode(errors="ignore").rstrip(". ")
    return "_" + short if not short or short[0] in "-." else short


def _unique(stem: str, suffix: str, taken: set[str]) -> str:
    """Return a name that none of the others has, on systems that take upper and lower case for the same either."""
    name, number = f"{stem}{suffix}", 2
    while name.casefold() in taken:
        name, number = f"{stem}-{number}{suffix}", number + 1
    taken.add(name.casefold())
    return name
