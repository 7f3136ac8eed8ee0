"""Decode a media file second by second: frames and audio of the same second together, on one clock.

This runs in decode processes; `open_media` gives the same seconds to other programs.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import Profile
from ...extractors.sampling import SAMPLE_RATE
from ..clock import format_clock
from ..errors import MediaError
from ..segments import segment_count
from .audio import AudioReader, find_audible_stream
from .base import Frames
from .container.media_facts import NO_AUDIO, NO_VIDEO, DecodeProgress, MediaFacts, conclude
from .container.media_info import MediaInfo
from .container.report import DecodeReport
from .options import DecodeOptions, Part
from .per_second import open_seconds
from .probe import probe
from .resampling import Samples

_SILENCE = np.zeros(SAMPLE_RATE)


@dataclass(frozen=True, eq=False)
class DecodedSecond:
    """One second of a file; a stream that is missing, or has ended, is None.

    Attributes:
        index: number of the second.
        frames: (F, H, W, 3) uint8 RGB, as many as the profile samples.
        audio: (16000,) float64 in [-1, 1].
    """

    index: int
    frames: Frames | None
    audio: Samples | None


class MediaSeconds:
    """Seconds of a file, or of a part of it, under a profile; iterated once. Memory does not grow with the file.

    Where a stream ends before the part, the second before the part comes first. It has the last frames of the video,
    and silence where the audio has ended: what would be held.

    Attributes:
        media: the probed file.
        audio_report: outcome of the audio stream, None before the end and where none was decoded.
        visual_report: the same of the video stream.
        segments: T, known at the end; the number of the second after the last one of the part.
        facts: of the decoded file, known at the end.
        warnings: everything that limits the result, known at the end.
    """

    facts: MediaFacts
    warnings: tuple[str, ...]
    segments: int

    def __init__(
        self,
        path: Path,
        profile: Profile,
        options: DecodeOptions,
        *,
        streams: frozenset[str] = frozenset({"audio", "video"}),
        progress: DecodeProgress | None = None,
    ) -> None:
        """Read the headers of the file.

        Args:
            path: a media file.
            profile: the profile to decode for.
            options: decoder, resampler, time limit and part of the file.
            streams: the kinds of streams to decode.
            progress: called with the stage, seconds done and seconds in total.

        Raises:
            MediaError: the file is not media.
        """
        if profile.resampling == "ffmpeg":
            raise ValueError(f"profile {profile.name!r} is not read second by second")
        self._resampling: Literal["nearest", "filtered"] = profile.resampling
        self.media: MediaInfo = probe(path)
        self._profile, self._options, self._kinds, self._progress = profile, options, streams, progress
        self._failures: dict[str, MediaError] = {}
        self.audio_report: DecodeReport | None = None
        self.visual_report: DecodeReport | None = None
        self._part = options.part
        self._held_frames: Frames | None = None  # of video that ends before the part
        self._audio_ended = False  # before the part
        self._done = 0.0  # seconds of the part

    def __iter__(self) -> Iterator[DecodedSecond]:
        with contextlib.ExitStack() as stack:
            audio, frames = self._open_audio(stack), self._open_frames(stack)
            previous: DecodedSecond | None = None
            index = self._part.start
            while True:
                second = DecodedSecond(index, next(frames, None), next(audio, None))
                if second.frames is None and second.audio is None:
                    break
                if index == self._part.start and (self._held_frames is not None or self._audio_ended):
                    yield DecodedSecond(index - 1, self._held_frames, _SILENCE if self._audio_ended else None)
                if previous is not None:
                    yield previous
                previous, index = second, index + 1
                self._done = float(index - self._part.start)
                self._report("video" if self._decodes_video else "audio", self._done)
            self._conclude()
            # The last second may be a remainder of less than half a second, which is dropped.
            if previous is not None and previous.index < self.segments:
                yield previous

    def _open_audio(self, stack: contextlib.ExitStack) -> Iterator[Samples]:
        if self.media.audio is None or "audio" not in self._kinds:
            return iter(())
        options = self._options
        reader = AudioReader(
            self.media,
            self._resampling,
            resampler=options.resampler,
            timeout=options.timeout,
            part=self._part,
            on_skip=lambda: self._report("audio", 0.0),
        )
        seconds = self._audio_seconds(reader)
        return _spooled(seconds, stack) if self._spools_audio else seconds

    def _audio_seconds(self, reader: AudioReader) -> Iterator[Samples]:
        try:
            for count, second in enumerate(reader, 1):
                if self._spools_audio:
                    self._report("audio", float(count))
                yield second
        except MediaError as error:
            self._failures[NO_AUDIO] = error
            return
        self.audio_report = reader.report
        self._audio_ended = reader.ended_before
        if not reader.silent:
            return
        other = find_audible_stream(reader, self._options.timeout, lambda seconds: self._report("audio", seconds))
        if other is not None:
            warning = f"audio stream {reader.stream.index} is silent, but stream {other.index} is not"
            reader.report.warnings.append(warning)

    def _open_frames(self, stack: contextlib.ExitStack) -> Iterator[Frames]:
        if not self._decodes_video:
            return
        audio_end = self.audio_report.end if self.audio_report else 0.0
        try:
            opened = open_seconds(
                self.media,
                self._profile,
                self._options,
                audio_end=audio_end,
                report_progress=self._report,
                on_skip=lambda: self._report("video", self._done),
            )
            stack.callback(opened.close)
            yield from opened
            self._held_frames = opened.held
        except MediaError as error:
            self._failures[NO_VIDEO] = error
            return
        self.visual_report = opened.report

    @property
    def _spools_audio(self) -> bool:
        """Whether the audio is decoded first: frames chosen by their number are spaced over the longer stream."""
        return self._profile.frames != "exact" and self._decodes_video

    @property
    def _decodes_video(self) -> bool:
        return self.media.video is not None and "video" in self._kinds

    def _conclude(self) -> None:
        part = self._part
        facts, self.warnings = conclude(self.media, self.audio_report, self.visual_report, self._failures, end=part.end)
        self.segments = segment_count(facts.duration)
        self.facts, self.warnings = note_part(self.media.path, facts, self.warnings, part)

    def _report(self, stage: str, seconds: float) -> None:
        if self._progress is not None:
            total = self.media.duration
            if total is not None and stage != "frames":  # these are decoded of the whole file
                total = max(0.0, self._part.cut(total) - self._part.start)
            self._progress(stage, seconds, total)


def note_part(
    path: Path, facts: MediaFacts, warnings: tuple[str, ...], part: Part
) -> tuple[MediaFacts, tuple[str, ...]]:
    """Note in facts and warnings which part of a file was decoded; nothing for the whole file.

    Args:
        path: of the file, for the message.
        facts: of `conclude`, with the end of the part.
        warnings: of `conclude`.
        part: the seconds that were decoded.

    Returns:
        Facts and warnings.

    Raises:
        MediaError: the file ends before the part.
    """
    segments = segment_count(facts.duration)
    if segments <= part.start:
        place = "before" if facts.duration <= part.start else "less than half a second into"
        cause = f"ends at {facts.duration:.2f} s, {place} the part that begins at {part.start} s"
        raise MediaError(path, cause)
    if part.is_whole:
        return facts, warnings
    span = f"{format_clock(part.start)} to {format_clock(segments)}"
    return replace(facts, parsed=(part.start, segments)), (f"only {span} was parsed", *warnings)


def _spooled(seconds: Iterator[Samples], stack: contextlib.ExitStack) -> Iterator[Samples]:
    """Read all seconds into a temporary file now (230 MB for an hour); return an iterator over them.

    Single precision holds the 17 bits of the samples of profile llp without loss.
    """
    file = stack.enter_context(tempfile.TemporaryFile(prefix="avvp-audio-"))  # noqa: SIM115 - closed with the stack
    count = sum(file.write(second.astype(np.float32).tobytes()) for second in seconds) // (4 * SAMPLE_RATE)
    file.seek(0)

    def read() -> NDArray[np.float64]:
        return np.frombuffer(file.read(4 * SAMPLE_RATE), np.float32).astype(np.float64)

    return (read() for _ in range(count))
