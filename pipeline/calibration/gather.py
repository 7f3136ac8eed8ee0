"""Find the media or the kept embeddings of annotated clips, and compute the embeddings that are not kept."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cache, partial
from pathlib import Path

from ..datasets.annotations import Annotations
from ..datasets.clip_names import find_name, names_with_suffix
from ..decode.options import DecodeOptions
from ..embeddings.embeddings import Embeddings
from ..embeddings.files import embedding_files
from ..embeddings.store import EmbeddingStore
from ..errors import DatasetError, MediaError
from ..evaluation.open_clips import OpenClip, read_kept_clips
from ..files import without_media_suffix
from ..inference.bundle import LoadedBundle
from ..inference.parse_video import extract_with
from ..text import count_of, escape


@dataclass(frozen=True, eq=False)
class ClipGatherer:
    """Takes what is kept, and computes the rest.

    Attributes:
        outline: an open bundle without the networks of pictures and sounds.
        load: loads it with them; called if embeddings have to be computed.
        decoding: of files.
        store: where embeddings are kept; None for nowhere.
        tell: called with lines for the user.
        progress: called with the number of files done and the total.
    """

    outline: LoadedBundle
    load: Callable[[], LoadedBundle]
    decoding: DecodeOptions
    store: EmbeddingStore | None
    tell: Callable[[str], object] = field(default=lambda _: None)
    progress: Callable[[int, int], None] = field(default=lambda _done, _total: None)

    def gather(
        self, folders: Sequence[Path], files: Sequence[Path], annotations: Annotations, split: str
    ) -> tuple[list[OpenClip], tuple[str, ...]]:
        """Gather the annotated clips among media files and folders of kept embeddings.

        Args:
            folders: with embeddings, of which `has_embeddings` is true.
            files: media; others than annotated clips are left out.
            annotations: of the data set.
            split: name of the split.

        Returns:
            The clips in the order of the split, and notes: clips that are missing, and files that cannot be decoded.

        Raises:
            DatasetError: there is no annotated clip, embeddings are damaged, or several files have the name of a clip.
            FeatureMismatchError: embeddings are of other extractors.
        """
        names = annotations.split(split).filenames
        found: dict[int, OpenClip] = {}
        for folder in folders:
            found |= read_kept_clips(folder, annotations, split, self.outline.extractors)
        paths: dict[str, Path] = {}
        rivals: dict[str, Path] = {}
        for path in files:
            called = without_media_suffix(path.name)
            (rivals if called in paths else paths)[called] = path
        with_suffix = names_with_suffix(paths)
        named = {row: find_name(name, paths, with_suffix, annotations.videos) for row, name in enumerate(names)}
        wanted = {row: name for row, name in named.items() if name is not None and row not in found}
        if twice := next((name for name in wanted.values() if name in rivals), None):
            both = f"{escape(paths[twice])} and {escape(rivals[twice])}"
            raise DatasetError(f"{both}: both names fit the clip {escape(twice)}; name one of them alone")
        failed: list[str] = []
        load = cache(self.load)
        for done, (row, name) in enumerate(wanted.items(), 1):
            path = paths[name]
            try:
                found[row] = OpenClip.of(row, self._embed(path, load))
            except MediaError as error:
                failed.append(f"{path.name}: {error.cause}")
            self.progress(done, len(wanted))
        if not found:
            reason = f"none can be decoded: {escape(failed[0])}" if failed else "called like the annotations call them"
            raise DatasetError(
                f"no clip of the {split} split is among CLIPS ({reason}), such as {escape(names[0])}.mp4"
            )
        notes = [f"{count_of(failed, 'file')} cannot be decoded"] if failed else []
        if len(found) < len(names):
            notes.append(f"{len(found)} of {len(names)} annotated clips of {split} are used: the others are not there")
        return [found[row] for row in sorted(found)], tuple(notes)

    def _embed(self, path: Path, load: Callable[[], LoadedBundle]) -> Embeddings:
        if self.store is not None:
            _, kept = self.store.find(path, self.outline.extractors, self.decoding)
            if kept is not None:
                return kept
        loaded = load()
        extract = partial(extract_with, loaded, path, decoding=self.decoding)
        if self.store is None:
            return Embeddings.of(extract())
        features = self.store.provide(path, loaded.extractors, self.decoding, extract, tell=self.tell)
        return Embeddings.of(features)


def has_embeddings(folder: Path) -> bool:
    """Return whether a folder holds embeddings that were kept, as folders of results do."""
    return folder.is_dir() and bool(embedding_files(folder))
