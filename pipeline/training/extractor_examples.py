"""Decode annotated clips into labelled network inputs, for training extractors."""

from __future__ import annotations

import contextlib
import hashlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.inputs import INPUT_FORMATS
from ...extractors.sampling import LLP_STREAMS, POOLED_STREAMS, Stream
from ..datasets.annotations import Annotations
from ..datasets.clip_names import clip_id
from ..errors import DatasetError, OutputError
from ..preprocess.base import is_groups
from ..preprocess.worker_process import DecodeWorker
from ..segments import segment_count
from ..text import escape

_FORMATS = {form.stream: form for form in INPUT_FORMATS.values()}
_DECODED_AHEAD = 16  # files per round of decoding, which bounds the memory
EXAMPLE_FRAMES_PER_SECOND = 2  # of those that a profile samples, because neighbouring frames are very similar


@dataclass(frozen=True, eq=False)
class Examples:
    """Training examples of one extractor."""

    inputs: NDArray[Any]  # (N, *shape), shape as the stream's networks read it; memory-mapped
    labels: NDArray[np.bool_]  # (N, C)
    hashes: Mapping[str, str] = field(default_factory=dict)  # what it is, in the plural -> hash of inputs or labels


def decode_examples(
    videos: Mapping[str, Path],
    annotations: Annotations,
    splits: Sequence[str],
    folder: Path,
    make_decoder: Callable[[], DecodeWorker],
    *,
    workers: int,
    streams: Sequence[Stream] = LLP_STREAMS,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[Stream, Examples]:
    """Decode annotated clips.

    Every second is one example of audio, with its audio labels, one of visual 3D and `EXAMPLE_FRAMES_PER_SECOND` of
    visual 2D and of visual maps, with its visual labels. A file without a stream has no examples of it.

    Args:
        videos: clip id -> file.
        annotations: of the data set, with labels per second.
        splits: to decode.
        folder: for temporary files, which hold the inputs.
        make_decoder: starts a decode worker.
        workers: number of decode workers.
        streams: to make examples of, those of the profile that the workers decode for.
        progress: called with the number of clips done and the total.

    Returns:
        The examples of each stream.

    Raises:
        DatasetError: a clip has no file, or another length than annotated.
        MediaError: a file cannot be decoded.
        OutputError: the temporary files cannot be written.
    """
    ids = [clip_id(name) for split in splits for name in annotations.split(split).filenames]
    if missing := [clip for clip in ids if clip not in videos]:
        raise DatasetError.listing("some clips have no video", [escape(clip) for clip in missing])
    length = annotations.segments
    segment_labels = [annotations.segment_labels(annotations.split(split), length) for split in splits]
    labels = {
        modality: np.concatenate([part.of(modality) for part in segment_labels]) for modality in ("audio", "visual")
    }
    example_labels: dict[Stream, list[NDArray[np.bool_]]] = {stream: [] for stream in streams}
    with contextlib.ExitStack() as open_files, _raise_output_error(folder):
        hashes = {stream: hashlib.sha256() for stream in streams}
        files: dict[Stream, Any] = {
            stream: open_files.enter_context(tempfile.TemporaryFile(dir=folder)) for stream in streams
        }
        for index, inputs in enumerate(_decode_all([videos[clip] for clip in ids], streams, make_decoder, workers)):
            for stream, seconds in inputs.items():
                if len(seconds) != length:
                    path = escape(videos[ids[index]])
                    raise DatasetError(f"{path}: {len(seconds)} seconds, but clips are annotated for {length}")
                content = np.ascontiguousarray(seconds)
                hashes[stream].update(content.data)
                files[stream].write(content)
                clip_labels = labels["audio" if stream == "audio" else "visual"][index]
                example_labels[stream].append(np.repeat(clip_labels, seconds.shape[1], axis=0))
            progress(index + 1, len(ids))
        return {
            stream: _map_examples(files[stream], stream, example_labels[stream], hashes[stream].hexdigest())
            for stream in streams
        }


def _map_examples(file: Any, stream: Stream, labels: Sequence[NDArray[np.bool_]], inputs_hash: str) -> Examples:
    """Map the inputs in a file; the map stays valid when the file is closed."""
    if not labels:
        raise DatasetError(f"no clip has a stream for {stream}")
    file.flush()
    count, form = sum(map(len, labels)), _FORMATS[stream]
    rows = np.concatenate(labels)
    hashes = {
        "videos": inputs_hash,
        "annotations": hashlib.sha256(f"{rows.shape}".encode() + rows.tobytes()).hexdigest(),
    }
    return Examples(np.memmap(file, form.dtype, "r", shape=(count, *form.shape)), rows, hashes)


@contextlib.contextmanager
def _raise_output_error(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{escape(folder)}: examples cannot be written: {error.strerror or error}") from error


def _decode_all(
    paths: Sequence[Path], streams: Sequence[Stream], make_decoder: Callable[[], DecodeWorker], workers: int
) -> Iterator[dict[Stream, NDArray[Any]]]:
    """Yield the inputs of each file, in their order."""
    idle: Queue[DecodeWorker] = Queue()
    for _ in range(workers):
        idle.put(make_decoder())

    def decode(path: Path) -> dict[Stream, NDArray[Any]]:
        worker = idle.get()
        try:
            return _decode(worker, path, streams)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(workers) as threads:
            for first in range(0, len(paths), _DECODED_AHEAD):
                yield from threads.map(decode, paths[first : first + _DECODED_AHEAD])
    finally:
        while not idle.empty():
            idle.get().close()


def _decode(worker: DecodeWorker, path: Path, streams: Sequence[Stream]) -> dict[Stream, NDArray[Any]]:
    """Return the examples of each stream that the file has, (T, examples of a second, *shape)."""
    batches: dict[Stream, list[NDArray[Any]]] = {stream: [] for stream in streams}
    groups: list[NDArray[np.int64]] = []

    def put(stream: Stream, inputs: NDArray[Any]) -> None:
        (groups if is_groups(inputs) else batches[stream]).append(inputs.copy())

    summary = worker.decode(path, streams, put)
    seconds: dict[Stream, NDArray[Any]] = {}
    for stream, inputs in batches.items():
        if not (summary.facts.has_audio if stream == "audio" else summary.facts.has_video):
            continue
        numbers = np.array(summary.rows[stream])  # of the inputs of each second
        if stream in POOLED_STREAMS:
            numbers = _spread(np.concatenate(groups)[numbers])
        elif stream == "visual_2d":
            numbers = _spread(numbers.reshape(segment_count(summary.facts.duration), -1))
        else:
            numbers = numbers[:, None]
        seconds[stream] = np.concatenate(inputs)[numbers]
    return seconds


def _spread(frames: NDArray[np.int64]) -> NDArray[np.int64]:
    """Choose `EXAMPLE_FRAMES_PER_SECOND` frames of each second (T, F), evenly spaced."""
    step = frames.shape[1] // EXAMPLE_FRAMES_PER_SECOND
    return frames[:, step // 2 :: step]
