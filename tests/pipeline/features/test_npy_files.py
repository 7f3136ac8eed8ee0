"""Arrays and stores of strangers: headers that lie, names that lead out, files that are not files."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import subprocess
import sys
import time
import tracemalloc
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
from avvp.extractors.profiles import FeatureSpec
from avvp.pipeline.datasets.pseudo_labels import FOLDERS, read_pseudo_labels, write_pseudo_labels
from avvp.pipeline.errors import AVVPError, DatasetError, OutputError
from avvp.pipeline.features import packing
from avvp.pipeline.features.npy_files import parse_array, read_array, read_header
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC, FeatureFolders
from avvp.pipeline.features.packed_store import FeatureStore, open_features
from avvp.pipeline.features.packing import pack_features
from support.command import Run
from support.hostile_values import join_npy

ROWS = np.arange(12, dtype="<f4").reshape(3, 4)
HOUR = 3_600


@pytest.mark.parametrize("order", ["C", "F"])
@pytest.mark.parametrize("dtype", ["<f4", ">f4", "<f2", "<f8", "|u1", "|b1", "<i8", "<U5"])
def test_arrays_of_numpy(tmp_path: Path, dtype: str, order: Any) -> None:
    rows = np.asarray(ROWS, dtype, order=order)
    np.save(tmp_path / "x.npy", rows)
    assert read_header(tmp_path / "x.npy").shape == (3, 4)
    for back in (read_array(tmp_path / "x.npy"), parse_array((tmp_path / "x.npy").read_bytes())):
        assert back.dtype == rows.dtype
        np.testing.assert_array_equal(back, rows)


@pytest.mark.parametrize(
    "header",
    [
        "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), }",
        "{'shape': (3, 4), 'fortran_order': False, 'descr': '<f4'}",
        '{"descr": "<f4", "fortran_order": False, "shape": (3L, 4L)}',
        "{'descr':'<f4','fortran_order':False,'shape':(3,4,),}",
    ],
)
@pytest.mark.parametrize("version", [1, 2, 3])
def test_headers_of_other_programs(tmp_path: Path, header: str, version: int) -> None:
    (tmp_path / "x.npy").write_bytes(join_npy(header, ROWS.tobytes(), version=version))
    np.testing.assert_array_equal(read_array(tmp_path / "x.npy"), ROWS)


@pytest.mark.parametrize("shape", [(), (0,), (0, 10**14, 10**14), (5,)])
def test_shapes_without_rows(tmp_path: Path, shape: tuple[int, ...]) -> None:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}"
    (tmp_path / "x.npy").write_bytes(join_npy(header, b"\0" * 20))
    with contextlib.suppress(DatasetError):  # numpy has a limit of its own
        assert read_array(tmp_path / "x.npy").shape == shape


HEADER = "{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}}}"
HOSTILE = {
    "negative": HEADER.format(descr="'<f4'", order="False", shape="(-1, 4)"),
    "huge": HEADER.format(descr="'<f4'", order="False", shape="(1000000000000, 4)"),
    "overflow": HEADER.format(descr="'<f4'", order="False", shape=f"({2**62}, {2**62})"),
    "digits": HEADER.format(descr="'<f4'", order="False", shape=f"({'9' * 5_000},)"),
    "dimensions": HEADER.format(descr="'<f4'", order="False", shape=f"({'1, ' * 60})"),
    "expression": HEADER.format(descr="'<f4'", order="False", shape="9**9**9"),
    "bool": HEADER.format(descr="'<f4'", order="False", shape="(True, 4)"),
    "structure": HEADER.format(descr="[('a', '<f4')]", order="False", shape="(3,)"),
    "subarray": HEADER.format(descr="'(1000,1000)<f4'", order="False", shape="(3,)"),
    "void": HEADER.format(descr="'|V8'", order="False", shape="(3,)"),
    "no width": HEADER.format(descr="'|S0'", order="False", shape="(1000000000,)"),
    "time": HEADER.format(descr="'<M8'", order="False", shape="(3,)"),
    "unknown": HEADER.format(descr="'<q9'", order="False", shape="(3,)"),
    "order": HEADER.format(descr="'<f4'", order="1", shape="(3, 4)"),
    "twice": "{'descr': '<f4', 'descr': '<f4', 'fortran_order': False, 'shape': (3, 4)}",
    "extra": "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 4), 'x': 1}",
    "code": "{'descr': __import__('os').getcwd(), 'fortran_order': False, 'shape': (3, 4)}",
    "brackets": "[" * 5_000,
    "operators": "-" * 5_000 + "1",
    "unclosed": "{'descr': (((((",
    "blanks": "{" + " " * 9_000,
    "commas": "{'shape': (" + "1," * 4_000,
    "nothing": "",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_headers(tmp_path: Path, name: str) -> None:
    path = tmp_path / "x.npy"
    path.write_bytes(join_npy(HOSTILE[name], ROWS.tobytes(), version=2))
    _is_refused_cheaply(path)


@pytest.mark.parametrize("version", [0, 4, 255])
def test_unknown_versions(tmp_path: Path, version: int) -> None:
    header = HEADER.format(descr="'<f4'", order="False", shape="(3, 4)")
    (tmp_path / "x.npy").write_bytes(join_npy(header, ROWS.tobytes(), version=version))
    _is_refused_cheaply(tmp_path / "x.npy")


@pytest.mark.parametrize("claimed", [1, 40, 9_999, 10_001, 2**31, 2**32 - 1])
def test_a_header_that_lies_about_its_length(tmp_path: Path, claimed: int) -> None:
    """A sparse file of a terabyte takes no space, and no memory to be refused."""
    header = HEADER.format(descr="'<f4'", order="False", shape="(3, 4)")
    path = tmp_path / "x.npy"
    path.write_bytes(join_npy(header, b"", version=2, claimed=claimed))
    os.truncate(path, 1 << 40)
    _is_refused_cheaply(path)


def _is_refused_cheaply(path: Path) -> None:
    tracemalloc.start()
    started = time.process_time()
    try:
        with pytest.raises(DatasetError, match=r"x\.npy") as error:
            read_array(path)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 1 << 20
    assert time.process_time() - started < 1
    assert len(str(error.value)) < 1_000


@pytest.mark.parametrize("make", [os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/zero")])
def test_what_is_not_a_regular_file(tmp_path: Path, make: Any) -> None:
    make(tmp_path / "x.npy")
    _is_refused_cheaply(tmp_path / "x.npy")


def folders(root: Path, seconds: int = 4, clips: tuple[str, ...] = ("one", "two")) -> Path:
    """Write features of small widths."""
    spec = FeatureSpec("clean", 1, ("a", "b", "c"), (3, 5, 4), 2, 16_000)
    rng = np.random.default_rng(0)
    for name, width, rate in zip(spec.extractors, spec.dims, (1, 2, 1), strict=True):
        (root / name).mkdir(parents=True)
        for clip in clips:
            np.save(root / name / f"{clip}.npy", rng.random((seconds * rate, width), np.float32))
    (root / "features.json").write_text(json.dumps(spec.to_dict()))
    return root


OUTSIDE = (
    "../private",
    "../../private",
    "/etc",
    "a/../../private",
    "link",
    "loop",
    "x" * 300,
    "\0",
    "\ud800",
    "..",
    ".",
    "",
)


class TestNamesInFiles:
    @pytest.fixture
    def feats(self, tmp_path: Path) -> Path:
        feats = folders(tmp_path / "feats")
        (tmp_path / "private").mkdir()
        for name in ("one", "two", "secret"):
            np.save(tmp_path / "private" / f"{name}.npy", np.ones((4, 3), np.float32))
        (feats / "link").symlink_to("../private")
        (feats / "loop").symlink_to("loop")
        return feats

    @pytest.mark.parametrize("name", OUTSIDE)
    def test_extractors(self, feats: Path, name: str) -> None:
        spec = json.loads((feats / "features.json").read_text())
        (feats / "features.json").write_text(json.dumps({**spec, "extractors": [name, "b", "c"]}))
        with pytest.raises(DatasetError, match=r"features\.json"):
            FeatureFolders(feats)

    @pytest.mark.parametrize("name", ["../../private/secret", "/etc/passwd", "x" * 5_000, "a\0b", "\ud800", "..", ""])
    def test_clips(self, feats: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
        """Names of clips come from annotations: none of them is opened unless the folder lists it."""
        opened: list[str] = []
        real = os.open

        def watch(path: Any, *options: Any, **more: Any) -> int:
            opened.append(str(path))
            return real(path, *options, **more)

        monkeypatch.setattr(os, "open", watch)
        lengths, problems = FeatureFolders(feats).lengths([name, "one"])
        assert lengths == {"one": 4}
        assert len(problems) == 3
        assert {Path(path).name for path in opened} == {"features.json", "one.npy"}

    @pytest.mark.parametrize("name", ["../../../private/secret", "/etc/passwd", "x" * 5_000, "a\0b", "..", ""])
    def test_pseudo_labels(self, tmp_path: Path, feats: Path, name: str) -> None:  # noqa: ARG002 - private files
        root = tmp_path / "labels"
        write_pseudo_labels(root, "audio", "one", np.zeros((4, 2), bool))
        _, problems = read_pseudo_labels(root, "audio", ["one", name], [4, 4], 2)
        assert len(problems) == 1
        assert "no such file" in problems[0]
        if name not in {"..", ""}:
            with pytest.raises(AVVPError):
                write_pseudo_labels(root, "audio", name, np.zeros((4, 2), bool))

    def test_array_of_a_store(self, tmp_path: Path, feats: Path) -> None:
        pack_features(FeatureFolders(feats), tmp_path / "store")
        (tmp_path / "store" / "features.npy").rename(tmp_path / "elsewhere.npy")
        (tmp_path / "store" / "features.npy").symlink_to("../elsewhere.npy")
        with pytest.raises(DatasetError, match=r"index\.json: .*leads out"):
            open_features(tmp_path / "store")

    def test_entries_of_the_folder_are_the_users(self, tmp_path: Path) -> None:
        """Links of clips to another disk are read: no file names them."""
        feats = folders(tmp_path / "feats")
        (feats / "a" / "one.npy").rename(tmp_path / "elsewhere.npy")
        (feats / "a" / "one.npy").symlink_to("../../elsewhere.npy")
        assert FeatureFolders(feats).read("one").shape == (4, 12)


SPEC = PUBLISHED_SPEC.to_dict()


@pytest.mark.parametrize(
    "changes",
    [
        {"dims": [128, 2048]}, {"dims": [128, 2048, 512, 1]}, {"dims": [128, 2048, 10**9]}, {"dims": [128, -1, 512]},
        {"dims": [128, True, 512]}, {"dims": [128, 2048.0, 512]}, {"dims": 3}, {"dims": None}, {"extractors": "abc"},
        {"extractors": ["a", "b"]}, {"extractors": ["a", "b", "b"]}, {"extractors": ["a", "b", {}]},
        {"extractors": ["a", "b", "x" * 300]}, {"profile": 3}, {"profile": ""}, {"profile_version": "1"},
        {"frames_per_segment": 0}, {"frames_per_segment": 10**12}, {"sample_rate": 1e9}, {"more": 1},
    ],
)  # fmt: skip
def test_specifications_are_what_they_claim(changes: dict[str, Any]) -> None:
    assert FeatureSpec.from_dict(SPEC) == PUBLISHED_SPEC
    with pytest.raises(ValueError, match=r"expected|twice"):
        FeatureSpec.from_dict({**SPEC, **changes})


@pytest.mark.parametrize("document", [None, 3, "x", [], [["profile", 1]], {}])
def test_specifications_of_another_type(document: Any) -> None:
    with pytest.raises(ValueError, match="not a feature specification"):
        FeatureSpec.from_dict(document)


class TestStore:
    @pytest.mark.parametrize(
        "changes",
        [
            {"lengths": [4, 4.0]}, {"lengths": [4, True]}, {"lengths": [4, -4]}, {"lengths": [4, 10**30]},
            {"lengths": [4, "4"]}, {"lengths": {"one": 4}}, {"ids": ["one", 2]}, {"ids": ["one", None]}, {"ids": "ab"},
            {"ids": [], "lengths": []}, {"format": "2"}, {"format": [2]}, {"format": True}, {"array": ["features.npy"]},
            {"array": ".."}, {"array": "x" * 300}, {"spec": []},
        ],
    )  # fmt: skip
    def test_index(self, tmp_path: Path, changes: dict[str, Any]) -> None:
        pack_features(FeatureFolders(folders(tmp_path / "feats")), tmp_path / "store")
        path = tmp_path / "store" / "index.json"
        path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        with pytest.raises(DatasetError, match="not a valid index"):
            open_features(tmp_path / "store")

    def test_a_file_that_shrinks_is_an_error(self, tmp_path: Path) -> None:
        """A memory map would end the process with SIGBUS."""
        pack_features(FeatureFolders(folders(tmp_path / "feats", 5_000)), tmp_path / "store")
        store = open_features(tmp_path / "store")
        os.truncate(tmp_path / "store" / "features.npy", 200)
        with pytest.raises(DatasetError, match=r"features\.npy: cannot be read: it ends too early"):
            store.read("two")

    def test_a_file_that_is_replaced_stays_readable(self, tmp_path: Path) -> None:
        pack_features(FeatureFolders(folders(tmp_path / "feats")), tmp_path / "store")
        store = open_features(tmp_path / "store")
        before = store.read("two")
        (tmp_path / "store" / "features.npy").unlink()
        np.testing.assert_array_equal(store.read("two"), before)

    def test_permissions_are_those_of_the_umask(self, tmp_path: Path) -> None:
        previous = os.umask(0o077)
        try:
            pack_features(FeatureFolders(folders(tmp_path / "feats")), tmp_path / "store")
        finally:
            os.umask(previous)
        assert (tmp_path / "store").stat().st_mode & 0o777 == 0o700


class TestPacking:
    def test_a_killed_run_leaves_no_store_and_the_next_one_cleans_up(self, tmp_path: Path) -> None:
        feats = folders(tmp_path / "feats")
        program = (
            "import os, signal, sys; from pathlib import Path\n"
            "from avvp.pipeline.features.npy_folders import FeatureFolders\n"
            "from avvp.pipeline.features.packing import pack_features\n"
            "kill = lambda done, total: os.kill(os.getpid(), signal.SIGKILL)\n"
            "pack_features(FeatureFolders(Path(sys.argv[1])), Path(sys.argv[2]), progress=kill)\n"
        )
        store = tmp_path / "store"
        killed = subprocess.run([sys.executable, "-c", program, str(feats), str(store)], check=False)
        assert killed.returncode == -9
        assert not store.exists()
        (left,) = tmp_path.glob(".avvp-pack-*.part")
        os.utime(left, (0, 0))
        pack_features(FeatureFolders(feats), store)
        assert isinstance(open_features(store), FeatureStore)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["feats", "store"]

    def test_the_folder_of_a_run_that_works_is_kept(self, tmp_path: Path) -> None:
        working = tmp_path / ".avvp-pack-0.part"
        working.mkdir()
        os.utime(working, (0, 0))
        descriptor = os.open(working, os.O_RDONLY)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        pack_features(FeatureFolders(folders(tmp_path / "feats")), tmp_path / "store")
        assert working.exists()
        os.close(descriptor)

    def test_hours(self, run: Run, tmp_path: Path) -> None:
        """Two clips of an hour each are read in parts of a minute, and give the same numbers as the whole."""
        feats = folders(tmp_path / "feats", HOUR)
        result = run("pack", feats, tmp_path / "store", "-q")
        assert result.status == 0, result.err
        store, source = open_features(tmp_path / "store"), FeatureFolders(feats)
        assert store.lengths(["one", "two"])[0] == {"one": HOUR, "two": HOUR}
        frames = np.load(feats / "b" / "two.npy").reshape(HOUR, 2, 5).mean(axis=1)
        np.testing.assert_array_equal(store.read("two")[:, 3:8], frames)
        np.testing.assert_array_equal(store.read("two"), source.read("two"))


def test_a_pseudo_label_of_another_shape_is_not_read(tmp_path: Path) -> None:
    """Its header says how large it is: a file of a terabyte is refused before its values are read."""
    folder = tmp_path / FOLDERS["audio"]
    folder.mkdir(parents=True)
    header = HEADER.format(descr="'|u1'", order="False", shape=f"({1 << 35}, 25)")
    (folder / "one.npy").write_bytes(join_npy(header, b""))
    os.truncate(folder / "one.npy", 1 << 40)
    _, problems = read_pseudo_labels(tmp_path, "audio", ["one"], [10], 25)
    assert "shape (34359738368, 25), expected (10, 25)" in problems[0]


@pytest.mark.parametrize("broken", ["mkdir", "write", "fsync", "rename"])
def test_a_disk_that_is_full_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, broken: str) -> None:
    """Wherever the disk refuses: no store, no temporary folder, one message."""
    feats = folders(tmp_path / "feats")

    def refuse(*_arguments: object, **_options: object) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    targets = {"mkdir": (Path, "mkdir"), "fsync": (os, "fsync"), "rename": (Path, "rename")}
    owner, name = targets.get(broken, (packing, "write_header"))
    monkeypatch.setattr(owner, name, refuse)
    with pytest.raises(OutputError, match="store: cannot be written: No space left on device"):
        pack_features(FeatureFolders(feats), tmp_path / "store")
    assert [path.name for path in tmp_path.iterdir()] == ["feats"]
