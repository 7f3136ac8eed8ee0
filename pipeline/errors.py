"""Exceptions for bad input. Every message is one line that says what is wrong and what to do.

    AVVPError
    ├── MediaError                 the input cannot be read as audio or video
    │   └── DecodeTimeoutError     decoding stopped making progress and was killed
    ├── SetupError                 the run cannot start: weights, device or thresholds do not fit
    │   ├── FeatureMismatchError   features and parser were made for different profiles or extractors
    │   └── DatasetError           annotations, features or pseudo labels cannot be used
    ├── TrainingError              training cannot continue: the loss is NaN or infinite
    ├── FormatError                a file of events is malformed
    └── OutputError                a result cannot be written

Weights that are missing, damaged or of another shape raise `avvp.weights.WeightsError`, which is not a subclass of
AVVPError because the weights package does not depend on this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .text import escape

MAX_CAUSE = 500  # characters of the reason why a file of events cannot be used; it may quote the file


class AVVPError(Exception):
    """Base of all errors that the user can fix."""


class MediaError(AVVPError):
    """The input cannot be read as audio or video.

    Attributes:
        path: the media file.
        cause: the message without the file name.
    """

    def __init__(self, path: Path, cause: str) -> None:
        super().__init__(f"{escape(path)}: {cause}")
        self.path = path
        self.cause = cause

    def __reduce__(self) -> tuple[type[MediaError], tuple[Path, str]]:
        """Rebuild from both arguments: the default passes the message alone, which fails between processes."""
        return type(self), (self.path, self.cause)


class DecodeTimeoutError(MediaError):
    """Decoding stopped making progress and was killed."""


class SetupError(AVVPError):
    """The run cannot start: weights, device or thresholds do not fit."""


class FeatureMismatchError(SetupError):
    """Features and parser were made for different profiles or extractors."""


class DatasetError(SetupError):
    """Annotations, features or pseudo labels cannot be used."""

    @classmethod
    def listing(cls, headline: str, problems: Sequence[str], limit: int = 20) -> DatasetError:
        """Build one error that lists many problems.

        Args:
            headline: first line, without a colon.
            problems: one line each.
            limit: problems to list; the others are counted.

        Returns:
            The error, not raised.
        """
        shown = list(problems[:limit])
        if len(problems) > limit:
            shown.append(f"... and {len(problems) - limit} more")
        return cls("\n  ".join([f"{headline}:", *shown]))


class TrainingError(AVVPError):
    """Training cannot continue."""


class FormatError(AVVPError):
    """A file of events is malformed."""

    def __init__(self, path: object, cause: str) -> None:
        shown = cause if len(cause) <= MAX_CAUSE else f"{cause[:MAX_CAUSE]}... ({len(cause)} characters)"
        super().__init__(f"{escape(path)}: {escape(shown)}")


class OutputError(AVVPError):
    """A result cannot be written."""
