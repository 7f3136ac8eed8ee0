"""Measure whether LEAP attends to the seconds of an event.

    python benchmarks/attention.py BUNDLE --features FEATURES --annotations ANNOTATIONS [--split test]

For every class that is present in some seconds of a clip and absent in others: Pearson's correlation over the seconds
between the last block's label-to-segment attention and the truth, and whether the attention's peak lies in the event.
Prints the means over all such classes, audio and visual.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from avvp.pipeline.datasets.annotations import read_annotations
from avvp.pipeline.datasets.clips import SplitDataset, load_clips
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.bundle import LoadedParser, load_parser
from measure.from_tests import write_dataset
from measure.options import make_parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("bundle", nargs="?", default="demo", help="[default: demo]")
    parser.add_argument("--features", type=Path)
    parser.add_argument("--annotations", type=Path)
    parser.add_argument("--split", default="test")
    options = parser.parse_args(argv)
    loaded = load_parser(options.bundle, device="cpu")
    with tempfile.TemporaryDirectory() as temporary:
        features, annotations = options.features, options.annotations
        if options.smoke:
            root = Path(temporary)
            features, annotations = write_dataset(root, {options.split: 4}, loaded.spec, loaded.parser.config.labels)
        elif features is None or annotations is None:
            parser.error("--features and --annotations are required")
        clips = load_clips(read_annotations(annotations), options.split, open_features(features))
        for modality, results in measure_attention(loaded, clips).items():
            correlation, peak = np.mean(results, axis=0)
            means = f"correlation {correlation:.2f}, peak in the event {peak:.0%}"
            print(f"{modality}: {len(results)} classes in clips, {means}")


def measure_attention(loaded: LoadedParser, clips: SplitDataset) -> dict[str, list[tuple[float, bool]]]:
    """Compare the attention of every clip with its labels.

    Args:
        loaded: a parser whose decoder is LEAP.
        clips: with segment labels.

    Returns:
        modality -> a pair for every class that is present in a part of a clip: the correlation, and whether the peak
        lies in the event.
    """
    truth = clips.segment_labels
    results: dict[str, list[tuple[float, bool]]] = {"audio": [], "visual": []}
    for index in range(len(clips)):
        streams = [torch.from_numpy(rows[None]) for rows in clips.streams(index)]
        with torch.inference_mode():
            output = loaded.parser(*streams)
        for modality, pairs in results.items():
            attention = getattr(output, f"{modality}_attention")[0].numpy()  # (C, T)
            labels = truth.of(modality)[index, : attention.shape[1]]  # (T, C)
            for label in np.flatnonzero(labels.any(axis=0) & ~labels.all(axis=0)):
                active, row = labels[:, label], attention[label]
                correlation = float(np.corrcoef(row, active)[0, 1])
                pairs.append((correlation, bool(active[row.argmax()])))
    return results


if __name__ == "__main__":
    main()
