"""Features on disk as LLP has them: one folder for each extractor, one .npy file for each clip.

    FOLDER/vggish/<id>.npy       (T, A)
    FOLDER/res152/<id>.npy       (kT, V), k frames a second
    FOLDER/r2plus1d_18/<id>.npy  (T, S)
    FOLDER/features.json         the FeatureSpec; without it, the published LLP features are assumed

Folders are named by extractor; ResNet-152's is `res152`. Any floating type is read; NaN, infinity, integers, objects
(which would have to be unpickled) and torn files are errors that name the file.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ..errors import DatasetError
from ..text import escape

SPEC_FILE = "features.json"
PUBLISHED_SPEC = FeatureSpec("llp", 1, ("vggish", "resnet152", "r2plus1d_18"), (128, 2048, 512))
_FOLDER_NAMES = {"resnet152": "res152"}  # where the published folder is not named like the extractor
# numpy parses headers with `ast`, which in Python 3.11 fails now and then when two threads do it at once.
_one_parser_at_a_time = Lock()
READ_THREADS = 8  # threads: small files are waited for, not computed


class FeatureSource(Protocol):
    """Features of many clips, one row for each second: audio, visual 2-d (frames averaged), visual 3-d side by side.

    Averaging the frames of a second changes nothing that a parser computes: what reads them is affine, then averages.
    """

    spec: FeatureSpec

    def ids(self) -> frozenset[str]:
        """The clips there are features of."""
        ...

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """T of each clip whose files look right, and what is wrong with the others; no values are read."""
        ...

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """(T, A + V + S). Raises DatasetError for values that are not finite and for files that cannot be read."""
        ...

    def release(self) -> None:
        """Give back the memory that reading may have taken."""
        ...


class ArrayHeader(NamedTuple):
    """What a .npy file promises."""

    shape: tuple[int, ...]
    fortran_order: bool
    dtype: np.dtype[Any]
    start: int  # byte at which the values begin


def read_header(path: Path) -> ArrayHeader:
    """Shape and type of a .npy file, and a promise that it is as long as they say. Raises DatasetError."""
    try:
        with path.open("rb") as file:
            version = np.lib.format.read_magic(file)
            read = np.lib.format.read_array_header_1_0 if version[0] == 1 else np.lib.format.read_array_header_2_0
            with _one_parser_at_a_time:
                shape, fortran_order, dtype = read(file)
            header = ArrayHeader(shape, fortran_order, dtype, file.tell())
    except FileNotFoundError:
        raise DatasetError(f"{escape(path)}: no such file") from None
    except (OSError, ValueError, EOFError, SyntaxError) as error:
        reason = str(error).split("\n", 1)[0]
        raise DatasetError(f"{escape(path)}: not a .npy file: {escape(reason)}") from error
    if dtype.hasobject:
        raise DatasetError(f"{escape(path)}: holds pickled objects, which are never opened")
    promised = header.start + dtype.itemsize * math.prod(shape)
    if path.stat().st_size < promised:
        raise DatasetError(f"{escape(path)}: truncated, {path.stat().st_size} of {promised} bytes")
    return header


def read_array(path: Path) -> NDArray[Any]:
    """A .npy file; nothing is unpickled. Raises DatasetError."""
    header = read_header(path)
    try:
        values = np.fromfile(path, header.dtype, math.prod(header.shape), offset=header.start)
        return values.reshape(header.shape, order="F" if header.fortran_order else "C")
    except (OSError, ValueError) as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {escape(error)}") from error


class FeatureFolders:
    """A folder in LLP's layout. Raises DatasetError where a folder of the specification is missing."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.spec = read_spec(root)
        self.folders = [root / folder_name(name) for name in self.spec.extractors]
        if missing := [folder for folder in self.folders if not folder.is_dir()]:
            names = ", ".join(escape(folder.name) for folder in missing)
            raise DatasetError(f"{escape(root)}: no folder {names} of features in it")

    def ids(self) -> frozenset[str]:
        """Clips that any folder has a file of: one that is missing elsewhere is a problem, not absent."""
        found = ((folder, path) for folder in self.folders for path in folder.rglob("*.npy"))
        return frozenset(path.relative_to(folder).as_posix().removesuffix(".npy") for folder, path in found)

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """T of each clip whose headers look right, and what is wrong with the others."""
        with ThreadPoolExecutor(READ_THREADS) as readers:
            checked = list(readers.map(self._check, ids))
        good = {clip_id: found for clip_id, found in zip(ids, checked, strict=True) if isinstance(found, int)}
        return good, [problem for found in checked if not isinstance(found, int) for problem in found]

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """(T, A + V + S) float32. Raises DatasetError."""
        parts: list[NDArray[np.floating]] = []
        for folder in self.folders:
            path = folder / f"{clip_id}.npy"
            rows = read_array(path).astype(np.float32, copy=False)
            if not np.isfinite(rows).all():
                raise DatasetError(f"{escape(path)}: holds values that are not finite")
            parts.append(rows)
        audio, frames, clips = parts
        per_second = frames.reshape(len(audio), -1, frames.shape[1]).mean(axis=1)
        return np.concatenate([audio, per_second, clips], axis=1)

    def release(self) -> None:
        """Nothing is kept."""

    def _check(self, clip_id: str) -> int | list[str]:
        """T, or what is wrong."""
        problems: list[str] = []
        rows: list[int] = []
        for folder, width, rate in zip(self.folders, self.spec.dims, (1, self.spec.frames_per_segment, 1), strict=True):
            path = folder / f"{clip_id}.npy"
            try:
                header = read_header(path)
            except DatasetError as error:
                problems.append(str(error))
                continue
            if header.dtype.kind != "f":
                problems.append(f"{escape(path)}: holds {header.dtype}, expected floating-point numbers")
            elif len(header.shape) != 2 or header.shape[1] != width or not header.shape[0] or header.shape[0] % rate:
                wanted = f"({f'{rate}T' if rate > 1 else 'T'}, {width})"
                problems.append(f"{escape(path)}: shape {header.shape}, expected {wanted}")
            else:
                rows.append(header.shape[0] // rate)
        if not problems and len(set(rows)) > 1:
            seconds = ", ".join(f"{folder.name} {count}" for folder, count in zip(self.folders, rows, strict=True))
            problems.append(f"{escape(clip_id)}: its files disagree on the number of seconds: {seconds}")
        return problems or rows[0]


def folder_name(extractor: str) -> str:
    """The folder of an extractor's files."""
    return _FOLDER_NAMES.get(extractor, extractor)


def read_spec(root: Path) -> FeatureSpec:
    """The specification in a folder of features, or the published one. Raises DatasetError."""
    path = root / SPEC_FILE
    if not root.is_dir():
        raise DatasetError(f"{escape(root)}: no such folder of features")
    if not path.exists():
        return PUBLISHED_SPEC
    try:
        return FeatureSpec.from_dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise DatasetError(f"{escape(path)}: not a feature specification: {escape(error)}") from error
