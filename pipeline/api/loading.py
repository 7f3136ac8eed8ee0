"""Arguments of `avvp.load`, `avvp.parse` and `avvp.extract`, and what is loaded by them."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypedDict

from ...weights.manifest import DEFAULT_BUNDLE, OPEN_BUNDLE, Bundle
from ...weights.messages import shown
from ...weights.remote.bundles import load_bundle
from ...weights.source import DownloadProgress, WeightSource
from ..computing.choose import choose
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..devices import ComputePrecision, resolve_device
from ..embeddings.content_hashes import may_have_embeddings
from ..embeddings.embeddings import Embeddings
from ..embeddings.store import EmbeddingStore
from ..features.compute_lanes import one_core
from ..inference.bundle import LoadedBundle, load_networks
from ..inference.bundle_precision import check_named, precision_of
from ..inference.extractors import LoadedExtractors
from ..inference.other_profile import with_profile
from ..inference.similar_pictures import record_similar_pictures
from ..open_vocabulary.open_bundle import with_classes
from ..precisions import default_backend
from .session import FeatureSession
from .sources import Part

Weights = str | os.PathLike[str]


class LoadOptions(TypedDict, total=False):
    """Keyword arguments of `load`, which `parse` and `extract` take, too."""

    profile: str | None
    device: str
    precision: str
    backend: str | None
    compile: bool
    threads: int | None
    batch_size: int | None
    workers: int | None
    decoding: DecodeOptions
    weights_dir: str | os.PathLike[str] | None
    offline: bool
    download_progress: DownloadProgress | None
    trust_parts: Sequence[str]
    classes: Sequence[str] | str | None
    rule: str | None
    background: str | None
    embeddings: str | os.PathLike[str] | Literal[False] | None


@dataclass(frozen=True)
class Loading:
    """The fields of `LoadOptions`, with defaults."""

    profile: str | None = None
    device: str = "auto"
    precision: str = "fp32"
    backend: str | None = None
    compile: bool = False
    threads: int | None = None
    batch_size: int | None = None
    workers: int | None = None
    decoding: DecodeOptions = DEFAULT_OPTIONS
    weights_dir: str | os.PathLike[str] | None = None
    offline: bool = False
    download_progress: DownloadProgress | None = None
    trust_parts: Sequence[str] = ()
    classes: Sequence[str] | str | None = None
    rule: str | None = None
    background: str | None = None
    embeddings: str | os.PathLike[str] | Literal[False] | None = None

    @property
    def source(self) -> WeightSource:
        """Where weight files may come from."""
        folder = None if self.weights_dir is None else Path(self.weights_dir)
        return WeightSource(folder, self.offline, self.download_progress, tuple(self.trust_parts))

    def bundle(self, weights: Weights | None) -> Bundle:
        """Return the bundle of this name, under the profile and with the classes that are wanted."""
        default = DEFAULT_BUNDLE if self.classes is None else OPEN_BUNDLE
        name = default if weights is None else os.fspath(weights)
        bundle = with_profile(load_bundle(name, self.source), self.profile)
        if self.classes is not None:
            rule = {} if self.rule is None else {"name": self.rule}
            return with_classes(bundle, self.classes, background=self.background, **rule)
        if self.rule is not None or self.background is not None:
            raise ValueError("rule and background go with classes")
        return bundle

    def networks(self, bundle: Bundle) -> dict[str, Any]:
        """Return arguments of `load_networks` and `load_extractors` beside the bundle."""
        check_named(bundle, backend=self.backend)
        wanted = ComputePrecision(self.precision, self.compile, self.backend or default_backend(self.precision))
        precision = precision_of(bundle, wanted)
        if not precision.is_chosen:
            precision = choose(precision, resolve_device(self.device), self.threads).precision
        return {"source": self.source, "device": self.device, "precision": precision}

    def store(self, bundle: Bundle) -> EmbeddingStore | None:
        """Return where the embeddings of files are kept; None where they are not.

        Raises ValueError for a folder where the bundle is no open one.
        """
        if self.embeddings and not bundle.is_open:
            raise ValueError(f"embeddings goes with classes: those of {shown(bundle.name)} are not kept")
        if not bundle.is_open or self.embeddings is False:
            return None
        return EmbeddingStore(None if self.embeddings is None else Path(self.embeddings))

    def find_kept(
        self, bundle: Bundle, networks: Mapping[str, Any], path: Path, part: Part
    ) -> tuple[LoadedBundle, Embeddings] | None:
        """Find the embeddings of a file, and what makes a timeline of them: no network of pictures or sounds.

        Args:
            bundle: of `bundle`.
            networks: of `networks`.
            path: of the file.
            part: of it.
        """
        store = self.store(bundle)
        if store is None or not may_have_embeddings(path, store.folder):
            return None
        decoding = part.apply(self.decoding)
        with one_core():
            outline = record_similar_pictures(load_networks(bundle, **networks, outline=True), self.decoding)
        _, kept = store.find(path, outline.extractors, decoding)
        return None if kept is None else (outline, kept)

    def session(self, extractors: LoadedExtractors) -> FeatureSession:
        """Return a session of these extractors."""
        return FeatureSession(
            extractors,
            decoding=self.decoding,
            batch_size=self.batch_size,
            threads=self.threads,
            workers=self.workers,
        )
