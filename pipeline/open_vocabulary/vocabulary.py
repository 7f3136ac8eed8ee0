"""What is looked for: classes with their sentences and thresholds, a background, and the rule that decides."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from ...weights.messages import shown

Origin = Literal["default", "given", "calibrated"]
RULE_NAMES = ("av2a", "scope", "fixed")
METHODS = ("bbse-cosine", "bbse", "cosine")
DEFAULT_THRESHOLDS = {"av2a": 0.75, "scope": 0.75, "fixed": 0.75}  # of scores, by rule


@dataclass(frozen=True)
class OpenClass:
    """A class by its name.

    Attributes:
        label: the name that events have.
        seen: sentences for pictures, whose embeddings are averaged; none where the class is not looked for in them.
        heard: the same for sounds.
        seen_threshold: of the scores of pictures, in [0, 1]; None for the rule's.
        heard_threshold: of the scores of sounds.
    """

    label: str
    seen: tuple[str, ...]
    heard: tuple[str, ...]
    seen_threshold: float | None = None
    heard_threshold: float | None = None

    @classmethod
    def named(cls, label: str, *names: str) -> OpenClass:
        """Make a class of its name and other names for the same, with the usual sentences around them."""
        texts = [name.replace("_", " ") for name in (label, *names)]
        return cls(
            label,
            tuple(f"A photo of {text}." for text in texts),
            tuple(f"This is a sound of {text}." for text in texts),
        )

    def sentences(self, modality: str) -> tuple[str, ...]:
        """Return the sentences for "audio" or "visual"."""
        return self.heard if modality == "audio" else self.seen

    def threshold(self, modality: str) -> float | None:
        """Return the threshold of "audio" or "visual"."""
        return self.heard_threshold if modality == "audio" else self.seen_threshold


@dataclass(frozen=True)
class RuleSettings:
    """How scores and decisions come from similarities.

    Attributes:
        name: one of `RULE_NAMES`.
        window: seconds after which av2a begins anew.
        method: of the shift of thresholds, av2a.
        gamma: how fast the shift of a class fades with each second that has it, av2a.
        refine_threshold: of an event's own score, av2a.
        published_audio: one embedding of sound for a whole window, as AV2A's program, av2a.
        penalty: of the weights, scope.
        kappa: weight of the other modality, scope.
        eta: how much the other modality lowers the penalty, scope.
        min_seconds: classes with fewer seconds in a window are dropped, scope.
    """

    name: str = RULE_NAMES[0]
    window: int = 60
    method: str = METHODS[0]
    gamma: float = 1.0
    refine_threshold: float = 0.75
    published_audio: bool = False
    penalty: float = 0.3
    kappa: float = 4.0
    eta: float = 1.0
    min_seconds: int = 2

    @property
    def threshold(self) -> float:
        """Threshold of scores where nothing else is known."""
        return DEFAULT_THRESHOLDS[self.name]


@dataclass(frozen=True)
class Vocabulary:
    """What is looked for.

    Attributes:
        classes: that are reported, at least one.
        background: that the scores are compared with, too, and that are never reported.
        rule: how events are decided.
        origin: where thresholds come from.
        background_name: "shipped", "none", or the name of the user's file.
    """

    classes: tuple[OpenClass, ...]
    background: tuple[OpenClass, ...] = ()
    rule: RuleSettings = field(default_factory=RuleSettings)
    origin: Origin = "default"
    background_name: str = "none"

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the C classes."""
        return tuple(item.label for item in self.classes)

    @property
    def everything(self) -> tuple[OpenClass, ...]:
        """The classes, and the background after them without those that are classes."""
        own = {normalized(item.label) for item in self.classes}
        return (*self.classes, *(item for item in self.background if normalized(item.label) not in own))

    def thresholds(self, modality: str) -> list[float]:
        """Return the thresholds of "audio" or "visual", one for each class."""
        return [self.rule.threshold if (own := item.threshold(modality)) is None else own for item in self.classes]

    def with_rule(self, **changes: Any) -> Vocabulary:
        """Return it with other settings of the rule."""
        return replace(self, rule=replace(self.rule, **changes))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Vocabulary:
        """Return what `to_dict` has described. Raises ValueError for anything else."""
        try:
            lists = {key: tuple(_class(item) for item in values[key]) for key in ("classes", "background")}
            rule = RuleSettings(**values["rule"])
            return cls(**lists, rule=rule, origin=values["origin"], background_name=values["background_name"])
        except (KeyError, TypeError) as error:
            raise ValueError(f"not a list of classes: {shown(error)}") from error


def _class(values: Mapping[str, Any]) -> OpenClass:
    texts: dict[str, Sequence[str]] = {key: tuple(values[key]) for key in ("seen", "heard")}
    return OpenClass(**{**values, **texts})


def normalized(name: str) -> str:
    """Return a name in the form in which two names for the same class are equal."""
    return " ".join(name.replace("_", " ").casefold().split())
