"""Media for tests of cuts, and their packets and frames as PyAV reads them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import av.container
import numpy as np

from support.media import Clips, read_number

KEY_FRAMES = 12  # frames from one to the next in `keyed` media: half a second


@dataclass(frozen=True)
class StoredPacket:
    """A packet of a file: its bytes, when it is shown, how long, and whether it is a key frame."""

    content: bytes
    time: float
    duration: float
    key_frame: bool


def keyed(clips: Clips, suffix: str) -> Path:
    """The steady clip with a key frame every half second, in a container and the codecs that are usual in it."""
    path = clips.folder / f"keyed{suffix}"
    if path.exists():
        return path
    group = ("-g", KEY_FRAMES, "-keyint_min", KEY_FRAMES, "-sc_threshold", 0)
    h264 = ("-c:v", "libx264", "-qp", 10, "-bf", 2, "-pix_fmt", "yuv420p", *group)
    codecs: dict[str, tuple[object, ...]] = {
        ".avi": ("-c:v", "mpeg4", "-q:v", 2, "-g", KEY_FRAMES, "-c:a", "libmp3lame", "-ar", 44_100),
        ".webm": ("-c:v", "libvpx", "-b:v", "1M", *group[:4], "-c:a", "libopus"),
        ".wmv": ("-c:v", "wmv2", "-q:v", 2, "-g", KEY_FRAMES, "-c:a", "wmav2"),
        ".mpg": ("-c:v", "mpeg2video", "-q:v", 2, "-bf", 2, "-g", KEY_FRAMES, "-c:a", "mp2", "-ar", 44_100),
    }
    return clips.make(path.name, "-i", clips.steady, *codecs.get(suffix, (*h264, "-c:a", "aac")))


def sound(clips: Clips, suffix: str) -> Path:
    """3 s of a rising tone."""
    path = clips.folder / f"sound{suffix}"
    codecs = {".wav": "pcm_s16le", ".flac": "flac", ".mp3": "libmp3lame", ".ogg": "libvorbis", ".opus": "libopus"}
    source = ("-f", "lavfi", "-i", "aevalsrc='sin(440*PI*t*t)':s=48000:d=3")
    return path if path.exists() else clips.make(path.name, *source, "-c:a", codecs.get(suffix, "aac"))


@contextmanager
def opened(path: Path) -> Iterator[av.container.InputContainer]:
    with av.open(str(path)) as container:
        yield container


def packets(path: Path, kind: str) -> list[StoredPacket]:
    """The packets of the first stream of a kind, in the order of the file; times count from the start of the file."""
    with opened(path) as container:
        stream: Any = next(stream for stream in container.streams if stream.type == kind)
        start = (container.start_time or 0) / 1e6
        return [
            StoredPacket(
                bytes(packet),
                float((packet.dts if packet.pts is None else packet.pts) * packet.time_base) - start,
                float((packet.duration or 0) * packet.time_base),
                packet.is_keyframe,
            )
            for packet in container.demux(stream)
            if packet.size
        ]


def frame_numbers(path: Path) -> list[int]:
    """The numbers that the frames of a cut of numbered frames carry."""
    with opened(path) as container:
        return [read_number(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]


def frame_times(path: Path) -> list[float]:
    """When the frames of a file are shown."""
    with opened(path) as container:
        return [float(frame.time or 0.0) for frame in container.decode(video=0)]


def samples(path: Path) -> tuple[float, np.ndarray]:
    """The time of the first sample and all samples of the first channel, at 48 kHz."""
    resampler = av.AudioResampler("fltp", "mono", 48_000)
    with opened(path) as container:
        frames = list(container.decode(audio=0))
    first = float(frames[0].time or 0.0)
    parts = [part.to_ndarray()[0] for frame in frames for part in resampler.resample(frame)]
    return first, np.concatenate(parts)
