"""Embeddings of the seconds of one video, with what a timeline needs besides them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ..decode.container.media_facts import MediaFacts
from ..decode.resampling import DEFAULT_RESAMPLER
from ..descriptions import describe
from ..errors import MediaError
from ..text import escape

if TYPE_CHECKING:
    from ..features.extract import FeatureSet

STREAMS = ("audio", "visual_2d")  # of an open bundle
_MAGNITUDE, _INFINITY = 0x7FFF, 0x7C00  # of float16: all bits but the sign, and the bits of infinity


@dataclass(frozen=True, eq=False, repr=False)
class Embeddings:
    """What the teachers of an open bundle compute of T seconds; construction raises ValueError for wrong shapes.

    Attributes:
        name: of the video: its id in a folder of results, else its path or its address.
        audio: (T, A) float16, of sounds; of silence where `media` has no audio.
        visual: (T, V) float16, of pictures; of black ones where `media` has no video.
        spec: of the features.
        media: facts of the file.
        warnings: of decoding.
        teachers: stream -> what identifies the parameters of its network.
        resampler: of the decoding.
        content: sha256 of the media file; empty where it was not read for this, as in folders of results.
    """

    name: str
    audio: NDArray[np.float16]
    visual: NDArray[np.float16]
    spec: FeatureSpec
    media: MediaFacts
    warnings: tuple[str, ...] = ()
    teachers: Mapping[str, str] = field(default_factory=dict)
    resampler: str = DEFAULT_RESAMPLER
    content: str = ""

    def __post_init__(self) -> None:
        if self.spec.streams != STREAMS or set(self.spec.rates) != {1}:
            raise ValueError("the features are not one row a second of sounds and pictures each")
        for name, rows, width in zip(STREAMS, (self.audio, self.visual), self.spec.dims, strict=True):
            shape = (len(self.audio), width)
            if rows.shape != shape or rows.dtype != np.float16 or not len(rows):
                raise ValueError(f"{name} is {rows.dtype} {rows.shape}, expected float16 {shape}")
            if not _is_finite(rows):
                raise ValueError(f"{name} contains NaN or infinity")

    def __repr__(self) -> str:
        title = f"Embeddings of {escape(self.name)}: {self.seconds} s, profile {self.spec.profile}"
        return describe(title, [f"sounds {self.audio.shape}, pictures {self.visual.shape}"], warnings=self.warnings)

    @property
    def seconds(self) -> int:
        """T."""
        return len(self.audio)

    @property
    def first_second(self) -> int:
        """The second of the file that the first row is of."""
        return 0 if self.media.parsed is None else self.media.parsed[0]

    @classmethod
    def of(
        cls, features: FeatureSet, *, name: str = "", teachers: Mapping[str, str] | None = None, content: str = ""
    ) -> Embeddings:
        """Make them of the features of a file, which are rounded to float16 as open bundles round them.

        Args:
            features: as the extractors of an open bundle compute them.
            name: of the video; empty for the path of the file.
            teachers: stream -> what identifies the parameters of its network.
            content: sha256 of the file.

        Returns:
            The embeddings.

        Raises:
            MediaError: float16 does not hold the features.
            ValueError: the features are of no file, or of other streams.
        """
        if features.media is None:
            raise ValueError("features that were not extracted from a file are not kept")
        return cls.of_rows(
            *(features.arrays()[stream] for stream in STREAMS),
            name=name or features.media.path,
            spec=features.spec,
            media=features.media,
            warnings=features.warnings,
            teachers=dict(teachers or {}),
            resampler=features.resampler,
            content=content,
        )

    @classmethod
    def of_rows(
        cls, audio: NDArray[np.float32], visual: NDArray[np.float32], *, name: str, media: MediaFacts, **fields: Any
    ) -> Embeddings:
        """Make them of rows in float32, (T, A) and (T, V), which are rounded; `fields` are the other attributes.

        Raises:
            MediaError: float16 does not hold the rows.
            ValueError: they are of other streams.
        """
        with np.errstate(over="ignore"):  # looked at below
            rows = audio.astype(np.float16), visual.astype(np.float16)
        if not all(np.isfinite(values).all() for values in rows):
            raise MediaError(Path(media.path), "its embeddings are too large for float16", "not-finite")
        return cls(name, *rows, media=media, **fields)

    def features(self) -> FeatureSet:
        """Return them as features in float32, of which an open bundle makes the same timeline as of the file."""
        from ..features.extract import FeatureSet  # which imports torch

        return FeatureSet(
            audio=self.audio.astype(np.float32),
            visual_2d=self.visual.astype(np.float32),
            visual_3d=np.zeros((0, 0), np.float32),
            spec=self.spec,
            duration=self.media.duration,
            media=self.media,
            warnings=self.warnings,
            resampler=self.resampler,
        )


def _is_finite(rows: NDArray[np.float16]) -> bool:
    """Return whether no number is NaN or infinity, by their bits: a twentieth of the time of NumPy's `isfinite`."""
    bits = np.ascontiguousarray(rows, np.float16).view(np.uint16)
    return bool(np.bitwise_and(bits, _MAGNITUDE).max(initial=0) < _INFINITY)
