"""Does LEAP look where the events are? Correlation of its label-to-segment attention with the truth.

    python benchmarks/attention.py BUNDLE --features FEATURES --annotations ANNOTATIONS [--split test]

For every class that is heard (seen) in some seconds of a clip and not in others: Pearson's correlation over the seconds
between the last block's attention and the truth, and whether the attention's peak is in the event. Means over all.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import load_clips
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.bundle import load_parser


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle")
    parser.add_argument("--features", type=Path, required=True)
    parser.add_argument("--annotations", type=Path, required=True)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    loaded = load_parser(options.bundle, device="cpu")
    clips = load_clips(read_annotations(options.annotations), options.split, open_features(options.features))
    dims = np.cumsum(clips.features.spec.dims)[:-1]
    truth = clips.segment_labels
    found: dict[str, list[tuple[float, bool]]] = {"audio": [], "visual": []}
    for index, name in enumerate(clips.ids):
        streams = [torch.from_numpy(part[None]) for part in np.split(clips.features.read(name), dims, axis=1)]
        with torch.inference_mode():
            output = loaded.parser(*streams)
        for modality, table in zip(found, truth, strict=True):
            attention = getattr(output, f"{modality}_attention")[0].numpy()  # (C, T)
            for label in np.flatnonzero(table[index].any(axis=0) & ~table[index].all(axis=0)):
                active, row = table[index][:, label], attention[label]
                found[modality].append((float(np.corrcoef(row, active)[0, 1]), bool(active[row.argmax()])))
    for modality, pairs in found.items():
        correlation, peak = np.mean(pairs, axis=0)
        print(f"{modality}: {len(pairs)} classes in clips, correlation {correlation:.2f}, peak in the event {peak:.0%}")


if __name__ == "__main__":
    main()
