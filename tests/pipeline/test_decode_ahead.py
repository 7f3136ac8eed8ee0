"""Decoding that begins before the networks are loaded: the same inputs, decoded once."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from avvp.extractors.sampling import Stream
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from avvp.pipeline.errors import MediaError
from avvp.pipeline.preprocess import worker_process
from avvp.pipeline.preprocess.worker_process import DecodeWorker, decode_ahead, shared_worker
from support.media import Clips

STREAMS: list[Stream] = ["audio", "visual_3d"]


@pytest.fixture
def worker() -> Iterator[DecodeWorker]:
    process = DecodeWorker("clean")
    yield process
    process.close()


def decode(process: DecodeWorker, path: Path) -> dict[Stream, np.ndarray]:
    parts: dict[Stream, list[np.ndarray]] = {stream: [] for stream in STREAMS}
    process.decode(path, STREAMS, lambda stream, inputs: parts[stream].append(inputs.copy()))
    return {stream: np.concatenate(arrays) for stream, arrays in parts.items()}


def assert_equal(found: dict[Stream, np.ndarray], expected: dict[Stream, np.ndarray]) -> None:
    for stream in STREAMS:
        np.testing.assert_array_equal(found[stream], expected[stream])


def test_decode_goes_on_with_the_file_that_was_begun(worker: DecodeWorker, clips: Clips) -> None:
    expected = decode(worker, clips.steady)
    worker.begin(clips.steady, STREAMS)
    pid = worker.pid
    assert_equal(decode(worker, clips.steady), expected)
    assert_equal(decode(worker, clips.steady), expected)  # nothing is left of the first
    assert worker.pid == pid


@pytest.mark.parametrize("error", [ValueError, BrokenPipeError])
def test_errors_of_the_caller_are_no_errors_of_the_file(
    worker: DecodeWorker, clips: Clips, error: type[Exception]
) -> None:
    expected = decode(worker, clips.steady)

    def fail(*_: object) -> None:
        raise error("of the caller")

    with pytest.raises(error, match="of the caller"):
        worker.decode(clips.steady, STREAMS, fail)
    assert_equal(decode(worker, clips.steady), expected)


def test_another_file_is_not_mixed_with_the_one_that_was_begun(worker: DecodeWorker, clips: Clips) -> None:
    expected = decode(worker, clips.blink)
    worker.begin(clips.steady, STREAMS)
    assert_equal(decode(worker, clips.blink), expected)
    worker.begin(clips.blink, STREAMS)
    worker.begin(clips.steady, STREAMS)
    assert_equal(decode(worker, clips.blink), expected)


def test_a_worker_that_ended_meanwhile_begins_again(worker: DecodeWorker, clips: Clips) -> None:
    expected = decode(worker, clips.steady)
    worker.begin(clips.steady, STREAMS)
    assert worker.pid is not None
    os.kill(worker.pid, signal.SIGKILL)
    assert worker._process is not None
    worker._process.wait()
    assert_equal(decode(worker, clips.steady), expected)


def test_a_file_that_cannot_be_decoded_is_an_error_of_decode(worker: DecodeWorker, clips: Clips) -> None:
    worker.begin(clips.headless, STREAMS)
    with pytest.raises(MediaError):
        decode(worker, clips.headless)
    assert decode(worker, clips.steady)["audio"].size


def test_the_shared_worker_is_the_one_that_began(clips: Clips) -> None:
    decode_ahead(clips.steady, STREAMS, "clean", DEFAULT_OPTIONS)
    (idle,) = worker_process._idle.values()
    pid = idle.pid
    with shared_worker("clean", DEFAULT_OPTIONS) as worker:
        assert worker is idle
        assert decode(worker, clips.steady)["audio"].size
        assert worker.pid == pid


def test_a_worker_computes_in_one_thread(worker: DecodeWorker, clips: Clips, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many workers as cores, with as many threads each, wait for each other."""
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    decode(worker, clips.blink)
    variables = Path(f"/proc/{worker.pid}/environ").read_bytes().split(b"\0")
    assert b"OMP_NUM_THREADS=1" in variables
    assert b"OPENBLAS_NUM_THREADS=1" in variables
