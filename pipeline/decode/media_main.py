"""Main function of the process behind `open_media`: decodes one file and writes its seconds to standard output.

Every message is a JSON object on one line. ``{"media": {...}}`` comes first: the streams of the file. A second is
``{"second": k, "frames": [1, 0, ...], "size": [H, W], "audio": 1}``, followed by the bytes of the frames marked 1 (RGB,
uint8; 0 repeats the frame before) and of the audio (float32). ``{"facts": ..., "warnings": ...}`` or
``{"failed": cause, "timeout": false}`` ends the stream; ``{"alive": true}`` shows progress that yields nothing yet.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ...extractors.profiles import get_profile
from ..child_output import MessageWriter
from .base import Frames, is_same_view
from .container.media_info import MediaInfo
from .media_seconds import DecodedSecond, MediaSeconds
from .options import DecodeOptions
from .process import failure_message


def main(path: str, settings: str) -> None:
    """Decode a file.

    Args:
        path: the media file.
        settings: JSON object with `profile`, `options` (fields of `DecodeOptions`) and `streams`.
    """
    writer = _SecondWriter()
    chosen = json.loads(settings)
    try:
        seconds = MediaSeconds(
            Path(path),
            get_profile(chosen["profile"]),
            DecodeOptions(**chosen["options"]),
            streams=frozenset(chosen["streams"]),
            progress=writer.keep_alive,
        )
        writer.send({"media": _stream_facts(seconds.media)})
        for second in seconds:
            writer.send_second(second)
        writer.send({"facts": asdict(seconds.facts), "warnings": seconds.warnings})
    except Exception as error:  # a bug must not look like a crash of the decoder
        writer.send(failure_message(error))


def _stream_facts(media: MediaInfo) -> dict[str, Any]:
    """Return what `OpenMedia` tells about a file before it is decoded."""
    video, audio = media.video, media.audio
    return {
        "duration": media.duration,
        "video": None if video is None else video.index,
        "shown_size": None if video is None else video.shown_size,
        "audio": None if audio is None else audio.index,
    }


class _SecondWriter(MessageWriter):
    """Messages and arrays on the standard output of the process."""

    def __init__(self) -> None:
        super().__init__()
        self._last_frame: Frames | None = None

    def send_second(self, second: DecodedSecond) -> None:
        """Write a second; frames that are views of the one before are not repeated."""
        message: dict[str, Any] = {"second": second.index, "audio": int(second.audio is not None)}
        arrays: list[np.ndarray] = []
        if second.frames is not None:
            message |= {"size": second.frames.shape[1:3], "frames": []}
            for frame in second.frames:
                new = self._last_frame is None or not is_same_view(self._last_frame, frame)
                message["frames"].append(int(new))
                arrays += [frame] if new else []
                self._last_frame = frame
        if second.audio is not None:
            arrays.append(second.audio.astype(np.float32))
        self.send(message, (np.ascontiguousarray(array).data for array in arrays))
