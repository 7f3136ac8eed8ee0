"""Folders that tests read from."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]  # the project
SHARED = ROOT.parent / "shared"  # reference values, real clips and LLP's annotations; not part of the project


def make_files(folder: Path, *names: str) -> Path:
    """Create files, and the folders that they are in; return the folder."""
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("x")
    return folder
