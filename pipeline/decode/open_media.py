"""Public access to decoded media: seconds of frames and audio, from a process that can be killed."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...extractors.profiles import get_profile
from ...extractors.sampling import SAMPLE_RATE
from ..errors import MediaError
from .base import Frames, stack_frames
from .container.media_facts import MediaFacts
from .options import DEFAULT_OPTIONS, DecodeOptions, check_options
from .process import DecoderProcess, describe_exit, python_program, read_failure

_GRACE = 30.0  # seconds beyond the decoder's own time limit after which its process counts as hung


@dataclass(frozen=True, eq=False)
class Second:
    """One second of a media file.

    Attributes:
        index: number of the second, from 0.
        frames: (8, H, W, 3) uint8 RGB, the frames shown at 1/16, 3/16, ... of the second, or those that the profile
            chooses; None where the file has no video that can be decoded. A second of one repeated frame is a read-only
            view.
        audio: (16000,) float32 in [-1, 1], mono; None where the file has no audio that can be decoded.
    """

    index: int
    frames: Frames | None
    audio: NDArray[np.float32] | None


class OpenMedia:
    """A media file that is decoded while it is iterated; a context manager. See `open_media`.

    Attributes:
        path: the file.
        duration: seconds that the container states, None where it states none.
        has_audio: whether the file has an audio stream that is decoded.
        has_video: whether the file has a video stream that is decoded.
        shown_size: width and height of the video in square pixels, after rotation; None without video.
        audio_index: FFmpeg's number of the audio stream; None without audio.
        video_index: FFmpeg's number of the video stream; None without video.
    """

    def __init__(
        self,
        path: Path,
        profile: str,
        options: DecodeOptions,
        streams: Sequence[Literal["audio", "video"]],
    ) -> None:
        """Start the decoder and read the headers; the arguments are those of `open_media`."""
        self.path, self._start = path, options.part.start
        self._frames_per_segment = get_profile(profile).frames_per_segment
        self._facts: MediaFacts | None = None
        self._warnings: tuple[str, ...] | None = None
        self._iterated = False
        settings = {"profile": profile, "options": asdict(options), "streams": list(streams)}
        arguments = python_program("decode.media_main", os.fspath(path), json.dumps(settings))
        self._process = DecoderProcess(path, lambda _: arguments, timeout=options.timeout + _GRACE)
        try:
            media = self._read()["media"]
        except BaseException:
            self._process.close()
            raise
        self.duration: float | None = media["duration"]
        self.has_audio = media["audio"] is not None and "audio" in streams
        self.has_video = media["video"] is not None and "video" in streams
        self.shown_size: tuple[int, int] | None = None if media["video"] is None else tuple(media["shown_size"])
        self.audio_index: int | None = media["audio"]
        self.video_index: int | None = media["video"]

    def __enter__(self) -> OpenMedia:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop decoding."""
        self._process.close()

    @property
    def facts(self) -> MediaFacts:
        """Facts of the decoded file; known when it is exhausted, before that a RuntimeError."""
        if self._facts is None:
            raise RuntimeError("facts are known when all seconds have been read")
        return self._facts

    @property
    def warnings(self) -> tuple[str, ...]:
        """What was lost or had to be chosen; known when the file is exhausted, before that a RuntimeError."""
        if self._warnings is None:
            raise RuntimeError("warnings are known when all seconds have been read")
        return self._warnings

    def __iter__(self) -> Iterator[Second]:
        if self._iterated:
            raise RuntimeError("an open file can be iterated once; open it again")
        self._iterated = True
        last = Second(-1, None, None)
        while "facts" not in (message := self._read()):
            frames = self._read_frames(message, last.frames)
            audio = self._read_audio() if message["audio"] else None
            last = Second(message["second"], *_filled(frames, audio, last, self._frames_per_segment))
            if last.index >= self._start:  # else what is held in the part
                yield last
        self._facts = MediaFacts(**message["facts"] | {"path": str(self.path)})
        self._warnings = tuple(message["warnings"])

    def _read(self) -> dict[str, Any]:
        while (line := self._process.read_line()).endswith(b"\n"):
            message = json.loads(line)
            if "failed" in message:
                raise read_failure(self.path, message)
            if "alive" not in message:
                return message
        raise self._died()

    def _read_frames(self, message: dict[str, Any], previous: Frames | None) -> Frames | None:
        if "frames" not in message:
            return None
        current = None if previous is None else previous[-1]
        frames: list[Frames] = []
        for new in message["frames"]:
            if new or current is None:
                current = np.empty((*message["size"], 3), np.uint8)
                self._fill(current)
            frames.append(current)
        return stack_frames(frames)

    def _read_audio(self) -> NDArray[np.float32]:
        audio = np.empty(SAMPLE_RATE, np.float32)
        self._fill(audio)
        return audio

    def _fill(self, array: NDArray[Any]) -> None:
        if self._process.read_into(array) < array.nbytes:
            raise self._died()

    def _died(self) -> MediaError:
        return MediaError(self.path, f"its decoder {describe_exit(self._process.close())}", "crashed")


def _filled(
    frames: Frames | None, audio: NDArray[np.float32] | None, last: Second, count: int
) -> tuple[Frames | None, NDArray[np.float32] | None]:
    """Hold the last frame `count` times, and add silence, where one stream has ended before the other."""
    if frames is None and last.frames is not None:
        frames = stack_frames([last.frames[-1]] * count)
    if audio is None and last.audio is not None:
        audio = np.zeros(SAMPLE_RATE, np.float32)
    return frames, audio


def open_media(
    path: Path | str,
    profile: str = "clean",
    *,
    decoding: DecodeOptions = DEFAULT_OPTIONS,
    streams: Sequence[Literal["audio", "video"]] = ("audio", "video"),
) -> OpenMedia:
    """Open a media file to read its seconds: frames, 8 by default, and 16,000 samples each, on one clock.

    The file is decoded in a process of its own while it is iterated, so a damaged file can neither crash nor stop the
    caller, and memory does not grow with the file::

        with avvp.open_media("video.mp4") as media:
            for second in media:
                second.index, second.frames, second.audio
        media.facts, media.warnings

    Where one stream is shorter than the other, its last frame is held, or it is silent.

    Args:
        path: a media file with audio, video or both.
        profile: key in `PROFILES`: `clean`, frames by presentation time and filtered audio; `llp`, the frames and
            samples of the published features, for which the whole file is decoded before the first second; or `ave`,
            16 pictures of 224 x 224 pixels (`ave-4`: 4), for which the whole audio is decoded before.
        decoding: decoder, resampler, time limit, and `start` and `end` of a part of the file.
        streams: the streams to decode.

    Returns:
        A context manager; iterating it yields `Second`. When it is exhausted it has `.facts` and `.warnings`.

    Raises:
        MediaError: the file is not media; the iteration raises it where nothing can be decoded.
        DecodeTimeoutError: the iteration raises it where decoding hangs or is too slow.
        ValueError: the profile is unknown, or the options do not fit it.
    """
    check_options(get_profile(profile), decoding)
    return OpenMedia(Path(path), profile, decoding, streams)
