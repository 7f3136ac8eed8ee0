"""TextGrid, the annotation files of Praat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ...event_limits import check_events
from ...tables import NumberReader
from ...text import encode_text, shorten
from ...timeline import Event, Timeline
from .tiers import find_modality, from_tiers, to_tiers

MAX_TOKENS = 4_000_000  # strings, with their doubled quotes, and words of a file; an interval has at most nine
_FLAG = "<exists>"
# Praat reads strings, numbers and flags that stand alone; everything else in its text files is ignored.
_WORD = re.compile(r"\S+")
_VALUE = re.compile(r"<[a-z]+>|[-+]?\.?[0-9][-+.0-9eE]*")  # not "1:" and other words that begin with a digit


def write(timeline: Timeline) -> list[bytes]:
    """Write Praat's long text format: interval tiers of each modality, with empty intervals between events.

    Args:
        timeline: the events.

    Returns:
        The content of one file, UTF-8.
    """
    end = max([timeline.media["duration"], *(event.offset for event in timeline.events)]) or 1.0
    tiers = to_tiers(timeline)
    lines = ['File type = "ooTextFile"', 'Object class = "TextGrid"', "", "xmin = 0", f"xmax = {end!r}"]
    lines += [f"tiers? {_FLAG}", f"size = {len(tiers)}", "item []:"]
    for number, (name, events) in enumerate(tiers.items(), 1):
        intervals, end_so_far = [], 0.0
        for event in events:
            if event.onset > end_so_far:
                intervals.append((end_so_far, event.onset, ""))
            intervals.append((event.onset, event.offset, event.label))
            end_so_far = event.offset
        if end_so_far < end:
            intervals.append((end_so_far, end, ""))
        lines += [f"    item [{number}]:", '        class = "IntervalTier"', f"        name = {_quoted(name)}"]
        lines += ["        xmin = 0", f"        xmax = {end!r}", f"        intervals: size = {len(intervals)}"]
        for index, (onset, offset, label) in enumerate(intervals, 1):
            lines += [f"        intervals [{index}]:", f"            xmin = {onset!r}"]
            lines += [f"            xmax = {offset!r}", f"            text = {_quoted(label)}"]
    return [encode_text("".join(f"{line}\n" for line in lines))]


def _quoted(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read the long or the short text format; point tiers and tiers with other names than modalities are skipped.

    Args:
        contents: the text of one file.
        name: name of the timeline.

    Returns:
        One timeline.

    Raises:
        ValueError: the content is not a TextGrid, or no tier is named after a modality.
    """
    (text,) = contents.values()
    tokens = _tokens(text)
    try:
        if next(tokens) != ("ooTextFile",) or next(tokens) != ("TextGrid",):
            raise ValueError("not a TextGrid")
        _number(tokens)
        end = _number(tokens)
        events: list[Event] = []
        names: list[str] = []
        for _ in range(_count(tokens) if next(tokens) == _FLAG else 0):
            kind, tier = _text(tokens), _text(tokens)
            _extent = _number(tokens), _number(tokens)
            modality = find_modality(tier) if kind == "IntervalTier" else None
            names += [tier] if modality else []
            for _ in range(_count(tokens)):
                onset = _number(tokens)
                offset = _number(tokens) if kind == "IntervalTier" else onset
                label = _text(tokens)
                if modality and label.strip():
                    check_events(events)
                    events.append(Event(modality, label, onset, offset, 1.0))
    except StopIteration:
        raise ValueError("the file ends too early") from None
    return [from_tiers(events, names, path=name, duration=end)]


def _tokens(text: str) -> Iterator[tuple[str] | str]:
    """Yield strings as tuples of one, numbers and flags as they are written; each character is looked at once."""
    seen = position = 0
    while position < len(text):
        quote = text.find('"', position)
        end = len(text) if quote < 0 else quote
        for word in _WORD.finditer(text, position, end):
            seen += 1
            _check_count(seen)
            touches_string = (position and word.start() == position) or (quote >= 0 and word.end() == end)
            if not touches_string and _VALUE.fullmatch(word[0]):
                yield word[0]
        if quote < 0:
            return
        stop = text.find('"', quote + 1)
        while stop >= 0 and text.startswith('"', stop + 1):  # doubled: a quote inside of the string
            seen += 1
            stop = text.find('"', stop + 2)
        seen += 1
        _check_count(seen)
        if stop < 0:
            raise ValueError(f"the string {shorten(text[quote + 1 :])} is never closed")
        yield (text[quote + 1 : stop].replace('""', '"'),)
        position = stop + 1


def _check_count(tokens: int) -> None:
    if tokens > MAX_TOKENS:
        raise ValueError(f"more than {MAX_TOKENS:,} words and strings")


def _number(tokens: Iterator[tuple[str] | str]) -> float:
    token = next(tokens)
    if isinstance(token, tuple) or token.startswith("<"):
        raise ValueError(f"found {shorten(token[0] if isinstance(token, tuple) else token)}, expected a number")
    return NumberReader(decimal_comma=False).parse(token)


def _count(tokens: Iterator[tuple[str] | str]) -> int:
    """Return a number of tiers or intervals, as far as the tokens may hold so many."""
    return int(min(_number(tokens), MAX_TOKENS))


def _text(tokens: Iterator[tuple[str] | str]) -> str:
    token = next(tokens)
    if not isinstance(token, tuple):
        raise ValueError(f"found {shorten(token)}, expected a string")
    return token[0]
