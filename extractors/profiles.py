"""Profiles: how media files become the frames and samples that the extractors take.

A parser needs features of the profile that it was trained on. `FeatureSpec` is stored with features and checkpoints,
so that a mismatch is an error instead of a bad score.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, Literal, cast

from ..weights.manifest import DEFAULT_BUNDLE
from ..weights.messages import shown
from .sampling import (
    ALL_STREAMS,
    AVE_STREAMS,
    CLAP_RATE,
    CLIP_CLAP_STREAMS,
    FRAMES_PER_SEGMENT,
    LLP_STREAMS,
    SAMPLE_RATE,
    Stream,
    rows_per_segment,
)

if TYPE_CHECKING:
    from .base import Extractor


MAX_FEATURE_WIDTH = 65_536  # values of one row of features
MAX_FRAMES_PER_SEGMENT = 240  # rows of features that a second may have
MAX_SAMPLE_RATE = 768_000  # Hz
MAX_NAME_LENGTH = 200  # characters of the name of a profile or an extractor
MAX_SIMILAR = 255.0  # levels: the largest difference of two pictures


@dataclass(frozen=True)
class Profile:
    """Procedure that converts a media file to frames and samples."""

    name: str
    version: int  # incremented when the output changes
    # Encoded as JPEG by ffmpeg's defaults and decoded again; the decoded pixels, by presentation time; or the decoded
    # pixels, chosen by the number of the frame in ten seconds, and squashed to 224 x 224.
    frames: Literal["jpeg", "exact", "squashed"]
    # To the sample rate: nearest sample, resampy's `kaiser_best` filter, or ffmpeg's own.
    resampling: Literal["nearest", "filtered", "ffmpeg"]
    description: str
    streams: tuple[Stream, ...] = LLP_STREAMS  # of its features, in the order of a network's arguments
    frames_per_segment: int = FRAMES_PER_SEGMENT  # sampled in each second
    sample_rate: int = SAMPLE_RATE  # Hz
    # Of the sampled frames of a second, those that visual_2d has a row for; None is all of them.
    pictures_per_segment: int | None = None
    # To which larger exact frames may be scaled while they are decoded, in pixels; networks take at most that much.
    short_side: int | None = None
    # Mean absolute difference, in levels of 255, up to which a picture counts as the one before. Users may change it.
    similar_pictures: float = 0.0
    approximates: tuple[str, ...] = ()  # profiles whose parsers may read its features, with a warning
    inputs: Literal["networks", "teachers", "unfused", "pe-av"] = (
        "networks"  # the reader of files, a key of `input_kinds.KINDS`
    )
    bundle: str = DEFAULT_BUNDLE  # of the extractors that are meant where none is named

    @property
    def rows_per_segment(self) -> int:
        """Rows of visual_2d for each second."""
        return self.pictures_per_segment or self.frames_per_segment

    @property
    def pictures(self) -> tuple[int, ...]:
        """Which of the frames of a second visual_2d has a row for: from the middles of equal parts of the second."""
        count, frames = self.rows_per_segment, self.frames_per_segment
        return tuple((2 * index + 1) * frames // (2 * count) for index in range(count))


PROFILES = {
    profile.name: profile
    for profile in (
        Profile("llp", 1, "jpeg", "nearest", "the published LLP feature path, JPEG step and aliasing included"),
        Profile("clean", 1, "exact", "filtered", "frames by presentation time, no JPEG, anti-aliased resampling"),
        Profile(
            "clean-fast",
            1,
            "exact",
            "filtered",
            "clean with large frames scaled while they are decoded",
            short_side=256,
            approximates=("clean", "llp"),
        ),
        Profile(
            "fast",
            1,
            "exact",
            "filtered",
            "clean-fast with 2 pictures a second for ResNet in place of 8",
            pictures_per_segment=2,
            short_side=256,
            similar_pictures=2.0,  # which no second of films reaches, but much of what a fixed camera or a screen shows
            approximates=("clean", "clean-fast", "llp"),
        ),
        Profile(
            "ave",
            1,
            "squashed",
            "filtered",
            "the published AVE feature path: 16 frames a second",
            AVE_STREAMS,
            16,
            bundle="ave",
        ),
        Profile("ave-4", 1, "squashed", "filtered", "AVE's path with 4 frames a second", AVE_STREAMS, 4, bundle="ave"),
        Profile(
            "clip-clap",
            1,
            "jpeg",
            "ffmpeg",
            "a frame of LLP's and 48 kHz audio of each second, as VALOR's teachers",
            CLIP_CLAP_STREAMS,
            1,
            CLAP_RATE,
            inputs="teachers",
            bundle="clip-clap",
        ),
        Profile(
            "clip-clap-3d",
            1,
            "jpeg",
            "ffmpeg",
            "clip-clap, and the clips that R(2+1)D takes, as VALOR++",
            LLP_STREAMS,
            1,
            CLAP_RATE,
            inputs="teachers",
            bundle="clip-clap-3d",
        ),
        Profile(
            "clip-clap-unfused",
            1,
            "jpeg",
            "ffmpeg",
            "clip-clap with the spectrograms of CLAP without fusion, for AV2A's pair of networks",
            CLIP_CLAP_STREAMS,
            1,
            CLAP_RATE,
            inputs="unfused",
            bundle="open-av2a",
        ),
        Profile(
            "pe-av",
            1,
            "jpeg",
            "ffmpeg",
            "two frames and 48 kHz audio of each second, for PE-AV",
            CLIP_CLAP_STREAMS,
            1,
            CLAP_RATE,
            inputs="pe-av",
            bundle="open-pe-av",
        ),
    )
}


@dataclass(frozen=True)
class FeatureSpec:
    """Specification of a set of features: the profile and the extractors that made it, and how they computed.

    Features of one precision are not mixed with those of another. In fp32 all backends compute the same features within
    1e-4 relative, so these may be mixed.
    """

    profile: str
    profile_version: int
    extractors: tuple[str, ...]  # names, in the order of `streams`
    dims: tuple[int, ...]  # widths, in the order of `streams`
    frames_per_segment: int = FRAMES_PER_SEGMENT
    sample_rate: int = SAMPLE_RATE  # Hz
    streams: tuple[Stream, ...] = LLP_STREAMS
    precision: str = "fp32"
    backend: str = "torch"
    calibration: str = (
        ""  # identifies the quantized parameters and the clips that they were calibrated on; of int8 only
    )
    similar_pictures: float = 0.0  # levels of 255 up to which a picture counted as the one before, see `Profile`

    @property
    def rates(self) -> tuple[int, ...]:
        """Rows of features for each second, in the order of `streams`: one for each frame in `visual_2d`, else one."""
        return tuple(rows_per_segment(stream, self.frames_per_segment) for stream in self.streams)

    def row_widths(self, *, frames: bool) -> tuple[int, ...]:
        """Return how many values each stream has in a second.

        Args:
            frames: all rows of a second, one after the other; else their mean.

        Returns:
            Widths in the order of `streams`.
        """
        return tuple(rate * width if frames else width for rate, width in zip(self.rates, self.dims, strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads.

        LLP's streams are left out, and how the extractors computed where it is as always before the field existed:
        versions of this program that do not know these fields read the rest.
        """
        values = {name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()}
        return {
            name: value
            for name, value in values.items()
            if name not in _OPTIONAL or getattr(self, name) != _OPTIONAL[name]
        }

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> FeatureSpec:
        """Rebuild a specification from `to_dict`.

        Args:
            mapping: field name -> value, every field but those that `to_dict` leaves out.

        Returns:
            The specification.

        Raises:
            ValueError: a field is missing, unknown, of another type or out of range.
        """
        names = {field.name for field in fields(cls)}
        if not isinstance(mapping, dict) or set(mapping) | set(_OPTIONAL) != names:
            found = ", ".join(map(str, mapping)) if isinstance(mapping, dict) else mapping
            raise ValueError(f"not a feature specification: {shown(found)}; expected {', '.join(sorted(names))}")
        _check_name("profile", mapping["profile"])
        for field_name in ("precision", "backend"):
            _check_name(field_name, mapping.get(field_name, _OPTIONAL[field_name]))
        calibration = mapping.get("calibration", "")
        if calibration != "":
            _check_name("calibration", calibration)
        _check_levels("similar_pictures", mapping.get("similar_pictures", 0.0))
        for field_name, most in _MOST.items():
            _check_integer(field_name, mapping[field_name], most)
        streams = _check_streams(mapping.get("streams", LLP_STREAMS))
        lists = {field_name: mapping[field_name] for field_name in ("extractors", "dims")}
        for field_name, values in lists.items():
            if not isinstance(values, list | tuple) or len(values) != len(streams):
                raise ValueError(f"{field_name} is {shown(values)}, expected one for each of {', '.join(streams)}")
        for name, width in zip(*lists.values(), strict=True):
            _check_name("an extractor", name)
            _check_integer("a width", width, MAX_FEATURE_WIDTH)
        if len(set(lists["extractors"])) != len(streams):
            raise ValueError("extractors has a name twice")
        tuples = {field_name: tuple(values) for field_name, values in lists.items()}
        return cls(**{**mapping, **tuples, "streams": streams})

    def differences(self, other: FeatureSpec) -> list[str]:
        """List the fields that keep a parser from reading features.

        It reads those of any precision, and those of profiles that approximate its own.

        Args:
            other: the specification of the features; this is the one that the parser was trained on.

        Returns:
            ``name: own value / value of other`` for each field that differs; empty when they match.
        """
        ignored = {*_COMPUTATION, *(_SAMPLING if self.approximated_by(other.profile) else ())}
        return self._compare(other, [field.name for field in fields(self) if field.name not in ignored])

    def approximated_by(self, profile: str) -> bool:
        """Return whether features of another profile, named `profile`, approximate these: see `Profile`."""
        return profile in PROFILES and self.profile in PROFILES[profile].approximates

    def mixing_differences(self, other: FeatureSpec) -> list[str]:
        """List the fields that keep features from being mixed: all that differ, but the backends of fp32.

        Args:
            other: the specification to compare with.

        Returns:
            As `differences`.
        """
        exact = self.precision == other.precision == "fp32"
        return self._compare(other, [field.name for field in fields(self) if not (exact and field.name == "backend")])

    def _compare(self, other: FeatureSpec, names: list[str]) -> list[str]:
        shown_pairs = [(name, *(_shown_field(spec, name) for spec in (self, other))) for name in names]
        return [f"{name}: {left} / {right}" for name, left, right in shown_pairs if left != right]


_COMPUTATION: dict[str, Any] = {"precision": "fp32", "backend": "torch", "calibration": "", "similar_pictures": 0.0}
_SAMPLING = ("profile", "profile_version", "frames_per_segment")  # what approximations differ in
_OPTIONAL: dict[str, Any] = {"streams": LLP_STREAMS, **_COMPUTATION}  # what `to_dict` leaves out


def _shown_field(spec: FeatureSpec, name: str) -> object:
    value = getattr(spec, name)
    return list(value) if isinstance(value, tuple) else value


_MOST = {"profile_version": 10**6, "frames_per_segment": MAX_FRAMES_PER_SEGMENT, "sample_rate": MAX_SAMPLE_RATE}


def _check_levels(what: str, value: object) -> None:
    if type(value) not in {int, float} or not 0 <= cast("float", value) <= MAX_SIMILAR:
        raise ValueError(f"{what} is {shown(value)}, expected levels from 0 to {MAX_SIMILAR}")


def _check_integer(what: str, value: object, most: int) -> None:
    if type(value) is not int or not 1 <= value <= most:
        raise ValueError(f"{what} is {shown(value)}, expected an integer from 1 to {most}")


def _check_streams(values: object) -> tuple[Stream, ...]:
    if not isinstance(values, list | tuple) or not values or len(values) > len(ALL_STREAMS):
        raise ValueError(f"streams is {shown(values)}, expected some of {', '.join(ALL_STREAMS)}")
    streams: tuple[Stream, ...] = tuple(stream for stream in ALL_STREAMS if stream in values)
    if list(streams) != list(values) or streams[0] != "audio":
        others = ", ".join(ALL_STREAMS[1:])
        raise ValueError(f"streams is {shown(values)}, expected audio and some of {others}, in this order")
    return streams


def _check_name(what: str, value: object) -> None:
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_NAME_LENGTH:
        raise ValueError(f"{what} is {shown(value)}, expected a name of at most {MAX_NAME_LENGTH} characters")


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


def feature_spec(
    profile: str,
    extractors: Mapping[str, Extractor],
    *,
    precision: str = "fp32",
    backend: str = "torch",
    calibration: str = "",
) -> FeatureSpec:
    """Return the specification of the features that extractors compute under a profile, with its `similar_pictures`.

    Args:
        profile: key in `PROFILES`.
        extractors: name -> extractor, one for each stream of the profile, in any order.
        precision: that they compute in.
        backend: that they compute with.
        calibration: of extractors in int8, see `FeatureSpec`.

    Returns:
        The specification.

    Raises:
        ValueError: the profile is unknown, or there is not exactly one extractor for each stream.
    """
    found = get_profile(profile)
    streams = found.streams
    by_stream = {extractor.stream: (name, extractor.dim) for name, extractor in extractors.items()}
    if len(by_stream) != len(extractors) or set(by_stream) != set(streams):
        raise ValueError(
            f"profile {profile} needs one extractor for each of {', '.join(streams)}; got"
            f" {', '.join(extractors) or 'none'}"
        )
    names = tuple(by_stream[stream][0] for stream in streams)
    dims = tuple(by_stream[stream][1] for stream in streams)
    return FeatureSpec(
        found.name,
        found.version,
        names,
        dims,
        found.rows_per_segment,
        found.sample_rate,
        streams,
        precision,
        backend,
        calibration,
        found.similar_pictures,
    )
