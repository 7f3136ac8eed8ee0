"""Read a table of every clip, (T, C), from a folder of .npy files."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError
from ..features.npy_files import read_array, read_header
from ..features.npy_folders import READ_THREADS, list_clips
from ..text import escape


def fill_table(
    table: NDArray[np.generic],
    folder: Path,
    ids: Sequence[str],
    lengths: Sequence[int],
    check: Callable[[NDArray[np.generic]], str],
) -> list[str]:
    """Fill the rows of clips with the content of their files.

    Args:
        table: (N, T, C), changed in place as far as clips are long.
        folder: which exists, with the files `<id>.npy`.
        ids: names of the N clips' files.
        lengths: seconds of each clip.
        check: called with the values of a file, (T, C); returns what they have that they must not, or nothing.

    Returns:
        A line for each file that cannot be used.
    """
    classes = table.shape[2]
    present = list_clips(folder)  # names of clips come from other files, too: none of them leads out of the folder

    def read(clip_id: str, length: int) -> NDArray[np.generic] | str:
        path = folder / f"{clip_id}.npy"
        if clip_id not in present:
            return f"{escape(path)}: no such file"
        try:
            shape = read_header(path).shape
            if shape != (length, classes):
                return f"{escape(path)}: shape {shape}, expected ({length}, {classes})"
            values = read_array(path)
        except DatasetError as error:
            return str(error)
        wrong = check(values)
        return f"{escape(path)}: holds {wrong}" if wrong else values.astype(table.dtype)

    problems: list[str] = []
    with ThreadPoolExecutor(READ_THREADS) as readers:
        for index, result in enumerate(readers.map(read, ids, lengths)):
            if isinstance(result, str):
                problems.append(result)
            else:
                table[index, : len(result)] = result
    return problems
