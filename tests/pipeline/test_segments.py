import numpy as np
import pytest
from avvp.pipeline.segments import (
    pad_or_trim,
    runs,
    sample_count,
    sample_times,
    segment_count,
    shown_frames,
    spread_indices,
    window_starts,
)


@pytest.mark.parametrize(
    ("duration", "segments"), [(0.0, 1), (0.3, 1), (1.49, 1), (1.5, 2), (10.03, 10), (10.5, 11), (3600.2, 3600)]
)
def test_segments_are_the_nearest_whole_seconds_and_at_least_one(duration: float, segments: int) -> None:
    assert segment_count(duration) == segments


def test_sample_times_are_mid_interval() -> None:
    np.testing.assert_allclose(sample_times(3, 8), [0.0625, 0.1875, 0.3125])


@pytest.mark.parametrize(("end", "count"), [(0.01, 1), (1.0, 8), (10.0278, 80), (10.07, 81)])
def test_sample_count_is_nearest(end: float, count: int) -> None:
    assert sample_count(end, 8) == count


def test_shown_frames_are_the_last_that_appeared() -> None:
    frames = [0.0, 0.1, 0.2, 0.9]
    assert shown_frames(frames, [0.05, 0.1, 0.15, 0.5, 0.95]).tolist() == [0, 0, 1, 2, 3]


def test_shown_frames_before_the_first_frame() -> None:
    assert shown_frames([1.0, 1.5], [0.2, 1.2, 1.7]).tolist() == [0, 0, 1]


def test_published_index_rule() -> None:
    # round(linspace(0, 81, 80)): one picture of 82 is left out at each third of the way.
    picked = spread_indices(82, 80)
    assert picked[0] == 0
    assert picked[-1] == 81
    assert len(np.unique(picked)) == 80
    assert spread_indices(1, 8).tolist() == [0] * 8
    assert spread_indices(3, 5).tolist() == [0, 0, 1, 2, 2]  # 0.5 and 1.5 round to even


@pytest.mark.parametrize(
    ("length", "starts"), [(1, [0]), (10, [0]), (11, [0, 1]), (15, [0, 5]), (16, [0, 5, 6]), (21, [0, 5, 10, 11])]
)
def test_windows_cover_everything_and_overlap_by_half(length: int, starts: list[int]) -> None:
    assert window_starts(length, 10) == starts
    covered = {second for start in starts for second in range(start, start + min(10, length))}
    assert covered == set(range(length))


def test_windows_of_one_segment_move_by_one() -> None:
    assert window_starts(3, 1) == [0, 1, 2]


def test_pad_or_trim_repeats_the_last_row() -> None:
    rows = np.array([[1], [2], [3]])
    assert pad_or_trim(rows, 2).tolist() == [[1], [2]]
    assert pad_or_trim(rows, 3).tolist() == [[1], [2], [3]]
    assert pad_or_trim(rows, 5).tolist() == [[1], [2], [3], [3], [3]]


def test_runs_are_maximal_and_half_open() -> None:
    assert runs([0, 1, 1, 0, 1]) == [(1, 3), (4, 5)]
    assert runs([1, 1]) == [(0, 2)]
    assert runs([0]) == []
    assert runs([]) == []
