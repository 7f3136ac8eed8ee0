"""Batches across videos: every input is in one batch, beside its owner, whatever threads add it."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import numpy as np
from avvp.extractors.inputs import InputFormat
from avvp.pipeline.batch.batch_filler import Batch, BatchFiller
from avvp.pipeline.batch.work import PendingVideo, VideoJob

FORM = InputFormat("pairs", "audio", (2,), np.float32, lambda media: media)


def pending(name: str) -> PendingVideo:
    return PendingVideo(VideoJob(name, Path(name), ("audio",)), {"audio": 1})


def inputs(video: int, first: int, count: int) -> np.ndarray:
    """Inputs that say whose they are, and which."""
    return np.array([(video, position) for position in range(first, first + count)], np.float32)


def test_inputs_are_divided_among_batches_and_the_rest_is_zero() -> None:
    batches: list[Batch] = []
    filler, one, two = BatchFiller({"audio": 4}, {"audio": FORM}, batches.append), pending("one"), pending("two")
    filler.add(one, "audio", inputs(1, 0, 3))
    filler.add(two, "audio", inputs(2, 0, 6))
    filler.add(one, "audio", inputs(1, 3, 1))
    assert len(batches) == 2
    filler.flush()
    first, second, third = (batch.inputs.tolist() for batch in batches)
    assert first == [[1, 0], [1, 1], [1, 2], [2, 0]]
    assert second == [[2, 1], [2, 2], [2, 3], [2, 4]]
    assert third == [[2, 5], [1, 3], [0, 0], [0, 0]]
    assert [[*batch.runs()] for batch in batches] == [
        [(one, 0, 3), (two, 0, 1)], [(two, 1, 4)], [(two, 5, 1), (one, 3, 1)]
    ]  # fmt: skip
    one.close()
    two.close()


def test_runs_end_where_positions_are_not_consecutive() -> None:
    video = pending("one")
    batch = Batch("audio", np.zeros((5, 2), np.float32), [(video, 4), (video, 5), (video, 9), (video, 0), (video, 1)])
    assert [(position, count) for _, position, count in batch.runs()] == [(4, 2), (9, 1), (0, 2)]
    video.close()


def test_a_batch_that_is_copied_into_is_not_emitted() -> None:
    batches: list[Batch] = []
    filler, video = BatchFiller({"audio": 4}, {"audio": FORM}, batches.append), pending("one")

    class Copied(np.ndarray):
        """Rows of a batch: while they are written, the engine looks whether nothing is left to decode."""

        def __setitem__(self, rows: Any, values: Any) -> None:
            filler.flush()
            super().__setitem__(rows, values)

    batch = filler._new_batch("audio")
    batch.inputs = batch.inputs.view(Copied)
    filler.add(video, "audio", inputs(1, 0, 2))
    assert batches == []
    filler.flush()
    assert [batch.inputs.tolist() for batch in batches] == [[[1, 0], [1, 1], [0, 0], [0, 0]]]
    video.close()


def test_threads_that_add_at_the_same_time_lose_nothing() -> None:
    batches: list[Batch] = []
    filler = BatchFiller({"audio": 7}, {"audio": FORM}, batches.append)
    videos = [pending(str(number)) for number in range(6)]

    def add(number: int) -> None:
        for first in range(0, 300, 5):
            filler.add(videos[number], "audio", inputs(number, first, 5))

    threads = [threading.Thread(target=add, args=(number,)) for number in range(len(videos))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    filler.flush()
    found = []
    for batch in batches:
        assert batch.copying == 0
        for row, (video, position) in zip(batch.inputs, batch.owners, strict=False):
            assert row.tolist() == [float(video.job.id), position]
            found.append((video.job.id, position))
    assert sorted(found) == sorted((video.job.id, position) for video in videos for position in range(300))
    for video in videos:
        video.close()
