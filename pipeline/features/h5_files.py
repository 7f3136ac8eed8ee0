"""Read arrays of HDF5 files of any origin, in a process that can be killed; h5py is in the extra `avel`."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..decode.process import DecoderProcess, describe_exit, python_program
from ..errors import DatasetError, DecodeTimeoutError, MediaError, SetupError
from ..text import escape
from .h5_main import VALUES

SECONDS = 60.0  # without an answer of the process that reads
MAX_INDICES = 10_000_000  # of a list that is read at once


class H5Rows:
    """Rows of the dataset of an HDF5 file. A context manager.

    Attributes:
        path: the file.
        name: of the dataset.
        shape: (N, ...) of all rows.
    """

    def __init__(self, path: Path, name: str, kind: Literal["features", "indices"]) -> None:
        """Open the file and check its dataset; no values are read yet.

        Args:
            path: the file.
            name: of the dataset; where the file has no such name and a single dataset, that is read.
            kind: "features" for floating-point numbers, which are read as float32, "indices" for whole numbers.

        Raises:
            DatasetError: the file is no HDF5 file with such a dataset, or its values are in other files.
            SetupError: h5py is not installed.
        """
        self.path = path
        self._dtype = VALUES[kind][1]
        check_h5py(path)
        try:
            self._process = DecoderProcess(
                path,
                lambda descriptor: python_program("features.h5_main", str(descriptor), name, kind),
                timeout=SECONDS,
            )
        except MediaError as error:
            raise DatasetError(str(error)) from error
        try:
            facts = self._message()
            self.name: str = facts["name"]
            self.shape: tuple[int, ...] = tuple(facts["shape"])
        except BaseException:
            self._process.close()
            raise

    def __enter__(self) -> H5Rows:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the process that reads the file."""
        self._process.close()

    def blocks(self) -> Iterator[NDArray[Any]]:
        """Read all rows once, a few at a time.

        Yields:
            (n, ...) float32 or int64, in the order of the file; values that float32 cannot hold are infinite.

        Raises:
            DatasetError: they cannot be read.
        """
        left = self.shape[0]
        while left:
            count = self._message()["rows"]
            if not 1 <= count <= left:
                raise DatasetError(f"{escape(self.path)}: cannot be read: {count} rows where {left} are left")
            block = np.empty((count, *self.shape[1:]), self._dtype)
            try:
                complete = self._process.read_into(block) == block.nbytes
            except DecodeTimeoutError as error:
                raise self._hung() from error
            if not complete:
                raise self._ended()
            left -= len(block)
            yield block

    def _message(self) -> dict[str, Any]:
        try:
            line = self._process.read_line()
        except DecodeTimeoutError as error:
            raise self._hung() from error
        if not line.endswith(b"\n"):
            raise self._ended()
        message = json.loads(line)
        if "failed" in message:
            raise DatasetError(f"{escape(self.path)}: {escape(message['failed'])}")
        return message

    def _hung(self) -> DatasetError:
        return DatasetError(f"{escape(self.path)}: reading it made no progress for {SECONDS:g} s and was stopped")

    def _ended(self) -> DatasetError:
        try:
            status = describe_exit(self._process.finish())
        except DecodeTimeoutError:
            return self._hung()
        return DatasetError(f"{escape(self.path)}: cannot be read: the process that reads it {status}")


def check_h5py(path: Path) -> None:
    """Check that an HDF5 file can be read here. Raises SetupError, which names the file and what to install."""
    if not has_h5py():
        raise SetupError(f"{escape(path)}: HDF5 files need h5py; install it with: pip install 'avvp[avel]'")


def has_h5py() -> bool:
    """Return whether h5py is installed, without importing it."""
    return importlib.util.find_spec("h5py") is not None


def read_indices(path: Path, name: str, *, most: int) -> NDArray[np.int64]:
    """Read a list of whole numbers.

    Args:
        path: an HDF5 file.
        name: of the dataset.
        most: numbers; the file is not read where it has more.

    Returns:
        (n,) numbers.

    Raises:
        DatasetError: the file cannot be used, see `H5Rows`, or is no list of at most so many numbers.
        SetupError: h5py is not installed.
    """
    with H5Rows(path, name, "indices") as rows:
        if len(rows.shape) != 1:
            raise DatasetError(f"{escape(path)}: shape {rows.shape}, expected a list (n,)")
        if rows.shape[0] > min(most, MAX_INDICES):
            raise DatasetError(f"{escape(path)}: {rows.shape[0]:,} numbers, more than {min(most, MAX_INDICES):,}")
        return np.concatenate([np.empty(0, np.int64), *rows.blocks()])
