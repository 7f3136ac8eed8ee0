"""The rule that decides events, with its settings, which are checked wherever they come from."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from ...weights.messages import shown

RULE_NAMES = ("av2a", "scope", "fixed", "ov-avel")
METHODS = ("bbse-cosine", "bbse", "cosine")
DEFAULT_THRESHOLDS = {"av2a": 0.75, "scope": 0.75, "fixed": 0.75, "ov-avel": 0.5}  # of scores, by rule
# AV2A's threshold is that of LLP's 25 classes. Of normally distributed similarities one in seven exceeds it, so beside
# a longer list something always would; one in seventy exceeds this one, 2.2 deviations above the mean.
LONG_LIST, LONG_LIST_THRESHOLDS = 25, {"av2a": 0.9, "fixed": 0.9}
MAX_FACTOR = 1_000_000.0  # setting of a rule that scores and thresholds are multiplied with
_CHOICES = {"name": RULE_NAMES, "method": METHODS}
_UNIT = frozenset({"refine_threshold"})  # in [0, 1]
_SECONDS = frozenset({"window", "min_seconds"})  # whole, at least 1
_KINDS: Mapping[type, str] = {bool: "true or false", int: "a whole number", float: "a number", str: "a text"}


@dataclass(frozen=True)
class RuleSettings:
    """How scores and decisions come from similarities.

    Attributes:
        name: one of `RULE_NAMES`.
        window: seconds after which av2a begins anew; of scope, in which modalities help each other.
        method: of the shift of thresholds, av2a.
        gamma: how fast the shift of a class fades with each second that has it, av2a.
        refine_threshold: of an event's own score, av2a.
        published_audio: one embedding of sound for a whole window, as AV2A's program, av2a.
        penalty: share of the nearest entry's similarity that an entry needs for a weight, scope.
        kappa: weight of the other modality, scope.
        eta: how much the other modality lowers the penalty, scope.
        min_seconds: classes with fewer active seconds in the ten around one are dropped there, scope.

    Raises:
        ValueError: a setting has the wrong type, or is out of range.
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

    def __post_init__(self) -> None:
        for entry in fields(self):
            _check(entry.name, getattr(self, entry.name), type(entry.default))

    def threshold(self, entries: int) -> float:
        """Return the threshold of scores where nothing else is known.

        Args:
            entries: classes and background that are compared with each other.
        """
        longer = LONG_LIST_THRESHOLDS if entries > LONG_LIST else {}
        return longer.get(self.name, DEFAULT_THRESHOLDS[self.name])


def read_rule(values: object) -> RuleSettings:
    """Read the settings of a rule from the table [rule] of a file. Raises ValueError for one that cannot be."""
    if not isinstance(values, Mapping):
        raise ValueError(f"rule is {shown(values)}, expected a table such as [rule] with name = 'scope'")
    known: Mapping[Any, Any] = {entry.name: entry.default for entry in fields(RuleSettings)}
    if unknown := sorted(set(values) - set(known)):
        raise ValueError(f"rule has an unknown key {shown(unknown[0])}; known: {', '.join(known)}")
    settings = RuleSettings(**values)
    return replace(settings, **{name: float(value) for name, value in values.items() if type(known[name]) is float})


def _check(name: str, value: object, kind: type) -> None:
    """Raise ValueError unless a setting has its type and range."""
    if type(value) is not kind and not (kind is float and type(value) is int):
        raise ValueError(f"rule: {name} is {shown(value)}, expected {_KINDS.get(kind, kind.__name__)}")
    if (choices := _CHOICES.get(name)) and value not in choices:
        raise ValueError(f"rule: {name} is {shown(value)}; known: {', '.join(choices)}")
    if isinstance(value, bool) or not isinstance(value, int | float):
        return
    from ..segments import MAX_MEDIA_SECONDS  # which imports NumPy; the options of commands import this module

    low, high = (0, 1) if name in _UNIT else (1, MAX_MEDIA_SECONDS) if name in _SECONDS else (0, MAX_FACTOR)
    if not math.isfinite(value) or not low <= value <= high:
        raise ValueError(f"rule: {name} is {shown(value)}, not from {low:g} to {high:g}")
