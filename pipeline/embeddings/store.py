"""Embeddings of files in the user's cache folder, or in another: complete or absent, checked, bounded in bytes.

<cache>/avvp/embeddings/KEY.safetensors   see `files`; KEY: hashes of the media file and of all the rest, see `identity`
                        hashes/           see `content_hashes`
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

from ..decode.options import DecodeOptions
from ..durable import PART_PREFIX
from ..errors import DatasetError, MediaError, OutputError
from ..files import replacing
from ..text import escape
from .content_hashes import content_hash
from .embeddings import Embeddings
from .files import SUFFIX, load_embeddings, write_embeddings
from .identity import embedding_key

if TYPE_CHECKING:
    from ..features.extract import FeatureSet
    from ..inference.extractors import LoadedExtractors

MAX_STORE_BYTES = 8 << 30  # of all embeddings: CLIP and CLAP have 9 MB an hour
_ABANDONED = 86_400  # seconds after which what a killed process has begun is removed


def user_folder() -> Path:
    """Return the folder of embeddings in the user's cache, which need not exist."""
    return Path(platformdirs.user_cache_dir("avvp")) / "embeddings"


class EmbeddingStore:
    """Folder of embeddings. Several processes and threads may use it at the same time.

    Args:
        folder: of the embeddings, created when one is written; None is that of the user's cache.
        limit: bytes of all embeddings; the least recently used are removed first.
    """

    def __init__(self, folder: Path | None = None, *, limit: int = MAX_STORE_BYTES) -> None:
        self.folder = folder or user_folder()
        self.limit = limit

    def find(
        self, path: Path, extractors: LoadedExtractors, decoding: DecodeOptions
    ) -> tuple[str | None, Embeddings | None]:
        """Look for the embeddings of a media file.

        Args:
            path: the file.
            extractors: that compute them, or their outline.
            decoding: of the file, with the part.

        Returns:
            Key of the embeddings, None if the file cannot be read; and the embeddings, None where there are none.
        """
        try:
            content = content_hash(path, self.folder)
        except OSError:  # what decodes the file says why
            return None, None
        key = embedding_key(content, extractors, decoding)
        found = self.read(key)
        if found is None or found.content != content or found.spec != extractors.spec:
            return key, None
        return key, replace(found, media=replace(found.media, path=str(path)))

    def provide(
        self,
        path: Path,
        extractors: LoadedExtractors,
        decoding: DecodeOptions,
        extract: Callable[[], FeatureSet],
        *,
        name: str = "",
        tell: Callable[[str], object] = lambda _: None,
    ) -> FeatureSet:
        """Return the features of a media file: those that are kept, else new ones, which are kept from now on.

        Args:
            path: the file.
            extractors: that compute them.
            decoding: of the file, with the part.
            extract: computes them.
            name: of the video, for searches; empty for its path.
            tell: called with a line for the user where they cannot be kept.

        Returns:
            The features.

        Raises:
            MediaError, SetupError: of `extract`.
        """
        key, found = self.find(path, extractors, decoding)
        if found is not None:
            return found.features()
        features = extract()
        if key is not None:
            self.keep(path, key, features, extractors, decoding, name=name, tell=tell)
        return features

    def keep(
        self,
        path: Path,
        key: str,
        features: FeatureSet,
        extractors: LoadedExtractors,
        decoding: DecodeOptions,
        *,
        name: str = "",
        tell: Callable[[str], object] = lambda _: None,
    ) -> None:
        """Keep the features of a media file, unless the file has changed since `find` gave the key.

        Args:
            path: the file.
            key: of `find`.
            features: of the file.
            extractors: that computed them.
            decoding: of the file, with the part.
            name: of the video, for searches; empty for its path.
            tell: called with a line for the user where they cannot be kept.
        """
        try:
            content = content_hash(path, self.folder)
        except OSError:
            return
        if embedding_key(content, extractors, decoding) != key:
            return
        assert features.media is not None
        media = replace(features.media, path=str(path.absolute()))  # for searches from other folders
        name = name or features.media.path
        features = replace(features, media=media, spec=extractors.spec)  # which says how the networks compute
        teachers: dict[str, str] = {**extractors.weight_ids}
        try:
            self.write(key, Embeddings.of(features, name=name, teachers=teachers, content=content))
        except (OSError, OutputError, MediaError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            tell(f"{escape(self.folder)}: embeddings cannot be kept ({escape(reason)}); other classes decode it again")

    def read(self, key: str) -> Embeddings | None:
        """Return embeddings as they were written; damaged ones are removed. None where there are none to be read."""
        path = self.folder / f"{key}{SUFFIX}"
        if not path.exists():
            return None
        try:
            found = load_embeddings(path)
        except DatasetError as error:
            if not isinstance(error.__cause__, OSError):  # such as too many open files: others may read it
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)
            return None
        with contextlib.suppress(OSError):  # of a folder that others may only read
            os.utime(path)  # when it was last used
        return found

    def write(self, key: str, embeddings: Embeddings) -> None:
        """Store embeddings, and remove others that exceed the limit.

        Args:
            key: of `embedding_key`.
            embeddings: the content.

        Raises:
            OSError, OutputError: the folder cannot be written; nothing is left in it.
            MediaError: the name or the warnings are too long.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{key}{SUFFIX}"
        with replacing(path) as part:
            write_embeddings(part, embeddings)
        self._shrink(keep=path)

    def _shrink(self, *, keep: Path) -> None:
        """Remove what killed processes have left, and the least recently used embeddings beyond the limit."""
        left, old = 0, time.time() - _ABANDONED
        for used, size, path in sorted(_measure(self.folder), reverse=True):
            is_part = path.name.startswith(PART_PREFIX)
            left += size
            if (is_part and used < old) or (not is_part and left > self.limit and path != keep):
                with contextlib.suppress(OSError):
                    path.unlink(missing_ok=True)


def _measure(folder: Path) -> list[tuple[float, int, Path]]:
    """Return of each file in a store when it was last used, its bytes, and its path."""
    found: list[tuple[float, int, Path]] = []
    for path in folder.iterdir():
        with contextlib.suppress(OSError):  # removed by another process
            if path.name.endswith(SUFFIX) or path.name.startswith(PART_PREFIX):
                status = path.stat()
                found.append((status.st_mtime, status.st_size, path))
    return found
