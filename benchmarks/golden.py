"""Write the golden set in tests/golden that guards published-shaped results against change.

    python benchmarks/golden.py

Run it only where a change of the values is meant: tests/test_golden.py compares the program with what it wrote before.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))

from support import golden_set


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    parsers: dict[str, Any] = {}
    for family in golden_set.FAMILIES:
        parsers |= golden_set.compute_parser_outputs(family)
    rows: dict[str, Any] = {name: golden_set.compute_extractor_rows(name) for name in golden_set.EXTRACTORS}
    np.savez_compressed(golden_set.FOLDER / "parsers.npz", **parsers)
    training: dict[str, Any] = golden_set.compute_training()
    np.savez_compressed(golden_set.FOLDER / "training.npz", **training)
    np.savez_compressed(golden_set.FOLDER / "extractors.npz", log_mel=golden_set.compute_log_mel(), **rows)
    scores = json.dumps(golden_set.compute_scores(), indent=1)
    (golden_set.FOLDER / "scores.json").write_text(scores + "\n", encoding="utf-8")
    for path in sorted(golden_set.FOLDER.iterdir()):
        print(f"{path.stat().st_size / 1024:6.1f} KiB  {path.name}")


if __name__ == "__main__":
    main()
