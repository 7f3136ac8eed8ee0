"""Contract tests of feature folders and the packed store; errors name every bad file."""

from __future__ import annotations

import errno
import io
import json
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

import numpy as np
import pytest
from avvp.extractors.profiles import FeatureSpec
from avvp.pipeline.errors import DatasetError, OutputError
from avvp.pipeline.features.npy_files import read_header
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC, FeatureFolders, FeatureSource
from avvp.pipeline.features.packed_store import INDEX_FILE, FeatureStore, open_features
from avvp.pipeline.features.packing import pack_features

SPEC = FeatureSpec("clean", 1, ("vggish_tiny", "resnet152", "r2plus1d_tiny"), (3, 5, 4), frames_per_segment=2)
FOLDERS = ("vggish_tiny", "res152", "r2plus1d_tiny")
LENGTHS = {"one": 4, "two": 2, "three": 1}


def clip(seconds: int, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((seconds * rate, width), np.float32) for rate, width in ((1, 3), (2, 5), (1, 4))]


@pytest.fixture
def folders(tmp_path: Path) -> Path:
    root = tmp_path / "feats"
    for name in FOLDERS:
        (root / name).mkdir(parents=True)
    (root / "features.json").write_text(json.dumps(SPEC.to_dict()))
    for seed, (clip_id, seconds) in enumerate(LENGTHS.items()):
        for name, rows in zip(FOLDERS, clip(seconds, seed), strict=True):
            np.save(root / name / f"{clip_id}.npy", rows)
    return root


def as_store(dtype: str) -> Callable[[Path], FeatureSource]:
    def build(root: Path) -> FeatureSource:
        pack_features(FeatureFolders(root), root.with_name("packed"), dtype=dtype)
        return open_features(root.with_name("packed"))

    return build


LAYOUTS: dict[str, tuple[Callable[[Path], FeatureSource], float]] = {
    "folders": (open_features, 0),
    "float32": (as_store("float32"), 0),
    "float16": (as_store("float16"), 1e-3),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_contract(folders: Path, layout: str) -> None:
    build, tolerance = LAYOUTS[layout]
    source = build(folders)
    assert source.spec == SPEC
    assert source.ids() == set(LENGTHS)
    assert source.lengths(["two", "one"]) == ({"two": 2, "one": 4}, [])
    lengths, problems = source.lengths(["two", "nowhere"])
    assert lengths == {"two": 2}
    assert problems
    assert all("nowhere" in problem for problem in problems)
    for seed, (clip_id, seconds) in enumerate(LENGTHS.items()):
        audio, frames, clips = clip(seconds, seed)
        expected = np.concatenate([audio, frames.reshape(seconds, 2, 5).mean(1), clips], axis=1)
        for _ in range(2):  # releasing the memory leaves the values
            np.testing.assert_allclose(source.read(clip_id), expected, rtol=tolerance, atol=tolerance)
            source.release()


def test_read_returns_a_copy(folders: Path) -> None:
    source = as_store("float32")(folders)
    rows = source.read("one")
    rows[:] = 0
    assert source.read("one").any()


def test_without_a_specification_the_published_features_are_assumed(tmp_path: Path) -> None:
    for name in ("vggish", "res152", "r2plus1d_18"):
        (tmp_path / name).mkdir()
    assert open_features(tmp_path).spec == PUBLISHED_SPEC


def test_other_floating_types_are_read(folders: Path) -> None:
    np.save(folders / "vggish_tiny" / "one.npy", clip(4, 0)[0].astype(np.float16))
    np.save(folders / "res152" / "one.npy", np.asfortranarray(clip(4, 0)[1].astype(np.float64)))
    source = open_features(folders)
    assert source.lengths(["one"]) == ({"one": 4}, [])
    np.testing.assert_allclose(source.read("one")[:, :3], clip(4, 0)[0], rtol=1e-3)
    assert source.read("one").dtype == np.float32


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


BAD: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (Path.unlink, "one.npy: no such file"),
    "empty": (lambda path: path.write_bytes(b""), "one.npy: not a .npy file"),
    "not_npy": (lambda path: path.write_text("hello"), "one.npy: not a .npy file"),
    "raw_pickle": (lambda path: path.write_bytes(pickle.dumps([1.0])), "one.npy: not a .npy file"),
    "pickled": (lambda path: np.save(path, np.array([{}], object)), "one.npy: contains pickled objects"),
    "truncated": (truncate, "one.npy: truncated, 281 of 288 bytes"),
    "width": (lambda path: np.save(path, np.zeros((8, 6), np.float32)), "one.npy: shape (8, 6), expected (2T, 5)"),
    "odd_rows": (lambda path: np.save(path, np.zeros((7, 5), np.float32)), "one.npy: shape (7, 5), expected (2T, 5)"),
    "no_rows": (lambda path: np.save(path, np.zeros((0, 5), np.float32)), "one.npy: shape (0, 5)"),
    "flat": (lambda path: np.save(path, np.zeros(40, np.float32)), "one.npy: shape (40,)"),
    "integers": (lambda path: np.save(path, np.zeros((8, 5), int)), "one.npy: type int64, expected a floating-point"),
    "seconds": (
        lambda path: np.save(path, np.zeros((6, 5), np.float32)),
        "one: its files have different numbers of seconds: vggish_tiny 4, res152 3, r2plus1d_tiny 4",
    ),
}


@pytest.mark.parametrize("kind", BAD)
def test_bad_files_are_named_without_reading_values(folders: Path, kind: str) -> None:
    spoil, message = BAD[kind]
    spoil(folders / "res152" / "one.npy")
    lengths, problems = open_features(folders).lengths(list(LENGTHS))
    assert set(lengths) == {"two", "three"}
    assert len(problems) == 1
    assert message in problems[0]


def test_folder_named_like_a_file(folders: Path) -> None:
    (folders / "res152" / "one.npy").unlink()
    (folders / "res152" / "one.npy").mkdir()
    _, problems = open_features(folders).lengths(["one"])
    assert "one.npy" in problems[0]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_nan_and_infinity_are_errors_when_values_are_read(folders: Path, value: float) -> None:
    rows = clip(4, 0)[1]
    rows[3, 2] = value
    np.save(folders / "res152" / "one.npy", rows)
    with pytest.raises(DatasetError, match=r"one\.npy: contains NaN or infinity"):
        open_features(folders).read("one")


def test_header_that_would_run_code_is_refused(tmp_path: Path) -> None:
    text = "{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (1,), }"
    header = text.ljust(117) + "\n"
    (tmp_path / "x.npy").write_bytes(b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode())
    with pytest.raises(DatasetError, match=r"not a \.npy file"):
        read_header(tmp_path / "x.npy")


@pytest.mark.parametrize(
    ("text", "message"), [("{", "not a feature specification"), ('{"profile": "llp"}', "not a feature specification")]
)
def test_invalid_specifications(folders: Path, text: str, message: str) -> None:
    (folders / "features.json").write_text(text)
    with pytest.raises(DatasetError, match=message):
        open_features(folders)


def test_missing_folders_are_named(folders: Path) -> None:
    for path in (folders / "res152").iterdir():
        path.unlink()
    (folders / "res152").rmdir()
    with pytest.raises(DatasetError, match="no feature folder res152"):
        open_features(folders)
    with pytest.raises(DatasetError, match="no such feature folder"):
        open_features(folders / "nowhere")


def test_no_store_is_created_if_a_file_is_bad(folders: Path) -> None:
    np.save(folders / "res152" / "one.npy", np.full((8, 5), np.nan, np.float32))
    truncate(folders / "vggish_tiny" / "two.npy")
    target = folders.with_name("packed")
    with pytest.raises(DatasetError) as error:
        pack_features(FeatureFolders(folders), target)
    assert "two.npy: truncated" in str(error.value)
    assert "one.npy: contains NaN or infinity" in str(error.value)
    assert [path.name for path in folders.parent.iterdir()] == ["feats"]


def test_bad_files_are_omitted_with_skip_bad(folders: Path) -> None:
    np.save(folders / "res152" / "one.npy", np.full((8, 5), np.nan, np.float32))
    packed = pack_features(FeatureFolders(folders), folders.with_name("packed"), skip_bad=True)
    assert packed.clips == 2
    assert len(packed.left_out) == 1
    store = open_features(folders.with_name("packed"))
    assert store.ids() == {"two", "three"}
    np.testing.assert_allclose(store.read("two")[:, :3], clip(2, 1)[0])


def test_values_outside_half_precision(folders: Path) -> None:
    rows = clip(4, 0)[0]
    rows[0, 0] = 1e5
    np.save(folders / "vggish_tiny" / "one.npy", rows)
    with pytest.raises(DatasetError, match="one: value 100000 exceeds the range of float16"):
        pack_features(FeatureFolders(folders), folders.with_name("packed"), dtype="float16")


def test_store_is_never_overwritten_and_empty_folder_not_packed(folders: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="already exists"):
        pack_features(FeatureFolders(folders), folders)
    for path in folders.glob("*/*.npy"):
        path.unlink()
    with pytest.raises(DatasetError, match="contains no features"):
        pack_features(FeatureFolders(folders), tmp_path / "packed")


def test_full_disk_leaves_no_files(folders: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match="No space left on device"):
        pack_features(FeatureFolders(folders), folders.with_name("packed"))
    assert [path.name for path in folders.parent.iterdir()] == ["feats"]


def append_bytes(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"abcd")


def change_index(root: Path, **changes: object) -> None:
    index = json.loads((root / INDEX_FILE).read_text())
    (root / INDEX_FILE).write_text(json.dumps({**index, **changes}))


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda root: (root / INDEX_FILE).write_text("[]"), "not the index of a packed store"),
        (lambda root: (root / INDEX_FILE).write_text("{"), "cannot be read"),
        (lambda root: change_index(root, format=4), "format 4, expected 3 or older"),
        (lambda root: change_index(root, format=3), r"but the index states \(7, 17\)"),
        (lambda root: change_index(root, array="../features.npy"), "expected the name of a file in the same folder"),
        (lambda root: change_index(root, lengths=[1, 2]), "do not match"),
        (lambda root: change_index(root, ids=["one", "one", "two"]), "do not match"),
        (lambda root: change_index(root, lengths=[5, 1, 2]), "but the index states"),
        (lambda root: change_index(root, spec={}), "not a feature specification"),
        (lambda root: truncate(root / "features.npy"), "features.npy: truncated"),
        (lambda root: (root / "features.npy").unlink(), "features.npy: no such file"),
        (lambda root: np.save(root / "features.npy", np.zeros((7, 12), int)), "int64"),
        (lambda root: np.save(root / "features.npy", np.zeros((7, 12), np.float32, order="F")), "the index states"),
        (lambda root: append_bytes(root / "features.npy"), "468 bytes, expected 464"),
    ],
)
def test_damaged_stores(folders: Path, spoil: Callable[[Path], object], message: str) -> None:
    root = folders.with_name("packed")
    pack_features(FeatureFolders(folders), root)
    spoil(root)
    with pytest.raises(DatasetError, match=message):
        open_features(root)


def test_array_of_a_store_is_an_ordinary_npy_file(folders: Path) -> None:
    """Its header is written twice, before and after the number of rows is known."""
    root = folders.with_name("packed")
    pack_features(FeatureFolders(folders), root)
    rows = np.load(io.BytesIO((root / "features.npy").read_bytes()))
    assert rows.shape == (7, 12)
    assert isinstance(open_features(root), FeatureStore)


def test_nan_in_a_store(folders: Path) -> None:
    root = folders.with_name("packed")
    pack_features(FeatureFolders(folders), root)
    rows = np.load(root / "features.npy")
    rows[-1, 3] = np.nan
    np.save(root / "features.npy", rows)
    store = open_features(root)
    assert store.read("one").any()
    with pytest.raises(DatasetError, match="contains NaN or infinity in clip two"):
        store.read("two")
