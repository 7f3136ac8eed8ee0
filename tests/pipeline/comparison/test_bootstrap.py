"""Bootstrap intervals: by hand, against scoring every resample anew, and for clips of one video."""

from __future__ import annotations

import numpy as np
import pytest
from avvp.pipeline.comparison.bootstrap import Resampling, bootstrap, draw_weights
from avvp.pipeline.comparison.ratios import LOCALIZATION, PARSING, ClipRatios, localization_ratios, parsing_ratios
from avvp.pipeline.metrics import NO_SECOND, class_scores, overlapping, score, segment_accuracy
from avvp.pipeline.timeline import SegmentLabels

EVERY = {name: index for index, name in enumerate(PARSING.scores)}


def random_labels(seed: int, shape: tuple[int, int, int], density: float = 0.06) -> SegmentLabels:
    rng = np.random.default_rng(seed)
    return SegmentLabels(rng.random(shape) < density, rng.random(shape) < density)


def accuracy_of(right: list[int], seconds: int) -> ClipRatios:
    """Ratios of clips of `seconds` seconds, all with events, of which so many are right."""
    truth = np.zeros((len(right), seconds), np.int64)
    predicted = np.array([[0] * count + [1] * (seconds - count) for count in right])
    return localization_ratios(predicted, truth, 1)


def test_two_clips_by_hand() -> None:
    """Of one clip all is right, of the other nothing: resamples have 0, 50 or 100 %, in 1, 2 and 1 of 4 cases."""
    weights = np.concatenate(list(draw_weights(2, Resampling(resamples=4000))))
    assert weights.sum(axis=1).tolist() == [2.0] * 4000
    assert [(weights[:, 0] == count).mean() for count in (0, 1, 2)] == pytest.approx([0.25, 0.5, 0.25], abs=0.03)
    found = bootstrap([accuracy_of([4, 0], 4)], LOCALIZATION, np.arange(2), Resampling(resamples=4000))
    assert [float(part[0, 0, 0]) for part in found.scores] == [50.0, 0.0, 100.0]
    narrow = bootstrap([accuracy_of([4, 0], 4)], LOCALIZATION, np.arange(2), Resampling(resamples=4000, confidence=40))
    assert [float(part[0, 0, 0]) for part in narrow.scores] == [50.0, 50.0, 50.0]


def test_differences_are_paired() -> None:
    """A system that is right in one second more of each of ten-second clips is better by 10 % in every resample."""
    first, second = [0, 9, 3, 7, 5], [1, 10, 4, 8, 6]
    found = bootstrap(
        [accuracy_of(first, 10), accuracy_of(second, 10)], LOCALIZATION, np.arange(5), Resampling(resamples=500)
    )
    assert [float(part[0, 0, 0]) for part in found.differences] == pytest.approx([10.0] * 3)
    assert found.better[0, 0, 0] == 1.0
    assert found.scores.high[0, 0, 0] - found.scores.low[0, 0, 0] > 30


def test_resamples_are_scored_as_clips_are() -> None:
    """The vectorised intervals are those of scoring the clips of every resample."""
    truth, shape = random_labels(1, (23, 7, 4)), (23, 7, 4)
    systems = [random_labels(2, shape), SegmentLabels(truth.audio, random_labels(3, shape).visual)]
    resampling = Resampling(resamples=300, seed=5, confidence=90)
    found = bootstrap([parsing_ratios(system, truth, [2]) for system in systems], PARSING, np.arange(23), resampling)
    rng = np.random.default_rng(5)
    drawn = rng.integers(23, size=(256, 23)), rng.integers(23, size=(44, 23))
    overlap = overlapping(*truth)
    means, of_class, of_overlap = [], [], []
    for rows in np.concatenate(drawn):
        tables = [[part[rows] for part in (*system, *truth)] for system in systems]
        means.append([score(*table).mean for table in tables])
        single = class_scores(*tables[0])[2]
        of_class.append(np.nan if single is None else single.event.event_av)
        inside = overlap[rows]
        of_overlap.append(score(*(part[inside] for part in tables[0])).segment.type_av if inside.any() else np.nan)
    for system in (0, 1):
        ends = np.quantile(np.array(means)[:, system], [0.05, 0.95])
        assert [part[system, 0, EVERY["mean"]] for part in found.scores[1:]] == pytest.approx(ends)
    ends = np.quantile(np.diff(means, axis=1), [0.05, 0.95])
    assert [part[0, 0, EVERY["mean"]] for part in found.differences[1:]] == pytest.approx(ends)
    assert found.better[0, 0, EVERY["mean"]] == (np.diff(means, axis=1) > 0).mean()
    for group, name, values in ((3, "event.event_av", of_class), (1, "segment.type_av", of_overlap)):
        ends = np.nanquantile(values, [0.05, 0.95])
        assert [part[0, group, EVERY[name]] for part in found.scores[1:]] == pytest.approx(ends)


def test_scores_are_those_of_evaluate() -> None:
    truth, decisions = random_labels(4, (40, 9, 5)), random_labels(5, (40, 9, 5))
    ratios = parsing_ratios(decisions, truth, range(5))
    values = bootstrap([ratios], PARSING, np.arange(40), Resampling(resamples=1)).scores.values[0]
    inside = overlapping(*truth)
    expected = [score(*(part[rows] for part in (*decisions, *truth))) for rows in (np.arange(40), inside, ~inside)]
    for row, scores in zip(values, [*expected, *class_scores(*decisions, *truth)], strict=True):
        assert scores is not None
        levels = [*vars(scores.segment).values(), *vars(scores.event).values()]
        assert row == pytest.approx([*levels, scores.mean], nan_ok=True)


def test_a_class_that_no_clip_has_is_not_a_number() -> None:
    truth = random_labels(6, (8, 5, 3))
    for table in truth:
        table[..., 1] = False
    found = bootstrap([parsing_ratios(truth, truth, [1])], PARSING, np.arange(8), Resampling(resamples=20))
    assert np.isnan([part[0, 3] for part in found.scores]).all()
    assert found.scores.values[0, 0].tolist() == [100.0] * 11


def test_clips_of_one_video_go_together() -> None:
    """Four clips of two videos: the resamples are those of two videos."""
    ratios = accuracy_of([4, 4, 0, 0], 4)
    together = bootstrap([ratios], LOCALIZATION, np.array([0, 0, 1, 1]), Resampling(resamples=400, seed=3))
    alone = bootstrap([accuracy_of([4, 0], 4)], LOCALIZATION, np.arange(2), Resampling(resamples=400, seed=3))
    for first, second in zip(together.scores, alone.scores, strict=True):
        np.testing.assert_array_equal(first, second)


def test_accuracies_count_seconds() -> None:
    """Clips of different lengths weigh as much as they have seconds; the background is a class."""
    truth = np.array([[0, 0, 2, 2], [1, 2, NO_SECOND, NO_SECOND]])
    predicted = np.array([[0, 1, 2, 2], [1, 0, 2, 2]])
    ratios = localization_ratios(predicted, truth, 2, range(3))
    values = bootstrap([ratios], LOCALIZATION, np.arange(2), Resampling(resamples=1)).scores.values[0]
    assert values[0].tolist() == pytest.approx([segment_accuracy(predicted, truth), 100 * 2 / 3, 100 * 2 / 3])
    assert values[1:, 0].tolist() == pytest.approx([50.0, 100.0, 100 * 2 / 3])
    assert np.isnan(values[1:, 1:]).all()


def test_the_seed_decides_and_memory_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    truth = random_labels(7, (12, 6, 6))
    ratios = [parsing_ratios(random_labels(seed, (12, 6, 6)), truth, range(6)) for seed in (8, 9)]
    resampling = Resampling(resamples=40, seed=1)
    first = bootstrap(ratios, PARSING, np.arange(12), resampling)
    other = bootstrap(ratios, PARSING, np.arange(12), Resampling(resamples=40, seed=2))
    monkeypatch.setattr("avvp.pipeline.comparison.bootstrap._MAX_SAMPLES", 1)  # one group at a time
    pieces = bootstrap(ratios, PARSING, np.arange(12), resampling)
    np.testing.assert_array_equal(first.differences.low, pieces.differences.low)
    np.testing.assert_array_equal(first.better, pieces.better)
    assert not np.array_equal(first.differences.low, other.differences.low)


@pytest.mark.parametrize("settings", [{"resamples": 0}, {"resamples": 100_001}, {"confidence": 100.0}])
def test_numbers_out_of_range(settings: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Resampling(**settings)  # type: ignore[arg-type]
