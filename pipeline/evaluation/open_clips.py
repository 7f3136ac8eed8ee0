"""Embeddings of the clips of a split, and what an open bundle makes of them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ..datasets.annotations import Annotations
from ..datasets.clip_names import find_name, names_with_suffix
from ..datasets.clips import find_features
from ..embeddings.embeddings import Embeddings
from ..embeddings.files import embedding_files, iterate_embeddings
from ..errors import DatasetError, FeatureMismatchError
from ..features.packed_store import open_features
from ..files import without_media_suffix
from ..inference.bundle import LoadedBundle
from ..inference.extractors import LoadedExtractors
from ..inference.thresholds import Thresholds
from ..open_vocabulary.network import OpenVocabulary
from ..open_vocabulary.similarities import OpenProbabilities
from ..text import escape
from ..timeline import SegmentLabels


class OpenClip(NamedTuple):
    """Embeddings of one clip of a split.

    Attributes:
        row: of the clip in the split.
        audio: (T, A) float16, of sounds.
        visual: (T, V) float16, of pictures.
        has_audio: whether the file has sound.
        has_video: whether the file has pictures.
    """

    row: int
    audio: NDArray[np.float16]
    visual: NDArray[np.float16]
    has_audio: bool = True
    has_video: bool = True

    @classmethod
    def of(cls, row: int, embeddings: Embeddings) -> OpenClip:
        """Take what is scored of the embeddings of a file."""
        media = embeddings.media
        return cls(row, embeddings.audio, embeddings.visual, media.has_audio, media.has_video)

    def predict(self, network: OpenVocabulary) -> OpenProbabilities:
        """Score its seconds; a stream that the file lacks has no scores."""
        found = network.predict((self.audio, self.visual))
        if self.has_audio and self.has_video:
            return found
        return network.without_streams(found, audio=self.has_audio, visual=self.has_video)

    def decide(self, loaded: LoadedBundle, found: OpenProbabilities, thresholds: Thresholds) -> SegmentLabels:
        """Decide which classes are active in its seconds, (T, C)."""
        labels = loaded.decision(found, thresholds)
        return SegmentLabels(labels.audio & self.has_audio, labels.visual & self.has_video)


def open_network(loaded: LoadedBundle) -> OpenVocabulary:
    """Return the network of an open bundle in the place of the parser."""
    assert isinstance(loaded.parser, OpenVocabulary)
    return loaded.parser


def read_open_clips(
    path: Path, annotations: Annotations, split: str, extractors: LoadedExtractors, *, allow_missing: bool = False
) -> tuple[list[OpenClip], tuple[str, ...]]:
    """Read the embeddings of the clips of a split.

    Args:
        path: folder of embeddings that were kept, or of results with them; or features of `avvp extract`, in a folder
            or packed.
        annotations: of the data set.
        split: name of the split.
        extractors: of the bundle.
        allow_missing: leave out clips without embeddings that were kept.

    Returns:
        The clips, and notes for the reader of scores.

    Raises:
        DatasetError: embeddings are missing or damaged.
        FeatureMismatchError: they are of other extractors.
    """
    clips = annotations.split(split)
    if path.is_dir() and embedding_files(path):
        found = read_kept_clips(path, annotations, split, extractors)
        missing = [name for row, name in enumerate(clips.filenames) if row not in found]
        if missing and (not allow_missing or not found):
            hint = "" if allow_missing else " (--allow-missing scores the others)"
            what = f"the embeddings in {escape(path)} cannot be used{hint}"
            raise DatasetError.listing(what, [f"missing: {escape(name)}" for name in missing])
        notes = (f"{len(found)} of {len(clips)} clips: the others have no embeddings",) if missing else ()
        return [found[row] for row in sorted(found)], notes
    features = open_features(path)
    _check_spec(extractors.spec, features.spec, path)
    ids, _ = find_features(clips, features, annotations.videos)
    widths = np.cumsum(features.spec.row_widths(frames=False))[:-1]
    read = (np.split(features.read(name).astype(np.float16), widths, axis=1) for name in ids)
    return [OpenClip(row, audio, visual) for row, (audio, visual) in enumerate(read)], ()


def read_kept_clips(
    folder: Path, annotations: Annotations, split: str, extractors: LoadedExtractors
) -> dict[int, OpenClip]:
    """Read the embeddings that were kept of clips of a split.

    Args:
        folder: of embeddings, or of results with them; those of other videos are left out.
        annotations: of the data set.
        split: name of the split.
        extractors: of the bundle.

    Returns:
        Row in the split -> clip, of those that have embeddings.

    Raises:
        DatasetError: embeddings are damaged, or several have the name of a clip.
        FeatureMismatchError: they are of other extractors.
    """
    kept: dict[str, Embeddings] = {}
    repeated: set[str] = set()
    for path, embeddings in iterate_embeddings(folder):
        _check_spec(extractors.spec, embeddings.spec, folder)
        if dict(embeddings.teachers) != dict(extractors.weight_ids):
            raise FeatureMismatchError(f"{escape(folder)}: embeddings by other weights than the bundle's")
        name = without_media_suffix(PurePath(path).name)
        if name in kept:
            repeated.add(name)
        kept[name] = embeddings
    with_suffix = names_with_suffix(kept)
    found: dict[int, OpenClip] = {}
    for row, filename in enumerate(annotations.split(split).filenames):
        name = find_name(filename, kept, with_suffix, annotations.videos)
        if name in repeated:
            raise DatasetError(
                f"{escape(folder)}: embeddings of several videos are called {escape(name)}; move all but one of them"
            )
        if name is not None:
            found[row] = OpenClip.of(row, kept[name])
    return found


def _check_spec(spec: FeatureSpec, found: FeatureSpec, path: Path) -> None:
    if differences := spec.differences(found):
        raise FeatureMismatchError(
            f"{escape(path)}: features of other extractors than the bundle's (bundle / features):"
            f" {'; '.join(differences)}"
        )


def stack_labels(labels: Sequence[SegmentLabels], segments: int) -> SegmentLabels:
    """Join the labels of N clips to (N, T, C); what is after `segments` is cut."""

    def fit(table: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.pad(table[:segments], ((0, max(0, segments - len(table))), (0, 0)))

    return SegmentLabels(
        np.stack([fit(table.audio) for table in labels]), np.stack([fit(table.visual) for table in labels])
    )
