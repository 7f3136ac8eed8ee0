"""Measure how far apart the features of one clip are under the profiles `clean` and `llp`.

    python benchmarks/profiles.py VIDEO [--weights BUNDLE]

Prints, for each stream, ``norm(clean - llp) / norm(llp - mean(llp))``: 0 is equal, 1 is as far apart as the clip's
seconds are from their mean. With trained weights (`--weights leap-llp`) the figures are those of the real features.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from avvp.extractors.mel import log_mel
from avvp.extractors.sampling import STREAMS
from avvp.pipeline import extract_features
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.inference.bundle import load_extractors
from avvp.weights.manifest import load_bundle
from measure.inputs import generate_clip, write_tiny_bundle
from measure.options import make_parser
from numpy.typing import NDArray

_TOP_QUARTER = slice(48, None)  # of the 64 mel bands


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("video", nargs="?", type=Path, help="by default a generated clip")
    parser.add_argument("--weights", default="untrained")
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds, size = (2, "160x120") if options.smoke else (10, "640x360")
        video = options.video or generate_clip(folder / "generated.mp4", seconds=seconds, size=size)
        weights = str(write_tiny_bundle(folder / "bundle", "llp")) if options.smoke else options.weights
        compare_features(video, weights)
        compare_spectrograms(video)


def compare_features(video: Path, weights: str) -> None:
    """Print the distance of each stream's features, by the extractors of a bundle."""
    loaded = load_extractors(load_bundle(weights))
    llp, clean = (
        extract_features(video, loaded.extractors, profile=profile, device=loaded.device)
        for profile in ("llp", "clean")
    )
    for stream in STREAMS:
        print(f"{stream}: {relative_distance(getattr(clean, stream), getattr(llp, stream)):.4f}")


def compare_spectrograms(video: Path) -> None:
    """Print how far apart the log-mel spectrograms are; nothing for a file without audio."""
    media = probe(video)
    if media.audio is None:
        return
    nearest, filtered = (log_mel(np.stack(list(AudioReader(media, name)))) for name in ("nearest", "filtered"))
    shared = min(len(nearest), len(filtered))
    gap = np.abs(filtered[:shared] - nearest[:shared])
    top = gap[..., _TOP_QUARTER].mean()
    print(f"log-mel, mean absolute difference: {gap.mean():.3f}; top quarter of the bands: {top:.3f}")


def relative_distance(clean: NDArray[np.float32], llp: NDArray[np.float32]) -> float:
    """Return the distance of two clips' features relative to the spread of the second."""
    return float(np.linalg.norm(clean - llp) / np.linalg.norm(llp - llp.mean(0)))


if __name__ == "__main__":
    main()
