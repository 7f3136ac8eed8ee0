"""Guess the encoding of text that is not Unicode, as older programs write it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from ..weights.unicode import TextError

# Encodings that are distinguished, with their names in messages. Where a text fits several, Windows-1252 is chosen.
_NAMES = {
    "cp1252": "Windows-1252",
    "cp1250": "Windows-1250",
    "cp1251": "Windows-1251",
    "cp1253": "Windows-1253",
    "cp1254": "Windows-1254",
    "cp932": "Shift JIS",
    "gb18030": "GB 18030",
    "cp949": "EUC-KR",
    "big5": "Big5",
    "koi8_r": "KOI8-R",
    "mac_roman": "Mac Roman",
}
# Letters beyond ASCII of the languages that an encoding with Latin letters was made for. charset-normalizer does not
# tell these encodings apart in lists of labels: it reads Portuguese as Windows-1250.
_WESTERN = (
    "äöüß", "àâæçéèêëîïôœùûüÿ", "áéíñóúüªº", "áâãàçéêíóôõúüªº", "àèéìîòóù", "áàéèêëíïóòöúü", "åäöéšž", "æøåéóòâêô",
    "áéíóúýþæöð", "äöõüšž", "àçéèíïóòúü",
)  # fmt: skip
_ALPHABETS = {
    "cp1252": _WESTERN,
    "cp1250": (
        "ąćęłńóśźż", "áčďéěíňóřšťúůýž", "áéíóöőúüű", "áäčďéíĺľňóôŕšťúýž", "ăâîşţ", "čćđšž", "äöüß",
    ),
    "mac_roman": _WESTERN,
    "cp1254": ("çğ\u0131i\u0307öşüâîû",),
}  # fmt: skip
_SAMPLE = 1 << 16  # bytes
_FEW = 16  # bytes beyond ASCII; fewer are not enough for charset-normalizer
_NON_ASCII = re.compile(rb"[\x80-\xff]+")
_UTF_8_SEQUENCE = re.compile(rb"[\xc2-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf4][\x80-\xbf]{3}")
_BINARY = re.compile(rb"[\x00-\x08\x0e-\x19\x1b-\x1f\x7f]")
_PUNCTUATION = "\u2018\u2019\u201c\u201d\u2013\u2014…«»¿¡°§"
_RUSSIAN_WORD = re.compile("[\u0410-\u044f\u0401\u0451][\u0430-\u044f\u0451]*|[\u0410-\u042f\u0401]+")


def decode_legacy(content: bytes) -> tuple[str, str]:
    """Decode text that is not Unicode in its most likely encoding.

    Args:
        content: of a file, or a part of it, such as a name.

    Returns:
        The text and the name of the encoding.

    Raises:
        TextError: the content is binary, damaged UTF-8, or in no encoding that is known here.
    """
    if _BINARY.search(content):
        raise TextError("not a text file: it contains control characters")
    sample = _sample(content)
    if 2 * _length(_UTF_8_SEQUENCE.findall(sample)) > _length(_NON_ASCII.findall(sample)):
        # Any other encoding would show each of the intact characters as two or three wrong ones.
        raise TextError("damaged UTF-8, or a mixture of encodings; save it again as UTF-8")
    for encoding in _candidates(sample):
        try:
            return content.decode(encoding), _NAMES[encoding]
        except UnicodeDecodeError:
            continue
    raise TextError("its encoding is not known; save it as UTF-8")


def _sample(content: bytes) -> bytes:
    """Return lines with bytes beyond ASCII, from the first one on."""
    first = _NON_ASCII.search(content)
    start = content.rfind(b"\n", 0, first.start()) + 1 if first else 0
    lines = content[start : start + _SAMPLE].splitlines()
    return b"\n".join(line for line in lines if _NON_ASCII.search(line)) or content[:_SAMPLE]


def _length(parts: list[bytes]) -> int:
    return sum(map(len, parts))


def _candidates(sample: bytes) -> Iterator[str]:
    """Yield keys of `_NAMES`, the most likely first."""
    from charset_normalizer import from_bytes

    runs = _NON_ASCII.findall(sample)
    # Accented letters stand alone among ASCII letters; other alphabets make runs of bytes beyond ASCII.
    is_latin = 2 * _length([run for run in runs if len(run) > 2]) < _length(runs)
    if _mostly_letters(sample) and (is_latin or _length(runs) <= 4):
        yield _latin_encoding(sample)
    elif _length(runs) < _FEW and all(_RUSSIAN_WORD.fullmatch(run.decode("cp1251", "replace")) for run in runs):
        yield "cp1251"
    elif _latin_encoding(sample) == "cp1250" and is_latin:
        yield "cp1250"
    else:
        yield from (match.encoding for match in from_bytes(sample, cp_isolation=list(_NAMES)))
    yield "cp1252"


def _mostly_letters(sample: bytes) -> bool:
    """Return whether most characters beyond ASCII are letters or marks of punctuation in Windows-1252."""
    beyond = [character for character in sample.decode("cp1252", "replace") if character >= "\x80"]
    known = sum(character.isalpha() or character in _PUNCTUATION for character in beyond)
    return known > 0.7 * len(beyond)


def _latin_encoding(sample: bytes) -> str:
    """Return the encoding in which most letters belong to one language."""
    fits: dict[str, float] = {}
    for encoding, alphabets in _ALPHABETS.items():
        beyond = [character for character in sample.decode(encoding, "replace") if character >= "\x80"]
        letters = [character.lower() for character in beyond if character.isalpha()]
        found = max(sum(character in alphabet for character in letters) for alphabet in alphabets)
        symbols = sum(not character.isalpha() and character not in _PUNCTUATION for character in beyond)
        fits[encoding] = found / max(1, len(letters) + symbols)
    best = max(fits, key=lambda encoding: fits[encoding])  # the first of several
    # A mixture of western languages fits none completely, but the others even less.
    return best if fits[best] >= 0.95 and fits[best] > fits["cp1252"] + 0.05 else "cp1252"
