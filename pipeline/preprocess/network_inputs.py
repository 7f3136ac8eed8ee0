"""From a media file to the inputs of the networks: one decode of each stream, each distinct input made once.

What a file lacks is settled here, too: silence where there is no sound, black where there is no picture, the last
frame held where the picture ends early. Networks only map inputs to rows; which row goes where is said by `rows`.
No torch: this runs in the processes that decode.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.inputs import InputFormat
from ...extractors.profiles import get_profile
from ...extractors.sampling import FRAMES_PER_SEGMENT, SAMPLE_RATE, Stream
from ..decode.audio import AudioReader
from ..decode.base import DecodeReport, Frames
from ..decode.options import DEFAULT_OPTIONS, DecodeOptions
from ..decode.per_second import check_decoder, open_seconds
from ..decode.probe import probe
from ..errors import MediaError
from ..segments import pad_or_trim, segment_count
from .media_summary import DecodeProgress, MediaSummary, summarize

_BLACK = np.zeros((FRAMES_PER_SEGMENT, 112, 112, 3), np.uint8)
_SILENCE = np.zeros(SAMPLE_RATE)


class NetworkInputs:
    """Iterating decodes and gives (stream, inputs): new inputs (n, *shape) of one stream, at most a second's.

    An input that repeats the one before (a still picture, slow video, digital silence) is not given again. `summary`
    is there once the iteration has ended. Iterating raises MediaError for what cannot be decoded at all; ValueError
    is raised for a decoder that cannot serve the profile.
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
        self.profile = get_profile(profile)
        check_decoder(self.profile, options.decoder)
        self._options, self._progress = options, progress
        self._formats: dict[Stream, InputFormat] = {form.stream: form for form in formats}
        self._given: dict[Stream, int] = {form.stream: 0 for form in formats}
        self._media = probe(path, timeout=options.timeout)

    def __iter__(self) -> Iterator[tuple[Stream, NDArray[Any]]]:
        media, failures = self._media, dict[str, MediaError]()
        rows: dict[Stream, list[int]] = {form.stream: [] for form in self._formats.values()}
        heard = seen = None
        if media.audio is not None:
            sound = AudioReader(media, self.profile.resampling, timeout=self._options.timeout)
            try:
                yield from self._audio_inputs(sound, rows)
                heard = sound.report
            except MediaError as error:
                failures["no audio events"] = error
        if media.video is not None:
            known = heard.end if heard else 0.0
            try:
                opened = open_seconds(
                    media, self.profile, self._options, audio_end=known, report_progress=self._report_progress
                )
                with contextlib.closing(opened) as seconds:
                    yield from self._visual_inputs(seconds, rows)
                    seen = seconds.report
            except MediaError as error:
                failures["no visual events"] = error
        if heard is None and seen is None:
            raise next(iter(failures.values()), MediaError(media.path, "holds neither audio nor video"))
        duration = max(report.end for report in (heard, seen) if report)
        segments = segment_count(duration)
        yield from self._complete(rows, segments, heard, seen)
        self.summary = summarize(media, rows, segments, heard, seen, failures)

    def _audio_inputs(self, sound: AudioReader, rows: dict[Stream, list[int]]) -> Iterator[tuple[Stream, NDArray[Any]]]:
        last = None
        for count, second in enumerate(sound, 1):
            if "audio" in rows:
                if last is None or not np.array_equal(second, last):
                    yield self._give("audio", second[None])
                rows["audio"].append(self._given["audio"] - 1)
            last = second
            self._report_progress("audio", count)

    def _visual_inputs(self, seconds: Any, rows: dict[Stream, list[int]]) -> Iterator[tuple[Stream, NDArray[Any]]]:
        """Each second is reduced as it comes: raw 8K pictures that wait for a batch would fill the memory."""
        last: Frames | None = None
        last_second_stood = False
        for count, frames in enumerate(seconds, 1):
            before = [last, *frames[:-1]]
            fresh = [k for k, (a, b) in enumerate(zip(before, frames, strict=True)) if not _same(a, b)]
            last = frames[-1]
            if "visual_2d" in rows:
                first = self._given["visual_2d"]
                if fresh:
                    yield self._give("visual_2d", frames[fresh])
                shown = np.searchsorted(fresh, range(len(frames)), side="right")
                rows["visual_2d"] += [first + int(index) - 1 for index in shown]
            if "visual_3d" in rows:
                if fresh or not last_second_stood:
                    yield self._give("visual_3d", frames)
                rows["visual_3d"].append(self._given["visual_3d"] - 1)
            last_second_stood = not any(fresh)  # at most its first frame was new
            self._report_progress("video", count)

    def _complete(
        self, rows: dict[Stream, list[int]], segments: int, heard: DecodeReport | None, seen: DecodeReport | None
    ) -> Iterator[tuple[Stream, NDArray[Any]]]:
        """What a stream lacks to the full length: silence, the last frame held, black where there is no picture."""
        if "audio" in rows:
            found = rows["audio"] if heard else []
            if len(found) < segments:
                yield self._give("audio", _SILENCE[None])
                found = found + [self._given["audio"] - 1] * (segments - len(found))
            rows["audio"] = found[:segments]
        for stream, found in rows.items():
            if stream == "audio":
                continue
            if seen is None:
                yield self._give(stream, _BLACK[:1] if stream == "visual_2d" else _BLACK)
                found[:] = [self._given[stream] - 1]
            wanted = segments * (FRAMES_PER_SEGMENT if stream == "visual_2d" else 1)
            found[:] = pad_or_trim(np.array(found), wanted).tolist()

    def _give(self, stream: Stream, media: NDArray[Any]) -> tuple[Stream, NDArray[Any]]:
        reduced = self._formats[stream].reduce(media)
        self._given[stream] += len(reduced)
        return stream, reduced

    def _report_progress(self, what: str, seconds: float) -> None:
        if self._progress is not None:
            self._progress(what, seconds, self._media.duration)


def _same(first: Frames | None, second: Frames) -> bool:
    return first is not None and np.array_equal(first, second)
