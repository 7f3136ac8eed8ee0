"""What is looked for: classes with their sentences and thresholds, a background, and the rule that decides."""

from __future__ import annotations

import hashlib
import json
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ...weights.messages import shown
from ...weights.toml import toml_string
from .rule_settings import METHODS, RULE_NAMES, RuleSettings

__all__ = ["METHODS", "RULE_NAMES", "OpenClass", "RuleSettings", "Vocabulary", "default_sentences", "normalized"]

Origin = Literal["default", "given", "calibrated", "valor"]
SCALES = ("relative", "logits")
LOGIT_THRESHOLD = 0.5  # of the scores, which are the sigmoid of a logit minus the threshold of its class
# Modality -> key of its sentences in files; that of its threshold is <key>_threshold.
MODALITY_KEYS = {"visual": "seen", "audio": "heard"}
TEMPLATES = {"visual": ("A photo of {}.",), "audio": ("This is a sound of {}.",)}


@dataclass(frozen=True)
class OpenClass:
    """A class by its name.

    Attributes:
        label: the name that events have.
        seen: sentences for pictures, whose embeddings are averaged; none where the class is not looked for in them.
        heard: the same for sounds.
        seen_threshold: of the scores of pictures, in [0, 1], or of their logits; None for the rule's.
        heard_threshold: of the scores of sounds, or of their logits.
        also: other names for the same.
    """

    label: str
    seen: tuple[str, ...]
    heard: tuple[str, ...]
    seen_threshold: float | None = None
    heard_threshold: float | None = None
    also: tuple[str, ...] = ()

    @classmethod
    def named(cls, label: str, *also: str) -> OpenClass:
        """Make a class of its name and other names for the same, with the usual sentences around them."""
        seen, heard = (default_sentences(modality, label, *also) for modality in ("visual", "audio"))
        return cls(label, seen, heard, also=also)

    @property
    def names(self) -> frozenset[str]:
        """Its names, normalized."""
        return frozenset(map(normalized, (self.label, *self.also)))

    def sentences(self, modality: str) -> tuple[str, ...]:
        """Return the sentences for "audio" or "visual"."""
        return self.heard if modality == "audio" else self.seen

    def threshold(self, modality: str) -> float | None:
        """Return the threshold of "audio" or "visual"."""
        return self.heard_threshold if modality == "audio" else self.seen_threshold

    def to_toml(self) -> list[str]:
        """Return the lines of its table; sentences that follow from its name are left out."""
        names = f"[{', '.join(map(toml_string, (self.label, *self.also)))}]" if self.also else toml_string(self.label)
        lines = ["[[class]]", f"label = {names}"]
        for modality, key in MODALITY_KEYS.items():
            sentences, threshold = self.sentences(modality), self.threshold(modality)
            if not sentences:
                lines.append(f"{key} = false")
            elif sentences != default_sentences(modality, self.label, *self.also):
                lines.append(f"{key} = [{', '.join(map(toml_string, sentences))}]")
            if threshold is not None:
                lines.append(f"{key}_threshold = {float(threshold)!r}")
        return lines


@dataclass(frozen=True)
class Vocabulary:
    """What is looked for.

    Attributes:
        classes: that are reported, at least one.
        background: that the scores are compared with, too, and that are never reported.
        rule: how events are decided.
        origin: where thresholds come from.
        background_name: "shipped", "none", or the name of the user's file.
        scale: "relative": scores compare the classes with each other and the background; "logits", with the rule fixed:
            thresholds are of the teachers' logits, as VALOR's, and a score is the sigmoid of a logit minus its
            threshold.
        calibrated_with: what calibrated thresholds are good for, see `conditions`; empty for others.
    """

    classes: tuple[OpenClass, ...]
    background: tuple[OpenClass, ...] = ()
    rule: RuleSettings = field(default_factory=RuleSettings)
    origin: Origin = "default"
    background_name: str = "none"
    scale: str = SCALES[0]
    calibrated_with: Mapping[str, str] = field(default_factory=dict)

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C classes."""
        return tuple(item.label for item in self.classes)

    @property
    def everything(self) -> tuple[OpenClass, ...]:
        """The classes, and the background after them without entries that have a name of a class."""
        own = frozenset[str]().union(*(item.names for item in self.classes))
        return (*self.classes, *(item for item in self.background if own.isdisjoint(item.names)))

    @property
    def background_hash(self) -> str:
        """First digits of the sha256 of the names and sentences of the background."""
        background = [(item.label, item.seen, item.heard) for item in self.background]
        return hashlib.sha256(json.dumps(background).encode()).hexdigest()[:16]

    def thresholds(self, modality: str) -> list[float]:
        """Return the thresholds of the scores of "audio" or "visual", one for each class."""
        if self.scale == "logits":
            return [LOGIT_THRESHOLD] * len(self.classes)
        default = self.rule.threshold(sum(bool(item.sentences(modality)) for item in self.everything))
        return [default if (own := item.threshold(modality)) is None else own for item in self.classes]

    def logit_thresholds(self, modality: str) -> list[float]:
        """Return the thresholds of the logits of "audio" or "visual"; 0 where none is known."""
        return [item.threshold(modality) or 0.0 for item in self.classes]

    def with_classes(self, classes: tuple[OpenClass, ...]) -> Vocabulary:
        """Return it with other classes, which have the rule's thresholds, whatever those of the present ones are of."""
        return replace(self, classes=classes, origin="default", scale=SCALES[0], calibrated_with={})

    def with_rule(self, **changes: Any) -> Vocabulary:
        """Return it with other settings of the rule. Raises ValueError for one that cannot be."""
        return replace(self, rule=replace(self.rule, **changes))

    def with_thresholds(
        self, thresholds: Mapping[str, Sequence[float]], origin: Origin = "given", **weights: str
    ) -> Vocabulary:
        """Return it with other thresholds of its scores.

        Args:
            thresholds: modality -> one for each class, in [0, 1]; of modalities that it lacks, nothing changes.
            origin: where they come from; "calibrated" keeps in what conditions.
            weights: modality -> what identifies its extractor's weights, for the conditions.

        Returns:
            The vocabulary.
        """
        columns = {f"{MODALITY_KEYS[modality]}_threshold": values for modality, values in thresholds.items()}
        classes = tuple(
            replace(item, **{key: float(values[index]) for key, values in columns.items()})
            for index, item in enumerate(self.classes)
        )
        with_origin = replace(self, classes=classes, origin=origin, scale=SCALES[0])
        return replace(with_origin, calibrated_with=self.conditions(**weights) if origin == "calibrated" else {})

    def conditions(self, **weights: str) -> dict[str, str]:
        """Return what thresholds depend on beside the classes: the rule, the background, and the teachers' weights."""
        return {"rule": self.rule.name, "background": self.background_hash, **weights}

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vocabulary:
        """Return what `to_dict` has described. Raises ValueError for anything else."""
        try:
            lists = {key: tuple(_class(item) for item in values[key]) for key in ("classes", "background")}
            return cls(**{**values, **lists, "rule": RuleSettings(**values["rule"])})
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a list of classes: {shown(error)}") from error

    def to_toml(self) -> str:
        """Return the content of a file that `--classes @FILE` reads; the background is not part of it."""
        lines = [f"thresholds = {toml_string(self.origin)}"] if self.origin in {"given", "calibrated"} else []
        if self.scale != SCALES[0]:
            lines.append(f"scale = {toml_string(self.scale)}")
        defaults = asdict(RuleSettings())
        settings = {key: value for key, value in asdict(self.rule).items() if key == "name" or value != defaults[key]}
        lines += ["", "[rule]", *(f"{key} = {_toml_value(value)}" for key, value in settings.items())]
        if self.calibrated_with:
            conditions = self.calibrated_with.items()
            lines += [
                "",
                "[calibrated_with]",
                *(f"{toml_string(key)} = {toml_string(value)}" for key, value in conditions),
            ]
        for item in self.classes:
            lines += ["", *item.to_toml()]
        return "\n".join(lines).lstrip("\n") + "\n"


def default_sentences(modality: str, *names: str, templates: Sequence[str] = ()) -> tuple[str, ...]:
    """Put names of a class into the usual sentences.

    Args:
        modality: "audio" or "visual".
        names: of the class; underscores become spaces.
        templates: sentences with {} for the name, in place of the usual ones.

    Returns:
        Each sentence with each name.
    """
    texts = [name.replace("_", " ") for name in names]
    found = (template.replace("{}", text) for text in texts for template in templates or TEMPLATES[modality])
    return tuple(dict.fromkeys(found))


def _toml_value(value: object) -> str:
    return toml_string(value) if isinstance(value, str) else str(value).lower()


def _class(values: Mapping[str, Any]) -> OpenClass:
    texts: dict[str, Sequence[str]] = {key: tuple(values.get(key, ())) for key in ("seen", "heard", "also")}
    return OpenClass(**{**values, **texts})


def normalized(name: str) -> str:
    """Return a name in the form in which two names for the same class are equal."""
    return " ".join(unicodedata.normalize("NFC", name.replace("_", " ")).casefold().split())
