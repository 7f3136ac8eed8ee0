"""Thumbnails, waveform envelope and log-mel spectrogram of a media file, for plots."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ....extractors.mel import FRAME_LENGTH, log_mel
from ....extractors.sampling import SAMPLE_RATE
from ...decode.base import read_ppm_frames
from ...decode.ffmpeg import ffmpeg_input, ppm_command
from ...decode.open_media import OpenMedia, Second, open_media
from ...decode.options import WHOLE, DecodeOptions, Part
from ...decode.process import DEFAULT_TIMEOUT, DecoderProcess
from ...errors import DecodeTimeoutError, MediaError
from ...segments import segment_count

SPECTROGRAM_SECONDS = 60  # longer media have no spectrogram: a pixel would cover many of its frames
_MAX_ASPECT = 4  # width / height; a file may claim frames of one row, which would be scaled to gigabytes
_MAX_DECODE = 60.0  # seconds of video that are decoded from the start for a frame that seeking does not reach
_TIME_RESOLUTION = 1000  # ticks per second of frame times


def frames_at(
    path: Path, times: Sequence[float], *, height: int, timeout: float = DEFAULT_TIMEOUT
) -> list[NDArray[np.uint8] | None]:
    """Decode the frames that a player shows at some times.

    Before the first frame appears, the first one is shown. Each frame is sought separately, which decodes from the
    preceding key frame, not from the start of the file.

    Args:
        path: a media file.
        times: seconds from the container's time zero.
        height: of the frames, pixels.
        timeout: seconds without progress after which the decoder is stopped.

    Returns:
        For each time (height, W, 3) uint8 RGB, rotated and with the aspect ratio that a player shows (but at most four
        times as wide as high), or None: after the end of the video, where it cannot be decoded, and in media without
        video.

    Raises:
        MediaError: the file is not media.
        DecodeTimeoutError: the decoder hangs.
    """
    with open_media(path, decoding=DecodeOptions(timeout=timeout), streams=()) as media:
        stream = media.video_index
    if stream is None:
        return [None] * len(times)
    return [_frame_at(path, stream, float(time), height, timeout) for time in times]


def _frame_at(path: Path, stream: int, time: float, height: int, timeout: float) -> NDArray[np.uint8] | None:
    if time < 0:
        return None
    frame, without_errors = _decode_at(path, stream, time, seek=time, height=height, timeout=timeout)
    if without_errors or time > _MAX_DECODE:
        return frame
    # Some files cannot be decoded from a later key frame: streams in 4:4:4 by old versions of x264, for example, need
    # parameters that only the first frame holds.
    return _decode_at(path, stream, time, seek=0.0, height=height, timeout=timeout)[0]


def _decode_at(
    path: Path, stream: int, time: float, *, seek: float, height: int, timeout: float
) -> tuple[NDArray[np.uint8] | None, bool]:
    """Decode the frame from the key frame before `seek` seconds, and tell whether there were no decoding errors."""

    def command(descriptor: int) -> Sequence[str]:
        # Accurate seeking returns the first frame after that time, and none while the last frame is still shown. So
        # decoding begins at the preceding key frame, whose time is then negative, and `fps` selects the shown frame.
        video = ffmpeg_input(descriptor, ss=f"{seek:.6f}", reinit_filter=0, noaccurate_seek=None)
        shown = video[str(stream)].filter("fps", fps=_TIME_RESOLUTION, start_time=f"{time - seek:.6f}")
        width = f"clip(round({height}*dar),1,{_MAX_ASPECT * height})"
        scaled = shown.filter("scale", width, height).filter("setsar", 1)
        return ppm_command(scaled, 1)

    with DecoderProcess(path, command, timeout=timeout) as process:
        frame = next(read_ppm_frames(process), None)
        process.finish()
        return frame, not process.errors


def waveform_envelope(
    path: Path,
    columns: int,
    *,
    duration: float | None = None,
    part: Part = WHOLE,
    timeout: float = DEFAULT_TIMEOUT,
) -> NDArray[np.float32] | None:
    """Compute the envelope of a waveform in memory that does not grow with the file.

    Args:
        path: a media file.
        columns: number of equal intervals.
        duration: seconds that the columns cover, for example the length of a time axis. By default that of the audio,
            which is then decoded twice.
        part: the seconds to decode; the columns begin with it.
        timeout: seconds without progress after which the decoder is stopped.

    Returns:
        (columns, 2): smallest and largest sample of each interval, in [-1, 1], zeros where there is no audio. None
        where the media have no audio or none can be decoded.

    Raises:
        MediaError: the file is not media.
        DecodeTimeoutError: the decoder hangs.
    """
    with _open_audio(path, timeout, part) as media:
        if not media.has_audio:
            return None
        try:
            covered = _audio_duration(path, timeout, part) if duration is None else duration
            return envelope_of(media, columns, covered, start=part.start)
        except DecodeTimeoutError:
            raise
        except MediaError:  # the video may be intact; a warning of the features describes the error
            return None


def _audio_duration(path: Path, timeout: float, part: Part) -> float:
    with _open_audio(path, timeout, part) as media:
        for _ in media:
            pass
        return max(1e-3, (media.facts.audio_duration or 1.0) - part.start)


def _open_audio(path: Path, timeout: float, part: Part) -> OpenMedia:
    decoding = DecodeOptions(timeout=timeout, start=float(part.start), end=part.end)
    return open_media(path, decoding=decoding, streams=["audio"])


def envelope_of(seconds: Iterable[Second], columns: int, duration: float, *, start: int = 0) -> NDArray[np.float32]:
    """Compute the envelope of decoded audio.

    Args:
        seconds: of one file; those without audio count as silent.
        columns: number of equal intervals.
        duration: seconds that the columns cover.
        start: the second that they begin with.

    Returns:
        (columns, 2): smallest and largest sample of each interval, in [-1, 1].
    """
    lowest, highest = np.full(columns, np.inf), np.full(columns, -np.inf)
    width = duration * SAMPLE_RATE / columns  # samples of a column
    for second in seconds:
        if second.audio is None:
            continue
        positions = ((np.arange(SAMPLE_RATE) + (second.index - start) * SAMPLE_RATE) / width).astype(np.intp)
        starts = np.flatnonzero(np.diff(positions, prepend=-1))
        starts = starts[positions[starts] < columns]
        if not len(starts):
            continue
        inside = second.audio[positions < columns]
        reached = positions[starts]
        lowest[reached] = np.minimum(lowest[reached], np.minimum.reduceat(inside, starts))
        highest[reached] = np.maximum(highest[reached], np.maximum.reduceat(inside, starts))
    envelope = np.stack([lowest, highest], axis=1)
    return np.where(np.isfinite(envelope), envelope, 0.0).clip(-1.0, 1.0).astype(np.float32)


def log_mel_spectrogram(
    path: Path, *, part: Part = WHOLE, timeout: float = DEFAULT_TIMEOUT
) -> NDArray[np.float32] | None:
    """Compute the log-mel spectrogram of a short media file, or of a short part of one.

    Args:
        path: a media file.
        part: the seconds to decode.
        timeout: seconds without progress after which the decoder is stopped.

    Returns:
        (F, 64), a frame of 25 ms every 10 ms, see `extractors.mel`. None where the media have no audio, none can be
        decoded, or they have more than 60 segments.

    Raises:
        MediaError: the file is not media.
        DecodeTimeoutError: the decoder hangs.
    """
    seconds: list[NDArray[np.float32]] = []
    with _open_audio(path, timeout, part) as media:
        stated = part.cut(media.duration or 0.0) - part.start
        if not media.has_audio or segment_count(stated) > SPECTROGRAM_SECONDS:
            return None
        try:
            for second in media:
                if second.audio is None or len(seconds) > SPECTROGRAM_SECONDS:  # the stated duration can be wrong
                    return None
                seconds.append(second.audio)
        except DecodeTimeoutError:
            raise
        except MediaError:
            return None
        length = (media.facts.audio_duration or 0.0) - part.start
    samples = max(FRAME_LENGTH, round(length * SAMPLE_RATE))  # without the padding of the last second
    return log_mel(np.concatenate(seconds).astype(np.float64)[:samples])
