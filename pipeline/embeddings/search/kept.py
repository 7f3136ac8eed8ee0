"""The kept embeddings of folders, mapped into memory one file at a time."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...errors import DatasetError
from ...files import open_regular
from ...text import escape
from ...timeline import Modality
from ..embeddings import Embeddings
from ..files import MAX_FILE_BYTES, embedding_files, parse_embeddings
from .scores import unit_rows

_KEY = re.compile("[0-9a-f]{32}-[0-9a-f]{32}")
_SAMPLED_FILES, _SAMPLED_ROWS = 256, 16  # of which the deviation of the background is measured


@dataclass(frozen=True)
class KeptFile:
    """A file of embeddings.

    Attributes:
        path: of the file.
        size: in bytes.
        changed: when, in nanoseconds; 0 for a file of a cache, whose name says what it holds: it is touched when used.
    """

    path: Path
    size: int
    changed: int


def list_kept(folders: Iterable[Path]) -> list[KeptFile]:
    """List the files of embeddings of folders of results.

    Args:
        folders: of results, or of embeddings alone.

    Returns:
        Each file once, by path.

    Raises:
        DatasetError: a folder cannot be listed.
    """
    found = dict[tuple[int, int], KeptFile]()
    for folder in folders:
        for path in embedding_files(folder):
            try:
                status = path.stat()
            except OSError:  # removed meanwhile, as the oldest of a cache are
                continue
            changed = 0 if _KEY.fullmatch(path.stem) else status.st_mtime_ns
            found.setdefault((status.st_dev, status.st_ino), KeptFile(path, status.st_size, changed))
    return sorted(found.values(), key=lambda file: os.fsencode(file.path))


def open_kept(file: KeptFile) -> Embeddings:
    """Map the embeddings of a file into memory: what is not used of them is not read.

    Raises:
        DatasetError: the file cannot be read, or holds something else.
    """
    try:
        with os.fdopen(open_regular(file.path), "rb") as opened:
            if not 0 < os.fstat(opened.fileno()).st_size <= MAX_FILE_BYTES:
                raise DatasetError(f"{escape(file.path)}: empty, or larger than {MAX_FILE_BYTES >> 20} MiB")
            content = mmap.mmap(opened.fileno(), 0, access=mmap.ACCESS_COPY)  # PyTorch takes no others
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise DatasetError(f"{escape(file.path)}: cannot be read: {escape(reason)}") from error
    return parse_embeddings(content, file.path, verify=False)


def rows_of(embeddings: Embeddings) -> dict[Modality, NDArray[np.float16]]:
    """Return modality -> (T, D) rows of the streams that the video has: those of silence say nothing."""
    rows: dict[Modality, NDArray[np.float16]] = {}
    if embeddings.media.has_audio:
        rows["audio"] = embeddings.audio
    if embeddings.media.has_video:
        rows["visual"] = embeddings.visual
    return rows


class Archive:
    """Files of embeddings by the same teachers.

    Args:
        files: of `list_kept`.
        teachers: stream -> what identifies the parameters of its network; files of others are left out.

    Attributes:
        files: all of them.
        teachers: stream -> identity.
        others: those that other teachers have made, as far as files were opened.
        damaged: the errors of files that cannot be used.
    """

    def __init__(self, files: Sequence[KeptFile], teachers: Mapping[str, str]) -> None:
        self.files = tuple(files)
        self.teachers = dict(teachers)
        self.others = dict[Path, None]()
        self.damaged = dict[Path, DatasetError]()

    def open(self, file: KeptFile) -> Embeddings | None:
        """Map a file into memory; None for one that cannot be used, which is noted."""
        try:
            embeddings = open_kept(file)
        except DatasetError as error:
            self.damaged[file.path] = error
            return None
        if dict(embeddings.teachers) != self.teachers:
            self.others[file.path] = None
            return None
        return embeddings

    def sample(self) -> dict[Modality, NDArray[np.float32]]:
        """Return modality -> (n, D) rows of length 1, of seconds spread over the files."""
        chosen = dict.fromkeys(np.linspace(0, len(self.files) - 1, _SAMPLED_FILES).round().astype(int).tolist())
        parts: dict[Modality, list[NDArray[np.float32]]] = {}
        for index in chosen if self.files else ():
            if (embeddings := self.open(self.files[index])) is None:
                continue
            places = np.unique(np.linspace(0, embeddings.seconds - 1, _SAMPLED_ROWS).round().astype(int))
            for modality, rows in rows_of(embeddings).items():
                values = unit_rows(rows[places])
                parts.setdefault(modality, []).append(values[values.any(axis=1)])
        return {modality: np.concatenate(found) for modality, found in parts.items()}
