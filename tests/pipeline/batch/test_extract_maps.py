"""Batch extraction under profile ave: the same maps as of single files, in folders and in packed stores."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline import extract_features
from avvp.pipeline.batch.feature_spool import PooledSpool
from avvp.pipeline.features.npy_folders import FeatureFolders
from avvp.pipeline.features.packed_store import open_features
from avvp.pipeline.inference.bundle import load_networks
from support.bundles import write_tiny_localizer
from support.command import Result
from support.media import Clips

Run = Callable[..., Result]
WIDTHS = {"vggish_tiny": 16, "vgg19_tiny": 392}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_tiny_localizer(tmp_path_factory.mktemp("bundles") / "ave", profile="ave-4")


@pytest.fixture(scope="module")
def videos(clips: Clips, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("videos")
    for name in ("steady", "blind", "silent", "variable", "blink", "damaged"):
        source = getattr(clips, name)
        shutil.copy(source, folder / f"{name}{source.suffix}")
    return folder


def test_features_are_those_of_single_files(run: Run, videos: Path, tmp_path: Path, bundle: Path) -> None:
    result = run("extract", videos, "-o", tmp_path, "--weights", bundle, "--device", "cpu", "--workers", 2)
    assert result.status == 0, result.err
    extractors = load_networks(str(bundle)).extractors.by_name
    for path in sorted(videos.iterdir()):
        expected = extract_features(path, extractors, profile="ave-4")
        for (folder, width), rows in zip(WIDTHS.items(), expected.arrays().values(), strict=True):
            found = np.load(tmp_path / folder / f"{path.stem}.npy")
            assert (found.shape, found.dtype) == ((expected.segments, width), np.float32)
            np.testing.assert_allclose(found, rows, rtol=1e-4, atol=1e-5 * np.abs(rows).max())
    source = FeatureFolders(tmp_path)
    assert (source.spec.profile, source.spec.streams) == ("ave-4", ("audio", "visual_map"))
    assert source.lengths(sorted(source.ids()))[1] == []
    again = run("extract", videos, "-o", tmp_path, "--weights", bundle, "--device", "cpu")
    assert "6 done before" in again.err


def test_packed_store_holds_both_streams_side_by_side(run: Run, videos: Path, tmp_path: Path, bundle: Path) -> None:
    planned = run("extract", videos, "-o", tmp_path / "store", "--weights", bundle, "--layout", "packed", "--dry-run")
    assert planned.status == 0, planned.err
    assert "6 to compute" in planned.err + planned.out
    for layout in ("packed", "llp"):
        result = run("extract", videos, "-o", tmp_path / layout, "--weights", bundle, "--layout", layout)
        assert result.status == 0, result.err
    store, folders = open_features(tmp_path / "packed"), open_features(tmp_path / "llp")
    assert store.spec == folders.spec
    for name in sorted(store.ids()):
        rows = store.read(name)
        assert rows.shape[1] == sum(WIDTHS.values())
        np.testing.assert_array_equal(rows, folders.read(name))


def test_features_do_not_depend_on_other_videos(run: Run, videos: Path, tmp_path: Path, bundle: Path) -> None:
    run("extract", videos, "-o", tmp_path / "all", "--weights", bundle, "--workers", 3)
    run("extract", videos / "steady.mp4", "-o", tmp_path / "one", "--weights", bundle, "--threads", 1)
    for folder in WIDTHS:
        alone, among = (tmp_path / name / folder / "steady.npy" for name in ("one", "all"))
        assert alone.read_bytes() == among.read_bytes()


def test_features_of_the_two_rates_are_not_mixed(run: Run, videos: Path, tmp_path: Path, bundle: Path) -> None:
    video = videos / "blink.mp4"
    assert run("extract", video, "-o", tmp_path / "feats", "--weights", bundle).status == 0
    other = write_tiny_localizer(tmp_path / "bundle", profile="ave")
    refused = run("extract", video, "-o", tmp_path / "feats", "--weights", other)
    assert refused.status == 2
    assert "profile: ave-4 / ave" in refused.err


def test_means_are_stored_in_their_order() -> None:
    spool = PooledSpool(2)
    spool.put(1, np.array([[3, 3], [5, 5]], np.float32))
    spool.add_groups(np.array([[0, 1], [1, 1], [1, 2]]))
    spool.put(0, np.array([[1, 1]], np.float32))
    assert np.concatenate(list(spool.blocks([2, 0, 0], 2))).tolist() == [[4, 4], [2, 2], [2, 2]]
    spool.close()
