"""EAF, the annotation files of ELAN: XML by the EAF 3.0 schema."""

from __future__ import annotations

import codecs
import mimetypes
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from urllib.parse import unquote
from xml.etree import ElementTree as ET
from xml.parsers import expat
from xml.sax.saxutils import escape as xml_escape

from ...event_limits import check_events
from ...text import shorten
from ...text_files import Text, decode_text, normalize_lines
from ...timeline import Event, Timeline
from .elan_times import annotation_spans, find_span, milliseconds
from .tiers import find_modality, from_tiers, to_tiers

_SCHEMA = "http://www.mpi.nl/tools/elan/EAFv3.0.xsd"
_SCHEMA_INSTANCE = "http://www.w3.org/2001/XMLSchema-instance"
_LINGUISTIC_TYPE = "events"
_NOT_XML = re.compile(r"[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_DECLARATION = re.compile(rb"\s*<\?xml[^>]*?\sencoding\s*=\s*[\"']([-.\w]+)[\"']")
_NOT_CHARACTER_SETS = frozenset({"punycode", "idna", "unicode_escape", "raw_unicode_escape"})  # but Python codecs
_XML_DECLARATION = re.compile(r"\A\s*<\?xml\s[^>]*\?>")
MAX_MARKUP = 2_000_000  # "<" of a document; an event has eight
MAX_ATTRIBUTES = 4_000_000  # "=" of a document; an event has seven
MAX_XML_DEPTH = 64  # elements in one another; those of EAF have five levels
_DATE = "1970-01-01T00:00:00+00:00"  # fixed, so that the same events give the same bytes


def write(timeline: Timeline) -> list[bytes]:
    """Write time-aligned tiers of each modality, in milliseconds.

    Characters that XML cannot hold become U+FFFD. An event lasts at least one millisecond, as ELAN requires.

    Args:
        timeline: the events; the path of the media is referenced where its type is known, and only its name where
            the path was read from a file.

    Returns:
        The content of one file.
    """
    tiers = to_tiers(timeline)
    spans = {id(event): _milliseconds(event) for events in tiers.values() for event in events}
    slots = {time: f"ts{n}" for n, time in enumerate(sorted({t for span in spans.values() for t in span}), 1)}
    lines = [
        "<?xml version='1.0' encoding='utf-8'?>",
        f'<ANNOTATION_DOCUMENT xmlns:xsi="{_SCHEMA_INSTANCE}" AUTHOR="avvp" DATE="{_DATE}" FORMAT="3.0" VERSION="3.0"'
        f' xsi:noNamespaceSchemaLocation="{_SCHEMA}">',
        '    <HEADER MEDIA_FILE="" TIME_UNITS="milliseconds">',
        *_media_descriptor(timeline),
        f'        <PROPERTY NAME="lastUsedAnnotationId">{len(spans)}</PROPERTY>',
        "    </HEADER>",
    ]
    slot_lines = [f'        <TIME_SLOT TIME_SLOT_ID="{slot}" TIME_VALUE="{time}" />' for time, slot in slots.items()]
    lines += ["    <TIME_ORDER>", *slot_lines, "    </TIME_ORDER>"] if slots else ["    <TIME_ORDER />"]
    number = 0
    for name, events in tiers.items():
        opening = f'    <TIER LINGUISTIC_TYPE_REF="{_LINGUISTIC_TYPE}" TIER_ID="{name}"'
        lines.append(f"{opening}>" if events else f"{opening} />")
        for event in events:
            number += 1
            start, stop = spans[id(event)]
            value = xml_escape(_clean(event.label))
            lines += [
                "        <ANNOTATION>",
                f'            <ALIGNABLE_ANNOTATION ANNOTATION_ID="a{number}" TIME_SLOT_REF1="{slots[start]}"'
                f' TIME_SLOT_REF2="{slots[stop]}">',
                f"                <ANNOTATION_VALUE{f'>{value}</ANNOTATION_VALUE' if value else ' /'}>",
                "            </ALIGNABLE_ANNOTATION>",
                "        </ANNOTATION>",
            ]
        lines += ["    </TIER>"] if events else []
    kind = f'GRAPHIC_REFERENCES="false" LINGUISTIC_TYPE_ID="{_LINGUISTIC_TYPE}" TIME_ALIGNABLE="true"'
    lines.append(f"    <LINGUISTIC_TYPE {kind} />")
    return ["".join(f"{line}\n" for line in (*lines, "</ANNOTATION_DOCUMENT>")).encode()]


def _media_descriptor(timeline: Timeline) -> list[str]:
    path = Path(_clean(str(timeline.media.get("path", ""))))
    mime_type = mimetypes.guess_type(path.name)[0]
    if mime_type is None:
        return []
    url = path.as_uri() if path.is_absolute() and timeline.media_is_known else f"./{path.name}"
    return [f'        <MEDIA_DESCRIPTOR MEDIA_URL="{_escaped(url)}" MIME_TYPE="{_escaped(mime_type)}" />']


def _escaped(text: str) -> str:
    """Escape the value of an attribute; characters that XML cannot hold become U+FFFD."""
    return xml_escape(_clean(text), {'"': "&quot;", "\r": "&#13;", "\n": "&#10;", "\t": "&#09;"})


def _clean(text: str) -> str:
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)


def _milliseconds(event: Event) -> tuple[int, int]:
    """Return onset and offset; ELAN's annotations last at least a millisecond."""
    start = round(event.onset * 1000)
    return start, max(start + 1, round(event.offset * 1000))


def decode(content: bytes) -> Text:
    """Decode an XML document.

    Args:
        content: in a Unicode encoding, or in the one that its XML declaration names.

    Returns:
        The text.

    Raises:
        ValueError: the content is not text in that encoding.
    """
    declared = _DECLARATION.match(content)
    name = declared[1].decode() if declared else "utf-8"
    try:
        known = codecs.lookup(name).name
        if known.startswith("utf"):
            return decode_text(content)
        if known in _NOT_CHARACTER_SETS:
            raise LookupError
        return Text(normalize_lines(content.decode(known)))
    except (LookupError, UnicodeDecodeError) as error:
        raise ValueError(f"it is not in the encoding {shorten(name)} that it states; save it as UTF-8") from error


def read(contents: Mapping[str, str], name: str) -> list[Timeline]:
    """Read annotations on tiers named after modalities; other tiers are skipped.

    Times are those of the media: ELAN's zero may be later in it. Time slots without a time, and annotations that refer
    to others, divide the time of their parent evenly. A document type declaration is refused: its entities could expand
    without limit or read other files.

    Args:
        contents: the text of one file.
        name: name of the timeline; of several media with different offsets, the one with this name counts.

    Returns:
        One timeline; a warning says which of several offsets was taken.

    Raises:
        ValueError: the content is not EAF, or no tier is named after a modality.
    """
    (text,) = contents.values()
    text = _XML_DECLARATION.sub("", text, count=1)  # its encoding was that of the bytes
    if text.count("<") > MAX_MARKUP or text.count("=") > MAX_ATTRIBUTES:
        raise ValueError(f"more than {MAX_MARKUP:,} tags or {MAX_ATTRIBUTES:,} attributes")
    try:
        _check_structure(text)
        root = ET.fromstring(text)  # noqa: S314 - without declarations there are no entities to expand
    except (ET.ParseError, expat.ExpatError) as error:
        raise ValueError(f"not XML: {error}") from error
    origin, warnings = _time_origin(root, name)
    spans = annotation_spans(root)
    events: list[Event] = []
    tiers = [(tier, tier.get("TIER_ID", "")) for tier in root.iterfind("TIER")]
    for tier, tier_name in tiers:
        modality = find_modality(tier_name)
        for annotation in tier.iterfind("ANNOTATION/*") if modality else ():
            label = annotation.findtext("ANNOTATION_VALUE") or ""
            if modality and label.strip():
                check_events(events)
                start, stop = find_span(spans, annotation)
                events.append(Event(modality, label, (start + origin) / 1000, (stop + origin) / 1000, 1.0))
    timeline = from_tiers(events, [tier_name for _, tier_name in tiers], path=name, duration=None)
    return [replace(timeline, warnings=warnings)]


def _check_structure(text: str) -> None:
    """Raise ValueError for a document type declaration, and for elements deeper than `MAX_XML_DEPTH`."""
    depth = 0

    def refuse(*_: object) -> None:
        raise ValueError("it has a document type declaration; files of ELAN have none")

    def begin(*_: object) -> None:
        nonlocal depth
        depth += 1
        if depth > MAX_XML_DEPTH:
            raise ValueError(f"its elements are nested more than {MAX_XML_DEPTH} deep")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.Parse(text, True)


def _time_origin(root: ET.Element, name: str) -> tuple[float, tuple[str, ...]]:
    """Return the time of ELAN's zero in the media, in milliseconds, and warnings."""
    units = root.find("HEADER[@TIME_UNITS]")
    if units is not None and units.get("TIME_UNITS") != "milliseconds":
        raise ValueError(f"its times are in {units.get('TIME_UNITS')}, expected milliseconds")
    media: list[tuple[str, float]] = []
    for descriptor in root.iterfind("HEADER/MEDIA_DESCRIPTOR"):
        url = unquote(descriptor.get("RELATIVE_MEDIA_URL") or descriptor.get("MEDIA_URL", ""))
        file = PurePosixPath(url.replace("\\", "/"))
        media.append((file.name, milliseconds(descriptor.get("TIME_ORIGIN") or "0", "TIME_ORIGIN")))
    if not media:
        return 0.0, ()
    wanted = name.casefold()
    fitting = (entry for entry in media if wanted in {entry[0].casefold(), PurePosixPath(entry[0]).stem.casefold()})
    used = next(fitting, media[0])
    if len({origin for _, origin in media}) == 1:
        return used[1], ()
    return used[1], (f"its media begin at different times; the times are those of {used[0]}",)
