"""Timelines as documents. `events.schema.json` beside this file is the contract of the JSON form."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .timeline import Timeline

SCHEMA_VERSION = "1.0"
_DECIMALS = 6


def to_document(timeline: Timeline, *, segments: bool = False) -> dict[str, Any]:
    """A JSON-ready mapping; with `segments`, the per-second probabilities are in it."""
    document: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "media": {**timeline.media, "segments": timeline.segments},
        "provenance": dict(timeline.provenance),
        "warnings": list(timeline.warnings),
        "labels": list(timeline.labels),
        "events": [{**asdict(event), "score": round(event.score, _DECIMALS)} for event in timeline.events],
    }
    if segments:
        document["segments"] = {
            name: [[round(float(value), _DECIMALS) for value in row] for row in rows]
            for name, rows in timeline.probabilities.arrays().items()
        }
    return document


def to_json(timeline: Timeline, *, segments: bool = False) -> bytes:
    """The document as UTF-8. File names that are no text survive as escapes, as Python's surrogateescape has them."""
    text = json.dumps(to_document(timeline, segments=segments), indent=2, allow_nan=False)
    return (text + "\n").encode("ascii")


def load_schema() -> Mapping[str, Any]:
    """The JSON Schema of the document."""
    return json.loads(Path(__file__).with_name("events.schema.json").read_text(encoding="utf-8"))
