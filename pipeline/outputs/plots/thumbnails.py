"""What a file's picture looks like and its sound is like, in little space: film strip, loudness, log-mel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....extractors.mel import FRAME_LENGTH, log_mel
from ....extractors.sampling import SAMPLE_RATE
from ...decode.audio import AudioReader
from ...decode.base import read_pictures
from ...decode.ffmpeg import ffmpeg_command, ffmpeg_input
from ...decode.probe import MediaInfo, StreamInfo, probe
from ...decode.process import DEFAULT_TIMEOUT, DecoderProcess
from ...errors import DecodeTimeoutError, MediaError
from ...segments import segment_count

SPECTROGRAM_SECONDS = 60  # media with more of them have none: a pixel would stand for many frames
_WIDEST = 4  # times its height; a file may claim a picture of one row, which would be scaled to gigabytes
_PATIENCE = 60.0  # seconds of video that are decoded for a picture that cannot be sought
_CLOCK = 1000  # ticks in a second: how exactly a picture's time is kept


def frames_at(
    path: Path, times: Sequence[float], *, height: int, timeout: float = DEFAULT_TIMEOUT
) -> list[NDArray[np.uint8] | None]:
    """The pictures on the screen at some times, in seconds from the container's time zero.

    Each is (height, W, 3) RGB, turned and as wide as a player shows it (but at most four times as wide as high), or
    None: at times after the end of the picture, where it cannot be decoded, and everywhere in media without video.
    Before the first frame appears, the first is shown. Each is sought on its own, which costs the frames since the key
    frame before it, not those since the start. Raises MediaError for what is no media, DecodeTimeoutError for media
    on which the decoder hangs.
    """
    media = probe(path, timeout=timeout)
    if media.video is None:
        return [None] * len(times)
    return [_frame_at(media, media.video, float(time), height, timeout) for time in times]


def _frame_at(
    media: MediaInfo, stream: StreamInfo, time: float, height: int, timeout: float
) -> NDArray[np.uint8] | None:
    if time < 0:
        return None
    picture, whole = _decode_at(media, stream, time, sought=time, height=height, timeout=timeout)
    if whole or time > _PATIENCE:
        return picture
    # Some files cannot be entered at their key frames: what old versions of x264 wrote in 4:4:4, say, is decoded by
    # rules that only the first frame states.
    return _decode_at(media, stream, time, sought=0.0, height=height, timeout=timeout)[0]


def _decode_at(
    media: MediaInfo, stream: StreamInfo, time: float, *, sought: float, height: int, timeout: float
) -> tuple[NDArray[np.uint8] | None, bool]:
    """The picture, decoded from the key frame before `sought` seconds on, and whether that went without errors."""

    def command(descriptor: int) -> Sequence[str]:
        # Exact seeking gives the first frame after that time, and none where the last frame is still shown. So
        # decoding begins at the key frame before, whose time is then negative, and `fps` finds what is shown.
        video = ffmpeg_input(descriptor, ss=f"{sought:.6f}", reinit_filter=0, noaccurate_seek=None)
        shown = video[str(stream.index)].filter("fps", fps=_CLOCK, start_time=f"{time - sought:.6f}")
        width = f"clip(round({height}*dar),1,{_WIDEST * height})"
        scaled = shown.filter("scale", width, height).filter("setsar", 1)
        options = {"frames:v": 1, "vcodec": "ppm", "pix_fmt": "rgb24", "f": "image2pipe"}
        return ffmpeg_command(scaled.output("pipe:1", **options), log_level="error")

    with DecoderProcess(media.path, command, timeout=timeout) as process:
        picture = next(read_pictures(process), None)
        process.finish()
        return picture, not process.errors


def loudness(
    path: Path, columns: int, *, duration: float | None = None, timeout: float = DEFAULT_TIMEOUT
) -> NDArray[np.float32] | None:
    """The envelope of the sound: (columns, 2), its least and greatest sample in equal parts of `duration` seconds.

    Samples are in [-1, 1]; a part without sound has zeros. duration: by default that of the sound, which is then
    decoded twice to learn it; the length of a time axis puts the parts in their places on it. Memory does not grow
    with the file. None without sound, or where none can be decoded. Raises MediaError for what is no media,
    DecodeTimeoutError for media on which the decoder hangs.
    """
    media = probe(path, timeout=timeout)
    if media.audio is None:
        return None
    # The reader itself filters what is not at 16 kHz, which takes a minute and a half for an hour of sound. Where a
    # stream is said to be at that rate already, ffmpeg converts it, in a few seconds and well enough for the eye.
    streams = tuple(replace(stream, sample_rate=SAMPLE_RATE) for stream in media.streams)
    converted = replace(media, streams=streams)
    try:
        if duration is None:
            counted = AudioReader(converted, "filtered", timeout=timeout)
            for _ in counted:
                pass
            duration = counted.report.end
        return _envelope(AudioReader(converted, "filtered", timeout=timeout), columns, duration)
    except DecodeTimeoutError:
        raise
    except MediaError:  # the picture may be well: the features of such a file say in a warning what is wrong
        return None


def _envelope(sound: AudioReader, columns: int, duration: float) -> NDArray[np.float32]:
    least, greatest = np.full(columns, np.inf), np.full(columns, -np.inf)
    width = duration * SAMPLE_RATE / columns  # samples of a part
    for second, samples in enumerate(sound):
        places = ((np.arange(SAMPLE_RATE) + second * SAMPLE_RATE) / width).astype(np.intp)
        starts = np.flatnonzero(np.diff(places, prepend=-1))
        starts = starts[places[starts] < columns]
        if not len(starts):
            continue
        heard = samples[places < columns]
        found = places[starts]
        least[found] = np.minimum(least[found], np.minimum.reduceat(heard, starts))
        greatest[found] = np.maximum(greatest[found], np.maximum.reduceat(heard, starts))
    envelope = np.stack([least, greatest], axis=1)
    return np.where(np.isfinite(envelope), envelope, 0.0).clip(-1.0, 1.0).astype(np.float32)


def spectrogram(path: Path, *, timeout: float = DEFAULT_TIMEOUT) -> NDArray[np.float32] | None:
    """The log-mel of the sound, (frames, 64), a frame of 25 ms every 10 ms; see `extractors.mel`.

    None without sound, or where none can be decoded, and for media of more than 60 segments. Raises MediaError for
    what is no media, DecodeTimeoutError for media on which the decoder hangs.
    """
    media = probe(path, timeout=timeout)
    if media.audio is None or segment_count(media.duration or 0.0) > SPECTROGRAM_SECONDS:
        return None
    sound = AudioReader(media, "filtered", timeout=timeout)
    seconds: list[NDArray[np.float64]] = []
    try:
        for second in sound:
            seconds.append(second)
            if len(seconds) > SPECTROGRAM_SECONDS + 1:  # the container did not say, or not the truth
                return None
    except DecodeTimeoutError:
        raise
    except MediaError:
        return None
    length = max(FRAME_LENGTH, round(sound.report.end * SAMPLE_RATE))  # without the silence that completes the last
    return log_mel(np.concatenate(seconds)[:length])
