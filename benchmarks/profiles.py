"""Measure how far apart the features of one clip are under the profiles `clean` and `llp`, and the two resamplers.

    python benchmarks/profiles.py VIDEO [--weights BUNDLE]

Prints, for each stream, ``norm(clean - llp) / norm(llp - mean(llp))``: 0 is equal, 1 is as far apart as the clip's
seconds are from their mean. With trained weights (`--weights leap-llp`) the figures are those of the real features.
For the resamplers of profile `clean` it prints ``norm(resampy - torchaudio) / norm(torchaudio)`` of the waveforms.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from avvp.extractors.mel import log_mel
from avvp.extractors.sampling import LLP_STREAMS
from avvp.pipeline import extract_features
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.resampling import get_resampler, resample_seconds
from avvp.pipeline.inference.extractors import load_extractors
from avvp.weights.remote.bundles import load_bundle
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
        compare_resamplers(video, noise_seconds=1 if options.smoke else 10)


def compare_features(video: Path, weights: str) -> None:
    """Print the distance of each stream's features, by the extractors of a bundle."""
    loaded = load_extractors(load_bundle(weights))
    llp, clean = (
        extract_features(video, loaded.by_name, profile=profile, device=loaded.device) for profile in ("llp", "clean")
    )
    for stream in LLP_STREAMS:
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


def compare_resamplers(video: Path, *, noise_seconds: int) -> None:
    """Print the distance of the two resamplers on white noise at 44.1 kHz, and on the audio of a file."""
    rate = 44_100
    noise = np.random.default_rng(0).standard_normal((noise_seconds, rate))
    print_resamplers("white noise", lambda name: resample_seconds(iter(noise), rate, get_resampler(name)))
    media = probe(video)
    if media.audio is not None:
        print_resamplers("file", lambda name: AudioReader(media, "filtered", resampler=name))


def print_resamplers(source: str, resample: Callable[[str], Iterable[NDArray[np.float64]]]) -> None:
    """Print distance and time of both resamplers; each runs twice, because resampy's first call compiles."""
    waveforms, times = {}, {}
    for name in ("torchaudio", "resampy"):
        for _ in range(2):
            start = time.perf_counter()
            waveforms[name] = np.stack(list(resample(name)))
            times[name] = time.perf_counter() - start
    default, other = waveforms["torchaudio"], waveforms["resampy"]
    gap = np.linalg.norm(other - default) / np.linalg.norm(default)
    log_mel_gap = np.abs(log_mel(other) - log_mel(default)).mean()
    print(f"resamplers, {source}: waveform {gap:.2g}, log-mel {log_mel_gap:.2g}, {len(default)} s of audio", end="")
    print(f" in {times['torchaudio']:.2f} s (torchaudio) and {times['resampy']:.2f} s (resampy)")


def relative_distance(clean: NDArray[np.float32], llp: NDArray[np.float32]) -> float:
    """Return the distance of two clips' features relative to the spread of the second."""
    return float(np.linalg.norm(clean - llp) / np.linalg.norm(llp - llp.mean(0)))


if __name__ == "__main__":
    main()
