"""Interface of the readers that decode a media file once and build inputs of networks. No torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ...extractors.inputs import InputFormat
from ...extractors.profiles import Profile, get_profile
from ...extractors.sampling import Stream
from ..decode.container.media_facts import DecodeProgress
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions, check_options
from .media_summary import MediaSummary

GROUPS = np.dtype(np.int64)  # type of arrays of groups; no inputs have it


def is_groups(array: NDArray[Any]) -> bool:
    """Return whether an array of an `InputReader` holds groups of inputs, and not inputs."""
    return array.dtype == GROUPS


class InputReader(ABC):
    """Reader of one media file: iteration decodes it and gives (stream, inputs), inputs (n, *shape) of the format.

    A row of a stream of `sampling.POOLED_STREAMS` is the mean over some inputs, with repetitions. Which these are comes
    in between, as soon as it is known, so that nobody has to keep all inputs: as (stream, groups), (n, F) int64, the
    numbers of the inputs of n rows, counted from 0. Later groups have no input before the last of an earlier one.

    One reader is iterated once. Iteration raises MediaError where nothing can be decoded.

    Attributes:
        profile: profile that the file is decoded under.
        summary: facts, warnings and the order of the inputs; exists once the iteration has ended.
    """

    summary: MediaSummary
    default_profile: ClassVar[str] = "llp"

    def __init__(
        self,
        path: Path,
        formats: Sequence[InputFormat],
        *,
        profile: str | None = None,
        options: DecodeOptions = DEFAULT_OPTIONS,
        progress: DecodeProgress | None = None,
    ) -> None:
        """Check the options; nothing is opened yet.

        Args:
            path: a media file.
            formats: the inputs to build, at most one of each stream.
            profile: key in `PROFILES`; None is `default_profile`.
            options: decoder, resampler and time limit.
            progress: called with the stage, seconds done and seconds in total.

        Raises:
            ValueError: the profile is unknown, or the options do not fit the profile or this reader.
        """
        self.profile = get_profile(profile or self.default_profile)
        self._check(self.profile, options)
        self._formats: dict[Stream, InputFormat] = {input_format.stream: input_format for input_format in formats}
        self._path, self._options, self._progress = path, options, progress

    @abstractmethod
    def __iter__(self) -> Iterator[tuple[Stream, NDArray[Any]]]: ...

    def _check(self, profile: Profile, options: DecodeOptions) -> None:
        check_options(profile, options)
