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

import errno
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from .text import escape

FailureCategory = Literal[
    "missing",  # no such file
    "permission",  # the file may not be read
    "network",  # a file system that is far away does not answer
    "disk-full",  # of the disk for temporary files
    "io",  # the system cannot read the file
    "not-media",  # not audio or video: a text, a folder, a playlist, nothing
    "no-streams",  # a media file without the streams that are needed
    "encrypted",
    "unsupported",  # FFmpeg has no decoder for it, or its pictures are too large
    "damaged",  # nothing could be decoded
    "too-long",  # longer than a day, or time stamps that say so
    "name",  # no file can be named after it
    "timeout",  # decoding made no progress, or was too slow
    "out-of-memory",
    "crashed",  # the decoder was killed
    "not-finite",  # the networks computed NaN or infinity
    "internal",  # a bug
]
_OF_ERRNO: Mapping[int, FailureCategory] = {
    **dict.fromkeys((errno.ENOENT, errno.ENOTDIR, errno.ELOOP), "missing"),
    **dict.fromkeys((errno.EACCES, errno.EPERM), "permission"),
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT), "disk-full"),
    **dict.fromkeys(
        (
            errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNREFUSED, errno.ECONNRESET, errno.ECONNABORTED,
            errno.EHOSTDOWN, errno.EHOSTUNREACH, errno.ENETDOWN, errno.ENETUNREACH, errno.EREMOTEIO,
        ),
        "network",
    ),
    errno.ENAMETOOLONG: "name",
    errno.ENOMEM: "out-of-memory",
}  # fmt: skip
MAX_CAUSE = 500  # characters of the reason why a file of events cannot be used; it may quote the file


def category_of(error: BaseException) -> FailureCategory:
    """Return the category of an error that is not a MediaError: of an OSError, its number decides."""
    if isinstance(error, MemoryError):
        return "out-of-memory"
    if isinstance(error, OSError):
        return _OF_ERRNO.get(error.errno or 0, "io")
    return "internal"


class AVVPError(Exception):
    """Base of all errors that the user can fix."""


class MediaError(AVVPError):
    """The input cannot be read as audio or video.

    Attributes:
        path: the media file.
        cause: the message without the file name.
        category: of the cause, for programs and for counts.
    """

    usual_category: ClassVar[FailureCategory] = "damaged"

    def __init__(self, path: Path, cause: str, category: FailureCategory | None = None) -> None:
        super().__init__(f"{escape(path)}: {cause}")
        self.path = path
        self.cause = cause
        self.category: FailureCategory = category or self.usual_category

    def __reduce__(self) -> tuple[Any, ...]:
        """Rebuild from all arguments: the default passes the message alone, which fails between processes."""
        return type(self), (self.path, self.cause, self.category)


class DecodeTimeoutError(MediaError):
    """Decoding stopped making progress and was killed."""

    usual_category = "timeout"


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
