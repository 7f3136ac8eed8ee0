"""The main job: a video in, a timeline out."""

from __future__ import annotations

import platform
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ..models.parser import AVParser, ParserOutput
from ..weights.manifest import DEFAULT_BUNDLE
from .bundle import UNTRAINED_WARNING, LoadedBundle, load_networks
from .features import FeatureSet, extract_features
from .process import DEFAULT_TIMEOUT
from .runner import Progress
from .segments import window_starts
from .thresholds import DEFAULT_THRESHOLD, Thresholds
from .timeline import SegmentProbabilities, Timeline, all_events

_WINDOWS_AT_ONCE = 32


def parse_video(
    path: Path | str,
    *,
    weights: str | LoadedBundle = DEFAULT_BUNDLE,
    device: str = "auto",
    threshold: float = DEFAULT_THRESHOLD,
    video_threshold: float | None = None,
    thresholds: Thresholds | None = None,
    decoder: str = "auto",
    weights_dir: Path | None = None,
    offline: bool = False,
    batch_size: int = 4,
    timeout: float = DEFAULT_TIMEOUT,
    progress: Progress | None = None,
) -> Timeline:
    """Decode, extract, parse: the timeline of one video.

    weights: a bundle's name or folder, or the networks of one already loaded (then device, weights_dir and offline
    are theirs). threshold: for segments and, unless video_threshold is given, for the video level; `thresholds`
    replaces both. Raises MediaError, SetupError (both AVVPError) or avvp.weights.WeightsError.
    """
    bundle = (
        weights
        if isinstance(weights, LoadedBundle)
        else load_networks(weights, weights_dir=weights_dir, offline=offline, device=device)
    )
    features = extract_features(
        path,
        bundle.extractors,
        profile=bundle.spec.profile,
        decoder=decoder,
        device=bundle.device,
        batch_size=batch_size,
        timeout=timeout,
        progress=progress,
    )
    labels = bundle.parser.config.labels
    if thresholds is None:
        video_level = threshold if video_threshold is None else video_threshold
        thresholds = Thresholds.uniform(labels, threshold, video_level)
    return make_timeline(features, bundle, thresholds)


def make_timeline(features: FeatureSet, bundle: LoadedBundle, thresholds: Thresholds) -> Timeline:
    """Parse extracted features and decide. A stream that the file lacks gives no events."""
    probabilities = parse_features(features, bundle.parser, bundle.device)
    heard, seen = thresholds.decide(probabilities)
    media = features.media
    if media is not None:
        heard &= media.has_audio
        seen &= media.has_video
    warnings = ((UNTRAINED_WARNING,) if bundle.untrained else ()) + features.warnings
    return Timeline(
        events=all_events(heard, seen, probabilities, bundle.parser.config.labels),
        labels=bundle.parser.config.labels,
        probabilities=probabilities,
        media=media.to_dict() if media is not None else {"duration": features.duration},
        provenance=_provenance(bundle, thresholds),
        warnings=warnings,
    )


def parse_features(features: FeatureSet, parser: AVParser, device: torch.device | str = "cpu") -> SegmentProbabilities:
    """Probabilities for every second of a video of any length.

    Up to the parser's trained length that is one forward pass. A longer video is parsed in windows of that length,
    each overlapping the next by half, and every second gets the mean over the windows that hold it.
    """
    length, window = features.segments, parser.config.segments
    per_segment = features.spec.frames_per_segment
    starts = window_starts(length, window)
    width = min(length, window)
    sums = np.zeros((4, length, len(parser.config.labels)))
    counts = np.zeros((length, 1))
    for first in range(0, len(starts), _WINDOWS_AT_ONCE):
        batch = starts[first : first + _WINDOWS_AT_ONCE]
        cut = [
            np.stack([rows[rate * start : rate * (start + width)] for start in batch])
            for rows, rate in ((features.audio, 1), (features.visual_2d, per_segment), (features.visual_3d, 1))
        ]
        with torch.inference_mode():
            output = parser(*(torch.from_numpy(rows).to(device) for rows in cut))
        for start, probabilities in zip(batch, _window_probabilities(output), strict=True):
            sums[:, start : start + width] += probabilities
            counts[start : start + width] += 1
    return SegmentProbabilities(*(sums / counts).astype(np.float32))


def _window_probabilities(output: ParserOutput) -> NDArray[np.float32]:
    """(B, 4, T, C): audio, visual, and the video-level ones repeated for every second."""
    segments = output.audio_segment_probs.shape[1]
    parts = (
        output.audio_segment_probs,
        output.visual_segment_probs,
        output.audio_video_probs[:, None].expand(-1, segments, -1),
        output.visual_video_probs[:, None].expand(-1, segments, -1),
    )
    return torch.stack(parts, dim=1).float().cpu().numpy()


def _provenance(bundle: LoadedBundle, thresholds: Thresholds) -> dict[str, Any]:
    return {
        "program": "avvp",
        "version": version("avvp"),
        "bundle": bundle.name,
        "untrained": bundle.untrained,
        "weights": dict(bundle.hashes),
        "features": bundle.spec.to_dict(),
        "window": bundle.parser.config.segments,
        "thresholds": thresholds.to_dict(),
        "device": str(bundle.device),
        "precision": "float32",
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
