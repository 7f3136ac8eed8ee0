"""Features of files that are kept: what a session does not compute again."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path

from ..decode.options import DecodeOptions
from ..embeddings.store import EmbeddingStore
from ..features.extract import FeatureSet
from ..inference.extractors import LoadedExtractors
from .arrays import MediaArrays
from .sources import Source


@dataclass(frozen=True)
class KeptFiles:
    """The embeddings of an open bundle's files.

    Attributes:
        store: where they are kept.
        extractors: that compute them.
    """

    store: EmbeddingStore
    extractors: LoadedExtractors

    def find(self, source: Source, decoding: DecodeOptions) -> tuple[str | None, FeatureSet | None]:
        """Look for the features of a source.

        Args:
            source: a file; arrays are not kept.
            decoding: of the file, with the part.

        Returns:
            Key for `keep`, None where it cannot be kept; and its features, None where there are none.
        """
        if isinstance(source, MediaArrays):
            return None, None
        key, found = self.store.find(Path(source), self.extractors, decoding)
        return key, None if found is None else found.features()

    def keep(self, features: FeatureSet, source: Source, key: str | None, decoding: DecodeOptions) -> None:
        """Keep the features of a source, if it has a key; a warning says where that fails.

        Args:
            features: of the source.
            source: a file.
            key: of `find`.
            decoding: of the file, with the part.
        """
        if key is not None and not isinstance(source, MediaArrays):
            self.store.keep(Path(source), key, features, self.extractors, decoding, tell=warnings.warn)
