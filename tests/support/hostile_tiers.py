"""Hostile events on tiers: TextGrid and EAF."""

from __future__ import annotations

from collections.abc import Mapping

_GRID = 'File type = "ooTextFile"\nObject class = "TextGrid"\n\nxmin = 0\nxmax = 10\ntiers? <exists>\n'
_ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))


def hostile_tiers(size: int) -> dict[str, bytes]:
    """Make the files: name with the suffix of its format -> content. size: of what is repeated."""
    grids = {f"{name}.TextGrid": content.encode() for name, content in _grids(size).items()}
    documents = {f"{name}.eaf": content.encode() for name, content in _documents(size).items()}
    return {
        **grids, **documents,
        "bytes.TextGrid": b"\xff\xfe" + b"\x00\xd8" * size,
        "codec.eaf": b'<?xml version="1.0" encoding="zlib"?><A/>',
        "utf-7.eaf": b'<?xml version="1.0" encoding="utf-7"?><A>+ADw-</A>',
        "undefined.eaf": b'<?xml version="1.0" encoding="undefined"?><A/>',
        "encoding.eaf": b'<?xml version="1.0" encoding' + b" " * size * 20,
    }  # fmt: skip


def _tier(name: str, intervals: str, count: object) -> str:
    return f'"IntervalTier" "{name}" 0 10 {count} {intervals}'


def _grids(size: int) -> Mapping[str, str]:
    head = 'File type = "ooTextFile"\nObject class = "TextGrid"\n'
    return {
        "digits": head + "1" * size * 20,
        "digits_and_quote": head + "1" * size * 20 + '"',
        "digit_quotes": head + '1"' * size * 10,
        "quotes": head + '"' * (size * 20 + 1),
        "doubled": head + '"' + '""' * size * 10,
        "open_strings": head + '"a""b' * size * 5,
        "flags": head + "<exists" * size * 10,
        "words": head + "1 " * size * 40,
        "signs": head + "-+." * size * 10,
        "count_huge": f"{_GRID}size = 1e300\n" + _tier("audio", "0 1 \"Dog\"", "1e300"),
        "count_negative": f"{_GRID}size = -5\n",
        "count_fraction": f"{_GRID}size = 1.5\n" + _tier("audio", '0 1 "Dog"', 1.7),
        "infinite": _GRID.replace("10", "1e999") + "size = 0\n",
        "backwards": f"{_GRID}size = 1\n" + _tier("audio", '5 1 "Dog"', 1),
        "tiers": f"{_GRID}size = {size}\n" + (_tier("audio", "", 0) + "\n") * size,
        "intervals": f"{_GRID}size = 1\n" + _tier("audio", '0 1 "Dog" ' * size * 3, size * 3),
        "label": f"{_GRID}size = 1\n" + _tier("audio", f'0 1 "{"x" * size * 10}"', 1),
        "never_closed": f'{_GRID}size = 1\n"IntervalTier" "audio',
    }  # fmt: skip


def _documents(size: int) -> Mapping[str, str]:
    slots = "".join(f'<TIME_SLOT TIME_SLOT_ID="t{n}"/>' for n in range(2 * size))
    tail = "".join(_aligned(f"t{n}", f"t{n + 1}") for n in range(size, 2 * size - 1))
    shared = "".join(_aligned(f"t{n}", f"t{size}") for n in range(size)) + tail
    circle = "".join(_aligned(f"t{n}", f"t{(n + 1) % size}") for n in range(size))
    return {
        "empty": "",
        "root": "<A/>",
        "laughs": f'<!DOCTYPE A [<!ENTITY e0 "ha">{_ENTITIES}]><A>&e11;</A>',
        "quadratic": f'<!DOCTYPE A [<!ENTITY e "{"x" * size}">]><A>{"&e;" * size}</A>',
        "external": '<!DOCTYPE A [<!ENTITY e SYSTEM "file:///etc/passwd">]><A>&e;</A>',
        "external_dtd": '<!DOCTYPE A SYSTEM "http://127.0.0.1:1/x.dtd"><A/>',
        "entity": _document("", _tiers("&undefined;")),
        "include": '<A xmlns:xi="http://www.w3.org/2001/XInclude"><xi:include href="/etc/passwd" parse="text"/></A>',
        "deep": "<A>" * size * 10,
        "deep_closed": "<A>" * size + "</A>" * size,
        "elements": f"<ANNOTATION_DOCUMENT>{'<A/>' * size * 20}</ANNOTATION_DOCUMENT>",
        "attributes": "<A" + "".join(f' a{n}=""' for n in range(size * 10)) + "/>",
        "attribute_long": f'<A a="{"x" * size * 50}"/>',
        "name_long": f"<{'A' * size * 20}/>",
        "tiers": _document("", '<TIER TIER_ID="audio"/>' * size),
        "parents": _document("", "".join(f'<TIER TIER_ID="a{n}" PARENT_REF="a{n ^ 1}"/>' for n in range(size))),
        "shared_slots": _document(slots, f'<TIER TIER_ID="audio">{shared}</TIER>'),
        "circle_of_slots": _document(slots, f'<TIER TIER_ID="audio">{circle}</TIER>'),
        "circle_of_references": _document("", f'<TIER TIER_ID="audio">{_ref("a", "b")}{_ref("b", "a")}</TIER>'),
        "time": _document('<TIME_SLOT TIME_SLOT_ID="t" TIME_VALUE="1e999"/>', ""),
        "units": '<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="' + "x" * size + '"/></ANNOTATION_DOCUMENT>',
        "control": _document("", _tiers("a\x01b")),
        "markup": _document("", _tiers("<![CDATA[</script><script>]]>")),
    }  # fmt: skip


def _document(slots: str, tiers: str) -> str:
    return (
        '<ANNOTATION_DOCUMENT><HEADER TIME_UNITS="milliseconds"/>'
        f"<TIME_ORDER>{slots}</TIME_ORDER>{tiers}</ANNOTATION_DOCUMENT>"
    )


def _tiers(label: str) -> str:
    return f'<TIER TIER_ID="audio">{_aligned("t1", "t2", label)}</TIER>'


def _aligned(start: str, stop: str, label: str = "Dog") -> str:
    return (
        f'<ANNOTATION><ALIGNABLE_ANNOTATION ANNOTATION_ID="{start}" TIME_SLOT_REF1="{start}" TIME_SLOT_REF2="{stop}">'
        f"<ANNOTATION_VALUE>{label}</ANNOTATION_VALUE></ALIGNABLE_ANNOTATION></ANNOTATION>"
    )


def _ref(name: str, parent: str) -> str:
    return (
        f'<ANNOTATION><REF_ANNOTATION ANNOTATION_ID="{name}" ANNOTATION_REF="{parent}">'
        "<ANNOTATION_VALUE>Dog</ANNOTATION_VALUE></REF_ANNOTATION></ANNOTATION>"
    )
