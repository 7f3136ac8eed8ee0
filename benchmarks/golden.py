"""Write the golden set in tests/golden that guards published-shaped results against change.

    python benchmarks/golden.py

Run it only where a change of the values is meant: tests/test_golden.py compares the program with what it wrote before.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import golden_set


def write_golden_set(folder: Path, *, smoke: bool) -> None:
    """Compute the set and write it to a folder; in smoke mode, only the parts without full-size networks."""
    if not smoke:
        parsers: dict[str, Any] = {}
        for family in golden_set.FAMILIES:
            parsers |= golden_set.compute_parser_outputs(family)
        np.savez_compressed(folder / "parsers.npz", **parsers)
        training: dict[str, Any] = golden_set.compute_training()
        np.savez_compressed(folder / "training.npz", **training)
    extractors = () if smoke else golden_set.EXTRACTORS
    rows: dict[str, Any] = {name: golden_set.compute_extractor_rows(name) for name in extractors}
    np.savez_compressed(folder / "extractors.npz", log_mel=golden_set.compute_log_mel(), **rows)
    scores = json.dumps(golden_set.compute_scores(), indent=1)
    (folder / "scores.json").write_text(scores + "\n", encoding="utf-8")
    for path in sorted(folder.iterdir()):
        print(f"{path.stat().st_size / 1024:6.1f} KiB  {path.name}")


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--smoke", action="store_true", help="write the cheap parts to a temporary folder")
    options = parser.parse_args(argv)
    if options.smoke:
        with tempfile.TemporaryDirectory() as folder:
            write_golden_set(Path(folder), smoke=True)
    else:
        write_golden_set(golden_set.FOLDER, smoke=False)


if __name__ == "__main__":
    main()
