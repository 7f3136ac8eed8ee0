"""Mean average precision at temporal IoU: hand-computed, an independent library, and a second, plain implementation."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from avvp.pipeline.evaluation.detection import (
    IOU_THRESHOLDS,
    DetectionEvaluation,
    detection_precisions,
    evaluate_detections,
    temporal_iou,
)
from mean_average_precision import MetricBuilder
from numpy.typing import NDArray

Spans = Mapping[str, NDArray[np.float64]]


def spans(*rows: tuple[float, ...]) -> NDArray[np.float64]:
    return np.array(rows, np.float64)


def test_iou_by_hand() -> None:
    others = spans((0, 4), (2, 6), (4, 8), (1, 2), (3, 3))
    np.testing.assert_allclose(temporal_iou(spans((0, 4))[0], others), [1, 2 / 6, 0, 1 / 4, 0])
    assert temporal_iou(spans((3, 3))[0], spans((3, 3)))[0] == 0


def test_ranks_by_hand() -> None:
    truth = {"v": spans((0, 10), (20, 30)), "w": spans((0, 4))}
    detections = {"v": spans((0, 10, 0.9), (50, 60, 0.8), (20, 26, 0.7)), "w": spans((1, 4, 0.6))}
    found = detection_precisions(detections, truth, (0.5, 0.7, 0.9))
    # At .5 three of four are right, at ranks 1, 3, 4; precision is 1, and 3/4 from then on.
    # At .7 the third, with IoU .6, is wrong: ranks 1 and 4. At .9 the first alone.
    np.testing.assert_allclose(found, [(1 + 3 / 4 + 3 / 4) / 3, (1 + 2 / 4) / 3, 1 / 3])


def test_an_annotated_event_is_taken_once() -> None:
    found = detection_precisions({"v": spans((0, 10, 0.9), (0, 10, 0.8))}, {"v": spans((0, 10))}, (0.5,))
    assert found == pytest.approx(1)
    found = detection_precisions(
        {"v": spans((0, 9, 0.9), (0, 10, 0.8), (20, 30, 0.7))}, {"v": spans((0, 10), (20, 30))}
    )
    np.testing.assert_allclose(found, [(1 + 2 / 3) / 2] * 9)


def test_an_event_takes_the_next_best_where_the_best_is_taken() -> None:
    """As the published measure does; that of VOC calls it wrong."""
    truth = {"v": spans((0, 10), (8, 18))}
    found = detection_precisions({"v": spans((0, 10, 0.9), (1, 11, 0.8))}, truth, (0.1, 0.5))
    np.testing.assert_allclose(found, [1, 0.5])  # (1, 11) and (8, 18) have 3 / 17


def test_nothing_annotated_and_nothing_found() -> None:
    assert np.isnan(detection_precisions({"v": spans((0, 1, 0.5))}, {})).all()
    assert not detection_precisions({}, {"v": spans((0, 1))}).any()
    assert not detection_precisions({"w": spans((0, 1, 0.5))}, {"v": spans((0, 1))}).any()


def test_means_are_of_the_classes_that_are_annotated() -> None:
    truth = {"audio_visual": {"a": {"v": spans((0, 5))}}}
    detections = {"audio_visual": {"a": {"v": spans((0, 5, 0.5))}, "b": {"v": spans((0, 5, 0.5))}}}
    evaluation = DetectionEvaluation("test", "x", 1, evaluate_detections(detections, truth, ("a", "b", "c")))
    np.testing.assert_allclose(evaluation.mean("audio_visual"), [100] * 9)
    document = evaluation.to_dict()
    assert document["classes"]["audio_visual"]["b"] == {"at": None, "average": None}
    assert document["means"]["audio_visual"]["average"] == 100


def random_data(seed: int, *, scale: int) -> tuple[Spans, Spans]:
    """Videos of whole numbers of 1 / scale seconds, with overlapping events, and detections near them."""
    random = np.random.default_rng(seed)
    truth, detections = {}, {}
    for video in "uvwxyz":
        onsets = random.integers(0, 60 * scale, random.integers(0, 5))
        truth[video] = np.stack([onsets, onsets + random.integers(1, 20 * scale, len(onsets))], 1).astype(float)
        near = np.repeat(truth[video], 3, axis=0) + random.integers(-4 * scale, 4 * scale, (3 * len(onsets), 2))
        near = near[(near[:, 0] >= 0) & (near[:, 1] > near[:, 0])]
        far = np.sort(random.integers(0, 80 * scale, (4, 2)), axis=1)
        far[:, 1] += 1
        rows = np.concatenate([near, far])
        detections[video] = np.column_stack([rows, random.permutation(len(rows)) * 6 + ord(video)]).astype(float)
    return detections, truth


@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("seed", range(4))
def test_precisions_are_those_of_an_independent_library(seed: int) -> None:
    """mean_average_precision, with intervals as boxes one pixel high; its sides include the last pixel."""
    detections, truth = random_data(seed, scale=1)
    metric = MetricBuilder.build_evaluation_metric("map_2d", async_mode=False, num_classes=1)
    for video, rows in truth.items():
        found = detections[video]
        none, zeros = np.zeros(len(found)), np.zeros(len(rows))
        boxes = np.stack([found[:, 0], none, found[:, 1] - 1, none, none, found[:, 2]], axis=1)
        metric.add(boxes, np.stack([rows[:, 0], zeros, rows[:, 1] - 1, zeros, zeros, zeros, zeros], axis=1))
    levels = np.array(IOU_THRESHOLDS) - 1e-9  # it asks for more than the threshold
    found = metric.value(iou_thresholds=levels.tolist(), mpolicy="soft")
    expected = [found[level][0]["ap"] for level in levels.tolist()]
    np.testing.assert_allclose(detection_precisions(detections, truth), expected, atol=1e-6)  # its numbers are float32


def plain_precision(detections: Spans, truth: Spans, threshold: float) -> float:
    """The published measure, as plainly as it can be written."""
    ranked = sorted(
        ((score, video, onset, offset) for video, rows in detections.items() for onset, offset, score in rows),
        reverse=True,
    )
    taken: set[tuple[str, int]] = set()
    precisions, right = [], []
    for rank, (_, video, onset, offset) in enumerate(ranked, 1):
        best, place = threshold, None
        for index, (start, end) in enumerate(truth.get(video, ())):
            shared = max(0.0, min(offset, end) - max(onset, start))
            iou = shared / (offset - onset + end - start - shared)
            if (video, index) not in taken and iou >= best:
                best, place = iou, (video, index)
        if place:
            taken.add(place)
        right.append(place is not None)
        precisions.append(len(taken) / rank)
    total = sum(map(len, truth.values()))
    return sum(max(precisions[rank:]) for rank, hit in enumerate(right) if hit) / total


@pytest.mark.parametrize("seed", range(4, 10))
def test_precisions_are_those_of_a_plain_implementation(seed: int) -> None:
    whole = random_data(seed, scale=10)
    detections, truth = ({name: rows / [10, 10, 1][: rows.shape[1]] for name, rows in part.items()} for part in whole)
    expected = [plain_precision(detections, truth, level) for level in IOU_THRESHOLDS]
    np.testing.assert_allclose(detection_precisions(detections, truth), expected, atol=1e-12)
