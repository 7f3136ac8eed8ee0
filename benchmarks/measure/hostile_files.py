"""Hostile files of events, from the helpers of the tests; without PyTorch, which would count as memory of children."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
from support.hostile_events import COMMANDS, Ending, arguments, hostile_events, write_annotations

__all__ = ["COMMANDS", "Ending", "arguments", "hostile_events", "write_annotations"]
