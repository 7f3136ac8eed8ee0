"""What is searched for: classes, modalities, scores and durations."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...errors import SetupError
from ...text import escape, first_few, shorten
from ...timeline import SINGLE_MODALITIES, Event, Modality

_NEAREST = 3  # names that are proposed for an unknown class
_LIKENESS = 0.5  # least ratio of difflib between a class and a name that is proposed
_COMPARED = 100  # characters; longer names are not proposed
_MAX_KNOWN = 10_000  # classes that are remembered to propose one


def normalize_class(label: str) -> str:
    """Return the form in which classes are compared: "Vacuum_cleaner" and "vacuum cleaner" are the same."""
    return " ".join(label.replace("_", " ").casefold().split())


@dataclass(frozen=True)
class Condition:
    """One class in one modality.

    Attributes:
        label: class as the user typed it; None accepts every class.
        modality: None accepts audio and visual events.
    """

    label: str | None
    modality: Modality | None = None

    def fits(self, event: Event, lanes: Sequence[Modality] = SINGLE_MODALITIES) -> bool:
        """Return whether an event has the class and the modality.

        A class in any modality is that of audio and visual events: an audio-visual one is the part that both share.
        The audio-visual events of a localizer have every modality, as there are no others.

        Args:
            event: of a timeline.
            lanes: of the timeline, `Timeline.lanes`.
        """
        if "audio_visual" in lanes:
            return self.has_class(event.label)
        modalities = SINGLE_MODALITIES if self.modality is None else (self.modality,)
        return event.modality in modalities and self.has_class(event.label)

    def has_class(self, label: str) -> bool:
        """Return whether a class is the one of the condition."""
        return self.label is None or normalize_class(label) == normalize_class(self.label)


@dataclass(frozen=True)
class Query:
    """Conditions of a search.

    Attributes:
        conditions: all of them hold at the same time; without any, every event is found.
        any_of: one of them is enough.
        min_score: least score of each event.
        min_duration: least length of what is found, in seconds.
    """

    conditions: tuple[Condition, ...] = ()
    any_of: bool = False
    min_score: float = 0.0
    min_duration: float = 0.0


class KnownClasses:
    """Classes of the timelines that were read, to tell a misspelt class from one without events."""

    def __init__(self, query: Query) -> None:
        """Note which classes are searched for.

        Args:
            query: its conditions name them.
        """
        typed = [condition.label for condition in query.conditions if condition.label is not None]
        self._missing = {normalize_class(label): label for label in typed}
        self._known: dict[str, str] = {}

    def add(self, labels: Iterable[str]) -> None:
        """Add the classes of a timeline."""
        for label in labels:
            name = normalize_class(label)
            self._missing.pop(name, None)
            if len(self._known) < _MAX_KNOWN:
                self._known.setdefault(name, label)

    def check(self) -> None:
        """Raise SetupError for a class that none of the timelines has."""
        if not self._missing:
            return
        name, typed = next(iter(self._missing.items()))
        candidates = [known for known in self._known if len(known) <= _COMPARED]
        nearest = difflib.get_close_matches(name[:_COMPARED], candidates, _NEAREST, _LIKENESS)
        raise SetupError(f"no file has a class {shorten(typed)}; {self._propose(nearest)}")

    def _propose(self, nearest: Sequence[str]) -> str:
        if nearest:
            return f"the nearest: {', '.join(escape(self._known[name]) for name in nearest)}"
        return f"known: {first_few(sorted(self._known.values())) or 'none'}"
