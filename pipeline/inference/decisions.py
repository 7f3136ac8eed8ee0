"""How probabilities become labels: by thresholds, or by a part of another package.

A decision of another package is a function ``part(probabilities, thresholds, **decision_options)`` of the
`SegmentProbabilities` of one video, (T, C) each, or of N clips, (N, T, C) each, and the `Thresholds` in effect, with
the rule of the parser's configuration. It returns `SegmentLabels` of the same shape, bool.
`thresholds.decide(probabilities)` is the decision of this program for parsers, `decide_one_class(probabilities,
thresholds)` that for localizers, of whose labels the audio-visual ones count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace

import numpy as np

from ...models.config import PARTS, ParserConfig
from ...models.localizers.config import DECISIONS
from ...weights.parts import Part, load_part
from ..errors import SetupError
from ..open_vocabulary.network import OpenVocabulary
from ..timeline import SegmentLabels, SegmentProbabilities
from .localize import decide_one_class
from .networks import NetworkConfig, is_localizer
from .thresholds import DecisionRule, Thresholds

Decision = Callable[[SegmentProbabilities, Thresholds], SegmentLabels]
_POOLING = frozenset(PARTS["decoder"]) - {"leap"}  # decoders with a probability of the video, pooled over modalities
_SEGMENTS = 3  # of the probabilities that a decision is tried with


def decide_by_thresholds(probabilities: SegmentProbabilities, thresholds: Thresholds) -> SegmentLabels:
    """Decide by thresholds and their rule, see `Thresholds.decide`."""
    return thresholds.decide(probabilities)


def decide_open(network: OpenVocabulary) -> Decision:
    """Return the decision of an open vocabulary: that of its rule."""

    def decide(probabilities: SegmentProbabilities, thresholds: Thresholds) -> SegmentLabels:
        return network.decide(probabilities, thresholds.of_segments())

    return decide


def load_decision(config: NetworkConfig, trust: Iterable[str] = ()) -> tuple[Decision, Part | None]:
    """Load the decision that the configuration of a parser or a localizer names, and try it with small inputs.

    Args:
        config: of the parser or the localizer.
        trust: packages that "module:Name" may name, see `load_part`.

    Returns:
        The decision, and the part if it is of another package. The decision applies the configuration's rule to any
        thresholds. It raises SetupError where the part fails or returns something else than labels.

    Raises:
        SetupError: the part is not trusted, cannot be loaded, fails or returns something else than labels.
    """
    known = DECISIONS if is_localizer(config) else PARTS["decision"]
    rule = DecisionRule.of(config)
    if config.decision in known:
        own = decide_one_class if is_localizer(config) else decide_by_thresholds
        return lambda probabilities, thresholds: own(probabilities, replace(thresholds, rule=rule)), None
    try:
        part = load_part("decision", config.decision, known, trust)
    except ValueError as error:
        raise SetupError(str(error)) from error

    def decide(probabilities: SegmentProbabilities, thresholds: Thresholds) -> SegmentLabels:
        try:
            labels = part.call(probabilities, replace(thresholds, rule=rule), **config.decision_options)
        except ValueError as error:
            raise SetupError(str(error)) from error
        expected = probabilities.audio.shape
        tables = labels if isinstance(labels, SegmentLabels) else ()
        if not tables or any(not _is_bool(table, expected) for table in tables):
            found = ", ".join(map(_describe, tables)) or type(labels).__name__
            raise SetupError(f"the {part} returned {found}, expected SegmentLabels of bool {expected}")
        return labels

    for shape in ((_SEGMENTS, len(config.labels)), (1, _SEGMENTS, len(config.labels))):
        pools = isinstance(config, ParserConfig) and (config.decoder in _POOLING or rule.video_filter == "pooled")
        tables = [np.full(shape, 0.5, np.float32)] * (5 if pools else 4)
        decide(SegmentProbabilities(*tables), Thresholds.uniform(config.labels))
    return decide, part


def _is_bool(table: object, shape: tuple[int, ...]) -> bool:
    return isinstance(table, np.ndarray) and table.dtype == np.bool_ and table.shape == shape


def _describe(table: object) -> str:
    return f"{table.dtype} {table.shape}" if isinstance(table, np.ndarray) else type(table).__name__
