"""What a page says about the origin of its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...text import escape

VIDEO_FILTERS = ("default", "pooled", "own", "union")  # those of `ParserConfig`
_LEVELS = ("second", "video")
_MAX_WORD = 60  # characters of what files say


def summarize(provenance: Mapping[str, Any]) -> str:
    """Describe the origin of events in one sentence, as far as it is known.

    Args:
        provenance: of a timeline, from a file of any origin.

    Returns:
        For example "Parsed by avvp 0.1.0 with the bundle demo, threshold 0.50, on the CPU."; empty where neither a
        program nor a bundle is named.
    """
    program, version, bundle, device = (
        _word(provenance.get(key)) for key in ("program", "version", "bundle", "device")
    )
    if not program and not bundle:
        return ""
    author = f" by {program} {version}".rstrip() if program else ""
    weights = f" with the bundle {bundle}" if bundle else ""
    details = [_thresholds(provenance.get("thresholds")), _device(device)]
    return ", ".join([f"Parsed{author}{weights}", *filter(None, details)]) + "."


def decision_rule(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule by which thresholds decide, for the page's program.

    Args:
        provenance: of a timeline, from a file of any origin.

    Returns:
        `video_filter`, one of `VIDEO_FILTERS`, and `strict`; the published rule where a file states none, or another.
    """
    stated = provenance.get("rule")
    rule = stated if isinstance(stated, Mapping) else {}
    video_filter = rule.get("video_filter")
    known = isinstance(video_filter, str) and video_filter in VIDEO_FILTERS
    return {"video_filter": video_filter if known else VIDEO_FILTERS[0], "strict": rule.get("strict") is True}


def common_threshold(thresholds: Any) -> float | None:
    """Return the number that all thresholds of a provenance are equal to, None where they differ."""
    values = set(thresholds.values()) if isinstance(thresholds, Mapping) and _all_numbers(thresholds) else set()
    return float(values.pop()) if len(values) == 1 else None


def _all_numbers(thresholds: Mapping[str, Any]) -> bool:
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds.values())


def describe_thresholds(thresholds: Any) -> str:
    """Return the thresholds of a provenance in a few words: "0.50", "0.25 per second, 0.45 per video" or "by class"."""
    if not isinstance(thresholds, Mapping) or not thresholds:
        return ""
    if (threshold := common_threshold(thresholds)) is not None:
        return _number(threshold)
    if not _all_numbers(thresholds):
        return "by class"
    levels = [{value for name, value in thresholds.items() if name.endswith(end)} for end in ("segment", "video")]
    if any(len(values) != 1 for values in levels):
        return "by modality" if all(levels) else "by class"
    return ", ".join(f"{_number(values.pop())} per {name}" for values, name in zip(levels, _LEVELS, strict=True))


def _thresholds(thresholds: Any) -> str:
    words = describe_thresholds(thresholds)
    return words and (f"threshold {words}" if common_threshold(thresholds) is not None else f"thresholds {words}")


def _number(threshold: float) -> str:
    return f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:g}"


def _device(device: str) -> str:
    names = {"cpu": "on the CPU", "cuda": "on a GPU"}
    return names.get(device.partition(":")[0].lower(), f"on {device}" if device else "")


def _word(value: Any, most: int = _MAX_WORD) -> str:
    """Return a text from a file on one line; empty for anything else."""
    if not isinstance(value, str):
        return ""
    return escape(value if len(value) <= most else f"{value[:most]}...").strip()
