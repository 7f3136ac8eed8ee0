"""Parse a video into a timeline."""

from __future__ import annotations

import platform
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...weights.manifest import DEFAULT_BUNDLE
from ...weights.source import ANYWHERE, WeightSource
from ..decode.container.media_facts import DecodeProgress, MediaFacts
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..decode.resampling import DEFAULT_RESAMPLER
from ..features.extract import FeatureSet, extract_features
from ..open_vocabulary.network import OpenVocabulary
from ..open_vocabulary.similarities import OpenProbabilities
from ..timeline import AVEL, SegmentLabels, SegmentProbabilities, Timeline, all_events
from .bundle import UNTRAINED_WARNING, LoadedBundle, load_networks
from .compiled_network import CompiledNetwork
from .networks import BundleNetwork, is_localizer
from .predict import predict_video
from .similar_pictures import record_similar_pictures
from .thresholds import DecisionRule, Thresholds


def parse_video(
    path: Path | str,
    *,
    weights: str | LoadedBundle = DEFAULT_BUNDLE,
    device: str = "auto",
    thresholds: Thresholds | float | None = None,
    source: WeightSource = ANYWHERE,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    progress: DecodeProgress | None = None,
) -> Timeline:
    """Parse one video: decode it, extract features, predict probabilities, find events.

    Args:
        path: a media file with audio, video or both.
        weights: name or folder of a bundle, or a bundle from `load_networks`, for which `device` and `source` are
            not used.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.
        thresholds: per class, modality and level; or one number in [0, 1] for all; None for those of the bundle.
        source: where weight files may come from.
        decoding: decoder, resampler, time limit, and `start` and `end` of the part of the file to parse. Times of
            events are times of the file; seconds before the part have zero probabilities.
        progress: called with the stage, the seconds done and the total (None if the container does not state it).

    Returns:
        Events, per-second probabilities, facts of the file, provenance and warnings.

    Raises:
        MediaError: the file cannot be decoded at all.
        SetupError: the device is unknown, or the weights do not fit.
        ValueError: a threshold is outside [0, 1], or the thresholds are of other classes than the parser's.
        WeightsError: weight files are missing or damaged.
    """
    bundle = weights if isinstance(weights, LoadedBundle) else load_networks(weights, source=source, device=device)
    bundle = record_similar_pictures(bundle, decoding)
    if isinstance(thresholds, Thresholds):
        thresholds.check_labels(bundle.parser.config.labels)
    else:
        thresholds = bundle.thresholds.changed(segment=thresholds, video=thresholds)
    features = extract_with(bundle, path, decoding=decoding, progress=progress)
    return make_timeline(features, bundle, thresholds)


def extract_with(bundle: LoadedBundle, path: Path | str, **options: Any) -> FeatureSet:
    """Extract the features of one file with a bundle's extractors.

    Args:
        bundle: from `load_networks`.
        path: a media file.
        options: further arguments of `extract_features`.

    Returns:
        The features.

    Raises:
        MediaError: the file cannot be decoded.
    """
    extractors = bundle.extractors
    features = extract_features(
        path, extractors.by_name, profile=extractors.spec.profile, device=extractors.device, **options
    )
    return replace(features, spec=extractors.spec)  # which says how the networks compute


def make_timeline(features: FeatureSet, bundle: LoadedBundle, thresholds: Thresholds) -> Timeline:
    """Parse the features of one video.

    Args:
        features: as the bundle's extractors compute them.
        bundle: from `load_networks`.
        thresholds: of the parser's classes.

    Returns:
        Its timeline.

    Raises:
        SetupError: the parser's probabilities are not finite.
    """
    probabilities = parse_features(features, bundle.predictor, bundle.device)
    return decide_timeline(
        probabilities,
        bundle,
        thresholds,
        duration=features.duration,
        media=features.media,
        warnings=features.warnings,
        resampler=features.resampler,
    )


def decide_timeline(
    probabilities: SegmentProbabilities,
    bundle: LoadedBundle,
    thresholds: Thresholds,
    *,
    duration: float,
    media: MediaFacts | None,
    warnings: tuple[str, ...],
    resampler: str = DEFAULT_RESAMPLER,
) -> Timeline:
    """Decide the events of one video. A stream that the file lacks has no events.

    Timelines of localizers have audio-visual events only, so that there are none where a stream is missing.

    Args:
        probabilities: (T, C), of the seconds that `media` says were decoded, or of all.
        bundle: the networks that computed them, for labels and provenance.
        thresholds: of the parser's classes.
        duration: of the video in seconds; used if `media` is None.
        media: facts of the file.
        warnings: of decoding.
        resampler: that the audio was decoded with, for the provenance.

    Returns:
        The timeline.
    """
    network = bundle.parser
    if isinstance(network, OpenVocabulary) and isinstance(probabilities, OpenProbabilities) and media is not None:
        probabilities = network.without_streams(probabilities, audio=media.has_audio, visual=media.has_video)
    active = bundle.decision(probabilities, thresholds)
    if media is not None:
        active = SegmentLabels(active.audio & media.has_audio, active.visual & media.has_video)
        if media.parsed is not None:
            active, probabilities = _put_at(media.parsed[0], active, probabilities)
    about_bundle = (UNTRAINED_WARNING if bundle.untrained else None, bundle.warning)
    config = bundle.parser.config
    about_streams = _missing_for_both(media) if is_localizer(config) else ()
    if isinstance(network, OpenVocabulary):
        about_bundle = (*about_bundle, *network.warnings_with(thresholds.of_segments()))
    warnings = (*filter(None, about_bundle), *warnings, *about_streams)
    return Timeline(
        events=all_events(active, probabilities, config.labels, task=AVEL if is_localizer(config) else ""),
        labels=config.labels,
        probabilities=probabilities,
        media=media.to_dict() if media is not None else {"duration": duration},
        provenance=_provenance(bundle, thresholds, resampler),
        warnings=warnings,
    )


def _missing_for_both(media: MediaFacts | None) -> tuple[str, ...]:
    """Return a warning where a file cannot have audio-visual events."""
    if media is None or (media.has_audio and media.has_video):
        return ()
    missing = "picture" if media.has_audio else "sound"
    return (f"no events: the weights find what is heard and seen at once, and there is no {missing}",)


def _put_at(
    start: int, active: SegmentLabels, probabilities: SegmentProbabilities
) -> tuple[SegmentLabels, SegmentProbabilities]:
    """Put rows of zeros before labels and probabilities, so that their first row becomes row `start`."""
    before = ((start, 0), (0, 0))
    shifted = {name: np.pad(rows, before) for name, rows in probabilities.arrays().items()}
    return SegmentLabels(*(np.pad(rows, before) for rows in active)), SegmentProbabilities(**shifted)


def parse_features(
    features: FeatureSet, parser: BundleNetwork | CompiledNetwork, device: torch.device | str = "cpu"
) -> SegmentProbabilities:
    """Predict the probabilities of a video of any length, see `predict_video`."""
    return predict_video(parser, list(features.arrays().values()), torch.device(device))


def _provenance(bundle: LoadedBundle, thresholds: Thresholds, resampler: str) -> dict[str, Any]:
    provenance = {
        "program": "avvp",
        "version": version("avvp"),
        "bundle": bundle.name,
        "untrained": bundle.untrained,
        "weights": dict(bundle.hashes),
        "features": bundle.extractors.spec.to_dict(),
        "window": bundle.parser.config.segments,
        "thresholds": thresholds.to_dict(),
        "device": str(bundle.device),
        "precision": bundle.extractors.precision.name,
        "backend": bundle.extractors.precision.backend,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }
    if (rule := DecisionRule.of(bundle.parser.config)) != DecisionRule():
        provenance["rule"] = rule.to_dict()
    if is_localizer(bundle.parser.config):
        provenance["task"] = AVEL
    if isinstance(bundle.parser, OpenVocabulary):
        provenance["open_vocabulary"] = bundle.parser.describe(thresholds.of_segments())
    if bundle.parts:
        provenance["parts"] = [part.to_dict() for part in bundle.parts]
    return provenance if resampler == DEFAULT_RESAMPLER else provenance | {"resampler": resampler}
