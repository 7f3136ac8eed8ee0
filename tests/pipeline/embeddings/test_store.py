"""The store of embeddings: keys, use, damage, limits, several processes."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.embeddings import content_hashes
from avvp.pipeline.embeddings.content_hashes import content_hash
from avvp.pipeline.embeddings.embeddings import Embeddings
from avvp.pipeline.embeddings.store import EmbeddingStore
from avvp.pipeline.features.extract import FeatureSet
from avvp.pipeline.files import hash_stream
from avvp.pipeline.inference.extractors import LoadedExtractors
from support.embeddings import make_embeddings
from support.paths import ROOT

WHOLE = DecodeOptions()
KEPT = make_embeddings()


def outline(**changes: object) -> LoadedExtractors:
    found = LoadedExtractors((), KEPT.spec, {"audio": "a" * 64, "visual_2d": "b" * 64}, ComputePrecision())
    return replace(found, **changes)  # pyright: ignore[reportArgumentType]


class Extraction:
    """Returns the features of `KEPT`, and counts its calls."""

    def __init__(self, path: Path) -> None:
        self.calls, self.path = 0, path

    def __call__(self) -> FeatureSet:
        self.calls += 1
        return replace(KEPT, media=replace(KEPT.media, path=str(self.path))).features()


@pytest.fixture
def media(tmp_path: Path) -> Path:
    path = tmp_path / "clip.mp4"
    path.write_bytes(b"a film")
    return path


@pytest.fixture
def store(tmp_path: Path) -> EmbeddingStore:
    return EmbeddingStore(tmp_path / "store")


def test_a_file_is_extracted_once(store: EmbeddingStore, media: Path) -> None:
    extract = Extraction(media)
    first = store.provide(media, outline(), WHOLE, extract)
    second = store.provide(media, outline(), WHOLE, extract)
    assert extract.calls == 1
    np.testing.assert_array_equal(first.audio, second.audio)
    assert (first.media, first.warnings, first.duration) == (second.media, second.warnings, second.duration)


def test_a_copy_under_another_name_is_the_same_file(store: EmbeddingStore, media: Path) -> None:
    extract, copy = Extraction(media), media.with_name("copy.mp4")
    store.provide(media, outline(), WHOLE, extract)
    copy.write_bytes(media.read_bytes())
    found = store.provide(copy, outline(), WHOLE, extract)
    assert extract.calls == 1
    assert found.media is not None
    assert found.media.path == str(copy)


@pytest.mark.parametrize(
    ("extractors", "decoding"),
    [
        (outline(), DecodeOptions(start=1)),
        (outline(), DecodeOptions(end=4)),
        (outline(), DecodeOptions(decoder="ffmpeg")),
        (outline(weight_ids={"audio": "c" * 64, "visual_2d": "b" * 64}), WHOLE),
        (outline(weight_ids={"audio": "a" * 64, "visual_2d": "c" * 64}), WHOLE),
        (outline(precision=ComputePrecision("bf16")), WHOLE),
        (outline(precision=ComputePrecision(backend="openvino")), WHOLE),
        (outline(spec=replace(KEPT.spec, similar_pictures=2.0)), WHOLE),
        (outline(spec=replace(KEPT.spec, profile_version=2)), WHOLE),
    ],
    ids=["start", "end", "decoder", "sounds", "pictures", "precision", "backend", "similar pictures", "profile"],
)
def test_everything_that_features_depend_on_counts(
    store: EmbeddingStore, media: Path, extractors: LoadedExtractors, decoding: DecodeOptions
) -> None:
    extract = Extraction(media)
    store.provide(media, outline(), WHOLE, extract)
    store.provide(media, extractors, decoding, extract)
    assert extract.calls == 2


def test_a_file_that_has_changed_is_extracted_again(store: EmbeddingStore, media: Path) -> None:
    extract = Extraction(media)
    store.provide(media, outline(), WHOLE, extract)
    media.write_bytes(b"b film")
    store.provide(media, outline(), WHOLE, extract)
    assert extract.calls == 2


def test_a_file_that_changes_meanwhile_is_not_kept(store: EmbeddingStore, media: Path) -> None:
    def extract() -> FeatureSet:
        media.write_bytes(b"another film")
        return KEPT.features()

    store.provide(media, outline(), WHOLE, extract)
    assert list(store.folder.glob("*.safetensors")) == []


def test_damaged_embeddings_are_made_again(store: EmbeddingStore, media: Path) -> None:
    extract = Extraction(media)
    store.provide(media, outline(), WHOLE, extract)
    (kept,) = store.folder.glob("*.safetensors")
    content = bytearray(kept.read_bytes())
    content[-1] ^= 1
    kept.write_bytes(bytes(content))
    store.provide(media, outline(), WHOLE, extract)
    assert extract.calls == 2
    assert store.provide(media, outline(), WHOLE, extract).audio.shape == KEPT.audio.shape
    assert extract.calls == 2


def test_embeddings_that_cannot_be_read_now_stay(
    store: EmbeddingStore, media: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    extract = Extraction(media)
    store.provide(media, outline(), WHOLE, extract)

    def refuse(_: Path) -> int:
        raise OSError(errno.ENFILE, "too many open files")

    with monkeypatch.context() as patch:
        patch.setattr("avvp.pipeline.embeddings.files.open_regular", refuse)
        store.provide(media, outline(), WHOLE, extract)
        assert extract.calls == 2
        patch.setattr(store, "write", lambda *_: None)
        store.provide(media, outline(), WHOLE, extract)
        assert extract.calls == 3
    store.provide(media, outline(), WHOLE, extract)
    assert extract.calls == 3


def test_the_least_recently_used_are_removed(tmp_path: Path) -> None:
    store = EmbeddingStore(tmp_path / "store", limit=16_000)
    big = make_embeddings(seconds=20)  # 3,200 bytes and a header
    for age, name in ((30, "old"), (20, "middle"), (10, "new")):
        store.write(name, big)
        stamp = time.time() - age
        os.utime(store.folder / f"{name}.safetensors", (stamp, stamp))
    assert store.read("old") is not None  # now used
    store.write("newest", big)
    assert {path.stem for path in store.folder.glob("*.safetensors")} == {"newest", "old", "new"}


def test_what_killed_processes_leave_is_removed(store: EmbeddingStore) -> None:
    store.folder.mkdir()
    old, new = store.folder / ".avvp-a-1.part", store.folder / ".avvp-a-2.part"
    for path in (old, new):
        path.write_bytes(b"")
    os.utime(old, (1, 1))
    store.write("one", KEPT)
    assert not old.exists()
    assert new.exists()


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, media: Path) -> None:
    (tmp_path / "file").write_text("")
    told: list[str] = []
    found = EmbeddingStore(tmp_path / "file" / "store").provide(
        media, outline(), WHOLE, Extraction(media), tell=told.append
    )
    assert found.segments == 5
    assert len(told) == 1
    assert "embeddings cannot be kept" in told[0]


def test_what_is_no_file_is_left_to_the_decoder(store: EmbeddingStore, tmp_path: Path) -> None:
    extract = Extraction(tmp_path)
    assert store.find(tmp_path / "absent.mp4", outline(), WHOLE) == (None, None)
    store.provide(tmp_path / "absent.mp4", outline(), WHOLE, extract)
    assert extract.calls == 1


def test_a_hash_is_remembered_until_the_file_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, folder = tmp_path / "film", tmp_path / "store"
    path.write_bytes(b"a")
    monkeypatch.setattr(content_hashes, "_SETTLED", 0.0)
    time.sleep(0.05)
    first = content_hash(path, folder)
    reads: list[int] = []
    monkeypatch.setattr(content_hashes, "hash_stream", lambda file: (reads.append(1), hash_stream(file))[1])
    assert content_hash(path, folder) == first
    assert reads == []
    path.write_bytes(b"b")
    assert content_hash(path, folder) != first
    assert reads == [1]


def test_hashes_of_files_that_have_just_changed_are_not_remembered(tmp_path: Path) -> None:
    path = tmp_path / "film"
    path.write_bytes(b"a")
    content_hash(path, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_remembered_hashes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_hashes, "_SETTLED", 0.0)
    monkeypatch.setattr(content_hashes, "MAX_HASHES", 2)
    for name in "abc":
        (tmp_path / name).write_text(name)
    time.sleep(0.05)
    for name in "abc":
        content_hash(tmp_path / name, tmp_path / "store")
    assert len(list((tmp_path / "store" / "hashes").iterdir())) == 2


def test_a_damaged_memory_of_hashes_is_no_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(content_hashes, "_SETTLED", 0.0)
    path, folder = tmp_path / "film", tmp_path / "store"
    path.write_bytes(b"a")
    time.sleep(0.05)
    first = content_hash(path, folder)
    (kept,) = (folder / "hashes").iterdir()
    for content in (b"", b"[]", b"{}", kept.read_bytes().replace(first.encode(), b"no hash")):
        kept.write_bytes(content)
        assert content_hash(path, folder) == first


_WRITER = """
import sys
from pathlib import Path
from support.embeddings import make_embeddings
from avvp.pipeline.embeddings.store import EmbeddingStore
store = EmbeddingStore(Path(sys.argv[1]), limit=20_000)
for turn in range(20):
    store.write(f"key{turn % 3}", make_embeddings(seconds=20, seed=turn))
    found = store.read(f"key{turn % 3}")
    assert found is None or found.seconds == 20
"""


def test_two_processes_share_a_store(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "tests"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", _WRITER, str(tmp_path / "store")]
    processes = [subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) for _ in range(2)]
    for process in processes:
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 0, errors
    store = EmbeddingStore(tmp_path / "store")
    assert all(isinstance(store.read(path.stem), Embeddings) for path in store.folder.glob("*.safetensors"))
    assert not list(store.folder.glob(".avvp-*"))
