"""Findings of a diagnosis, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

State = Literal["ok", "note", "broken"]


@dataclass(frozen=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        text: what was found.
        state: "broken" if videos cannot be parsed because of it; "note" if something optional is missing.
        advice: what to do about it; empty if nothing.
    """

    text: str
    state: State = "ok"
    advice: str = ""


@dataclass
class Section:
    """The findings about one subject.

    Attributes:
        title: of the subject.
        facts: for programs: values that JSON can hold, under keys that stay.
        findings: for people, in the order in which they are shown.
    """

    title: str
    facts: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)

    def add(self, text: str, state: State = "ok", advice: str = "") -> None:
        """Append a finding, see `Finding`."""
        self.findings.append(Finding(text, state, advice))
