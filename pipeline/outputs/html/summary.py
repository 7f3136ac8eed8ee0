"""What a page says about the origin of its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...text import escape

VIDEO_FILTERS = ("default", "pooled", "own", "union")  # those of `ParserConfig`
_LEVELS = ("second", "video")
_MAX_WORD = 60  # characters of what files say
_RULE_BY_SCORES = "fixed"  # of the rules of open vocabularies, the one that the page's program has
_OF_LOGITS = "Scores say how far the logit of a class is above its threshold; they are no probabilities."
_RELATIVE = "Scores compare the classes with each other and with a background; they are no probabilities."


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
    opened = _open_vocabulary(provenance)
    rule = "" if opened is None else f"rule {_rule_name(opened)}"
    details = [rule, _thresholds(stated_thresholds(provenance), opened), _device(device)]
    sentence = ", ".join([f"Parsed{author}{weights}", *filter(None, details)]) + "."
    if opened is None:
        return sentence
    return f"{sentence} {_OF_LOGITS if opened.get('scale') == 'logits' else _RELATIVE}"


def why_not_decided(provenance: Mapping[str, Any]) -> str:
    """Return why the page's program cannot decide the events anew, in one sentence; empty where it can.

    Args:
        provenance: of a timeline, from a file of any origin.
    """
    opened = _open_vocabulary(provenance)
    if opened is not None and (name := _rule_name(opened)) != _RULE_BY_SCORES:
        return f"The rule {name} needs more than these scores: parse again with --threshold."
    parts = provenance.get("parts")
    for part in parts if isinstance(parts, list) else ():
        if isinstance(part, Mapping) and part.get("kind") == "decision":
            return f"Decided by {_word(part.get('name'))}, which is no part of this page: parse again with --threshold."
    return ""


def has_scores(provenance: Mapping[str, Any]) -> bool:
    """Return whether what a timeline has for each second are scores relative to a list of classes, no probabilities."""
    return _open_vocabulary(provenance) is not None


def decision_rule(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """Return the rule by which thresholds decide, for the page's program.

    Args:
        provenance: of a timeline, from a file of any origin.

    Returns:
        `video_filter`, one of `VIDEO_FILTERS`, and `strict`; the published rule where a file states none, or another.
        That of an open vocabulary is by the scores of seconds alone: no score exceeds that of its video.
    """
    if has_scores(provenance):
        return {"video_filter": "own", "strict": True}
    stated = provenance.get("rule")
    rule = stated if isinstance(stated, Mapping) else {}
    video_filter = rule.get("video_filter")
    known = isinstance(video_filter, str) and video_filter in VIDEO_FILTERS
    return {"video_filter": video_filter if known else VIDEO_FILTERS[0], "strict": rule.get("strict") is True}


def stated_thresholds(provenance: Mapping[str, Any]) -> Any:
    """Return the thresholds of a provenance, without those of videos where an open vocabulary has decided by seconds.

    Args:
        provenance: of a timeline, from a file of any origin.
    """
    thresholds = provenance.get("thresholds")
    if not has_scores(provenance) or not isinstance(thresholds, Mapping):
        return thresholds
    return {name: value for name, value in thresholds.items() if name.endswith("_segment")}


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
        return "by modality" if levels[0] else "by class"
    return ", ".join(f"{_number(values.pop())} per {name}" for values, name in zip(levels, _LEVELS, strict=True))


def _thresholds(thresholds: Any, opened: Mapping[str, Any] | None) -> str:
    words = describe_thresholds(thresholds)
    if not words:
        return ""
    origin = "" if opened is None else _word(opened.get("thresholds"))
    words = f"{words} ({origin})" if origin else words
    return f"threshold {words}" if common_threshold(thresholds) is not None else f"thresholds {words}"


def _open_vocabulary(provenance: Mapping[str, Any]) -> Mapping[str, Any] | None:
    opened = provenance.get("open_vocabulary")
    return opened if isinstance(opened, Mapping) else None


def _rule_name(opened: Mapping[str, Any]) -> str:
    rule = opened.get("rule")
    return _word(rule.get("name") if isinstance(rule, Mapping) else rule) or "unknown"


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
