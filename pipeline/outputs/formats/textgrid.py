"""TextGrid, the annotation files of Praat."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ...tables import NumberReader, shorten
from ...timeline import Event, Timeline
from .tiers import find_modality, from_tiers, to_tiers

_FLAG = "<exists>"
# Praat reads strings, numbers and flags that stand alone; everything else in its text files is ignored.
_TOKEN = re.compile(r'"([^"]*(?:""[^"]*)*)"|(?<!\S)(<[a-z]+>|[-+]?\.?[0-9][^\s"]*)(?!\S)')
_NUMERAL = re.compile(r"[-+.0-9eE]+")  # not "1:" and other words that begin with a digit


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
    return ["".join(f"{line}\n" for line in lines).encode("utf-8", "backslashreplace")]


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
        count = int(_number(tokens)) if next(tokens) == _FLAG else 0
        for _ in range(count):
            kind, tier = _text(tokens), _text(tokens)
            _extent = _number(tokens), _number(tokens)
            modality = find_modality(tier) if kind == "IntervalTier" else None
            names += [tier] if modality else []
            for _ in range(int(_number(tokens))):
                onset = _number(tokens)
                offset = _number(tokens) if kind == "IntervalTier" else onset
                label = _text(tokens)
                if modality and label.strip():
                    events.append(Event(modality, label, onset, offset, 1.0))
    except StopIteration:
        raise ValueError("the file ends too early") from None
    return [from_tiers(events, names, path=name, duration=end)]


def _tokens(text: str) -> Iterator[tuple[str] | str]:
    """Yield strings as tuples of one, numbers and flags as they are written."""
    for match in _TOKEN.finditer(text):
        if match[2] is None:
            yield (match[1].replace('""', '"'),)
        elif match[2].startswith("<") or _NUMERAL.fullmatch(match[2]):
            yield match[2]


def _number(tokens: Iterator[tuple[str] | str]) -> float:
    token = next(tokens)
    if isinstance(token, tuple) or token.startswith("<"):
        raise ValueError(f"found {shorten(token[0] if isinstance(token, tuple) else token)}, expected a number")
    return NumberReader(decimal_comma=False).parse(token)


def _text(tokens: Iterator[tuple[str] | str]) -> str:
    token = next(tokens)
    if not isinstance(token, tuple):
        raise ValueError(f"found {shorten(token)}, expected a string")
    return token[0]
