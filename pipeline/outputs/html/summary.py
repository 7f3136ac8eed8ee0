"""What a page says about the origin of its events."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ...text import escape

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


def common_threshold(thresholds: Any) -> float | None:
    """Return the number that all thresholds of a provenance are equal to, None where they differ."""
    values = set(thresholds.values()) if isinstance(thresholds, Mapping) and _all_numbers(thresholds) else set()
    return float(values.pop()) if len(values) == 1 else None


def _all_numbers(thresholds: Mapping[str, Any]) -> bool:
    return all(isinstance(value, int | float) and 0 <= value <= 1 for value in thresholds.values())


def _thresholds(thresholds: Any) -> str:
    if not isinstance(thresholds, Mapping) or not thresholds:
        return ""
    threshold = common_threshold(thresholds)
    if threshold is None:
        return "thresholds by class"
    return f"threshold {threshold:.2f}" if round(threshold, 2) == threshold else f"threshold {threshold:g}"


def _device(device: str) -> str:
    names = {"cpu": "on the CPU", "cuda": "on a GPU"}
    return names.get(device.partition(":")[0].lower(), f"on {device}" if device else "")


def _word(value: Any, most: int = _MAX_WORD) -> str:
    """Return a text from a file on one line; empty for anything else."""
    if not isinstance(value, str):
        return ""
    return escape(value if len(value) <= most else f"{value[:most]}...").strip()
