"""EAF, the annotation files of ELAN: XML by the EAF 3.0 schema."""

from __future__ import annotations

import math
import mimetypes
import re
from collections.abc import Mapping
from pathlib import Path
from xml.etree import ElementTree as ET
from xml.parsers import expat

from ...timeline import Event, Timeline
from .tiers import find_modality, from_tiers, to_tiers

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_LINGUISTIC_TYPE = "events"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DATE = "1970-01-01T00:00:00+00:00"  # fixed, so that the same events give the same bytes


def write(timeline: Timeline) -> list[bytes]:
    """Write time-aligned tiers of each modality, in milliseconds.

    Characters that XML cannot hold become U+FFFD. An event lasts at least one millisecond, as ELAN requires.

    Args:
        timeline: the events; the path of the media is referenced where its type is known.

    Returns:
        The content of one file.
    """
    root = ET.Element("ANNOTATION_DOCUMENT", AUTHOR="avvp", DATE=_DATE, FORMAT="3.0", VERSION="3.0")
    root.set(f"{{{_SCHEMA_INSTANCE}}}noNamespaceSchemaLocation", _SCHEMA)
    header = ET.SubElement(root, "HEADER", MEDIA_FILE="", TIME_UNITS="milliseconds")
    path = Path(_clean(str(timeline.media.get("path", ""))))
    mime_type = mimetypes.guess_type(path.name)[0]
    if mime_type is not None:
        url = path.as_uri() if path.is_absolute() else f"./{path.name}"
        ET.SubElement(header, "MEDIA_DESCRIPTOR", MEDIA_URL=url, MIME_TYPE=mime_type)
    last_id = ET.SubElement(header, "PROPERTY", NAME="lastUsedAnnotationId")
    tiers = to_tiers(timeline)
    spans = {id(event): _milliseconds(event) for events in tiers.values() for event in events}
    slots = {time: f"ts{n}" for n, time in enumerate(sorted({t for span in spans.values() for t in span}), 1)}
    order = ET.SubElement(root, "TIME_ORDER")
    for time, slot in slots.items():
        ET.SubElement(order, "TIME_SLOT", TIME_SLOT_ID=slot, TIME_VALUE=str(time))
    number = 0
    for name, events in tiers.items():
        tier = ET.SubElement(root, "TIER", LINGUISTIC_TYPE_REF=_LINGUISTIC_TYPE, TIER_ID=name)
        for event in events:
            number += 1
            start, stop = spans[id(event)]
            aligned = ET.SubElement(
                ET.SubElement(tier, "ANNOTATION"), "ALIGNABLE_ANNOTATION",
                ANNOTATION_ID=f"a{number}", TIME_SLOT_REF1=slots[start], TIME_SLOT_REF2=slots[stop],
            )  # fmt: skip
            ET.SubElement(aligned, "ANNOTATION_VALUE").text = _clean(event.label)
    last_id.text = str(number)
    ET.SubElement(
        root, "LINGUISTIC_TYPE", GRAPHIC_REFERENCES="false", LINGUISTIC_TYPE_ID=_LINGUISTIC_TYPE, TIME_ALIGNABLE="true"
    )
    ET.indent(root, "    ")
    return [ET.tostring(root, encoding="utf-8", xml_declaration=True) + b"\n"]


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _milliseconds(event: Event) -> tuple[int, int]:
    """Return onset and offset; ELAN's annotations last at least a millisecond."""
    start = round(event.onset * 1000)
    return start, max(start + 1, round(event.offset * 1000))


def read(contents: Mapping[str, bytes], name: str) -> list[Timeline]:
    """Read time-aligned annotations on tiers named after modalities; other tiers are skipped.

    A document type declaration is refused: its entities could expand without limit or read other files.

    Args:
        contents: the content of one file.
        name: name of the timeline.

    Returns:
        One timeline.

    Raises:
        ValueError: the content is not EAF, or no tier is named after a modality.
    """
    (content,) = contents.values()
    try:
        _refuse_declarations(content)
        root = ET.fromstring(content)  # noqa: S314 - without declarations there are no entities to expand
    except (ET.ParseError, expat.ExpatError, LookupError) as error:
        raise ValueError(str(error)) from error
    times = {slot.get("TIME_SLOT_ID"): slot.get("TIME_VALUE") for slot in root.iterfind("TIME_ORDER/TIME_SLOT")}
    events: list[Event] = []
    names: list[str] = []
    for tier in root.iterfind("TIER"):
        names.append(tier.get("TIER_ID", ""))
        modality = find_modality(names[-1])
        for aligned in tier.iterfind("ANNOTATION/ALIGNABLE_ANNOTATION") if modality else ():
            label = aligned.findtext("ANNOTATION_VALUE") or ""
            start, stop = (_seconds(times, aligned.get(key)) for key in ("TIME_SLOT_REF1", "TIME_SLOT_REF2"))
            if modality and label.strip():
                events.append(Event(modality, label, start, stop, 1.0))
    return [from_tiers(events, names, path=name, duration=None)]


def _refuse_declarations(content: bytes) -> None:
    """Raise ValueError for a document type declaration, in any encoding."""

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type declaration; files of ELAN have none")

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.Parse(content, True)


def _seconds(times: Mapping[str | None, str | None], slot: str | None) -> float:
    value = times.get(slot)
    if value is None:
        raise ValueError(f"time slot {slot!r} has no time")
    seconds = float(value) / 1000
    if not math.isfinite(seconds):
        raise ValueError(f"time slot {slot!r} is at {value}; expected a finite time")
    return seconds
