"""Seconds of video as networks are fed them, with labels: what extractors are trained on."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.inputs import INPUT_FORMATS
from ...extractors.sampling import FRAMES_PER_SEGMENT, STREAMS, Stream
from ..datasets.annotations import Annotations
from ..datasets.clips import clip_id
from ..errors import DatasetError, OutputError
from ..preprocess.worker_process import DecodeWorker
from ..text import escape

_FORMATS = {form.stream: form for form in INPUT_FORMATS.values()}
_AHEAD = 16  # files decoded before they are written
PICTURES_A_SECOND = 2  # of eight: neighbours are much alike


@dataclass(frozen=True, eq=False)
class Examples:
    """Inputs of a stream, (N, *shape) on disk, and their labels, (N, C)."""

    inputs: NDArray[Any]
    labels: NDArray[np.bool_]


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
    """Decode the annotated clips of some splits. videos: clip id -> file; folder: for temporary files.

    Every second is an example: of sound with what is heard in it, of the moving picture and of some of its frames with
    what is seen; a stream that a file lacks gives none. Raises DatasetError where clips have no file or another length
    than annotated, MediaError for one that cannot be decoded, OutputError where there is no room.
    """
    ids = [clip_id(name) for split in splits for name in annotations.split(split).filenames]
    if missing := [clip for clip in ids if clip not in videos]:
        raise DatasetError.listing("some clips have no video", [escape(clip) for clip in missing])
    length = annotations.segments
    truth = {
        modality: np.concatenate([annotations.modality_labels(annotations.split(split), modality, length) for split in splits])
        for modality in ("audio", "visual")
    }
    tables: dict[Stream, list[NDArray[np.bool_]]] = {stream: [] for stream in STREAMS}
    with contextlib.ExitStack() as opened, _told(folder):
        files: dict[Stream, Any] = {
            stream: opened.enter_context(tempfile.TemporaryFile(dir=folder)) for stream in STREAMS
        }
        for index, made in enumerate(_decode_all([videos[clip] for clip in ids], make_decoder, workers)):
            for stream, seconds in made.items():
                if len(seconds) != length:
                    path = escape(videos[ids[index]])
                    raise DatasetError(f"{path}: {len(seconds)} seconds, but clips are annotated for {length}")
                files[stream].write(np.ascontiguousarray(seconds).tobytes())
                table = truth["audio" if stream == "audio" else "visual"][index]
                tables[stream].append(np.repeat(table, seconds.shape[1], axis=0))
            progress(index + 1, len(ids))
        return {stream: _map(files[stream], stream, tables[stream]) for stream in STREAMS}


def _map(file: Any, stream: Stream, tables: Sequence[NDArray[np.bool_]]) -> Examples:
    """What was written; the map stays when the file is closed."""
    if not tables:
        raise DatasetError(f"no clip has a stream for {stream}")
    file.flush()
    labels, form = np.concatenate(tables), _FORMATS[stream]
    return Examples(np.memmap(file, form.dtype, "r", shape=(len(labels), *form.shape)), labels)


@contextlib.contextmanager
def _told(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OutputError(f"{escape(folder)}: no room for examples: {error.strerror or error}") from error


def _decode_all(
    paths: Sequence[Path], make_decoder: Callable[[], DecodeWorker], workers: int
) -> Iterator[dict[Stream, NDArray[Any]]]:
    """What `_decode` gives of each file, in their order."""
    pool: Queue[DecodeWorker] = Queue()
    for _ in range(workers):
        pool.put(make_decoder())

    def decode(path: Path) -> dict[Stream, NDArray[Any]]:
        process = pool.get()
        try:
            return _decode(process, path)
        finally:
            pool.put(process)

    try:
        with ThreadPoolExecutor(workers) as threads:
            for first in range(0, len(paths), _AHEAD):
                yield from threads.map(decode, paths[first : first + _AHEAD])
    finally:
        while not pool.empty():
            pool.get().close()


def _decode(process: DecodeWorker, path: Path) -> dict[Stream, NDArray[Any]]:
    """(T, rate, *shape) of each stream that the file has: what the networks see of each second."""
    parts: dict[Stream, list[NDArray[Any]]] = {stream: [] for stream in STREAMS}
    summary = process.decode(path, STREAMS, lambda stream, inputs: parts[stream].append(inputs.copy()))
    found: dict[Stream, NDArray[Any]] = {}
    for stream, given in parts.items():
        if not (summary.facts.has_audio if stream == "audio" else summary.facts.has_video):
            continue
        rows = np.concatenate(given)[summary.rows[stream]]
        if stream == "visual_2d":
            step = FRAMES_PER_SEGMENT // PICTURES_A_SECOND
            found[stream] = rows.reshape(-1, FRAMES_PER_SEGMENT, *rows.shape[1:])[:, step // 2 :: step]
        else:
            found[stream] = rows[:, None]
    return found
