"""From a media file to what the teachers are fed: a picture and a piece of sound for each segment. No torch."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
from numpy.typing import NDArray

from ...extractors.inputs import InputFormat
from ...extractors.sampling import Stream
from ..decode.base import DecodeReport, check_length
from ..decode.ffmpeg import ffmpeg_command, ffmpeg_input
from ..decode.ffmpeg_log import DecodeLog, check_result
from ..decode.jpeg_frames import JpegFrames
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..decode.probe import MediaInfo, probe
from ..decode.process import DecoderProcess
from ..errors import MediaError
from ..segments import pad_or_trim, segment_count, spread_indices
from .clap_mel import BANDS, FRAMES, RATE, clap_mel
from .media_summary import DecodeProgress, MediaSummary, summarize

SIZE = 224  # of CLIP's pictures
_BLOCK = RATE  # samples read at once


def clip_picture(frame: NDArray[np.uint8]) -> NDArray[np.float32]:
    """(H, W, 3) uint8 RGB -> (224, 224, 3) float32 in [0, 1], squashed by bilinear interpolation without antialiasing.

    As the published program resizes tensors (torchvision's Resize, antialias off): each pixel looks at its four
    neighbours, pixel centres at halves.
    """
    (top, bottom, down), (left, right, across) = (_neighbours(length) for length in frame.shape[:2])
    values = frame.astype(np.float32) / np.float32(255)
    rows = values[top] * (1 - down)[:, None, None] + values[bottom] * down[:, None, None]
    return (rows[:, left] * (1 - across)[:, None] + rows[:, right] * across[:, None]).astype(np.float32)


def _neighbours(length: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    places = np.maximum((np.arange(SIZE) + 0.5) * length / SIZE - 0.5, 0)
    first = np.minimum(places.astype(np.intp), length - 1)
    return first, np.minimum(first + 1, length - 1), (places - first).astype(np.float32)


CLIP_PICTURE = InputFormat(
    "clip_picture", "visual_2d", (SIZE, SIZE, 3), np.float32, lambda frames: np.stack([*map(clip_picture, frames)])
)
CLAP_MEL = InputFormat(
    "clap_mel", "audio", (FRAMES, BANDS), np.float32, lambda chunks: np.stack([*map(clap_mel, chunks)])
)
TEACHER_FORMATS = {form.name: form for form in (CLAP_MEL, CLIP_PICTURE)}


class TeacherInputs:
    """Iterating decodes a file and gives (stream, inputs) for its T segments; then `summary` is there.

    Pictures are those of LLP's features (8 a second, through JPEG), the one of a segment being number
    ``round(linspace(0, n - 1, T))`` of n. The sound, mono at 48 kHz, is cut into T equal pieces. Where a stream is
    more than a second shorter than T, it keeps its own time: the last picture is held, silence is added. A stream that
    the file lacks is black or silent. Raises MediaError for what cannot be decoded at all.
    """

    summary: MediaSummary

    def __init__(
        self,
        path: Path,
        formats: Sequence[InputFormat],
        *,
        profile: str = "llp",
        options: DecodeOptions = DEFAULT_OPTIONS,
        progress: DecodeProgress | None = None,
    ) -> None:
        if profile != "llp" or options.decoder == "decord":
            raise ValueError("the teachers' pictures are those of profile llp, made by ffmpeg")
        self._formats: dict[Stream, InputFormat] = {form.stream: form for form in formats}
        self._timeout, self._progress = options.timeout, progress
        self._media = probe(path, timeout=options.timeout)

    def __iter__(self) -> Iterator[tuple[Stream, NDArray[Any]]]:
        media, failures = self._media, dict[str, MediaError]()
        heard = pictures = track = None
        with contextlib.ExitStack() as opened:
            if media.audio is not None:
                try:
                    track, heard = opened.enter_context(_decoded_sound(media, self._timeout, self._report_progress))
                except MediaError as error:
                    failures["no audio events"] = error
            if media.video is not None:
                try:
                    pictures = JpegFrames(
                        media, timeout=self._timeout, progress=lambda s: self._report_progress("video", s)
                    )
                    opened.enter_context(contextlib.closing(pictures))
                except MediaError as error:
                    failures["no visual events"] = error
            seen = None if pictures is None else pictures.report
            if heard is None and seen is None:
                raise next(iter(failures.values()), MediaError(media.path, "holds neither audio nor video"))
            duration = max(report.end for report in (heard, seen) if report)
            segments = segment_count(duration)
            rows: dict[Stream, list[int]] = {stream: list(range(segments)) for stream in self._formats}
            if "visual_2d" in self._formats:
                yield from self._visual_inputs(pictures, segments)
            if "audio" in self._formats:
                yield from self._audio_inputs(track, heard, segments)
        self.summary = summarize(media, rows, segments, heard, seen, failures)

    def _visual_inputs(self, pictures: JpegFrames | None, segments: int) -> Iterator[tuple[Stream, NDArray[Any]]]:
        form = self._formats["visual_2d"]
        if pictures is None:
            yield "visual_2d", np.zeros((segments, *form.shape), form.dtype)
            return
        own = segment_count(pictures.report.end)
        spread = spread_indices(len(pictures), segments if segments - own <= 1 else own)
        for index in pad_or_trim(spread, segments):
            yield "visual_2d", form.reduce(pictures.read([int(index)]))
            self._report_progress("video", pictures.report.end)

    def _audio_inputs(
        self, track: Any, heard: DecodeReport | None, segments: int
    ) -> Iterator[tuple[Stream, NDArray[Any]]]:
        form = self._formats["audio"]
        samples = 0 if heard is None else heard.decoded
        length = samples // segments if abs(samples / RATE - segments) <= 1 else RATE
        for index in range(segments):
            piece = np.zeros(length, np.float32)
            first = index * length
            if track is not None and first < samples:
                track.seek(4 * first)
                found = np.frombuffer(track.read(4 * min(length, samples - first)), "<f4")
                piece[: len(found)] = found
            yield "audio", form.reduce(piece[None])
            self._report_progress("audio", index + 1.0)

    def _report_progress(self, what: str, seconds: float) -> None:
        if self._progress is not None:
            self._progress(what, seconds, self._media.duration)


@contextlib.contextmanager
def _decoded_sound(media: MediaInfo, timeout: float, tell: Any) -> Iterator[tuple[Any, DecodeReport]]:
    """A temporary file of float32 samples, mono at 48 kHz, and what became of the stream (700 MB for an hour)."""
    assert media.audio is not None
    stream, report = media.audio, DecodeReport("ffmpeg")

    def command(descriptor: int) -> Sequence[str]:
        sound: Any = ffmpeg_input(descriptor)[str(stream.index)]
        output = sound.output("pipe:1", f="f32le", acodec="pcm_f32le", ar=RATE, ac=1)
        return ffmpeg_command(output, log_level="verbose")

    with tempfile.TemporaryFile(prefix="avvp-sound-") as file:
        block = np.empty(_BLOCK, "<f4")
        with DecoderProcess(media.path, command, timeout=timeout, on_line=DecodeLog(report)) as process:
            while length := process.read_into(block) // 4:
                report.decoded += length
                check_length(media, report.decoded / RATE)
                file.write(np.nan_to_num(block[:length], nan=0.0, posinf=1.0, neginf=-1.0).tobytes())
                tell("audio", report.decoded / RATE)
            report.end = report.decoded / RATE
            check_result(media, process, report, "sound")
        if not report.decoded:
            raise MediaError(media.path, "no sound could be decoded")
        yield cast("Any", file), report
