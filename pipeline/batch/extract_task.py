"""Batch extraction of features: one file per extractor as in LLP, or a packed store.

<extractor>/<id>.npy     layout llp: features as `npy_folders` describes them
clips/<id>.npy           layout packed: (T, A + V + S), all streams of a clip side by side, frames averaged, or
                         (T, A + kV + S) with the k frames of each second
index.json, features-*   layout packed: the store that `packed_store` reads, assembled from the clips after a run
features.json            the FeatureSpec
"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import Stream
from ..errors import OutputError, SetupError
from ..features.npy_folders import SPEC_FILE, folder_name
from ..features.packed_store import ARRAY_PREFIX, INDEX_FILE, describe_store, write_header
from ..inference.extractors import LoadedExtractors, load_extractors
from ..text import escape
from ..text_files import parse_json
from .journal import Journal, hash_values
from .plan import OutputSpec
from .storage import OutputFingerprint, Storage
from .task import BundleTask, RunContext, check_finite, per_second_features
from .work import PendingVideo, VideoOutputs

LAYOUTS = ("llp", "packed")
_PACKED = "rows"  # name of the output of layout packed
_CLIPS = "clips/{id}.npy"
_ARRAY = re.compile(re.escape(ARRAY_PREFIX) + r"[0-9a-f]{16}\.npy")  # the arrays that `assemble_store` writes
_SHOWN = 1000  # characters of what differs between specifications


@dataclass(frozen=True, kw_only=True)
class ExtractTask(BundleTask[LoadedExtractors]):
    """Write features.

    Attributes:
        layout: key of `LAYOUTS`.
        extractors: their names, None for all.
        frames: put the frames of each second into a packed store, in place of their mean.
    """

    loader = staticmethod(load_extractors)
    layout: str = "llp"
    extractors: tuple[str, ...] | None = None
    frames: bool = False

    def output_specs(self, loaded: LoadedExtractors) -> dict[str, OutputSpec]:
        """Return a file per stream or clip. Raises SetupError for unknown extractors, or too few for the layout."""
        hashes, names, streams = self.stream_parameters(loaded), loaded.spec.extractors, loaded.spec.streams
        if unknown := [name for name in self.extractors or () if name not in names]:
            raise SetupError(f"{self.bundle.name!r} has no extractor {unknown[0]!r}; it has {', '.join(names)}")
        chosen: list[tuple[Stream, str]] = [
            (stream, name)
            for stream, name in zip(streams, names, strict=True)
            if self.extractors is None or name in self.extractors
        ]
        if self.layout == "llp":
            return {stream: OutputSpec(_template(name), hashes[stream], (stream,)) for stream, name in chosen}
        if len(chosen) < len(streams):
            raise SetupError("a packed store holds all streams; --extractors goes with --layout llp")
        of_rows = {**hashes, **({"frames": True} if self.frames else {})}
        return {_PACKED: OutputSpec(_CLIPS, hash_values(of_rows), streams)}

    def path_templates(self, loaded: LoadedExtractors) -> dict[str, str]:
        files: dict[str, str] = {
            stream: _template(name) for stream, name in zip(loaded.spec.streams, loaded.spec.extractors, strict=True)
        }
        return files | {_PACKED: _CLIPS}

    def check(self, run: RunContext[LoadedExtractors], *, overwrite: bool) -> None:
        check_spec(run.storage, run.loaded.spec, run.specs)
        if self.layout == "packed" and not overwrite:
            check_index(run.storage)

    def prepare(self, run: RunContext[LoadedExtractors]) -> None:
        run.storage.write(SPEC_FILE, json.dumps(run.loaded.spec.to_dict(), indent=1).encode() + b"\n")

    def finalize(self, run: RunContext[LoadedExtractors], journal: Journal) -> str | None:
        if self.layout != "packed":
            return None
        return assemble_store(run.storage, run.loaded.spec, run.specs[_PACKED], journal, frames=self.frames)

    def describe_finalize(self) -> str:
        return "the packed store" if self.layout == "packed" else ""

    def write_outputs(self, run: RunContext[LoadedExtractors], video: PendingVideo) -> VideoOutputs:
        files = {}
        for output in video.job.output_names:
            path, streams = run.specs[output].path(video.job.id), run.specs[output].streams
            spec = run.loaded.spec
            if output == _PACKED:
                width = sum(spec.row_widths(frames=self.frames))
                rows = _side_by_side(video, spec, frames=self.frames)
            else:
                width = dict(zip(spec.streams, spec.dims, strict=True))[streams[0]]
                rows = video.blocks(streams[0])
            shape = (video.length(streams[0]), width)
            files[output] = run.storage.store(
                path, lambda file, rows=rows, shape=shape: _write_rows(file, rows, shape, video)
            )
        assert video.summary is not None
        return VideoOutputs(files, video.summary.warnings, video.summary.facts.to_dict())


def _template(extractor: str) -> str:
    return f"{folder_name(extractor)}/{{id}}.npy"


def _side_by_side(video: PendingVideo, spec: FeatureSpec, *, frames: bool) -> Iterator[NDArray[np.float32]]:
    return (np.concatenate(parts, axis=1) for parts in per_second_features(video, spec, frames=frames))


def _write_rows(path: Path, blocks: Iterable[NDArray[np.float32]], shape: tuple[int, int], video: PendingVideo) -> None:
    with path.open("wb") as file:
        write_header(file, "float32", *shape)
        for rows in blocks:
            check_finite(video, rows)
            file.write(rows.astype("<f4", copy=False).tobytes())


def check_spec(storage: Storage, spec: FeatureSpec, outputs: Mapping[str, OutputSpec]) -> None:
    """Check that a run may add its features to those of the storage.

    Args:
        storage: of the run.
        spec: of its features.
        outputs: of the run, by name.

    Raises:
        SetupError: the storage holds features that are not to be mixed with them.
    """
    content = storage.read(SPEC_FILE)
    if content is None:
        return
    try:
        held = FeatureSpec.from_dict(parse_json(content))
        differences = held.mixing_differences(spec)
        unrecorded = held.precision == "fp32" and replace(held, precision=spec.precision, backend=spec.backend)
        if differences and unrecorded and not unrecorded.mixing_differences(spec) and _has_made(storage, outputs):
            return  # versions that did not record the precision have made these features, in that of this run
    except (ValueError, TypeError, RecursionError) as error:
        where = escape(f"{storage.where}/{SPEC_FILE}")
        raise SetupError(f"{where}: not a feature specification: {escape(error)}") from error
    if differences:
        shown = escape("; ".join(differences)[:_SHOWN])
        raise SetupError(
            f"{escape(storage.where)}: holds other features (there / wanted): {shown}; choose another folder"
        )


def _has_made(storage: Storage, outputs: Mapping[str, OutputSpec]) -> bool:
    """Return whether the journal lists results with the parameters of these outputs."""
    return any(
        entry.parameters.get(name) == output.parameters
        for entry in Journal(storage).entries.values()
        for name, output in outputs.items()
    )


def check_index(storage: Storage) -> None:
    """Raise SetupError where the storage holds a store of `avvp pack`, whose clips are not in the storage."""
    content = storage.read(INDEX_FILE)
    if content is not None and ARRAY_PREFIX.encode() not in content:
        raise SetupError(
            f"{escape(storage.where)}: holds a store that `avvp pack` has made; --overwrite replaces it, another"
            " folder keeps it"
        )


def assemble_store(
    storage: Storage, spec: FeatureSpec, spec_of_clips: OutputSpec, journal: Journal, *, frames: bool = False
) -> str | None:
    """Assemble the packed store from every clip with these parameters; return a line that says what it holds.

    With `frames`, the clips have the frames of each second. The index is replaced last, so an existing store stays
    readable until then. A store that is up to date is not rewritten.
    """
    packed = {
        name: entry
        for name, entry in sorted(journal.entries.items())
        if _PACKED in entry.outputs and entry.outputs[_PACKED].path == spec_of_clips.path(name)
    }
    with storage.cached_listing():
        clips = {
            name: entry.outputs[_PACKED]
            for name, entry in packed.items()
            if entry.parameters.get(_PACKED) == spec_of_clips.parameters and storage.exists(entry.outputs[_PACKED].path)
        }
    if not clips:
        return None
    left_out = len(packed) - len(clips)
    note = f"; {left_out} are left out: made with other parameters, or gone" if left_out else ""
    array = f"{ARRAY_PREFIX}{hash_values({name: clip.sha256 for name, clip in clips.items()})[:16]}.npy"
    width = sum(spec.row_widths(frames=frames))
    write_header(header := io.BytesIO(), "float32", 0, width)
    header_bytes = len(header.getvalue())  # does not depend on the number of rows
    lengths = {name: (clip.size - header_bytes) // (4 * width) for name, clip in clips.items()}
    index = describe_store(spec, lengths, array, frames=frames)
    if storage.read(INDEX_FILE) != index or not storage.exists(array):
        storage.store(
            array, lambda path: _concatenate(storage, clips, (sum(lengths.values()), width), header_bytes, path)
        )
        storage.write(INDEX_FILE, index)
    for name in storage.names("", ".npy"):
        if _ARRAY.fullmatch(name) and name != array:
            storage.remove(name)
    return f"the store holds {len(clips)} clips{note}"


def _concatenate(
    storage: Storage, clips: Mapping[str, OutputFingerprint], shape: tuple[int, int], header_bytes: int, path: Path
) -> None:
    with path.open("wb") as file:
        write_header(file, "float32", *shape)
        for clip in clips.values():
            content = storage.read(clip.path, limit=clip.size)
            if content is None or len(content) != clip.size:
                raise OutputError(f"{escape(clip.path)}: was changed while the store was assembled")
            file.write(content[header_bytes:])
