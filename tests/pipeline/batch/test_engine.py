"""The batch engine: one result per video, exceptions of its threads, and no thread left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import torch
from avvp.extractors import Extractor
from avvp.extractors.fused import fuse
from avvp.extractors.registry import build_extractor
from avvp.extractors.sampling import Stream
from avvp.pipeline.batch.engine import Engine
from avvp.pipeline.batch.engine_stages import EngineQueues
from avvp.pipeline.batch.feature_spool import FeatureSpool
from avvp.pipeline.batch.work import PendingVideo, Result, VideoJob, VideoOutputs
from avvp.pipeline.errors import AVVPError, OutputError, SetupError
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from support.media import Clips

CPU = torch.device("cpu")


def make_engine(finish: Callable[[PendingVideo], VideoOutputs] | None = None, *, lanes: int = 2) -> Engine:
    network = fuse(build_extractor("r2plus1d_tiny"))
    made: list[tuple[torch.device, Mapping[Stream, Extractor]]] = [(CPU, {"visual_3d": network})] * lanes
    ends = finish or (lambda video: VideoOutputs({}, note=str(video.length("visual_3d"))))
    return Engine(made, {"visual_3d": 4}, lambda: DecodeWorker("clean"), ends, workers=2)


def works(*paths: Path) -> list[VideoJob]:
    return [VideoJob(str(number), path, ("visual_3d",)) for number, path in enumerate(paths)]


def length(result: Result) -> str:
    return "" if result.outputs is None else result.outputs.note


def test_engine_gives_one_result_per_job(clips: Clips) -> None:
    before = threading.active_count()
    with make_engine() as engine:
        asked = works(clips.steady, clips.headless, clips.blink, clips.silent)
        results = {result.job.id: result for result in engine.run(asked)}
        assert list(engine.run([])) == []
        assert [length(result) for result in engine.run(works(clips.blink))] == ["1"]
    assert {name: length(result) for name, result in results.items()} == {"0": "3", "1": "", "2": "1", "3": "3"}
    assert results["1"].cause is not None
    assert threading.active_count() == before


@pytest.mark.parametrize(
    ("thrown", "shown", "message"),
    [
        (torch.OutOfMemoryError("3 GiB"), SetupError, "smaller --batch-size"),
        (OSError(28, "No space left on device"), OutputError, "No space left on device"),
        (AVVPError("as it is"), AVVPError, "as it is"),
    ],
)
def test_engine_raises_fatal_errors(
    clips: Clips, monkeypatch: pytest.MonkeyPatch, thrown: Exception, shown: type[Exception], message: str
) -> None:
    def fail(*_: object) -> None:
        raise thrown

    monkeypatch.setattr(FeatureSpool, "put", fail)
    with make_engine() as engine, pytest.raises(shown, match=message):
        list(engine.run(works(clips.steady)))


def test_non_finite_rows_fail_one_video(clips: Clips) -> None:
    from avvp.pipeline.errors import MediaError

    def finish(video: PendingVideo) -> VideoOutputs:
        raise MediaError(video.job.path, "its features are not finite")

    with make_engine(finish) as engine:
        assert [result.cause for result in engine.run(works(clips.blink))] == ["its features are not finite"]


def test_a_job_waits_for_each_decoder() -> None:
    """Else decoders wait for results, which come when a batch is full."""
    queues = EngineQueues.create(2, 3)
    jobs = [VideoJob(str(number), Path("clip.mp4"), ()) for number in range(4)]
    assert [queues.jobs.put_within(job, 0.01) for job in jobs] == [True, True, True, False]
