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
from ...extractors.sampling import FRAMES_PER_SEGMENT, LLP_STREAMS, Stream
from ..datasets.annotations import Annotations
from ..datasets.clips import clip_id
from ..errors import DatasetError, OutputError
from ..preprocess.worker_process import DecodeWorker
from ..text import escape

_FORMATS = {form.stream: form for form in INPUT_FORMATS.values()}
_DECODED_AHEAD = 16  # files per round of decoding, which bounds the memory
EXAMPLE_FRAMES_PER_SECOND = 2  # of eight, because neighbouring frames are very similar


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
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[Stream, Examples]:
    """Decode annotated clips.

    Every second is one example of audio, with its audio labels, one of visual 3D and `EXAMPLE_FRAMES_PER_SECOND` of
    visual 2D, with its visual labels. A file without a stream has no examples of it.

    Args:
        videos: clip id -> file.
        annotations: of the data set, with labels per second.
        splits: to decode.
        folder: for temporary files, which hold the inputs.
        make_decoder: starts a decode worker.
        workers: number of decode workers.
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
    example_labels: dict[Stream, list[NDArray[np.bool_]]] = {stream: [] for stream in LLP_STREAMS}
    with contextlib.ExitStack() as open_files, _raise_output_error(folder):
        hashes = {stream: hashlib.sha256() for stream in LLP_STREAMS}
        files: dict[Stream, Any] = {
            stream: open_files.enter_context(tempfile.TemporaryFile(dir=folder)) for stream in LLP_STREAMS
        }
        for index, inputs in enumerate(_decode_all([videos[clip] for clip in ids], make_decoder, workers)):
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
            for stream in LLP_STREAMS
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
    paths: Sequence[Path], make_decoder: Callable[[], DecodeWorker], workers: int
) -> Iterator[dict[Stream, NDArray[Any]]]:
    """Yield the inputs of each file, in their order."""
    idle: Queue[DecodeWorker] = Queue()
    for _ in range(workers):
        idle.put(make_decoder())

    def decode(path: Path) -> dict[Stream, NDArray[Any]]:
        worker = idle.get()
        try:
            return _decode(worker, path)
        finally:
            idle.put(worker)

    try:
        with ThreadPoolExecutor(workers) as threads:
            for first in range(0, len(paths), _DECODED_AHEAD):
                yield from threads.map(decode, paths[first : first + _DECODED_AHEAD])
    finally:
        while not idle.empty():
            idle.get().close()


def _decode(worker: DecodeWorker, path: Path) -> dict[Stream, NDArray[Any]]:
    """Return the network inputs of each stream that the file has, (T, rate, *shape)."""
    batches: dict[Stream, list[NDArray[Any]]] = {stream: [] for stream in LLP_STREAMS}
    summary = worker.decode(path, LLP_STREAMS, lambda stream, inputs: batches[stream].append(inputs.copy()))
    seconds: dict[Stream, NDArray[Any]] = {}
    for stream, inputs in batches.items():
        if not (summary.facts.has_audio if stream == "audio" else summary.facts.has_video):
            continue
        rows = np.concatenate(inputs)[summary.rows[stream]]
        if stream == "visual_2d":
            step = FRAMES_PER_SEGMENT // EXAMPLE_FRAMES_PER_SECOND
            seconds[stream] = rows.reshape(-1, FRAMES_PER_SEGMENT, *rows.shape[1:])[:, step // 2 :: step]
        else:
            seconds[stream] = rows[:, None]
    return seconds
