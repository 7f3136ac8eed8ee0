"""Clips that tell the time: second s is a tone of 300 + 100 s Hz, frame n of 25 a second carries n in twelve bars.

The tones start again after 30 seconds. `Content` says what a file holds at each time, and compares what was decoded.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from avvp.extractors.profiles import get_profile
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from numpy.typing import NDArray

from .media import ffmpeg

RATE = 25  # frames per second
WIDTH, HEIGHT, BARS = 96, 64, 12
TONES = 30
SILENT = -1  # in place of the second of a tone
_BLOCKS = 16  # per second of audio, each judged alone
_AUDIBLE = 0.02  # root mean square of a block
TOLERANCE = 1 / 8  # seconds
# ffmpeg's constant rate accepts frames that come up to 1.1 intervals early, and `llp` spreads its frames evenly, which
# moves them by one interval at most. A sample lies in the middle of its interval.
# `ave` omits fractions of a frame of each second, up to 10 s long, and spreads what is left of the last one.
PICTURE_TOLERANCE = {"clean": TOLERANCE, "llp": (1.1 + 1 + 0.5) / 8, "ave": 10 / RATE + 0.25}
_ALL = ((0.0, 6.0),)
_BASE = 10.0  # seconds; so no time stamp of an encoder's delay is negative, which a container would shift


def numbered(first: int, stop: int, size: tuple[int, int] = (WIDTH, HEIGHT)) -> bytes:
    """Raw grey frames with the numbers `first` to `stop` - 1."""
    width, height = size
    bar = np.arange(width) * BARS // width
    rows = (((np.arange(first, stop)[:, None] >> bar) & 1) * 255).astype(np.uint8)
    return np.broadcast_to(rows[:, None], (stop - first, height, width)).tobytes()


def read_numbers(frames: NDArray[np.uint8]) -> NDArray[np.int_]:
    """Which of the numbered frames these are, (F, H, W, 3) at any size."""
    height, width = frames.shape[1:3]
    middles = frames[:, height // 2, np.arange(BARS) * width // BARS + width // (2 * BARS), 1]
    return ((middles > 127) << np.arange(BARS)).sum(axis=1)


def read_tones(samples: NDArray[np.floating]) -> NDArray[np.int_]:
    """Which second of the tones each sixteenth of a second holds, or `SILENT`; samples at 16 kHz."""
    blocks = samples[: len(samples) // 1000 * 1000].reshape(-1, 1000)
    hertz = 300 + 100 * np.arange(TONES)
    waves = np.exp(-2j * np.pi * hertz[:, None] * np.arange(1000) / 16_000) * np.hanning(1000)
    tones = np.abs(blocks @ waves.T).argmax(axis=1)
    return np.where(np.sqrt(np.square(blocks).mean(axis=1)) < _AUDIBLE, SILENT, tones)


def tones(start: float, stop: float, *, rate: int = 48_000, channels: int = 1) -> tuple[str, ...]:
    """Input of ffmpeg: the tones from `start` to `stop` seconds."""
    tone = f"0.4*sin(2*PI*(300+100*mod(floor(t+{start}),{TONES}))*(t+{start}))"
    source = "|".join([tone] * channels)
    return ("-f", "lavfi", "-i", f"aevalsrc='{source}':s={rate}:d={stop - start}")


def frames(*, size: tuple[int, int] = (WIDTH, HEIGHT), rate: int = RATE) -> tuple[object, ...]:
    """Input of ffmpeg: the frames of `numbered`, on its standard input."""
    return ("-f", "rawvideo", "-pix_fmt", "gray", "-s", f"{size[0]}x{size[1]}", "-r", rate, "-i", "-")


@dataclass(frozen=True)
class Content:
    """What a file holds at each time: intervals (start, stop) in seconds."""

    audio: tuple[tuple[float, float], ...] = _ALL
    video: tuple[tuple[float, float], ...] = _ALL
    start: float = 0.0  # seconds; the first time stamp
    warnings: tuple[str, ...] = ()  # expressions, one for each expected warning
    tolerated: tuple[str, ...] = ()  # of warnings that may be there

    def heard(self, times: NDArray[np.floating]) -> NDArray[np.int_]:
        """Which tone each time holds, or `SILENT`."""
        present = np.any([(start <= times) & (times < stop) for start, stop in self.audio], axis=0)
        return np.where(present, np.floor(times).astype(int) % TONES, SILENT)

    def shown(self, times: NDArray[np.floating]) -> NDArray[np.int_]:
        """Which frame is on the screen at each time: the last one, and before all the first."""
        numbers = np.concatenate([np.arange(round(start * RATE), round(stop * RATE)) for start, stop in self.video])
        latest = np.searchsorted(numbers, np.floor(times * RATE + 1e-6), side="right") - 1
        return numbers[np.maximum(latest, 0)]

    def check(self, path: Path, profile: str = "clean", *, pictures: bool = True) -> MediaSeconds:
        """Decode a file and compare sound, picture and warnings with what it holds."""
        decoded = MediaSeconds(path, get_profile(profile), DEFAULT_OPTIONS)
        self.check_seconds(decoded, profile, pictures=pictures)
        self.check_warnings(decoded.warnings, pictures=pictures)
        return decoded

    def check_seconds(self, decoded: Iterable[Any], profile: str, *, pictures: bool = True) -> None:
        """Compare every sixteenth of a second of sound and every frame with what the file holds at that time."""
        seconds = list(decoded)
        ends = [interval[-1][1] for interval in (self.audio, self.video if pictures else ()) if interval]
        assert [second.index for second in seconds] == list(range(round(max(ends))))
        silence = np.zeros(16_000)
        self.check_tones(np.concatenate([silence if second.audio is None else second.audio for second in seconds]))
        if not pictures:
            assert all(second.frames is None for second in seconds)
            return
        shown: list[int] = []
        count = get_profile(profile).frames_per_segment
        for second in seconds:
            shown += [shown[-1]] * count if second.frames is None else read_numbers(second.frames).tolist()
        self.check_numbers(np.array(shown), PICTURE_TOLERANCE[profile], count)

    def check_tones(self, samples: NDArray[np.floating]) -> None:
        """Compare the tones with what is heard then. Where a cut is near, a frame of the encoder may be torn."""
        tones, starts = read_tones(samples), np.arange(len(samples) // 1000) / _BLOCKS
        block = 1 / _BLOCKS
        near = np.array([self.heard(starts + shift) for shift in (-TOLERANCE, 0, block, block + TOLERANCE)])
        at_cut = np.any(near == SILENT, axis=0) & np.any(near != SILENT, axis=0)
        wrong = ~np.any(near == tones, axis=0) & ~at_cut
        assert not wrong.any(), f"tones {tones[wrong]} at {starts[wrong]} s"

    def check_numbers(self, numbers: NDArray[np.int_], tolerance: float, count: int = 8) -> None:
        """Compare the numbers of frames, `count` a second, with what the file shows at that time."""
        times = (np.arange(len(numbers)) + 0.5) / count
        held = np.minimum(times, self.video[-1][1])  # the last frame that was sampled is held
        earliest, latest = self.shown(held - tolerance) - 1, self.shown(times + tolerance) + 1
        wrong = (numbers < earliest) | (numbers > latest)
        assert not wrong.any(), f"frames of {numbers[wrong] / RATE} s at {times[wrong]} s"

    def check_warnings(self, warnings: Iterable[str], *, pictures: bool = True) -> None:
        """Expect every warning that is listed, and no other one."""
        expected = [*self.warnings, *([] if pictures else ["the file has no video stream"])]
        for expression in expected:
            assert any(re.search(expression, warning) for warning in warnings), f"{expression} not in {warnings}"
        known = (*expected, *self.tolerated)
        others = [text for text in warnings if not any(re.search(expression, text) for expression in known)]
        assert not others, f"unexpected warnings: {others}"


_SHORT = r" (2\.9|3\.0)"
FAULTS = {
    "none": Content(),
    "late sound": Content(audio=((2.0, 6.0),)),
    "late picture": Content(video=((2.0, 6.0),)),
    "short sound": Content(audio=((0.0, 3.0),), warnings=(f"audio ends at{_SHORT}", f"no audio after{_SHORT}")),
    "short picture": Content(video=((0.0, 3.0),), warnings=(f"video ends at{_SHORT}", f"no video after{_SHORT}")),
    "hole in sound": Content(
        audio=((0.0, 1.0), (4.0, 6.0)), warnings=(r"no audio from (0\.9|1\.0)\d to (3\.9|4\.0)\d s: it is silent",)
    ),
    "hole in picture": Content(video=((0.0, 1.0), (4.0, 6.0))),
    "late start": Content(start=3600.0),
}

H264 = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-qp", 10, "-g", 25, "-bf", 2, "-x264-params",
        "scenecut=0")  # fmt: skip
MPEG2 = ("-c:v", "mpeg2video", "-q:v", 2, "-g", 25, "-bf", 2, "-flags", "+cgop", "-sc_threshold", 1_000_000_000)
VP8 = ("-c:v", "libvpx", "-deadline", "realtime", "-cpu-used", 8, "-b:v", "1M", "-g", 25, "-auto-alt-ref", 0)


@dataclass(frozen=True)
class Container:
    """A container and the codecs that it usually holds."""

    audio: tuple[object, ...]  # options of ffmpeg
    video: tuple[object, ...] = ()  # empty for audio files
    options: tuple[object, ...] = ()  # of the container
    size: tuple[int, int] = (WIDTH, HEIGHT)
    rate: int = 48_000  # Hz
    base: str = "nut"  # suffix of the encoded file; most containers' codecs fit in one with exact times
    cannot: dict[str, str] = field(default_factory=dict)  # fault -> why the container cannot hold it

    def encode(self, path: Path, seconds: int = 6) -> Path:
        """Encode some seconds, whose time stamps begin at `_BASE`, to a file that `make` copies parts of."""
        sound = (*tones(0, seconds, rate=self.rate), *self.audio, "-output_ts_offset", _BASE)
        if self.video:
            ffmpeg(*frames(size=self.size), *sound, *self.video, path, feed=numbered(0, seconds * RATE, self.size))
        else:
            ffmpeg(*sound, path)
        return path

    def make(self, base: Path, path: Path, content: Content) -> Path:
        """Copy the parts of an encoded clip that `content` names."""
        options: list[object] = []
        kinds = (("a", content.audio), ("v", content.video)) if self.video else (("a", content.audio),)
        for kind, intervals in kinds:
            kept = "+".join(f"gte(pts*tb,{_BASE + a - 0.002})*lt(pts*tb,{_BASE + b - 0.002})" for a, b in intervals)
            if intervals != _ALL:
                options += [f"-bsf:{kind}", f"noise=drop='not({kept})'"]
        options += ["-output_ts_offset", content.start - _BASE]
        ffmpeg("-copyts", "-i", base, "-c", "copy", *options, *self.options, path)
        return path
