"""Folders that tests read from."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the project
SHARED = ROOT.parent / "shared"  # reference values, real clips and LLP's annotations; not part of the project
