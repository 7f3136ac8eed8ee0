"""The index of FAISS finds what comparing every second finds."""

from __future__ import annotations

import math
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import avvp.pipeline.embeddings.search.index as module
import numpy as np
import pytest
from avvp.pipeline.embeddings.search.index import SearchIndex, index_folder, open_index, search_index
from avvp.pipeline.embeddings.search.kept import Archive, list_kept
from avvp.pipeline.embeddings.search.query import SearchQuery, SearchSettings
from avvp.pipeline.embeddings.search.search import scaled_query, search_all
from avvp.pipeline.errors import SetupError
from avvp.pipeline.files import exclusive_lock, write_atomic
from support.embeddings import make_embeddings, write_folder

DIMS = (16, 24)
TEACHERS = {"audio": "a" * 64, "visual_2d": "b" * 64}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Sixteen videos of which one has no sound, one no picture, one other teachers, and one is damaged."""
    videos = [make_embeddings(seconds=60 + 7 * n, dims=DIMS, name=f"v{n:02}", seed=n) for n in range(16)]
    videos[3] = replace(videos[3], media=replace(videos[3].media, audio_codec=None))
    videos[4] = replace(videos[4], media=replace(videos[4].media, video_codec=None))
    videos[5] = replace(videos[5], teachers={"audio": "other"})
    folder = write_folder(tmp_path_factory.mktemp("results"), *videos)
    (folder / "embeddings" / "zz.safetensors").write_bytes(b"no")
    return folder


@pytest.fixture
def archive(folder: Path) -> Archive:
    return Archive(list_kept([folder]), TEACHERS)


@pytest.fixture
def query(archive: Archive) -> SearchQuery:
    random = np.random.default_rng(0)
    tables = {name: random.standard_normal((14, width)) for name, width in zip(("audio", "visual"), DIMS, strict=True)}
    units = {name: table / np.linalg.norm(table, axis=1, keepdims=True) for name, table in tables.items()}
    return scaled_query(SearchQuery.of(["a", "b", "c"], units), archive)


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Five parts, and few rows at first, so that the search has to ask again."""
    monkeypatch.setattr(module, "PART_BYTES", 35_000)
    monkeypatch.setattr(module, "_FIRST_ROWS", 4)
    monkeypatch.setattr(module, "_GROWTH", 2)


SETTINGS = [
    SearchSettings(min_z=1.0),
    SearchSettings(min_z=1.0, top=3, sense="heard"),
    SearchSettings(min_z=1.0, top=1, sense="seen"),
    SearchSettings(min_z=0.2, sense="both"),
    SearchSettings(min_z=-1.0, together=True),
    SearchSettings(min_z=2.5, top=1000),
    SearchSettings(min_z=50.0),
]


@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize("settings", SETTINGS)
def test_the_index_finds_what_every_second_compared_gives(
    settings: SearchSettings, archive: Archive, query: SearchQuery, tmp_path: Path
) -> None:
    index = open_index(tmp_path, archive)
    assert len(list(tmp_path.glob("*.json"))) > 3
    plain = search_all(archive, query, settings)
    indexed = search_index(index, archive, query, settings, exact=True)
    assert indexed.moments == plain.moments
    assert (indexed.files, indexed.seconds) == (plain.files, plain.seconds)
    assert indexed.total in (None, plain.total)
    if settings.min_z == 50:
        assert (indexed.total, indexed.moments) == (0, ())


def test_the_nearest_groups_alone_are_read_unless_all_are_asked_for(
    archive: Archive, query: SearchQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_GROUPS", 1)
    monkeypatch.setattr(module, "_GROUPS_READ", 10)
    index = open_index(tmp_path, archive)
    vector = query.vectors("audio")[:, 0]
    few, _ = index.nearest(vector, "audio", 10**6, exact=False)
    every, lowest = index.nearest(vector, "audio", 10**6, exact=True)
    assert 0 < len(few) <= len(every) == 14  # no sound in one, other teachers in another
    assert lowest == -math.inf
    settings = SearchSettings(min_z=1.0, top=5)
    best = search_index(index, archive, query, settings).moments
    assert {m.z for m in best} <= {m.z for m in search_all(archive, query, replace(settings, top=10**6)).moments}
    assert len(best) == 5


def test_too_few_in_the_nearest_groups_are_searched_for_in_all(
    archive: Archive, query: SearchQuery, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_LEAST_GROUPS", 1)
    monkeypatch.setattr(module, "_GROUPS_READ", 100)
    settings = SearchSettings(min_z=1.0, top=10_000)
    outcome = search_index(open_index(tmp_path, archive), archive, query, settings)
    plain = search_all(archive, query, settings)
    assert (outcome.moments, outcome.total) == (plain.moments, plain.total)


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


@pytest.mark.usefixtures("small_parts")
def test_parts_are_kept_while_their_files_are_the_same(folder: Path, query: SearchQuery, tmp_path: Path) -> None:
    place, copy = tmp_path / "index", tmp_path / "results"
    for path in sorted((folder / "embeddings").iterdir()):
        target = copy / "embeddings" / path.name.replace("v01", f"{'a' * 32}-{'b' * 32}")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())

    def opened() -> tuple[SearchIndex, Archive]:
        archive = Archive(list_kept([copy]), TEACHERS)
        return open_index(place, archive), archive

    opened()
    before = names(place)
    os.utime(copy / "embeddings" / f"{'a' * 32}-{'b' * 32}.safetensors")  # as a cache does at each use
    _, archive = opened()
    assert names(place) == before
    assert [path.stem for path in archive.others] == ["v05"]
    assert [path.stem for path in archive.damaged] == ["zz"]

    write_folder(copy, make_embeddings(seconds=50, dims=DIMS, name="new", seed=99))
    changed = make_embeddings(seconds=60, dims=DIMS, name="v00", seed=77)
    write_folder(copy, changed)
    index, archive = opened()
    after = names(place)
    assert before & after
    assert before - after
    settings = SearchSettings(min_z=1.0)
    assert (
        search_index(index, archive, query, settings, exact=True).moments
        == search_all(archive, query, settings).moments
    )
    listed = [name for name in after if name.endswith(".json")]
    assert len(after) == 3 * len(listed)  # nothing is left of parts that are not used


def test_a_damaged_index_is_made_again(archive: Archive, tmp_path: Path) -> None:
    open_index(tmp_path, archive)
    (description,) = tmp_path.glob("*.json")
    description.write_bytes(description.read_bytes()[:-10])
    assert open_index(tmp_path, archive).counts == (15, archive_seconds(archive))
    (rows,) = tmp_path.glob("*.audio.faiss")
    rows.write_bytes(b"damaged")
    assert open_index(tmp_path, archive).counts == (15, archive_seconds(archive))
    assert rows.read_bytes() != b"damaged"


def test_an_index_that_stays_damaged_is_an_error(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def write_and_damage(path: Path, content: bytes) -> None:
        for rows in path.parent.glob("*.faiss"):
            rows.write_bytes(b"damaged")
        write_atomic(path, content)

    monkeypatch.setattr(module, "write_atomic", write_and_damage)
    with pytest.raises(SetupError, match="--exact compares every second without it"):
        open_index(tmp_path, archive)


@pytest.mark.parametrize("removed", ["*", "*.json"])
def test_parts_that_another_process_removes_are_made_again(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, removed: str
) -> None:
    """A search of a longer list of files makes other parts, and removes those that this one is about to open."""
    open_index(tmp_path, archive)
    find, calls = module._unused, list[int]()  # called after it is known that nothing is missing

    def find_and_remove(*args: Any) -> list[Path]:
        calls.append(1)
        for path in tmp_path.glob(removed) if len(calls) == 1 else ():
            path.unlink()
        return find(*args)

    monkeypatch.setattr(module, "_unused", find_and_remove)
    assert open_index(tmp_path, archive).counts == (15, archive_seconds(archive))


def test_two_processes_do_not_make_parts_at_the_same_time(archive: Archive, tmp_path: Path) -> None:
    with exclusive_lock(tmp_path), pytest.raises(SetupError, match="in use by another process"):
        open_index(tmp_path, archive)
    open_index(tmp_path, archive)
    with exclusive_lock(tmp_path):
        assert open_index(tmp_path, archive).counts[0] == 15  # nothing is to be made


def archive_seconds(archive: Archive) -> int:
    opened = [archive.open(file) for file in archive.files]
    return sum(embeddings.seconds for embeddings in opened if embeddings is not None)


def test_progress_ends_with_everything(archive: Archive, tmp_path: Path) -> None:
    steps: list[tuple[int, int]] = []
    open_index(tmp_path, archive, lambda done, total: steps.append((done, total)))
    assert steps[-1] == (34, 34)
    assert [done for done, _ in steps] == sorted(done for done, _ in steps)
    steps.clear()
    open_index(tmp_path, archive, lambda done, total: steps.append((done, total)))
    assert not steps


def test_an_empty_archive(query: SearchQuery, tmp_path: Path) -> None:
    archive = Archive([], TEACHERS)
    outcome = search_index(open_index(tmp_path / "index", archive), archive, query, SearchSettings())
    assert (outcome.moments, outcome.total, outcome.files) == ((), 0, 0)


def test_few_indexes_are_kept(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_INDEXES", 2)
    places = [tmp_path / f"{number:016}" for number in range(5)]
    (tmp_path / "other").mkdir()
    for number, place in enumerate(places[:-1]):
        place.mkdir()
        (place / "part-1.json").touch()
        os.utime(place, (number, number))
    open_index(places[-1], archive)
    assert names(tmp_path) == {"other", places[-2].name, places[-1].name}


def test_folders_in_any_order_have_one_index(tmp_path: Path) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    index = index_folder([one, other], TEACHERS)
    assert index == index_folder([other, one], dict(reversed(TEACHERS.items()))) != index_folder([one], TEACHERS)
    assert index != index_folder([one, other], {**TEACHERS, "audio": "c" * 64})  # else each removes the other's


def test_without_faiss_the_extra_is_named(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "faiss", None)
    with pytest.raises(SetupError, match=r"pip install 'avvp\[search\]'"):
        open_index(tmp_path, archive)
