"""Profiles: how media files become the frames and samples that the extractors take.

A parser needs features of the profile that it was trained on. `FeatureSpec` is stored with features and checkpoints,
so that a mismatch is an error instead of a bad score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from .sampling import FRAMES_PER_SEGMENT, SAMPLE_RATE, STREAMS

if TYPE_CHECKING:
    from .base import Extractor


@dataclass(frozen=True)
class Profile:
    """Procedure that converts a media file to frames and samples."""

    name: str
    version: int  # incremented when the output changes
    frames: Literal["jpeg", "exact"]  # encoded as JPEG by ffmpeg's defaults and decoded again, or the decoded pixels
    resampling: Literal["nearest", "filtered"]  # to 16 kHz: nearest sample, or resampy's `kaiser_best` filter
    description: str


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("llp", 1, "jpeg", "nearest", "the published LLP feature path, JPEG step and aliasing included"),
        Profile("clean", 1, "exact", "filtered", "frames by presentation time, no JPEG, anti-aliased resampling"),
    )
}


@dataclass(frozen=True)
class FeatureSpec:
    """Specification of a set of features: the profile and the extractors that made it."""

    profile: str
    profile_version: int
    extractors: tuple[str, ...]  # names, in the order of `STREAMS`
    dims: tuple[int, ...]  # widths, in the order of `STREAMS`
    frames_per_segment: int = FRAMES_PER_SEGMENT
    sample_rate: int = SAMPLE_RATE  # Hz

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads."""
        return asdict(self) | {"extractors": list(self.extractors), "dims": list(self.dims)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> FeatureSpec:
        """Rebuild a specification from `to_dict`.

        Args:
            mapping: field name -> value, every field.

        Returns:
            The specification.

        Raises:
            ValueError: a name is missing or unknown.
        """
        if set(mapping) != {field.name for field in fields(cls)}:
            raise ValueError(f"not a feature specification: {', '.join(sorted(mapping)) or 'empty'}")
        return cls(**{**mapping, "extractors": tuple(mapping["extractors"]), "dims": tuple(mapping["dims"])})

    def differences(self, other: FeatureSpec) -> list[str]:
        """List the fields that differ.

        Args:
            other: the specification to compare with.

        Returns:
            ``name: own value / value of other`` for each field that differs; empty when they match.
        """
        left, right = self.to_dict(), other.to_dict()
        return [f"{name}: {left[name]} / {right[name]}" for name in left if left[name] != right[name]]


def get_profile(name: str) -> Profile:
    """Look up a profile.

    Args:
        name: key in `PROFILES`.

    Returns:
        The profile.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]


def feature_spec(profile: str, extractors: Mapping[str, Extractor]) -> FeatureSpec:
    """Return the specification of the features that extractors compute under a profile.

    Args:
        profile: key in `PROFILES`.
        extractors: name -> extractor, one for each stream, in any order.

    Returns:
        The specification.

    Raises:
        ValueError: the profile is unknown, or there is not exactly one extractor for each stream.
    """
    by_stream = {extractor.stream: (name, extractor.dim) for name, extractor in extractors.items()}
    if len(by_stream) != len(extractors) or set(by_stream) != set(STREAMS):
        raise ValueError(f"need one extractor for each of {', '.join(STREAMS)}; got {', '.join(extractors) or 'none'}")
    found = get_profile(profile)
    names = tuple(by_stream[stream][0] for stream in STREAMS)
    dims = tuple(by_stream[stream][1] for stream in STREAMS)
    return FeatureSpec(found.name, found.version, names, dims)
