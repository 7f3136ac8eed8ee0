"""Published HDF5 features of AVE, packed into a store by the command line."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from avvp.pipeline.features.pack_h5 import PUBLISHED_SPEC
from avvp.pipeline.features.packed_store import FeatureStore
from support.command import Run

ROWS = "Dog&one&good&0&10\nCat, wild&two&good&2&4\nCat, wild&one&good&0&10\n"
NAMES = ("one", "two", "one.2")
SECONDS = 2


def make_features(clips: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    visual = np.maximum(rng.standard_normal((clips, SECONDS, 7, 7, 512)), 0) * 20
    return visual, np.maximum(rng.standard_normal((clips, SECONDS, 128)), 0)


def write(path: Path, values: np.ndarray, **settings: Any) -> None:
    with h5py.File(path, "w") as file:
        file.create_dataset("avadataset", data=values, **settings)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Annotations of three clips and two noisy ones, and published files of their features."""
    (tmp_path / "ave").mkdir()
    (tmp_path / "ave" / "Annotations.txt").write_text(ROWS)
    (tmp_path / "ave" / "trainSet.txt").write_text(ROWS)
    write(tmp_path / "ave" / "labels_noisy.h5", np.eye(3, dtype=np.float32)[[2, 2]])
    for suffix, clips, seed in (("", 3, 0), ("_noisy", 2, 1)):
        visual, audio = make_features(clips, seed)
        write(tmp_path / f"visual_feature{suffix}.h5", visual)
        write(tmp_path / f"audio_feature{suffix}.h5", audio)
    return tmp_path


def arguments(folder: Path, *more: object, visual: str = "visual_feature.h5", audio: str = "audio_feature.h5") -> list:
    files = ["--from-h5", folder / visual, folder / audio, "--annotations", folder / "ave"]
    return ["pack", *files, "-o", folder / "store", *more]


def test_values_and_names(run: Run, folder: Path) -> None:
    noisy = ["--noisy-h5", folder / "visual_feature_noisy.h5", folder / "audio_feature_noisy.h5"]
    result = run(*arguments(folder, *noisy))
    assert result.status == 0, result.err
    assert "5 clips, 505 kB" in result.err
    store = FeatureStore(folder / "store")
    assert store.spec == PUBLISHED_SPEC
    assert (store.spec.profile, store.spec.streams, store.spec.dims) == ("ave", ("audio", "visual_map"), (128, 25_088))
    assert store.ids() == {*NAMES, "noisy_000", "noisy_001"}
    assert store.lengths(NAMES)[0] == dict.fromkeys(NAMES, SECONDS)
    for names, clips, seed in ((NAMES, 3, 0), (("noisy_000", "noisy_001"), 2, 1)):
        visual, audio = make_features(clips, seed)
        for index, name in enumerate(names):
            rows = store.read(name)
            assert rows.dtype == np.float16
            np.testing.assert_array_equal(rows[:, :128], audio[index].astype(np.float32).astype(np.float16))
            expected = visual[index].reshape(SECONDS, -1).astype(np.float32).astype(np.float16)
            np.testing.assert_array_equal(rows[:, 128:], expected)


def test_float32_of_compressed_files(run: Run, folder: Path) -> None:
    visual, audio = make_features(3, 0)
    write(folder / "visual_feature.h5", visual.reshape(3, SECONDS, 7, 7, 512), compression="gzip", compression_opts=1)
    assert run(*arguments(folder, "--dtype", "float32", "-q")).status == 0
    rows = FeatureStore(folder / "store").read("two")
    np.testing.assert_array_equal(rows[:, 128:], visual[1].reshape(SECONDS, -1).astype(np.float32))
    np.testing.assert_array_equal(rows[:, :128], audio[1].astype(np.float32))


@pytest.mark.parametrize(
    ("file", "shape", "message"),
    [
        ("visual_feature.h5", (3, SECONDS, 512, 7, 7), "expected visual features (N, T, 7, 7, 512)"),
        ("visual_feature.h5", (3, 10, 512), "visual_feature.h5: shape (3, 10, 512), expected visual features"),
        ("visual_feature.h5", (3, SECONDS, 128), "the visual file comes first, then the audio file"),
        ("audio_feature.h5", (3, SECONDS, 2048), "expected audio features (N, T, 128)"),
        ("audio_feature.h5", (3, 128), "expected audio features (N, T, 128)"),
        ("audio_feature.h5", (3, 4, 128), "3 clips of 4 s, but "),
        ("audio_feature.h5", (4, SECONDS, 128), "4 clips of 2 s, but "),
    ],
)
def test_files_of_another_shape(run: Run, folder: Path, file: str, shape: tuple[int, ...], message: str) -> None:
    """LLP's features among them: 512 values of R(2+1)D, 2048 of ResNet-152."""
    write(folder / file, np.ones(shape))
    result = run(*arguments(folder))
    assert result.status == 2
    assert message in result.err
    assert not (folder / "store").exists()


def test_files_of_other_clips(run: Run, folder: Path) -> None:
    (folder / "ave" / "Annotations.txt").write_text(ROWS + "Dog&four&good&0&1\n")
    result = run(*arguments(folder))
    assert result.status == 2
    assert "3 clips of 2 s, but Annotations.txt has 4: row by row, they must be the same clips" in result.err
    (folder / "ave" / "Annotations.txt").write_text(ROWS)
    noisy = ["--noisy-h5", folder / "visual_feature.h5", folder / "audio_feature.h5"]
    assert "but the split noisy of" in run(*arguments(folder, *noisy)).err
    (folder / "ave" / "labels_noisy.h5").unlink()
    result = run(*arguments(folder, *noisy))
    assert result.status == 2
    assert "no labels_noisy.h5 and no noisySet.txt lists the noisy clips" in result.err


def test_a_truncated_file(run: Run, folder: Path) -> None:
    os.truncate(folder / "visual_feature.h5", 1_000_000)
    result = run(*arguments(folder))
    assert result.status == 2
    assert "visual_feature.h5: truncated: it is shorter than it says" in result.err
    assert sorted(path.name for path in folder.iterdir() if "store" in path.name or "part" in path.name) == []


def test_clips_with_unusable_values(run: Run, folder: Path) -> None:
    visual, audio = make_features(3, 0)
    visual[1, 0, 0, 0, 0] = 1e5
    audio[2, 1, 5] = np.nan
    write(folder / "visual_feature.h5", visual)
    write(folder / "audio_feature.h5", audio)
    result = run(*arguments(folder))
    assert result.status == 1
    assert "two: value 100000 exceeds the range of float16; pack it as float32" in result.err
    assert "one.2: contains NaN or infinity" in result.err
    assert not (folder / "store").exists()
    result = run(*arguments(folder, "--skip-bad"))
    assert result.status == 1
    assert FeatureStore(folder / "store").ids() == {"one"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["pack"], "Missing argument 'FEATURES', or --from-h5."),
        (["pack", "{}/ave"], "Missing argument 'STORE'."),
        (["pack", "{}/ave", "{}/a", "-o", "{}/b"], "STORE and -o name two stores"),
        (["pack", "{}/ave", "{}/a", "--annotations", "{}/ave"], "--annotations goes with --from-h5"),
        (["pack", "{}/ave", "--from-h5", "{v}", "{v}"], "FEATURES and --from-h5 are two inputs"),
        (["pack", "--from-h5", "{v}", "{v}", "-o", "{}/a"], "--from-h5 needs --annotations"),
        (["pack", "--from-h5", "{v}", "{v}", "--annotations", "{}/ave"], "Missing option '-o'."),
        (["pack", "--from-h5", "{v}", "{v}", "--annotations", "{}", "-o", "{}/a"], "Annotations.txt: no such file"),
    ],
)
def test_options_that_do_not_go_together(run: Run, folder: Path, words: list[str], message: str) -> None:
    visual = str(folder / "visual_feature.h5")
    result = run(*(word.replace("{v}", visual).replace("{}", str(folder)) for word in words))
    assert result.status == 2
    assert message in result.err


def test_a_store_that_does_not_fit_on_the_disk(run: Run, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 300_000})())
    result = run(*arguments(folder))
    assert result.status == 1
    assert "store: needs 303 kB, and its disk has 300 kB left" in result.err


def test_a_run_that_is_interrupted_leaves_no_store(folder: Path) -> None:
    (folder / "ave" / "labels_noisy.h5").unlink()
    visual, audio = make_features(200, 0)
    rows = "".join(f"Dog&clip{n}&good&0&1\n" for n in range(200))
    for name in ("Annotations.txt", "trainSet.txt"):
        (folder / "ave" / name).write_text(rows)
    write(folder / "visual_feature.h5", visual)
    write(folder / "audio_feature.h5", audio)
    code = "from avvp.pipeline.cli.main import main; main()"
    program = [sys.executable, "-c", code, *map(str, arguments(folder))]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    end = time.monotonic() + 60
    while not list(folder.glob(".avvp-pack-*/features.npy")) and process.poll() is None and time.monotonic() < end:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "Traceback" not in errors
    assert [path.name for path in folder.iterdir() if path.name.startswith((".avvp", "store"))] == []
