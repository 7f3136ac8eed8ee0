"""Times of annotations in EAF, which may be given only by their place between others."""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from xml.etree import ElementTree as ET

from ...tables import NumberReader
from ...text import shorten

_MAX_STEPS = 8  # slots that are followed for each annotation: chains that share a tail would be followed often

Span = tuple[float, float]  # milliseconds


def milliseconds(text: str, what: str) -> float:
    """Parse a time.

    Args:
        text: of an attribute.
        what: its name, for the message.

    Returns:
        Milliseconds.

    Raises:
        ValueError: the text is not a number.
    """
    try:
        return NumberReader(decimal_comma=False).parse(text)
    except ValueError as error:
        raise ValueError(f"{what}: {error}") from error


def annotation_spans(root: ET.Element) -> dict[str, Span]:
    """Find the times of all annotations.

    A time slot without a time lies evenly between the neighbours that have one: those in the chain of its tier's
    annotations, which share slots, else those in the order of all slots. Annotations that refer to another one divide
    its time evenly, or have all of it where there is one.

    Args:
        root: of an EAF document.

    Returns:
        Identifier of an annotation -> its span; annotations without a time are missing.

    Raises:
        ValueError: a time is not a number, or chains of annotations that share their ends are too many.
    """
    slots: dict[str, float | None] = {}
    for slot in root.iterfind("TIME_ORDER/TIME_SLOT"):
        value, identifier = slot.get("TIME_VALUE"), slot.get("TIME_SLOT_ID", "")
        slots[identifier] = None if value is None else milliseconds(value, f"time slot {shorten(identifier)}")
    tiers = list(_parents_first(root))
    for tier in tiers:
        for chain in _chains(tier, slots):
            _fill(chain, slots)
    _fill(list(slots), slots)
    spans: dict[str, Span] = {}
    for tier in tiers:
        for aligned in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION"):
            start, stop = (slots.get(slot) for slot in _slot_pair(aligned))
            if start is not None and stop is not None:
                spans[_identifier(aligned)] = start, stop
    _divide_parents(tiers, spans)
    return spans


def find_span(spans: Mapping[str, Span], annotation: ET.Element) -> Span:
    """Return the span of an annotation. Raises ValueError where it has none."""
    span = spans.get(_identifier(annotation))
    if span is None:
        parent = annotation.get("ANNOTATION_REF")
        missing = f"time, nor has {shorten(parent)}" if parent else "time slots with a time around it"
        raise ValueError(f"annotation {shorten(_identifier(annotation))} has no {missing}")
    return span


def _identifier(annotation: ET.Element) -> str:
    """Return the identifier; one of its time slots stands for it where another program wrote none."""
    return annotation.get("ANNOTATION_ID") or " ".join(_slot_pair(annotation))


def _slot_pair(annotation: ET.Element) -> tuple[str, str]:
    return annotation.get("TIME_SLOT_REF1", ""), annotation.get("TIME_SLOT_REF2", "")


def _parents_first(root: ET.Element) -> Iterator[ET.Element]:
    """Yield the tiers, each after the tier it depends on: a subdivision may be subdivided."""
    children: defaultdict[str | None, list[ET.Element]] = defaultdict(list)
    tiers = list(root.iterfind("TIER"))
    names = {tier.get("TIER_ID") for tier in tiers}
    for tier in tiers:
        parent = tier.get("PARENT_REF")
        children[parent if parent in names else None].append(tier)
    queue = deque(children.pop(None, []))
    while queue:
        tier = queue.popleft()
        yield tier
        queue += children.pop(tier.get("TIER_ID"), [])
    for circle in children.values():
        yield from circle


def _chains(tier: ET.Element, slots: Mapping[str, float | None]) -> Iterator[list[str]]:
    """Yield the slots of consecutive annotations of a tier that share them, in order."""
    following = dict(map(_slot_pair, tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION")))
    later = set(following.values())
    steps = _MAX_STEPS * len(following)
    for first in following:
        if first in later:
            continue
        chain = [first]
        while chain[-1] in following and len(chain) <= len(following):
            chain.append(following[chain[-1]])
        steps -= len(chain)
        if steps < 0:
            raise ValueError(f"too many annotations of tier {shorten(tier.get('TIER_ID', ''))} end at one time slot")
        yield [slot for slot in chain if slot in slots]


def _fill(order: Sequence[str], slots: dict[str, float | None]) -> None:
    """Give slots without a time one, evenly between the neighbours in this order that have one."""
    before: float | None = None
    pending: list[str] = []
    for slot in order:
        time = slots[slot]
        if time is None:
            pending.append(slot)
            continue
        if before is not None:
            for number, name in enumerate(pending, 1):
                slots[name] = before + (time - before) * number / (len(pending) + 1)
        before, pending = time, []


def _divide_parents(tiers: Iterable[ET.Element], spans: dict[str, Span]) -> None:
    """Add the spans of annotations that refer to others."""
    children: defaultdict[str, list[list[ET.Element]]] = defaultdict(list)
    for tier in tiers:
        refs = sorted(tier.iterfind("ANNOTATION/REF_ANNOTATION"), key=_parent)
        for parent, group in groupby(refs, key=_parent):
            children[parent].append(_in_order(list(group)))
    queue = deque(spans)
    while queue:
        parent = queue.popleft()
        start, stop = spans[parent]
        for parts in children.pop(parent, []):
            step = (stop - start) / len(parts)
            for number, part in enumerate(parts):
                spans[_identifier(part)] = start + step * number, start + step * (number + 1)
                queue.append(_identifier(part))


def _parent(annotation: ET.Element) -> str:
    return annotation.get("ANNOTATION_REF", "")


def _in_order(parts: list[ET.Element]) -> list[ET.Element]:
    """Sort the parts of one annotation, each of which may name the one before it."""
    after = {part.get("PREVIOUS_ANNOTATION"): part for part in parts}
    ordered = [part for part in parts if part.get("PREVIOUS_ANNOTATION") is None][:1]
    while ordered and len(ordered) < len(parts) and (part := after.get(_identifier(ordered[-1]))) is not None:
        ordered.append(part)
    return ordered if len(ordered) == len(parts) else parts
