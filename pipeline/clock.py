"""Clock times: seconds as `h:mm:ss` text and back."""

from __future__ import annotations

import re

_SECONDS = re.compile(r"\d{1,15}(?:\.\d*)?", re.ASCII)
_MINUTES = re.compile(r"(\d{1,15}):(\d{1,15}(?:\.\d*)?)", re.ASCII)
_CLOCK = re.compile(r"(\d{1,15}):(\d{1,15}):(\d{1,15}(?:\.\d*)?)", re.ASCII)


def format_clock(seconds: float, *, hour_digits: int | None = None, decimals: int = 0) -> str:
    """Format seconds as a clock time: `1:05`, `1:01:05`, `00:01:05.250`.

    Args:
        seconds: at least 0; rounded to `decimals`.
        hour_digits: least number of digits of the hours; 0 writes minutes only, however many they are. By default
            hours are written, with as many digits as they need, from one hour on.
        decimals: digits after the decimal point of the seconds.

    Returns:
        The clock time. Minutes have two digits where hours precede them, seconds always.
    """
    whole, fraction = divmod(round(seconds * 10**decimals), 10**decimals)
    minutes, rest = divmod(whole, 60)
    tail = f"{rest:02d}.{fraction:0{decimals}d}" if decimals else f"{rest:02d}"
    if hour_digits is None:
        hour_digits = 1 if minutes >= 60 else 0
    if not hour_digits:
        return f"{minutes}:{tail}"
    return f"{minutes // 60:0{hour_digits}d}:{minutes % 60:02d}:{tail}"


def parse_clock(text: str) -> float:
    """Return the seconds of a clock time `h:mm:ss`, with or without decimals.

    Raises:
        ValueError: the text is not a clock time.
    """
    match = _CLOCK.fullmatch(text)
    if match is None:
        raise ValueError(f"{text!r} is not a clock time; expected h:mm:ss")
    return 3600 * int(match[1]) + 60 * int(match[2]) + float(match[3])


def parse_time(text: str) -> float:
    """Return the seconds of a time that a user types: `90`, `90.5`, `1:30` or `0:01:30`.

    Raises:
        ValueError: the text is none of these.
    """
    if _SECONDS.fullmatch(text):
        return float(text)
    if match := _MINUTES.fullmatch(text):
        return 60 * int(match[1]) + float(match[2])
    try:
        return parse_clock(text)
    except ValueError:
        raise ValueError(f"{text!r} is not a time; expected seconds, m:ss or h:mm:ss") from None
