"""Options of decoding, passed from the command line to every decoder."""

from __future__ import annotations

from dataclasses import dataclass

from ...extractors.profiles import Profile
from .process import DEFAULT_TIMEOUT
from .resampling import DEFAULT_RESAMPLER, get_resampler


@dataclass(frozen=True)
class DecodeOptions:
    """How files are decoded.

    Attributes:
        decoder: frame reader, a key of `readers.FRAME_READERS`.
        timeout: seconds that decoding may take, and as much again for every 10 s of media.
        debug: show tracebacks of a decode worker on standard error.
        resampler: filter to 16 kHz for profiles with `filtered` resampling, a key of `resampling.RESAMPLERS`.
    """

    decoder: str = "auto"
    timeout: float = DEFAULT_TIMEOUT
    debug: bool = False
    resampler: str = DEFAULT_RESAMPLER


DEFAULT_OPTIONS = DecodeOptions()


def check_options(profile: Profile, options: DecodeOptions) -> None:
    """Check that a profile can be decoded with these options, before anything is decoded.

    Args:
        profile: the profile to decode for.
        options: decoder and resampler.

    Raises:
        ValueError: the decoder cannot make the profile's frames, the profile does not filter audio, or the resampler
            is unknown.
    """
    get_resampler(options.resampler)
    if profile.frames == "jpeg" and options.decoder == "decord":
        raise ValueError(
            f"profile {profile.name!r} uses ffmpeg's JPEG frames, which decord cannot make; use --decoder ffmpeg"
        )
    if profile.resampling == "nearest" and options.resampler != DEFAULT_RESAMPLER:
        raise ValueError(
            f"profile {profile.name!r} resamples without a filter, so --resampler {options.resampler} has no effect;"
            " omit it"
        )
