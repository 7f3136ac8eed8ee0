"""Durations as people read them."""

from __future__ import annotations

_LONGER = (("d", 86_400), ("h", 3600), ("min", 60))


def describe_duration(seconds: float) -> str:
    """Return a duration in its two largest units: "45 s", "12 min", "5 h 12 min", "3 d 4 h".

    Args:
        seconds: 0 or more.
    """
    rest = round(seconds / 60) * 60 if seconds >= 3600 else round(seconds)
    parts: list[str] = []
    for unit, size in _LONGER:
        if rest >= size:
            parts.append(f"{rest // size} {unit}")
            rest %= size
    if not parts:
        return f"{rest} s"
    if len(parts) == 1 and parts[0].endswith("min") and rest and seconds < 600:
        parts.append(f"{rest} s")
    return " ".join(parts[:2])
