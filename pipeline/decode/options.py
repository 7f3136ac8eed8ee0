"""Options of decoding, passed from the command line to every decoder, and the part of a file that is decoded."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from ...extractors.profiles import MAX_SIMILAR, Profile
from ..segments import MAX_MEDIA_SECONDS
from .process import DEFAULT_TIMEOUT
from .resampling import DEFAULT_RESAMPLER, get_resampler

_OF_EXACT_FRAMES = ("decord", "cuda")  # frame readers that only read these


@dataclass(frozen=True)
class Part:
    """The seconds of a file that are decoded: [start, end), numbers of seconds on the file's clock.

    Attributes:
        start: first second.
        end: the second after the last one; None is the end of the file.
    """

    start: int = 0
    end: int | None = None

    @property
    def is_whole(self) -> bool:
        """Whether this is the whole file."""
        return self.start == 0 and self.end is None

    def cut(self, duration: float) -> float:
        """Return the time at which the part of a file of some duration, in seconds, ends."""
        return duration if self.end is None else min(duration, float(self.end))


WHOLE = Part()


@dataclass(frozen=True)
class DecodeOptions:
    """How files are decoded, and which part of them.

    `start` and `end` select whole seconds: `start` is rounded down, `end` up. Results keep the times of the file, and
    equal those of the same seconds of the whole file.

    Attributes:
        decoder: frame reader, a key of `readers.FRAME_READERS`.
        timeout: seconds that decoding may take, and as much again for every 10 s of media.
        debug: show tracebacks of a decode worker on standard error.
        resampler: filter to 16 kHz for profiles with `filtered` resampling, a key of `resampling.RESAMPLERS`.
        start: seconds on the file's clock, at least 0; what lies before is not decoded.
        end: seconds, later than `start`; what lies behind is not decoded. None is the end of the file.
        similar_pictures: mean absolute difference, in levels of 255, up to which a picture that a network takes counts
            as the last one that differed, and is not computed. 0: only equal pictures; None: as the profile says.

    Raises:
        ValueError: `start` and `end` are not an interval within 24 hours, or `similar_pictures` is not from 0 to 255.
    """

    decoder: str = "auto"
    timeout: float = DEFAULT_TIMEOUT
    debug: bool = False
    resampler: str = DEFAULT_RESAMPLER
    start: float = 0.0
    end: float | None = None
    similar_pictures: float | None = None

    def __post_init__(self) -> None:
        end = MAX_MEDIA_SECONDS if self.end is None else self.end
        if not 0 <= self.start < end <= MAX_MEDIA_SECONDS:
            raise ValueError(
                f"start {self.start:g} and end {end:g} are not a part of a file: expected 0 <= start < end <="
                f" {MAX_MEDIA_SECONDS} seconds"
            )
        if self.similar_pictures is not None and not 0 <= self.similar_pictures <= MAX_SIMILAR:
            raise ValueError(f"similar pictures: {self.similar_pictures:g} is not from 0 to {MAX_SIMILAR:g} levels")

    def levels_of(self, profile: Profile) -> float:
        """Return the difference up to which pictures are similar under a profile."""
        return profile.similar_pictures if self.similar_pictures is None else self.similar_pictures

    @property
    def part(self) -> Part:
        """The whole seconds that contain `start` to `end`."""
        return Part(math.floor(self.start), None if self.end is None else math.ceil(self.end))

    def for_whole_files(self) -> DecodeOptions:
        """Return the same options without `start` and `end`."""
        return replace(self, start=0.0, end=None)


DEFAULT_OPTIONS = DecodeOptions()


def check_options(profile: Profile, options: DecodeOptions) -> None:
    """Check that a profile can be decoded with these options, before anything is decoded.

    Args:
        profile: the profile to decode for.
        options: decoder, resampler and similar pictures.

    Raises:
        ValueError: the decoder cannot make the profile's frames, the profile does not filter audio, the resampler is
            unknown, or the profile is a published path, whose features are those of all pictures.
    """
    get_resampler(options.resampler)
    if profile.frames != "exact" and options.decoder in _OF_EXACT_FRAMES:
        kind = "JPEG frames" if profile.frames == "jpeg" else "constant frame rate"
        raise ValueError(
            f"profile {profile.name!r} uses ffmpeg's {kind}, which {options.decoder} cannot make; use --decoder ffmpeg"
        )
    if profile.frames == "jpeg" and options.similar_pictures:
        raise ValueError(
            f"profile {profile.name!r} computes every picture, as the published program does, so --similar-pictures"
            f" {options.similar_pictures:g} is refused; omit it, or use another profile"
        )
    if profile.resampling != "filtered" and options.resampler != DEFAULT_RESAMPLER:
        how = "without a filter" if profile.resampling == "nearest" else "by ffmpeg"
        raise ValueError(
            f"profile {profile.name!r} resamples {how}, so --resampler {options.resampler} has no effect; omit it"
        )
