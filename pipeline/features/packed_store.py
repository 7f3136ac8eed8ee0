"""Packed store: thousands of small feature files in one array.

    FOLDER/index.json    format, feature specification, clip ids and lengths, name of the array
    FOLDER/features.npy  (sum of T, A + V + S) float32 or float16: one row per second, clip after clip;
                         (sum of T, A + kV + S) where it has the k frames of each second, not their mean;
                         features-*.npy where clips are still added by `avvp extract --layout packed`

Reading a clip is one contiguous read, and only clips that are read take memory. The array is not mapped into memory:
where a disk breaks or the file shrinks, a map would end the process.
"""

from __future__ import annotations

import itertools
import json
import os
import weakref
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import FeatureSpec
from ...weights.messages import shown
from ...weights.safe_paths import inside
from ..errors import DatasetError
from ..segments import MAX_MEDIA_SECONDS
from ..text import escape
from ..text_files import read_json
from .npy_files import ArrayHeader, open_array_file, read_header_of, read_values
from .npy_folders import SPEC_FILE, FeatureFolders, FeatureSource
from .saved_features import SavedFeatures, has_saved_features

INDEX_FILE = "index.json"
ARRAY_FILE = "features.npy"
ARRAY_PREFIX = "features-"
FORMAT_VERSION = 2
_FRAMES_VERSION = 3  # of stores with frames, which versions that know none refuse
DTYPES = {"float32": np.float32, "float16": np.float16}


class FeatureStore:
    """Features of a packed store, see `FeatureSource`.

    Attributes:
        root: folder of the store.
        spec: profile, extractors and widths of the features.
        frames: whether it has the frames of each second.
    """

    def __init__(self, root: Path) -> None:
        """Open the array and read the index.

        Args:
            root: folder of the store.

        Raises:
            DatasetError: the store is damaged or of a newer format.
        """
        self.root = root
        index = _read_index(root)
        try:
            if type(index["format"]) is not int or not 1 <= index["format"] <= _FRAMES_VERSION:
                found = shown(index["format"])
                raise ValueError(f"format {found}, expected {_FRAMES_VERSION} or older; update avvp")
            self.frames = index["format"] == _FRAMES_VERSION
            array = index.get("array", ARRAY_FILE)  # format 1 had one fixed name
            if not isinstance(array, str) or Path(array).name != array:
                raise ValueError(f"array {shown(array)}, expected the name of a file in the same folder")
            self._array = inside(root, array)
            self.spec = FeatureSpec.from_dict(index["spec"])
            lengths = _read_lengths(index["ids"], index["lengths"])
        except (KeyError, ValueError) as error:
            raise DatasetError(f"{escape(root / INDEX_FILE)}: not a valid index: {escape(error)}") from error
        stops = list(itertools.accumulate(lengths.values()))
        # Half-open ranges of rows of the array.
        self._ranges = dict(zip(lengths, zip([0, *stops[:-1]], stops, strict=True), strict=True))
        width = sum(self.spec.row_widths(frames=self.frames))
        # The file stays open: `avvp extract` may replace it while it is read.
        self._header, self._descriptor = _open_array(self._array, (sum(lengths.values()), width))
        weakref.finalize(self, os.close, self._descriptor)

    def ids(self) -> frozenset[str]:
        """Return the ids of all clips in the store."""
        return frozenset(self._ranges)

    def lengths(self, ids: Sequence[str]) -> tuple[dict[str, int], list[str]]:
        """Look up T of each clip; see `FeatureSource.lengths`."""
        lengths = {name: self._ranges[name][1] - self._ranges[name][0] for name in ids if name in self._ranges}
        missing = [f"{escape(name)}: not in the store {escape(self.root)}" for name in ids if name not in lengths]
        return lengths, missing

    def read(self, clip_id: str) -> NDArray[np.floating]:
        """Copy the features of a clip; see `FeatureSource.read`."""
        start, stop = self._ranges[clip_id]
        width, dtype = self._header.shape[1], self._header.dtype
        offset = self._header.start + start * width * dtype.itemsize
        try:
            rows = read_values(self._descriptor, (stop - start, width), dtype, offset)
        except OSError as error:
            raise DatasetError(f"{escape(self._array)}: cannot be read: {error.strerror or error}") from error
        if not np.isfinite(rows).all():
            raise DatasetError(f"{escape(self._array)}: contains NaN or infinity in clip {escape(clip_id)}")
        return rows

    def release(self) -> None:
        """Do nothing: no memory is held between reads."""


def open_features(path: Path, *, frames: bool = False) -> FeatureSource:
    """Open features in any layout: a packed store, or folders of .npy files.

    Args:
        path: folder of the store or of the extractors' folders, or of what `avvp pseudo-label --save-features` wrote.
        frames: whether a parser needs each frame of a second, see `ParserConfig.needs_frames`. Else a store may have
            them or not, and folders give their means.

    Returns:
        The features.

    Raises:
        DatasetError: the folder contains none of them, or is damaged; or frames are needed and a store has none.
    """
    if (path / INDEX_FILE).exists():
        store = FeatureStore(path)
        if frames and not store.frames and max(store.spec.rates) > 1:
            raise DatasetError(
                f"{escape(path)}: the store has the mean of the frames of each second, and this parser (stem elu)"
                " computes with each frame before the mean: pack the feature files again with avvp pack --frames, or"
                " name their folder"
            )
        return store
    is_own = (path / SPEC_FILE).exists()  # of `avvp extract`, which may also name its folders like the teachers
    return SavedFeatures(path) if not is_own and has_saved_features(path) else FeatureFolders(path, frames=frames)


def describe_store(spec: FeatureSpec, lengths: Mapping[str, int], array: str, *, frames: bool = False) -> bytes:
    """Encode the index of a store.

    Args:
        spec: profile, extractors and widths of the features.
        lengths: clip id -> T, in the order of the array's rows.
        array: name of the array's file.
        frames: whether its rows have the frames of each second.

    Returns:
        JSON, the content of `INDEX_FILE`.
    """
    index = {
        "format": _FRAMES_VERSION if frames else FORMAT_VERSION,
        "spec": spec.to_dict(),
        "ids": list(lengths),
        "lengths": list(lengths.values()),
        "array": array,
    }
    return json.dumps(index).encode()


def write_header(file: IO[bytes], dtype: str, rows: int, width: int) -> None:
    """Write the .npy header of a store's array.

    numpy pads the header to fit any number of rows, so it can be overwritten when the number is known.

    Args:
        file: binary file, at its start.
        dtype: key in `DTYPES`.
        rows: sum of T.
        width: values of a row.
    """
    description = {"descr": np.dtype(DTYPES[dtype]).str, "fortran_order": False, "shape": (rows, width)}
    np.lib.format.write_array_header_1_0(file, description)


def _read_index(root: Path) -> dict[str, Any]:
    path = root / INDEX_FILE
    try:
        index = read_json(path)
    except ValueError as error:
        raise DatasetError(f"{escape(path)}: cannot be read: {escape(error)}") from error
    if not isinstance(index, dict):
        raise DatasetError(f"{escape(path)}: not the index of a packed store")
    return index


def _read_lengths(ids: object, lengths: object) -> dict[str, int]:
    """Return clip id -> T, in the order of the index. Raises ValueError."""
    if not isinstance(ids, list) or not isinstance(lengths, list) or len(ids) != len(lengths) or not ids:
        raise ValueError("clip ids and lengths do not match: expected two lists of the same length")
    if unusable := [name for name in ids if not isinstance(name, str) or not name]:
        raise ValueError(f"a clip id is {shown(unusable[0])}, expected a name")
    if len(set(ids)) != len(ids):
        raise ValueError("clip ids and lengths do not match: an id is there twice")
    if wrong := [length for length in lengths if type(length) is not int or not 1 <= length <= MAX_MEDIA_SECONDS]:
        raise ValueError(
            f"clip ids and lengths do not match: a length of {shown(wrong[0])}, expected 1 to {MAX_MEDIA_SECONDS}"
        )
    return dict(zip(ids, lengths, strict=True))


def _open_array(path: Path, shape: tuple[int, int]) -> tuple[ArrayHeader, int]:
    """Check the array of a store; return its header and a descriptor of the file. Raises DatasetError."""
    with open_array_file(path) as descriptor:
        header = read_header_of(path, descriptor)
        if header.shape != shape or header.dtype not in DTYPES.values() or header.fortran_order:
            raise DatasetError(f"{escape(path)}: {header.dtype} {header.shape}, but the index states {shape}")
        size = os.fstat(descriptor).st_size
        if size != header.size:
            raise DatasetError(f"{escape(path)}: {size} bytes, expected {header.size}")
        return header, os.dup(descriptor)
