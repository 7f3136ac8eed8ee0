"""Decode a media file once and build network inputs; repeated frames are built once. No torch.

Missing media is replaced here too: no audio by silence, no video by black frames, and video that ends early by its last
frame. `MediaSummary.rows` maps the inputs to rows of features.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...extractors.sampling import FRAMES_PER_SEGMENT, SAMPLE_RATE, Stream, rows_per_segment
from ..decode.base import Frames, is_same_view
from ..decode.container.report import DecodeReport
from ..decode.media_seconds import MediaSeconds
from ..segments import pad_or_trim
from .base import GROUPS, InputReader
from .media_summary import MediaSummary

_BLACK = np.zeros((FRAMES_PER_SEGMENT, 112, 112, 3), np.uint8)
_SILENCE = np.zeros(SAMPLE_RATE)

StreamInputs = Iterator[tuple[Stream, NDArray[Any]]]


class NetworkInputs(InputReader):
    """Reader of the extractors' inputs: each iteration step gives new inputs of one stream, at most one second's.

    An input that equals the one before (a still image, slow video, digital silence) is omitted; `summary.rows` then
    refers to the earlier one. So is a group that equals the one before. Pictures, and clips of them, are omitted too
    where none of their pictures differs from the last that was not by more than `DecodeOptions.similar_pictures`.
    """

    def __iter__(self) -> StreamInputs:
        self._rows: dict[Stream, list[int]] = {stream: [] for stream in self._formats}
        self._counts: dict[Stream, int] = dict.fromkeys(self._formats, 0)  # inputs so far
        self._last_audio: NDArray[np.float64] | None = None
        self._last_frame: Frames | None = None
        self._last_picture: Frames | None = None
        self._last_input: dict[Stream, NDArray[Any]] = {}  # where similar inputs are omitted
        self._similar = self._options.levels_of(self.profile)
        self._last_second_still = False
        self._last_group: list[int] | None = None
        self._groups = 0
        start = self._options.part.start
        first: dict[Stream, int] = dict.fromkeys(self._formats, start)  # second of the first row
        seconds = MediaSeconds(self._path, self.profile, self._options, progress=self._progress)
        for second in seconds:
            if second.audio is not None:
                yield from self._audio_inputs(second.audio)
            if second.frames is not None:
                yield from self._visual_inputs(second.frames)
            if second.index < start:
                first |= {stream: second.index for stream, rows in self._rows.items() if rows}
        yield from self._pad(seconds.segments, first, seconds.audio_report, seconds.visual_report)
        for stream, rows in self._rows.items():
            held = start - first[stream]  # seconds before the part
            self._rows[stream] = rows[held * self._rate(stream) :]
        self.summary = MediaSummary(self._rows, seconds.facts, seconds.warnings)

    def _audio_inputs(self, second: NDArray[np.float64]) -> StreamInputs:
        if "audio" in self._rows:
            if self._last_audio is None or not np.array_equal(second, self._last_audio):
                yield from self._build("audio", second[None])
            self._rows["audio"].append(self._counts["audio"] - 1)
        self._last_audio = second

    def _visual_inputs(self, frames: Frames) -> StreamInputs:
        """Build the inputs of a second before the next is read: raw 8K frames of a batch would fill the memory."""
        changed = _changed(self._last_frame, frames)
        self._last_frame = frames[-1]
        if "visual_2d" in self._rows:
            pictures, new = frames, changed
            if len(chosen := self.profile.pictures) < len(frames):
                pictures = np.stack([frames[index] for index in chosen])
                new = _changed(self._last_picture, pictures)
                self._last_picture = pictures[-1]
            self._rows["visual_2d"] += yield from self._numbered("visual_2d", pictures, new)
        if "visual_3d" in self._rows:
            if changed or not self._last_second_still:
                yield from self._build("visual_3d", frames)
            self._rows["visual_3d"].append(self._counts["visual_3d"] - 1)
        if "visual_map" in self._rows:
            yield from self._group((yield from self._numbered("visual_map", frames, changed)))
            self._rows["visual_map"].append(self._groups - 1)
        self._last_second_still = not any(changed)  # no frame changed but, possibly, the first (index 0)

    def _numbered(
        self, stream: Stream, pictures: Frames, changed: list[int]
    ) -> Generator[tuple[Stream, NDArray[Any]], None, list[int]]:
        """Build the inputs of the pictures that changed; return the number of the input of each picture."""
        numbers = [self._counts[stream] - 1]
        if changed:
            numbers += yield from self._build(stream, pictures[changed])
        shown = np.searchsorted(changed, range(len(pictures)), side="right")
        return [numbers[index] for index in shown]

    def _group(self, inputs: list[int]) -> StreamInputs:
        """Let the next row of visual_map be the mean over these inputs."""
        if inputs != self._last_group:
            self._last_group = inputs
            self._groups += 1
            yield "visual_map", np.array([inputs], GROUPS)

    def _pad(
        self,
        end: int,
        first: dict[Stream, int],
        audio_report: DecodeReport | None,
        visual_report: DecodeReport | None,
    ) -> StreamInputs:
        """Pad or trim every stream to the full length: with silence, the last frame, or black where there is no video.

        Rows of a stream that failed are dropped.
        """
        for stream in self._rows:
            segments = end - first[stream]
            if stream == "audio":
                rows = self._rows["audio"] if audio_report else []
                if len(rows) < segments:
                    yield from self._build("audio", _SILENCE[None])
                    rows = rows + [self._counts["audio"] - 1] * (segments - len(rows))
                self._rows["audio"] = rows[:segments]
            elif stream == "visual_map":
                yield from self._pad_maps(segments, failed=visual_report is None)
            else:
                if visual_report is None:
                    yield from self._build(stream, _BLACK[:1] if stream == "visual_2d" else _BLACK)
                    self._rows[stream] = [self._counts[stream] - 1]
                length = segments * self._rate(stream)
                self._rows[stream] = pad_or_trim(np.array(self._rows[stream]), length).tolist()

    def _pad_maps(self, segments: int, *, failed: bool) -> StreamInputs:
        """Pad or trim the rows of visual_map; the rows that are added are of the last picture alone."""
        rows = [] if failed else self._rows["visual_map"]
        if failed:
            yield from self._build("visual_map", _BLACK[:1])
        if len(rows) < segments:
            yield from self._group([self._counts["visual_map"] - 1] * self.profile.frames_per_segment)
            rows = rows + [self._groups - 1] * (segments - len(rows))
        self._rows["visual_map"] = rows[:segments]

    def _rate(self, stream: Stream) -> int:
        return rows_per_segment(stream, self.profile.rows_per_segment)

    def _build(self, stream: Stream, media: NDArray[Any]) -> Generator[tuple[Stream, NDArray[Any]], None, list[int]]:
        """Yield the inputs that are not similar to the last one; return the number of the input of each."""
        inputs = self._formats[stream].reduce(media)
        first = self._counts[stream]
        if not self._similar or inputs.dtype != np.uint8:  # else not pictures in levels of 255
            self._counts[stream] += len(inputs)
            yield stream, inputs
            return [*range(first, first + len(inputs))]
        numbers: list[int] = []
        new: list[NDArray[Any]] = []
        for one_input in inputs:
            last = self._last_input.get(stream)
            if last is None or _difference(last, one_input) > self._similar:
                self._last_input[stream] = one_input
                new.append(one_input)
            numbers.append(first + len(new) - 1)
        self._counts[stream] += len(new)
        if new:
            yield stream, np.stack(new)
        return numbers


def _difference(first: NDArray[Any], second: NDArray[Any]) -> float:
    """Return the mean absolute difference of two pictures (H, W, 3), or of the pictures that differ most of clips."""
    return float(np.abs(np.subtract(first, second, dtype=np.int16)).mean(axis=(-3, -2, -1)).max())


def _changed(last: Frames | None, frames: Frames) -> list[int]:
    """Return the numbers of the frames that differ from the one before; `last` is the one before the first."""
    preceding = [last, *frames[:-1]]
    return [k for k, (a, b) in enumerate(zip(preceding, frames, strict=True)) if not _same(a, b)]


def _same(first: Frames | None, second: Frames) -> bool:
    """Compare two frames; views of one frame, which a pause of hours consists of, are not read."""
    return first is not None and (is_same_view(first, second) or np.array_equal(first, second))
