"""Decode a media file and build the inputs of CLIP and CLAP, or PE-AV: frames and audio of each segment. No torch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import Profile
from ...extractors.sampling import CLAP_RATE, Stream
from ..decode.container.media_facts import NO_AUDIO, NO_VIDEO, conclude
from ..decode.container.media_info import MediaInfo
from ..decode.container.outcome import finish_report
from ..decode.container.report import DecodeReport
from ..decode.jpeg_frames import JpegFrames
from ..decode.media_seconds import note_part
from ..decode.options import DecodeOptions
from ..decode.pcm import PcmBlocks
from ..decode.probe import probe
from ..errors import MediaError
from ..segments import pad_or_trim, segment_count, spread_indices
from .base import InputReader
from .media_summary import MediaSummary


class TeacherInputs(InputReader):
    """Reader of the teachers' inputs: one frame and one chunk of audio for each of the T segments of a file.

    The frames are those of LLP's features (8 per second, through JPEG); segment t takes number
    ``round(linspace(0, n - 1, T))[t]`` of n, for PE-AV two of ``round(linspace(0, n - 1, 2 T))``, and R(2+1)D, where it
    is asked for, the clips of LLP's features. The audio, mono at 48 kHz, is cut into T equal chunks. A stream that is
    more than a second shorter than T keeps its own timing: its last frame or clip is repeated, silence is added. A
    missing stream is black or silent.

    All of a file is decoded, also where inputs of a part are asked for.
    """

    default_profile = "clip-clap"

    def _check(self, profile: Profile, options: DecodeOptions) -> None:
        if profile.inputs == "networks":
            raise ValueError(f"profile {profile.name!r} is not one of CLIP and CLAP")
        super()._check(profile, options)

    def __iter__(self) -> Iterator[tuple[Stream, NDArray[Any]]]:
        media, options = probe(self._path), self._options
        failures: dict[str, MediaError] = {}
        self._duration = media.duration
        audio_report = frames = audio = None
        with contextlib.ExitStack() as stack:
            if media.audio is not None:
                try:
                    decoded = _decoded_audio(media, options.timeout, self._report_progress)
                    audio, audio_report = stack.enter_context(decoded)
                except MediaError as error:
                    failures[NO_AUDIO] = error
            if media.video is not None:
                report = partial(self._report_progress, "video")
                try:
                    frames = JpegFrames(media, timeout=options.timeout, progress=report)
                    stack.enter_context(contextlib.closing(frames))
                except MediaError as error:
                    failures[NO_VIDEO] = error
            reports = (audio_report, None if frames is None else frames.report)
            total = segment_count(conclude(media, *reports, failures)[0].duration)
            facts, warnings = note_part(
                media.path, *conclude(media, *reports, failures, end=options.part.end), options.part
            )
            part = range(options.part.start, segment_count(facts.duration))
            rows: dict[Stream, list[int]] = {stream: list(range(len(part))) for stream in self._formats}
            if "visual_2d" in self._formats:
                yield from self._frame_inputs("visual_2d", frames, total, part)
            if "visual_3d" in self._formats:
                yield from self._frame_inputs("visual_3d", frames, total, part)
            if "audio" in self._formats:
                yield from self._audio_inputs(audio, audio_report, total, part)
        self.summary = MediaSummary(rows, facts, warnings)

    def _report_progress(self, stage: str, seconds: float) -> None:
        if self._progress is not None:
            self._progress(stage, seconds, self._duration)

    def _frame_inputs(
        self, stream: Stream, frames: JpegFrames | None, total: int, part: range
    ) -> Iterator[tuple[Stream, NDArray[Any]]]:
        input_format = self._formats[stream]
        if frames is None:
            for _ in part:
                yield stream, np.zeros((1, *input_format.shape), input_format.dtype)
            return
        count = input_format.frames
        seconds = _covered_seconds(frames, total)
        indices = spread_indices(len(frames), seconds * count).reshape(seconds, count)
        for row in pad_or_trim(indices, total)[part.start : part.stop]:
            yield stream, input_format.reduce(frames.read(row))
            self._report_progress("video", frames.report.end)

    def _audio_inputs(
        self, audio: IO[bytes] | None, audio_report: DecodeReport | None, total: int, part: range
    ) -> Iterator[tuple[Stream, NDArray[Any]]]:
        input_format = self._formats["audio"]
        samples = 0 if audio_report is None else audio_report.decoded
        length = samples // total if abs(samples / CLAP_RATE - total) <= 1 else CLAP_RATE
        for index in part:
            chunk = np.zeros(length, np.float32)
            first = index * length
            if audio is not None and first < samples:
                audio.seek(4 * first)
                decoded = np.frombuffer(audio.read(4 * min(length, samples - first)), "<f4")
                chunk[: len(decoded)] = decoded
            yield "audio", input_format.reduce(chunk[None])
            self._report_progress("audio", index + 1.0)


def _covered_seconds(frames: JpegFrames, total: int) -> int:
    """Return the seconds that the frames are spread over: all, or those of video that ends more than a second early."""
    own = segment_count(frames.report.end)
    return total if total - own <= 1 else own


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
        choose_rate=lambda _: CLAP_RATE,
        exact_start=False,
        timeout=timeout,
    )
    with tempfile.TemporaryFile(prefix="avvp-audio-") as file:
        for block in blocks:
            file.write(np.nan_to_num(block, nan=0.0, posinf=1.0, neginf=-1.0).astype("<f4").tobytes())
            report_progress("audio", report.end)
        finish_report(media, report, "audio", first_error=blocks.first_error)
        yield cast("IO[bytes]", file), report
