"""Decode a media file and build the inputs of the teachers: one frame and one chunk of audio per segment. No torch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ...extractors.inputs import InputFormat
from ...extractors.profiles import Profile
from ...extractors.sampling import Stream
from ..decode.container.media_facts import NO_AUDIO, NO_VIDEO, conclude
from ..decode.container.media_info import MediaInfo
from ..decode.container.outcome import finish_report
from ..decode.container.report import DecodeReport
from ..decode.jpeg_frames import JpegFrames
from ..decode.options import DecodeOptions
from ..decode.pcm import PcmBlocks
from ..decode.probe import probe
from ..decode.resampling import DEFAULT_RESAMPLER
from ..errors import MediaError
from ..segments import pad_or_trim, segment_count, spread_indices
from .base import InputReader
from .clap_mel import BANDS, FRAMES, RATE, clap_mel
from .media_summary import MediaSummary

SIZE = 224  # pixels; width and height of CLIP's input


def clip_frame(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Resize a frame to CLIP's input size by bilinear interpolation without antialiasing.

    The aspect ratio is not kept. Each pixel is interpolated from its four neighbours, pixel centres at halves.

    Args:
        frame: (H, W, 3) uint8 RGB.

    Returns:
        (224, 224, 3) float32 in [0, 1].

    Source:
        The published program, which resizes tensors (torchvision's Resize with antialias off).
    """
    (top, bottom, down), (left, right, across) = (_neighbours(length) for length in frame.shape[:2])
    values = frame.astype(np.float32) / np.float32(255)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    return (rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]).astype(np.float32)


def _neighbours(length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    """Return for each output pixel its two neighbours along one axis and the weight of the second."""
    positions = np.maximum((np.arange(SIZE) + 0.5) * length / SIZE - 0.5, 0)
    first = np.minimum(positions.astype(np.intp), length - 1)
    return first, np.minimum(first + 1, length - 1), (positions - first).astype(np.float32)


CLIP_FRAME = InputFormat(
    "clip_frame", "visual_2d", (SIZE, SIZE, 3), np.float32, lambda frames: np.stack([*map(clip_frame, frames)])
)
CLAP_MEL = InputFormat(
    "clap_mel", "audio", (FRAMES, BANDS), np.float32, lambda chunks: np.stack([*map(clap_mel, chunks)])
)
TEACHER_FORMATS = {input_format.name: input_format for input_format in (CLAP_MEL, CLIP_FRAME)}


class TeacherInputs(InputReader):
    """Reader of the teachers' inputs: one frame and one chunk of audio for each of the T segments of a file.

    The frames are those of LLP's features (8 per second, through JPEG); segment t takes number
    ``round(linspace(0, n - 1, T))[t]`` of n. The audio, mono at 48 kHz, is cut into T equal chunks. A stream that is
    more than a second shorter than T keeps its own timing: its last frame is repeated, silence is added. A missing
    stream is black or silent.
    """

    def _check(self, profile: Profile, options: DecodeOptions) -> None:
        if profile.name != "llp" or options.decoder == "decord" or options.resampler != DEFAULT_RESAMPLER:
            raise ValueError("the teachers take frames of profile llp, decoded by ffmpeg, and audio at 48 kHz")
        if not options.part.is_whole:
            raise ValueError("the teachers label whole files, not parts")

    def __iter__(self) -> Iterator[tuple[Stream, NDArray[Any]]]:
        media, timeout = probe(self._path), self._options.timeout
        failures: dict[str, MediaError] = {}
        self._duration = media.duration
        audio_report = frames = audio = None
        with contextlib.ExitStack() as stack:
            if media.audio is not None:
                try:
                    audio, audio_report = stack.enter_context(_decoded_audio(media, timeout, self._report_progress))
                except MediaError as error:
                    failures[NO_AUDIO] = error
            if media.video is not None:
                try:
                    frames = JpegFrames(media, timeout=timeout, progress=lambda s: self._report_progress("video", s))
                    stack.enter_context(contextlib.closing(frames))
                except MediaError as error:
                    failures[NO_VIDEO] = error
            facts, warnings = conclude(media, audio_report, None if frames is None else frames.report, failures)
            segments = segment_count(facts.duration)
            rows: dict[Stream, list[int]] = {stream: list(range(segments)) for stream in self._formats}
            if "visual_2d" in self._formats:
                yield from self._visual_inputs(frames, segments)
            if "audio" in self._formats:
                yield from self._audio_inputs(audio, audio_report, segments)
        self.summary = MediaSummary(rows, facts, warnings)

    def _report_progress(self, stage: str, seconds: float) -> None:
        if self._progress is not None:
            self._progress(stage, seconds, self._duration)

    def _visual_inputs(self, frames: JpegFrames | None, segments: int) -> Iterator[tuple[Stream, NDArray[Any]]]:
        input_format = self._formats["visual_2d"]
        if frames is None:
            yield "visual_2d", np.zeros((segments, *input_format.shape), input_format.dtype)
            return
        video_segments = segment_count(frames.report.end)
        indices = spread_indices(len(frames), segments if segments - video_segments <= 1 else video_segments)
        for index in pad_or_trim(indices, segments):
            yield "visual_2d", input_format.reduce(frames.read([int(index)]))
            self._report_progress("video", frames.report.end)

    def _audio_inputs(
        self, audio: IO[bytes] | None, audio_report: DecodeReport | None, segments: int
    ) -> Iterator[tuple[Stream, NDArray[Any]]]:
        input_format = self._formats["audio"]
        samples = 0 if audio_report is None else audio_report.decoded
        length = samples // segments if abs(samples / RATE - segments) <= 1 else RATE
        for index in range(segments):
            chunk = np.zeros(length, np.float32)
            first = index * length
            if audio is not None and first < samples:
                audio.seek(4 * first)
                decoded = np.frombuffer(audio.read(4 * min(length, samples - first)), "<f4")
                chunk[: len(decoded)] = decoded
            yield "audio", input_format.reduce(chunk[None])
            self._report_progress("audio", index + 1.0)


@contextlib.contextmanager
def _decoded_audio(
    media: MediaInfo, timeout: float, report_progress: Callable[[str, float], None]
) -> Iterator[tuple[IO[bytes], DecodeReport]]:
    """Decode the audio to a temporary file of float32 samples, mono at 48 kHz (700 MB for an hour)."""
    assert media.audio is not None
    report = DecodeReport("ffmpeg")
    blocks = PcmBlocks(
        media,
        media.audio,
        report,
        sample_format="flt-mono",
        choose_rate=lambda _: RATE,
        exact_start=False,
        timeout=timeout,
    )
    with tempfile.TemporaryFile(prefix="avvp-audio-") as file:
        for block in blocks:
            file.write(np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0).astype("<f4").tobytes())
            report_progress("audio", report.end)
        finish_report(media, report, "audio", first_error=blocks.first_error)
        yield cast("IO[bytes]", file), report
