"""What a timeline records of the classes that were looked for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from typing import Any

from .vocabulary import Vocabulary


def describe_vocabulary(vocabulary: Vocabulary) -> dict[str, Any]:
    """Return a JSON-ready mapping: the rule, the sentences, where the thresholds come from, and the background."""
    background = [asdict(item) for item in vocabulary.background]
    digest = hashlib.sha256(json.dumps(background, sort_keys=True).encode()).hexdigest()[:16]
    return {
        "rule": asdict(vocabulary.rule),
        "classes": [{"label": item.label, "seen": item.seen, "heard": item.heard} for item in vocabulary.classes],
        "thresholds": vocabulary.origin,
        "background": {"name": vocabulary.background_name, "entries": len(background), "hash": digest},
    }
