"""Seconds of video as networks are fed them, with labels: what extractors are trained on."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from queue import Queue
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..extractors.inputs import INPUT_FORMATS
from ..extractors.rates import FRAMES_PER_SEGMENT, STREAMS, Stream
from .annotations import Annotations
from .decode_pool import DecodeOptions, DecodeProcess
from .errors import DatasetError, MediaError, printable

_FORMATS = {form.stream: form for form in INPUT_FORMATS.values()}
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
    options: DecodeOptions,
    *,
    workers: int,
    progress: Callable[[int, int], None] = lambda *_: None,
) -> dict[Stream, Examples]:
    """Decode the annotated clips of some splits. videos: clip id -> file; folder: for temporary files.

    Every second is an example: of sound with what is heard in it, of the moving picture and of some of its frames with
    what is seen. Raises DatasetError where clips have no file, MediaError for one that cannot be decoded.
    """
    names = [name for split in splits for name in annotations.split(split).filenames]
    ids = [name.rsplit("_", 2)[0] for name in names]
    if missing := [clip for clip in ids if clip not in videos]:
        raise DatasetError.listing("some clips have no video", [printable(clip) for clip in missing])
    length = annotations.segments
    truth = {
        modality: np.concatenate([annotations.dense(annotations.split(split), modality, length) for split in splits])
        for modality in ("audio", "visual")
    }
    tables: dict[Stream, list[NDArray[np.bool_]]] = {stream: [] for stream in STREAMS}
    files: dict[Stream, Any] = {stream: tempfile.TemporaryFile(dir=folder) for stream in STREAMS}  # noqa: SIM115
    pool: Queue[DecodeProcess] = Queue()
    for _ in range(workers):
        pool.put(DecodeProcess(options))

    def decode(clip: str) -> dict[Stream, NDArray[Any]]:
        process = pool.get()
        try:
            return _decode(process, videos[clip])
        finally:
            pool.put(process)

    try:
        with ThreadPoolExecutor(workers) as threads:
            for done, made in enumerate(threads.map(decode, ids), 1):
                for stream, inputs in made.items():
                    seconds = inputs[:length]  # (T, rate, *shape)
                    files[stream].write(np.ascontiguousarray(seconds).tobytes())
                    table = truth["audio" if stream == "audio" else "visual"][done - 1, : len(seconds)]
                    tables[stream].append(np.repeat(table, seconds.shape[1], axis=0))
                progress(done, len(ids))
    except BaseException:
        for file in files.values():
            file.close()
        raise
    finally:
        while not pool.empty():
            pool.get().close()
    found: dict[Stream, Examples] = {}
    for stream, file in files.items():
        labels, form = np.concatenate(tables[stream]), _FORMATS[stream]
        file.flush()
        found[stream] = Examples(np.memmap(file, form.dtype, "r", shape=(len(labels), *form.shape)), labels)
        file.close()  # the map stays
    return found


def _decode(process: DecodeProcess, path: Path) -> dict[Stream, NDArray[Any]]:
    """(T, rate, *shape) of each stream: what the networks see of each second."""
    parts: dict[Stream, list[NDArray[Any]]] = {stream: [] for stream in STREAMS}
    summary = process.decode(path, STREAMS, lambda stream, inputs: parts[stream].append(inputs.copy()))
    found: dict[Stream, NDArray[Any]] = {}
    for stream, given in parts.items():
        if not given:
            raise MediaError(path, f"gives no {stream} inputs")
        rows = np.concatenate(given)[summary.rows[stream]]
        if stream == "visual_2d":
            step = FRAMES_PER_SEGMENT // PICTURES_A_SECOND
            found[stream] = rows.reshape(-1, FRAMES_PER_SEGMENT, *rows.shape[1:])[:, step // 2 :: step]
        else:
            found[stream] = rows[:, None]
    return found
