"""What can go wrong with what a person hands in. Every message is one line and says what to do next.

    AVVPError
    ├── MediaError                 the input cannot be read as audio or video
    │   └── DecodeTimeoutError     decoding stopped making progress and was killed
    ├── SetupError                 weights, device, thresholds: the run cannot start
    │   ├── FeatureMismatchError   features and parser were made for different profiles
    │   └── DatasetError           annotations, features or pseudo labels that cannot be used
    ├── TrainingError              training cannot go on: a loss that is no number
    └── OutputError                a result cannot be written

Weights that are missing, damaged or of another shape raise `avvp.weights.WeightsError`, which is no child of
AVVPError because the weights package stands alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .text import escape


class AVVPError(Exception):
    """Base of everything that a person, not a programmer, can mend."""


class MediaError(AVVPError):
    """The input cannot be read as audio or video."""

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{escape(path)}: {cause}")
        self.path = path
        self.cause = cause

    def __reduce__(self) -> tuple[type[MediaError], tuple[Path, str]]:
        """So that it can come from another process."""
        return type(self), (self.path, self.cause)


class DecodeTimeoutError(MediaError):
    """Decoding stopped making progress and was killed."""


class SetupError(AVVPError):
    """The run cannot start: weights, device or thresholds do not fit."""


class FeatureMismatchError(SetupError):
    """Features and parser were made for different profiles or extractors."""


class DatasetError(SetupError):
    """Annotations, features or pseudo labels that cannot be used."""

    @classmethod
    def listing(cls, headline: str, problems: Sequence[str], limit: int = 20) -> DatasetError:
        """One error for many problems, each on a line of its own; past `limit` they are counted."""
        shown = list(problems[:limit])
        if len(problems) > limit:
            shown.append(f"... and {len(problems) - limit} more")
        return cls("\n  ".join([f"{headline}:", *shown]))


class TrainingError(AVVPError):
    """Training cannot go on."""


class FormatError(AVVPError):
    """A file of events cannot be understood."""

    def __init__(self, path: object, cause: str) -> None:
        super().__init__(f"{escape(path)}: {escape(cause)}")


class OutputError(AVVPError):
    """A result cannot be written."""
