"""Profiles: which pixels and samples a video is reduced to before the networks see it.

A parser must be fed the profile that it was trained on; `FeatureSpec` travels with features and checkpoints so that
a mix-up is an error and never a bad score.
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
    """One way from a media file to frames and samples. `version` grows when its output changes."""

    name: str
    version: int
    pictures: Literal["jpeg", "exact"]  # through ffmpeg's default JPEG, or the decoded pixels themselves
    sound: Literal["nearest", "filtered"]  # 16 kHz by picking samples, or through resampy's `kaiser_best` filter
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
    """What made a set of features. Extractor names and widths are in the order of `STREAMS`."""

    profile: str
    profile_version: int
    extractors: tuple[str, ...]
    dims: tuple[int, ...]
    frames_per_segment: int = FRAMES_PER_SEGMENT
    sample_rate: int = SAMPLE_RATE

    def to_dict(self) -> dict[str, Any]:
        return asdict(self) | {"extractors": list(self.extractors), "dims": list(self.dims)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> FeatureSpec:
        """Rebuild from `to_dict`. Raises ValueError where something is missing or unknown."""
        if set(mapping) != {field.name for field in fields(cls)}:
            raise ValueError(f"not a feature specification: {', '.join(sorted(mapping)) or 'empty'}")
        return cls(**{**mapping, "extractors": tuple(mapping["extractors"]), "dims": tuple(mapping["dims"])})

    def differences(self, other: FeatureSpec) -> list[str]:
        """One phrase for each field that differs, ``name: ours / theirs``; empty when they match."""
        ours, theirs = self.to_dict(), other.to_dict()
        return [f"{name}: {ours[name]} / {theirs[name]}" for name in ours if ours[name] != theirs[name]]


def get_profile(name: str) -> Profile:
    """Raises ValueError for an unknown name."""
    if name not in PROFILES:
        raise ValueError(f"unknown profile {name!r}; known: {', '.join(PROFILES)}")
    return PROFILES[name]


def feature_spec(profile: str, extractors: Mapping[str, Extractor]) -> FeatureSpec:
    """The specification of what these extractors (name -> extractor) make under a profile.

    Raises ValueError unless there is exactly one extractor for each stream.
    """
    by_stream = {extractor.stream: (name, extractor.dim) for name, extractor in extractors.items()}
    if len(by_stream) != len(extractors) or set(by_stream) != set(STREAMS):
        raise ValueError(f"need one extractor for each of {', '.join(STREAMS)}; got {', '.join(extractors) or 'none'}")
    chosen = get_profile(profile)
    names = tuple(by_stream[stream][0] for stream in STREAMS)
    dims = tuple(by_stream[stream][1] for stream in STREAMS)
    return FeatureSpec(chosen.name, chosen.version, names, dims)
