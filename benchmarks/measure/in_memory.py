"""Inputs and features without files behind them: what computes, measured without what decodes."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from avvp.extractors.inputs import InputFormat
from avvp.extractors.sampling import Stream
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.batch.engine import Engine
from avvp.pipeline.batch.work import VideoJob, VideoOutputs
from avvp.pipeline.datasets.clips import SplitDataset
from avvp.pipeline.decode.container.media_facts import MediaFacts
from avvp.pipeline.features.npy_folders import PUBLISHED_SPEC
from avvp.pipeline.features.packed_store import FeatureStore, describe_store, write_header
from avvp.pipeline.inference.extractors import DeviceNetworks
from avvp.pipeline.preprocess.media_summary import MediaSummary
from avvp.pipeline.timeline import SegmentLabels
from numpy.typing import NDArray

_FACTS = MediaFacts(
    path="", format="", container_duration=None, duration=1.0, audio_codec=None, audio_duration=None, video_codec=None,
    video_duration=None, width=None, height=None, frame_rate=None, decoder="", frames_decoded=0, frames_damaged=0,
)  # fmt: skip
_FINISHED = 0.9  # share of the clips after which the pipeline runs empty
_STARTED = 0.3  # share before which it fills
_ENOUGH = 20  # clips; of fewer there is no middle


class MemoryDecoder:
    """A `DecodeWorker` without files: every video has the same random inputs, given second by second."""

    def __init__(self, inputs: Mapping[Stream, NDArray[Any]], seconds: int) -> None:
        """Keep the inputs of a video; those of a stream are divided among its seconds."""
        self._inputs, self._seconds = inputs, seconds

    def decode(
        self, path: Path, streams: Sequence[Stream], put: Callable[[Stream, NDArray[Any]], None]
    ) -> MediaSummary:
        """Hand over the inputs of a video."""
        del path
        for second in range(self._seconds):
            for stream in streams:
                rate = len(self._inputs[stream]) // self._seconds
                put(stream, self._inputs[stream][second * rate : (second + 1) * rate])
        return MediaSummary({stream: list(range(len(self._inputs[stream]))) for stream in streams}, _FACTS, ())

    def stop(self) -> None:
        """Do nothing: no file takes long."""

    def close(self) -> None:
        """Do nothing: there is no process."""


def random_inputs(form: InputFormat, count: int) -> NDArray[Any]:
    """Return inputs of an extractor that differ from each other, (count, *shape)."""
    rng = np.random.default_rng(0)
    if form.dtype is np.uint8:
        return rng.integers(0, 256, (count, *form.shape), np.uint8)
    return rng.random((count, *form.shape), np.float32)


def time_engine(
    threads: Sequence[DeviceNetworks],
    sizes: Mapping[Stream, int],
    rates: Mapping[Stream, int],
    *,
    clips: int,
    seconds: int,
    decoders: int,
) -> float:
    """Run the batch engine on clips in memory, whose rows are read and dropped.

    Args:
        threads: device and networks of each compute thread.
        sizes: inputs in a batch of each stream.
        rates: inputs per second of each stream.
        clips: how many.
        seconds: of each clip.
        decoders: threads that hand over inputs.

    Returns:
        Clips per second, of those in the middle of the run.
    """
    formats: dict[Stream, InputFormat] = {stream: network.input_format for stream, network in threads[0][1].items()}
    inputs: dict[Stream, NDArray[Any]] = {
        stream: random_inputs(form, seconds * rates[stream]) for stream, form in formats.items()
    }
    jobs = [VideoJob(str(number), Path(str(number)), tuple(formats)) for number in range(clips)]
    times: list[float] = []

    def drop(video: Any) -> VideoOutputs:
        for stream in formats:
            for _ in video.blocks(stream):
                pass
        return VideoOutputs({})

    engine = Engine(threads, sizes, lambda: cast("Any", MemoryDecoder(inputs, seconds)), drop, workers=decoders)
    with engine:
        started = time.perf_counter()
        for result in engine.run(jobs):
            assert result.cause is None, result.cause
            times.append(time.perf_counter() - started)
    return middle_rate(times)


def middle_rate(times: Sequence[float]) -> float:
    """Return how many clips a second were done in the middle of a run.

    Args:
        times: seconds from the start of the run to the end of each clip, in order.

    Returns:
        Clips per second without the first clips, when processes start and queues fill, and the last.
    """
    if len(times) < _ENOUGH:
        return len(times) / times[-1]
    first, last = int(_STARTED * len(times)), int(_FINISHED * len(times))
    return (last - first) / (times[last] - times[first])


def random_clips(folder: Path, count: int, seconds: int) -> SplitDataset:
    """Write a packed store of random features of LLP's shapes; return its clips with random labels.

    Args:
        folder: of the store, made here.
        count: N clips.
        seconds: T of each clip.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    ids = tuple(f"clip{index:07d}" for index in range(count))
    width = sum(PUBLISHED_SPEC.dims)
    with (folder / "features.npy").open("wb") as file:
        write_header(file, "float32", count * seconds, width)
        for _ in ids:
            file.write(np.maximum(rng.standard_normal((seconds, width), np.float32), 0).tobytes())
    index = describe_store(PUBLISHED_SPEC, dict.fromkeys(ids, seconds), "features.npy")
    (folder / "index.json").write_bytes(index)
    audio, visual = rng.random((2, count, seconds, len(LLP_LABELS))) < 0.06
    return SplitDataset(
        split="train",
        filenames=ids,
        ids=ids,
        lengths=np.full(count, seconds, np.int64),
        video_labels=audio.any(1) | visual.any(1),
        features=FeatureStore(folder),
        labels=SegmentLabels(audio, visual),
    )
