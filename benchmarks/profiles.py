"""How far apart are the `clean` and the `llp` profile? Features of one clip under both.

    python benchmarks/profiles.py VIDEO [--weights BUNDLE]

Prints, for each stream, ``norm(clean - llp) / norm(llp - mean(llp))``: 0 is equal, 1 as far apart as the clip's own
seconds are from their mean. With trained weights (`--weights leap-llp`) the figures are those of the real features.
"""

from __future__ import annotations

import argparse

import numpy as np
from avvp.extractors.mel import log_mel
from avvp.pipeline import extract_features
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.inference.bundle import load_networks


def distance(clean: np.ndarray, llp: np.ndarray) -> float:
    return float(np.linalg.norm(clean - llp) / np.linalg.norm(llp - llp.mean(0)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--weights", default="untrained")
    options = parser.parse_args()
    bundle = load_networks(options.weights)
    llp, clean = (
        extract_features(options.video, bundle.extractors, profile=profile, device=bundle.device)
        for profile in ("llp", "clean")
    )
    for stream in ("audio", "visual_2d", "visual_3d"):
        print(f"{stream}: {distance(getattr(clean, stream), getattr(llp, stream)):.4f}")
    media = probe(llp.media.path)
    if media.audio is not None:
        sounds = {name: np.stack(list(AudioReader(media, name))[: llp.segments]) for name in ("nearest", "filtered")}
        gap = np.abs(log_mel(sounds["filtered"]) - log_mel(sounds["nearest"]))
        print(
            f"log-mel, mean absolute difference: {gap.mean():.3f}; top quarter of the bands: {gap[..., 48:].mean():.3f}"
        )


if __name__ == "__main__":
    main()
