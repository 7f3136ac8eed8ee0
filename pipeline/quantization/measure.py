"""How far quantized networks are from those that they were made of: features, and decisions of the parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.sampling import Stream
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..errors import MediaError
from ..features.extract import FeatureSet, extract_features
from ..files import hash_file
from ..inference.bundle import LoadedParser
from ..inference.parse_video import parse_features
from ..sharing.quantization_record import Agreement, FeatureError
from .calibration import Progress, first_minute

_LOW = 0.01  # quantile of the cosines that is stated beside their mean


@dataclass(frozen=True)
class Measurement:
    """What was measured on clips that the networks were not calibrated on.

    Attributes:
        clips: sha256 of those that were compared.
        errors: extractor name -> distance of its features.
        agreement: of the parser's decisions; None for extractors without a parser.
        failed: clips that cannot be decoded -> why.
    """

    clips: tuple[str, ...]
    errors: Mapping[str, FeatureError]
    agreement: Agreement | None
    failed: Mapping[Path, str]


def measure(
    clips: Sequence[Path],
    plain: Mapping[str, Extractor],
    quantized: Mapping[str, Extractor],
    parser: LoadedParser | None,
    *,
    profile: str,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    progress: Progress = lambda *_: None,
) -> Measurement:
    """Compute features of the first minute of clips by both kinds of networks, and compare them.

    Args:
        clips: media files. Those that cannot be decoded are left out, and listed in the result.
        plain: name -> extractor in fp32, on the CPU.
        quantized: name -> its quantized network.
        parser: of the bundle, on the CPU; it decides by the bundle's thresholds.
        profile: key in `PROFILES`.
        decoding: decoder, resampler and time limit.
        progress: called after each clip.

    Returns:
        Errors and agreement; without errors if no clip can be decoded.
    """
    pairs: dict[Stream, list[tuple[NDArray[np.float32], NDArray[np.float32]]]] = {}
    counts: list[Agreement] = []
    used: list[str] = []
    failed: dict[Path, str] = {}
    seconds = first_minute(decoding)
    for path in clips:
        try:
            first, second = (
                extract_features(path, extractors, profile=profile, decoding=seconds)
                for extractors in (plain, quantized)
            )
            used.append(hash_file(path))
        except (MediaError, OSError) as error:
            failed[path] = error.cause if isinstance(error, MediaError) else error.strerror or str(error)
            continue
        for (stream, rows), others in zip(first.arrays().items(), second.arrays().values(), strict=True):
            pairs.setdefault(stream, []).append((rows, others))
        if parser is not None:
            counts.append(_compare_decisions(first, second, parser))
        progress("comparing clips", len(used), len(clips))
    of_stream = {extractor.stream: name for name, extractor in plain.items()}
    errors = {
        of_stream[stream]: compare_rows(*(np.concatenate(rows) for rows in zip(*both, strict=True)))
        for stream, both in pairs.items()
    }
    return Measurement(tuple(used), errors, _add(counts) if counts else None, failed)


def compare_rows(expected: NDArray[np.floating], found: NDArray[np.floating]) -> FeatureError:
    """Return how far features are from others.

    Args:
        expected: (n, width) in fp32.
        found: the same rows, by a quantized network.

    Returns:
        The distance. Two rows of zeros have the cosine 1; one with another, 0.
    """
    first, second = expected.astype(np.float64), found.astype(np.float64)
    norms = np.linalg.norm(first, axis=1), np.linalg.norm(second, axis=1)
    both_zero = (norms[0] == 0) & (norms[1] == 0)
    cosines = np.where(both_zero, 1.0, (first * second).sum(axis=1) / np.maximum(norms[0] * norms[1], 1e-30))
    relative = np.linalg.norm(first - second) / max(float(np.linalg.norm(first)), 1e-30)
    low = float(np.quantile(cosines, _LOW))
    return FeatureError(len(first), float(cosines.mean()), low, float(cosines.min()), float(relative))


def _add(counts: Sequence[Agreement]) -> Agreement:
    return Agreement(*(sum(column) for column in zip(*(asdict(count).values() for count in counts), strict=True)))


def _compare_decisions(first: FeatureSet, second: FeatureSet, parser: LoadedParser) -> Agreement:
    decided = []
    for features in (first, second):
        probabilities = parse_features(features, parser.parser, parser.device)
        decided.append(np.stack(parser.decision(probabilities, parser.thresholds)))
    one, other = decided
    return Agreement(one.size, int((one == other).sum()), int((one | other).sum()), int((one & other).sum()))
