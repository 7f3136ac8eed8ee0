"""The z of texts, and moments of them, on rows whose cosines are known."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from avvp.pipeline.embeddings.embeddings import Embeddings
from avvp.pipeline.embeddings.search.kept import Archive, list_kept
from avvp.pipeline.embeddings.search.query import SearchQuery, SearchSettings
from avvp.pipeline.embeddings.search.scores import join_seconds, sense_scores, text_scores
from avvp.pipeline.embeddings.search.search import Ranking, Searched, scaled_query, search_all
from avvp.pipeline.timeline import Modality
from numpy.typing import NDArray
from support.embeddings import make_embeddings, write_folder

DIMS = (16, 24)
TEACHERS = {"audio": "a" * 64, "visual_2d": "b" * 64}


def unit(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    return np.asarray(rows / np.linalg.norm(rows, axis=-1, keepdims=True), np.float64)


def texts(count: int, entries: int = 9, seed: int = 0) -> dict[str, NDArray[np.float64]]:
    """Embeddings of texts and of a background after them."""
    random = np.random.default_rng(seed)
    return {
        name: unit(random.standard_normal((count + entries, width)))
        for name, width in zip(("audio", "visual"), DIMS, strict=True)
    }


def towards(
    table: NDArray[np.floating], places: dict[int, int], seconds: int, *, seed: int, strength: float = 6.0
) -> NDArray[np.float64]:
    """Rows at random, and towards the text of `places`: second -> row of the table."""
    random = np.random.default_rng(seed)
    rows = random.standard_normal((seconds, table.shape[1]))
    for second, place in places.items():
        rows[second] += strength * table[place] * math.sqrt(table.shape[1]) / 2
    return unit(rows)


def open_archive(folder: Path) -> Archive:
    return Archive(list_kept([folder]), TEACHERS)


def test_z_is_the_distance_from_the_mean_of_the_background_in_its_deviations() -> None:
    embeddings = texts(2)
    query = SearchQuery.of(["a", "b"], embeddings)
    rows = unit(np.random.default_rng(1).standard_normal((5, DIMS[0]))).astype(np.float32)
    cosines = rows @ embeddings["audio"].T
    deviation = math.sqrt(np.mean([np.var(row[2:], ddof=1) for row in cosines]))
    expected = (cosines[:, :2] - cosines[:, 2:].mean(axis=1, keepdims=True)) / deviation
    scaled = query.scaled({"audio": rows})
    assert scaled.scale["audio"] == pytest.approx(deviation, rel=1e-6)
    np.testing.assert_allclose(text_scores(rows, scaled.vectors("audio")), expected, atol=1e-5)


def test_the_length_of_a_row_says_nothing_and_rows_without_direction_are_never_found() -> None:
    query = SearchQuery.of(["a"], texts(1))
    rows = np.random.default_rng(2).standard_normal((2_000, DIMS[1])).astype(np.float16)
    vectors = query.vectors("visual")
    expected = text_scores(unit(rows.astype(np.float64)).astype(np.float32), vectors)
    np.testing.assert_allclose(text_scores(rows, vectors), expected, atol=1e-5)
    odd = np.zeros((3, DIMS[1]), np.float32)
    odd[1, 0], odd[2, 0] = np.nan, np.inf
    assert (text_scores(odd, vectors) == -np.inf).all()


def test_a_background_of_one_entry_is_refused() -> None:
    with pytest.raises(ValueError, match="needs two entries"):
        SearchQuery.of(["a"], texts(1, entries=1))


@pytest.mark.parametrize("count", [0, 101])
def test_no_texts_and_too_many_are_refused(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} texts; at least one, and at most 100"):
        SearchQuery.of(["a"] * count, texts(count))


@pytest.mark.parametrize(
    ("sense", "together", "expected"),
    [
        ("either", False, [[3, 1], [0, 5]]),
        ("both", False, [[2, 0], [-1, 4]]),
        ("heard", False, [[3, 0], [-1, 5]]),
        ("seen", False, [[2, 1], [0, 4]]),
        ("either", True, [[1], [0]]),
        ("both", True, [[0], [-1]]),
    ],
)
def test_senses_are_combined_in_each_second(sense: str, together: bool, expected: list[list[float]]) -> None:
    tables: dict[Modality, NDArray[np.float32]] = {
        "audio": np.array([[3, 0], [-1, 5]], np.float32),
        "visual": np.array([[2, 1], [0, 4]], np.float32),
    }
    settings = SearchSettings(sense=sense, together=together)  # pyright: ignore[reportArgumentType] - of the list above
    np.testing.assert_array_equal(sense_scores({m: tables[m] for m in settings.modalities}, settings), expected)


def test_seconds_with_a_short_gap_are_one_moment() -> None:
    active = np.array([1, 1, 0, 1, 0, 0, 1, 0], bool)
    assert join_seconds(active, 0).tolist() == [[0, 2], [3, 4], [6, 7]]
    assert join_seconds(active, 1).tolist() == [[0, 4], [6, 7]]
    assert join_seconds(active, 2).tolist() == [[0, 7]]
    assert join_seconds(np.zeros(3, bool), 1).tolist() == []
    assert join_seconds(np.ones(3, bool), 1).tolist() == [[0, 3]]


def test_settings_are_checked() -> None:
    with pytest.raises(ValueError, match="either, heard, seen, both"):
        SearchSettings(sense="smelt")  # pyright: ignore[reportArgumentType]
    with pytest.raises(ValueError, match="at least 1"):
        SearchSettings(top=0)


@pytest.fixture
def table() -> dict[str, NDArray[np.float64]]:
    return texts(2)


@pytest.fixture
def folder(tmp_path: Path, table: dict[str, NDArray[np.float64]]) -> Path:
    """Text 0 is heard in `a` at 3 and 4 and seen in `b` at 7, text 1 is heard in `b` at 7."""
    silent = make_embeddings(seconds=6, dims=DIMS, name="c", seed=8)
    return write_folder(
        tmp_path / "results",
        make_embeddings(
            towards(table["audio"], {3: 0, 4: 0}, 9, seed=3),
            towards(table["visual"], {}, 9, seed=4),
            dims=DIMS,
            name="a",
        ),
        make_embeddings(
            towards(table["audio"], {7: 1}, 12, seed=5),
            towards(table["visual"], {7: 0}, 12, seed=6),
            dims=DIMS,
            name="b",
        ),
        replace(silent, media=replace(silent.media, audio_codec=None, audio_duration=None)),
    )


def found(folder: Path, table: dict[str, NDArray[np.float64]], **settings: object) -> list[tuple[object, ...]]:
    archive = open_archive(folder)
    query = scaled_query(SearchQuery.of(["glass", "dog"], table), archive)
    chosen = SearchSettings(min_z=3.0, **settings)  # pyright: ignore[reportArgumentType]
    outcome = search_all(archive, query, chosen)
    assert (outcome.files, outcome.seconds) == (3, 27)
    assert outcome.total == len(outcome.moments)
    return sorted((m.name, m.text, m.modality, m.onset, m.offset) for m in outcome.moments)


def test_moments_are_found_where_they_are(folder: Path, table: dict[str, NDArray[np.float64]]) -> None:
    heard = [("a", "glass", "audio", 3.0, 5.0), ("b", "dog", "audio", 7.0, 8.0)]
    seen = [("b", "glass", "visual", 7.0, 8.0)]
    assert found(folder, table) == sorted(heard + seen)
    assert found(folder, table, sense="heard") == heard
    assert found(folder, table, sense="seen") == seen
    assert found(folder, table, sense="both") == []
    assert found(folder, table, together=True) == [("b", "glass + dog", "audio_visual", 7.0, 8.0)]


def test_the_order_of_texts_changes_nothing(folder: Path, table: dict[str, NDArray[np.float64]]) -> None:
    swapped = {name: np.concatenate([rows[1::-1], rows[2:]]) for name, rows in table.items()}
    archive = open_archive(folder)
    one = scaled_query(SearchQuery.of(["glass", "dog"], table), archive)
    other = scaled_query(SearchQuery.of(["dog", "glass"], swapped), archive)
    settings = SearchSettings(min_z=0.0, top=1000)
    first, second = (search_all(archive, query, settings).moments for query in (one, other))
    assert [replace(m, z=0, heard=0, seen=0) for m in first] == [replace(m, z=0, heard=0, seen=0) for m in second]
    np.testing.assert_allclose([m.z for m in first], [m.z for m in second], rtol=1e-5)


def test_a_moment_has_the_times_of_its_file(tmp_path: Path, table: dict[str, NDArray[np.float64]]) -> None:
    """Of the part from second 20 on, whose last second is cut short; the best second is the middle one."""
    rows = towards(table["audio"], {}, 5, seed=3)
    rows[3] = unit(table["audio"][0] - table["audio"][2:].mean(axis=0))  # no row has a higher z
    rows[2], rows[4] = unit(rows[3] + 0.3 * rows[2]), unit(rows[3] + 0.3 * rows[4])
    video = make_embeddings(rows, seconds=5, dims=DIMS, name="part", seed=1)
    video = replace(video, visual=video.visual[:5], media=replace(video.media, parsed=(20, 25), duration=4.6))
    archive = open_archive(write_folder(tmp_path, video))
    query = scaled_query(SearchQuery.of(["glass", "dog"], table), archive)
    (moment,) = search_all(archive, query, SearchSettings(min_z=3.0)).moments
    assert (moment.onset, moment.offset, moment.best, moment.duration) == (22.0, 24.6, 23.0, pytest.approx(2.6))
    assert moment.heard == moment.z > 3.0 > (moment.seen or 0)
    assert moment.score == pytest.approx(1 / (1 + math.exp(-moment.z)))


def test_only_the_best_are_kept_of_many(tmp_path: Path, table: dict[str, NDArray[np.float64]]) -> None:
    videos = [make_embeddings(seconds=400, dims=DIMS, name=f"v{n}", seed=n) for n in range(8)]
    archive = open_archive(write_folder(tmp_path, *videos))
    query = scaled_query(SearchQuery.of(["glass", "dog"], table), archive)
    everything = search_all(archive, query, SearchSettings(min_z=0.0, gap=0, top=10**6))
    few = search_all(archive, query, SearchSettings(min_z=0.0, gap=0, top=7))
    assert len(everything.moments) == everything.total == few.total
    assert everything.total is not None
    assert everything.total > 1100  # so that the list was cut on the way
    assert few.moments == everything.moments[:7]
    assert few.best == everything.moments[0].z


def test_the_same_video_in_two_folders_is_found_once(tmp_path: Path, table: dict[str, NDArray[np.float64]]) -> None:
    video = make_embeddings(towards(table["audio"], {3: 0}, 9, seed=3), seconds=9, dims=DIMS, name="a")
    folders = [write_folder(tmp_path / name, video) for name in ("one", "two")]
    archive = Archive(list_kept([*folders, folders[0]]), TEACHERS)
    assert len(archive.files) == 2
    query = scaled_query(SearchQuery.of(["glass", "dog"], table), archive)
    assert len(search_all(archive, query, SearchSettings(min_z=3.0)).moments) == 1


def test_a_sound_without_direction_has_no_z(table: dict[str, NDArray[np.float64]]) -> None:
    """JSON has no minus infinity."""
    ranking = Ranking(SearchQuery.of(["glass"], table), SearchSettings())
    tables: dict[Modality, NDArray[np.float32]] = {
        "audio": np.full((1, 1), -np.inf, np.float32),
        "visual": np.full((1, 1), 3, np.float32),
    }
    ranking.add(Searched(Path("a"), make_embeddings(seconds=1, dims=DIMS), tables))
    [moment] = ranking.moments()
    assert (moment.heard, moment.seen, moment.z) == (None, 3, 3)


def test_copies_of_a_video_leave_room_for_others(table: dict[str, NDArray[np.float64]]) -> None:
    """Of hundreds of copies the moments are one video's, fewer than are asked for: others have a lower z and belong."""
    ranking = Ranking(SearchQuery.of(["glass"], table), SearchSettings(top=3))
    copied, other = (make_embeddings(seconds=1, dims=DIMS, name=name) for name in ("copied", "other"))
    for number in range(1100):
        ranking.add(Searched(Path(f"{number}"), copied, {"audio": np.full((1, 1), 5, np.float32)}))
    ranking.add(Searched(Path("other"), other, {"audio": np.full((1, 1), 3, np.float32)}))
    assert [moment.name for moment in ranking.moments()] == ["copied", "other"]


def test_damaged_files_and_those_of_other_teachers_are_left_out(
    folder: Path, table: dict[str, NDArray[np.float64]]
) -> None:
    other: Embeddings = replace(make_embeddings(seconds=4, dims=DIMS, name="other"), teachers={"audio": "?"})
    write_folder(folder, other)
    (folder / "embeddings" / "cut.safetensors").write_bytes((folder / "embeddings" / "a.safetensors").read_bytes()[:-9])
    (folder / "embeddings" / "empty.safetensors").touch()
    archive = open_archive(folder)
    query = scaled_query(SearchQuery.of(["glass", "dog"], table), archive)
    outcome = search_all(archive, query, SearchSettings())
    assert outcome.files == 3
    assert [path.stem for path in archive.others] == ["other"]
    assert {path.stem for path in archive.damaged} == {"cut", "empty"}
    assert "cut.safetensors: damaged" in str(archive.damaged[folder / "embeddings" / "cut.safetensors"])


def test_an_empty_archive_has_nothing(tmp_path: Path, table: dict[str, NDArray[np.float64]]) -> None:
    archive = open_archive(tmp_path)
    outcome = search_all(archive, scaled_query(SearchQuery.of(["a", "b"], table), archive), SearchSettings())
    assert (outcome.moments, outcome.total, outcome.files, outcome.best) == ((), 0, 0, -math.inf)
