"""HDF5 files: values, layouts, and files of strangers, which are refused without opening any other file."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from avvp.pipeline.errors import DatasetError, SetupError
from avvp.pipeline.features import h5_files
from avvp.pipeline.features.h5_files import H5Rows, read_indices
from numpy.typing import NDArray

VALUES = np.arange(60, dtype=np.float64).reshape(5, 3, 4) / 7
OTHER = "other.h5"


def read(path: Path, name: str = "data") -> NDArray[Any]:
    with H5Rows(path, name, "features") as rows:
        assert rows.shape == VALUES.shape
        return np.concatenate(list(rows.blocks()))


def write(path: Path, **settings: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("data", data=VALUES, **settings)


@pytest.mark.parametrize(
    "settings",
    [{}, {"chunks": (2, 3, 2)}, {"compression": "gzip"}, {"chunks": (1, 1, 1), "compression": "lzf", "shuffle": True}],
    ids=["contiguous", "chunked", "gzip", "lzf"],
)
def test_layouts(tmp_path: Path, settings: dict[str, Any]) -> None:
    write(tmp_path / "x.h5", **settings)
    np.testing.assert_array_equal(read(tmp_path / "x.h5"), VALUES.astype(np.float32))


def test_blocks_are_of_whole_chunks(tmp_path: Path) -> None:
    values = np.arange(4 * 3_000_000, dtype=np.float64).reshape(4, -1)  # 24 MB a row, 32 MiB a block
    for chunks, expected in ((None, [1, 1, 1, 1]), ((3, 100_000), [3, 1])):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("data", data=values, chunks=chunks)
        with H5Rows(tmp_path / "x.h5", "data", "features") as rows:
            blocks = list(rows.blocks())
        assert [len(block) for block in blocks] == expected
        np.testing.assert_array_equal(np.concatenate(blocks), values.astype(np.float32))


def test_a_single_dataset_of_another_name(tmp_path: Path) -> None:
    write(tmp_path / "x.h5")
    np.testing.assert_array_equal(read(tmp_path / "x.h5", "avadataset"), VALUES.astype(np.float32))
    with h5py.File(tmp_path / "x.h5", "a") as file:
        file["more"] = 1
    with pytest.raises(DatasetError, match="has no dataset avadataset; it has data, more"):
        read(tmp_path / "x.h5", "avadataset")


def test_whole_numbers(tmp_path: Path) -> None:
    for dtype in ("<i8", ">i2", "u1"):
        with h5py.File(tmp_path / "x.h5", "w") as file:
            file.create_dataset("order", data=np.array([3, 0, 200]).astype(dtype))
        assert read_indices(tmp_path / "x.h5", "order", most=3).tolist() == [3, 0, 200]
    with pytest.raises(DatasetError, match="3 numbers, more than 2"):
        read_indices(tmp_path / "x.h5", "order", most=2)
    write(tmp_path / "x.h5")
    with pytest.raises(DatasetError, match="values of the type float64, expected whole numbers"):
        read_indices(tmp_path / "x.h5", "data", most=9)


def test_values_that_float32_cannot_hold_are_infinite(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["data"] = np.full(VALUES.shape, 1e300)
    assert np.isinf(read(tmp_path / "x.h5")).all()


def virtual(file: h5py.File, folder: Path) -> None:
    layout = h5py.VirtualLayout(VALUES.shape, VALUES.dtype)
    layout[:] = h5py.VirtualSource(folder / OTHER, "data", VALUES.shape)
    file.create_virtual_dataset("data", layout)


def growing_virtual(file: h5py.File, folder: Path) -> None:
    """Its extent is found in the other file."""
    layout = h5py.VirtualLayout((1, 4), VALUES.dtype, maxshape=(None, 4))
    source = h5py.VirtualSource(folder / OTHER, "growing", (1, 4), VALUES.dtype, maxshape=(None, 4))
    layout[: h5py.h5s.UNLIMITED] = source[: h5py.h5s.UNLIMITED]
    file.create_virtual_dataset("data", layout)


def unwritten(file: h5py.File, _folder: Path) -> None:
    data = file.create_dataset("data", VALUES.shape, "f8", chunks=(1, 3, 4))
    data[:4] = VALUES[:4]


def link(target: h5py.ExternalLink | h5py.SoftLink) -> Callable[[h5py.File, Path], None]:
    def make(file: h5py.File, _folder: Path) -> None:
        file["data"] = target

    return make


def dataset(**settings: Any) -> Callable[[h5py.File, Path], object]:
    return lambda file, _folder: file.create_dataset("data", **settings)


HOSTILE: dict[str, tuple[Callable[[h5py.File, Path], object], str]] = {
    "external link": (link(h5py.ExternalLink(OTHER, "data")), "data is a link, which is not followed"),
    "soft link": (link(h5py.SoftLink("/data")), "data is a link, which is not followed"),
    "virtual": (virtual, "its values are in other files"),
    "virtual, of unknown extent": (growing_virtual, "its values are in other files"),
    "external storage": (
        dataset(shape=VALUES.shape, dtype="f8", external=[("/etc/passwd", 0, h5py.h5f.UNLIMITED)]),
        "its values are in other files",
    ),
    "group": (lambda file, _folder: file.create_group("data"), "data is a group, expected a dataset"),
    "objects": (
        dataset(shape=(5,), dtype=h5py.string_dtype()),
        "values of the type object, expected floating-point numbers",
    ),
    "text": (dataset(data=np.array([b"a", b"b"])), "values of the type |S1, expected floating-point numbers"),
    "references": (dataset(shape=(5,), dtype=h5py.ref_dtype), "values of the type object"),
    "compound": (dataset(shape=(5,), dtype=[("a", "f8")]), "expected floating-point numbers"),
    "scalar": (dataset(data=1.0), "holds no array"),
    "null": (dataset(data=h5py.Empty("f8")), "holds no array"),
    "huge and empty": (dataset(shape=(1 << 40, 3, 4), dtype="f8"), "lacks values: it was not written to its end"),
    "huge rows": (dataset(shape=(2, 1 << 40), dtype="f8"), "have more than 256 MiB"),
    "huge chunks": (dataset(shape=(2, 9), maxshape=(None, 1 << 40), chunks=(1, 1 << 28), dtype="f8"), "256 MiB"),
    "unwritten": (unwritten, "lacks values: it was not written to its end"),
    "nothing": (lambda _file, _folder: None, "has no dataset data; it is empty"),
    "many": (lambda file, _folder: [file.create_group(f"g{n}") for n in range(101)], "has more than 100 members"),
}


@pytest.mark.parametrize("kind", HOSTILE)
def test_files_of_strangers(tmp_path: Path, kind: str) -> None:
    with h5py.File(tmp_path / OTHER, "w") as file:
        file["data"] = VALUES
        file.create_dataset("growing", data=VALUES[0], maxshape=(None, 4))
    make, message = HOSTILE[kind]
    with h5py.File(tmp_path / "x.h5", "w") as file:
        make(file, tmp_path)
    with pytest.raises(DatasetError) as error:
        read(tmp_path / "x.h5")
    assert message in str(error.value)
    assert str(error.value).startswith(f"{tmp_path}/x.h5: ")


def test_the_process_that_reads_is_limited() -> None:
    """Links and virtual datasets are refused before; the limits hold where libhdf5 is tricked."""
    code = (
        "from avvp.pipeline.features.h5_main import _limit_resources\n_limit_resources()\n"
        "try:\n    open('/etc/passwd')\nexcept OSError as error:\n    print(error.errno)\n"
        "try:\n    bytearray(3 << 30)\nexcept MemoryError:\n    print('memory')\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(errno.EMFILE), "memory"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[: len(content) // 2], "truncated: it is shorter than it says"),
        (lambda content: content[:4], "not an HDF5 file"),
        (lambda _content: b"filename\tevent_labels\n" * 40, "not an HDF5 file"),
        (lambda _content: b"", "the file is empty"),
    ],
    ids=["half", "beginning", "text", "empty"],
)
def test_damaged_files(tmp_path: Path, damage: Callable[[bytes], bytes], message: str) -> None:
    write(tmp_path / "x.h5")
    (tmp_path / "x.h5").write_bytes(damage((tmp_path / "x.h5").read_bytes()))
    with pytest.raises(DatasetError, match=message):
        read(tmp_path / "x.h5")


def test_bytes_that_are_changed_end_in_an_error_or_in_values(tmp_path: Path) -> None:
    write(tmp_path / "x.h5", compression="gzip")
    content = (tmp_path / "x.h5").read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(8):
        changed = bytearray(content)
        for place in rng.integers(0, len(content) // 2, 20):
            changed[place] = rng.integers(256)
        (tmp_path / "x.h5").write_bytes(changed)
        try:
            with H5Rows(tmp_path / "x.h5", "data", "features") as rows:
                if rows.shape == VALUES.shape:
                    list(rows.blocks())
        except DatasetError:
            refused += 1
    assert refused > 0


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, message in (
        (tmp_path, "is a directory"),
        (tmp_path / "no", "no such file"),
        (tmp_path / "pipe", "not a"),
    ):
        with pytest.raises(DatasetError, match=message):
            read(path)


def test_a_reader_that_hangs_or_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(tmp_path / "x.h5")
    monkeypatch.setattr(h5_files, "SECONDS", 0.3)
    monkeypatch.setattr(h5_files, "python_program", lambda *_: ["sleep", "20"])
    start = time.monotonic()
    with pytest.raises(DatasetError, match=r"made no progress for 0\.3 s and was stopped"):
        read(tmp_path / "x.h5")
    assert time.monotonic() - start < 10
    monkeypatch.setattr(h5_files, "SECONDS", 20.0)
    monkeypatch.setattr(h5_files, "python_program", lambda *_: ["sh", "-c", "kill -SEGV $$"])
    with pytest.raises(DatasetError, match="the process that reads it was killed by signal 11"):
        read(tmp_path / "x.h5")
    for rows, message in ((2, "the process that reads it ended with status 0"), (9, "9 rows where 5 are left")):
        script = f"""echo '{{"name": "data", "shape": [5, 3, 4]}}'; echo '{{"rows": {rows}}}'"""
        monkeypatch.setattr(h5_files, "python_program", lambda *_, script=script: ["sh", "-c", script])
        with pytest.raises(DatasetError, match=message):
            read(tmp_path / "x.h5")


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(h5_files, "has_h5py", lambda: False)
    with pytest.raises(SetupError, match=r"x\.h5: HDF5 files need h5py; install it with: pip install 'avvp\[avel\]'"):
        read(tmp_path / "x.h5")
