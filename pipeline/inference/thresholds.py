"""Per-class decision thresholds, and the published rules by which they decide."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...models.config import PARTS, ParserConfig
from ...weights.messages import shown, shown_name
from ...weights.toml import read_toml, toml_string
from ..errors import SetupError
from ..open_vocabulary.network import OpenConfig
from ..text import escape
from ..text_files import read_json
from ..timeline import SegmentLabels, SegmentProbabilities

if TYPE_CHECKING:  # reading a file of thresholds needs no torch, whose import takes seconds
    from ...models.decoder_output import ParserOutput
    from ...models.parser import AVParser
    from .networks import BundleConfig

DEFAULT_THRESHOLD = 0.5
_MODALITIES = ("audio", "visual")
_LEVELS = ("segment", "video")
_KNOWN = 1000  # characters of a list of classes in a message
_POOLED = "video"  # table for decoders that pool one probability for the whole video (MMIL)
ThresholdTables = Mapping[str, Mapping[str, float]]  # "audio_segment", ... -> class or "default" -> threshold
NO_TABLES: ThresholdTables = MappingProxyType({})
_NAMES = (*(f"{modality}_{level}" for modality in _MODALITIES for level in _LEVELS), _POOLED)


@dataclass(frozen=True)
class DecisionRule:
    """How thresholds decide; the defaults are the rules of LEAP, HAN and MM-Pyr. See `ParserConfig`."""

    video_filter: str = "default"  # "pooled", "own" or "union"; "default": pooled if the decoder pools, else union
    strict: bool = False  # active above a threshold, not at it

    @classmethod
    def of(cls, config: BundleConfig) -> DecisionRule:
        """Return the rule of a parser's configuration; localizers have the default."""
        return cls(config.video_filter, config.strict_thresholds) if isinstance(config, ParserConfig) else cls()

    def pooled(self, probabilities: SegmentProbabilities) -> NDArray[np.float32] | None:
        """Return the probabilities of the video that both modalities are filtered by; None if theirs are used.

        Raises ValueError if the rule asks for pooled ones, and there are none.
        """
        if self.video_filter == "pooled" and probabilities.video is None:
            raise ValueError("the filter is by the pooled probability of the video, and the probabilities have none")
        return probabilities.video if self.video_filter in {"default", "pooled"} else None

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping."""
        return {"video_filter": self.video_filter, "strict": self.strict}


@dataclass(frozen=True, eq=False)
class Thresholds:
    """One threshold for each class, modality and level: (C,) arrays in [0, 1].

    Raises:
        ValueError: an array has another shape or range.
    """

    labels: tuple[str, ...]  # C class names
    audio_segment: NDArray[np.float64]
    visual_segment: NDArray[np.float64]
    audio_video: NDArray[np.float64]
    visual_video: NDArray[np.float64]
    video: NDArray[np.float64]  # used if the decoder pools one probability for the whole video (MMIL)
    rule: DecisionRule = field(default=DecisionRule(), kw_only=True)

    def __post_init__(self) -> None:
        for name in _NAMES:
            values = getattr(self, name)
            if values.shape != (len(self.labels),) or not ((values >= 0) & (values <= 1)).all():
                raise ValueError(f"{name} thresholds must be {len(self.labels)} numbers from 0 to 1, got {values}")

    @classmethod
    def uniform(
        cls, labels: Sequence[str], segment: float = DEFAULT_THRESHOLD, video: float = DEFAULT_THRESHOLD
    ) -> Thresholds:
        """Make thresholds that are equal for all classes and modalities.

        Args:
            labels: C class names.
            segment: for segment-level probabilities, in [0, 1].
            video: for video-level probabilities, in [0, 1].

        Returns:
            The thresholds; the defaults are the published ones.

        Raises:
            ValueError: a threshold is outside [0, 1].
        """
        levels = [np.full(len(labels), float(level)) for level in (segment, segment, video, video, video)]
        return cls(tuple(labels), *levels)

    def check_labels(self, labels: tuple[str, ...]) -> None:
        """Raise ValueError unless these are the thresholds of a parser with these classes, in this order."""
        if self.labels != labels:
            raise ValueError(
                f"the thresholds are of {len(self.labels)} other classes than the parser's {len(labels)}, or in another"
                " order"
            )

    @classmethod
    def published(cls, config: BundleConfig) -> Thresholds:
        """Return the thresholds and the rule of a network's configuration; those of localizers are 0.5."""
        if isinstance(config, OpenConfig):  # decides by segments alone
            levels = {f"{name}_segment": np.array(config.vocabulary.thresholds(name)) for name in _MODALITIES}
            return replace(cls.uniform(config.labels, 0, 0), **levels)
        if not isinstance(config, ParserConfig):
            return cls.uniform(config.labels)
        uniform = cls.uniform(config.labels, config.segment_threshold, config.video_threshold)
        return replace(uniform, rule=DecisionRule.of(config))

    def changed(
        self, tables: ThresholdTables = NO_TABLES, *, segment: float | None = None, video: float | None = None
    ) -> Thresholds:
        """Return thresholds with the same rule, of which some have other values.

        Args:
            tables: from `read_thresholds`; of classes that they do not name, nothing changes.
            segment: for all segment-level probabilities that the tables do not name; None changes nothing.
            video: for all video-level probabilities that the tables do not name; None changes nothing.

        Returns:
            The thresholds.

        Raises:
            SetupError: a table names a class that is not among the labels.
            ValueError: a threshold is outside [0, 1].
        """
        columns = {label: index for index, label in enumerate(self.labels)}
        arrays: dict[str, NDArray[np.float64]] = {}
        for name in _NAMES:
            values = tables.get(name, {})
            level = segment if name.endswith("_segment") else video
            array = getattr(self, name).copy() if level is None else np.full(len(self.labels), float(level))
            array[:] = values.get("default", array)
            for label in values.keys() - {"default"}:
                if label not in columns:
                    known = shown_name(", ".join(self.labels), _KNOWN)
                    raise SetupError(f"thresholds: unknown class {shown(label)}; known: {known}")
                array[columns[label]] = values[label]
            arrays[name] = array
        return replace(self, **arrays)

    def decide(self, probabilities: SegmentProbabilities) -> SegmentLabels:
        """Decide which classes are active in which second.

        Args:
            probabilities: of one video or of N clips.

        Returns:
            Labels of the same shape.

        Raises:
            ValueError: the rule filters by a pooled probability, and there is none.

        Source:
            The published programs: a class is active where both its segment-level and its video-level probability
            reach the thresholds. With LEAP, a video has a class if either modality's video-level probability reaches
            its threshold; HAN, MGN, CVCMS, VALOR and UWAV pool one probability for the video; MA, JoMoLD, DHHN and
            CMPAE ask for that of the modality. UWAV's probabilities must exceed the thresholds.
        """
        reach = np.greater if self.rule.strict else np.greater_equal
        audio = reach(probabilities.audio, self.audio_segment)
        visual = reach(probabilities.visual, self.visual_segment)
        if (pooled := self.rule.pooled(probabilities)) is not None:
            present = reach(pooled, self.video)
            return SegmentLabels(audio & present, visual & present)
        heard = reach(probabilities.audio_video, self.audio_video)
        seen = reach(probabilities.visual_video, self.visual_video)
        if self.rule.video_filter == "own":
            return SegmentLabels(audio & heard, visual & seen)
        return SegmentLabels(audio & (heard | seen), visual & (heard | seen))

    def of_segments(self) -> dict[str, NDArray[np.float64]]:
        """Return those of segments, (C,), by modality."""
        return {name: getattr(self, f"{name}_segment") for name in _MODALITIES}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping: one number if all classes share it, else a number for each class."""
        summary: dict[str, Any] = {}
        for name in _NAMES:
            values = getattr(self, name)
            shared = bool((values == values[0]).all())
            summary[name] = float(values[0]) if shared else dict(zip(self.labels, values.tolist(), strict=True))
        return summary

    def to_toml(self) -> str:
        """Format the thresholds as a file that `read_thresholds` reads."""
        lines: list[str] = []
        for name in _NAMES:
            lines.append(f"[{name.replace('_', '.')}]")
            values = zip(self.labels, getattr(self, name).tolist(), strict=True)
            lines += [f"{toml_string(label)} = {value}" for label, value in values]
            lines.append("")
        return "\n".join(lines)


def read_thresholds(path: Path) -> ThresholdTables:
    """Read a file of thresholds.

    Args:
        path: TOML, or JSON by its suffix. The tables audio.segment, visual.segment, audio.video, visual.video and (for
            MMIL) video map classes to numbers in [0, 1]; the key `default` stands for all classes that a table does
            not name.

    Returns:
        The tables that the file has.

    Raises:
        SetupError: the file cannot be read, or has other tables or values.
    """
    tables: dict[str, dict[str, float]] = {}
    where = escape(path)
    for modality, levels in _read_document(path).items():
        if modality == _POOLED:
            tables[_POOLED] = _check_table(where, modality, levels)
            continue
        if modality not in _MODALITIES or not isinstance(levels, dict):
            expected = f"expected {', '.join(_MODALITIES)} and {_POOLED}"
            raise SetupError(f"{where}: {shown(modality)} is not a table; {expected}")
        for level, values in levels.items():
            if level not in _LEVELS:
                name = shown_name(f"{modality}.{level}")
                raise SetupError(f"{where}: {name} is not a table; expected {' and '.join(_LEVELS)}")
            tables[f"{modality}_{level}"] = _check_table(where, f"{modality}.{level}", values)
    return tables


def check_per_second(tables: ThresholdTables, path: Path) -> None:
    """Raise SetupError for thresholds per video of classes by their names, which are decided per second.

    Args:
        tables: of `read_thresholds`.
        path: of their file, for the message.
    """
    if wrong := sorted(name for name in tables if not name.endswith("_segment")):
        table, known = wrong[0].replace("_", "."), "audio.segment and visual.segment"
        raise SetupError(f"{escape(path)}: {table} is not for classes by their names, but {known} are")


def _check_table(where: str, name: str, values: Any) -> dict[str, float]:
    if not isinstance(values, dict):
        raise SetupError(f"{where}: {name} is not a table; expected classes and numbers")
    for label, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
            raise SetupError(f"{where}: {name}.{shown_name(label)} is {shown(value)}, not a number from 0 to 1")
    return values


def published_decision(parser: AVParser, output: ParserOutput) -> SegmentLabels:
    """Decide which classes are active by the published rule and the published thresholds of a parser.

    Args:
        parser: whose configuration has the rule and the thresholds.
        output: of the parser in evaluation mode, for B videos.

    Returns:
        `audio` and `visual`, (B, T, C) bool; no class is active in padded segments.

    Raises:
        SetupError: the probabilities are not finite.
        ValueError: the parser's decision is of another package; `decisions.load_decision` loads that.

    Source:
        The published programs, see `Thresholds.decide`.
    """
    from .output_tables import parser_probabilities

    if parser.config.decision not in PARTS["decision"]:
        raise ValueError(f"the decision {shown(parser.config.decision)} is of another package, not a published one")
    labels = Thresholds.published(parser.config).decide(parser_probabilities(output, parser.config))
    valid = output.valid.cpu().numpy()[..., None]
    return SegmentLabels(labels.audio & valid, labels.visual & valid)


def _read_document(path: Path) -> dict[str, Any]:
    try:
        tables = read_json(path) if path.suffix.lower() == ".json" else read_toml(path)
    except ValueError as error:
        raise SetupError(f"{escape(path)}: not a readable thresholds file: {error}") from error
    if not isinstance(tables, dict):
        raise SetupError(f"{escape(path)}: expected tables, found {type(tables).__name__}")
    return tables
