"""Feature extraction as a batch run: LLP's folders of files, or a packed store.

<extractor>/<id>.npy     layout llp: features as `feature_files` describes them
clips/<id>.npy           layout packed: (T, A + V + S), all streams of a clip side by side, frames averaged
index.json, features-*   layout packed: the store that `store` reads, put together of the clips at the end of a run
features.json            the FeatureSpec
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import STREAMS, Stream
from ..errors import OutputError, SetupError
from ..features.npy_folders import SPEC_FILE, folder_name
from ..features.packed_store import ARRAY_PREFIX, INDEX_FILE, describe_store, write_header
from ..inference.bundle import LoadedExtractors, load_extractors
from ..text import escape
from .journal import Journal, hash_values
from .plan import OutputSpec
from .storage import OutputFingerprint, Storage
from .task import BundleTask, check_finite, per_second_features
from .work import PendingVideo, VideoOutputs

LAYOUTS = ("llp", "packed")
_PACKED = "rows"  # the product of that layout


@dataclass(frozen=True, kw_only=True)
class ExtractTask(BundleTask[LoadedExtractors]):
    """Features of some streams in one layout."""

    loader = staticmethod(load_extractors)
    layout: str = "llp"
    extractors: tuple[str, ...] | None = None  # names; by default all

    def products(self, loaded: LoadedExtractors) -> dict[str, OutputSpec]:
        """Raises SetupError for extractors that the bundle has not, or that the layout cannot do without."""
        hashes, names = self.stream_parameters(loaded), loaded.spec.extractors
        if unknown := [name for name in self.extractors or () if name not in names]:
            raise SetupError(f"{self.bundle.name!r} has no extractor {unknown[0]!r}; it has {', '.join(names)}")
        chosen: list[tuple[Stream, str]] = [
            (stream, name)
            for stream, name in zip(STREAMS, names, strict=True)
            if self.extractors is None or name in self.extractors
        ]
        if self.layout == "llp":
            return {
                stream: OutputSpec(f"{folder_name(name)}/{{id}}.npy", hashes[stream], (stream,))
                for stream, name in chosen
            }
        if len(chosen) < len(STREAMS):
            raise SetupError("a packed store holds all streams; --extractors goes with --layout llp")
        return {_PACKED: OutputSpec("clips/{id}.npy", hash_values(hashes), STREAMS)}

    def check(self, loaded: LoadedExtractors, storage: Storage, *, overwrite: bool) -> None:
        check_spec(storage, loaded.spec)
        if self.layout == "packed" and not overwrite:
            check_index(storage)

    def prepare(self, loaded: LoadedExtractors, storage: Storage) -> None:
        storage.write(SPEC_FILE, json.dumps(loaded.spec.to_dict(), indent=1).encode() + b"\n")

    def finalize(
        self, loaded: LoadedExtractors, products: Mapping[str, OutputSpec], storage: Storage, journal: Journal
    ) -> str | None:
        if self.layout != "packed":
            return None
        return assemble_store(storage, loaded.spec, products[_PACKED], journal)

    def make(
        self, loaded: LoadedExtractors, products: Mapping[str, OutputSpec], storage: Storage, video: PendingVideo
    ) -> VideoOutputs:
        made = {}
        for product in video.work.products:
            place, streams = products[product].place(video.work.id), products[product].streams
            widths = [width for stream, width in zip(STREAMS, loaded.spec.dims, strict=True) if stream in streams]
            shape = (video.length(streams[0]), sum(widths))
            rows = _side_by_side(video) if product == _PACKED else video.blocks(streams[0])
            made[product] = storage.store(
                place, lambda path, rows=rows, shape=shape: _write_rows(path, rows, shape, video)
            )
        assert video.summary is not None
        return VideoOutputs(made, video.summary.warnings, asdict(video.summary.facts))


def _side_by_side(video: PendingVideo) -> Iterator[NDArray[np.float32]]:
    return (np.concatenate(parts, axis=1) for parts in per_second_features(video))


def _write_rows(path: Path, blocks: Iterable[NDArray[np.float32]], shape: tuple[int, int], video: PendingVideo) -> None:
    with path.open("wb") as file:
        write_header(file, "float32", *shape)
        for rows in blocks:
            check_finite(video, rows)
            file.write(rows.astype("<f4", copy=False).tobytes())


def check_spec(storage: Storage, spec: FeatureSpec) -> None:
    """Raises SetupError where the storage holds features of another kind."""
    content = storage.read(SPEC_FILE)
    if content is None:
        return
    try:
        differences = FeatureSpec.from_dict(json.loads(content)).differences(spec)
    except (ValueError, TypeError) as error:
        where = escape(f"{storage.where}/{SPEC_FILE}")
        raise SetupError(f"{where}: not a feature specification: {escape(error)}") from error
    if differences:
        raise SetupError(
            f"{escape(storage.where)}: holds other features (there / wanted): {'; '.join(differences)};"
            " choose another folder"
        )


def check_index(storage: Storage) -> None:
    """Raises SetupError where there is a store that was packed at once, of files that are not in it."""
    content = storage.read(INDEX_FILE)
    if content is not None and ARRAY_PREFIX.encode() not in content:
        raise SetupError(
            f"{escape(storage.where)}: holds a store that `avvp pack` has made; --overwrite replaces it, another"
            " folder keeps it"
        )


def assemble_store(storage: Storage, spec: FeatureSpec, product: OutputSpec, journal: Journal) -> str | None:
    """Put the packed store together of every clip that was made with these parameters; returns what it holds.

    The index is replaced last: a store that was there stays whole until then. Nothing is written where it is up to
    date.
    """
    made = {name: record for name, record in sorted(journal.records.items()) if _PACKED in record.outputs}
    with storage.cached_listing():
        clips = {
            name: record.outputs[_PACKED]
            for name, record in made.items()
            if record.parameters[_PACKED] == product.parameters and storage.exists(record.outputs[_PACKED].path)
        }
    if not clips:
        return None
    left_out = len(made) - len(clips)
    note = f"; {left_out} are left out: made with other parameters, or gone" if left_out else ""
    array = f"{ARRAY_PREFIX}{hash_values({name: clip.sha256 for name, clip in clips.items()})[:16]}.npy"
    width = sum(spec.dims)
    write_header(beginning := io.BytesIO(), "float32", 0, width)
    header = len(beginning.getvalue())  # whatever the number of rows
    lengths = {name: (clip.size - header) // (4 * width) for name, clip in clips.items()}
    index = describe_store(spec, lengths, array)
    if storage.read(INDEX_FILE) != index or not storage.exists(array):
        storage.store(array, lambda path: _concatenate(storage, clips, (sum(lengths.values()), width), header, path))
        storage.write(INDEX_FILE, index)
    for name in storage.names("", ".npy"):
        if name.startswith(ARRAY_PREFIX) and name != array:
            storage.remove(name)
    return f"the store holds {len(clips)} clips{note}"


def _concatenate(
    storage: Storage, clips: Mapping[str, OutputFingerprint], shape: tuple[int, int], header: int, path: Path
) -> None:
    with path.open("wb") as file:
        write_header(file, "float32", *shape)
        for clip in clips.values():
            content = storage.read(clip.path)
            if content is None or len(content) != clip.size:
                raise OutputError(f"{escape(clip.path)}: was changed while the store was put together")
            file.write(content[header:])
