"""Frames by decord, in a process of its own: on some damaged files it hangs for good or takes the program with it."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import MediaError
from .base import FrameReader, Frames, check_length, chunks, read_pictures, warn_if_short
from .ffmpeg import ffmpeg_command, ffmpeg_input
from .ffmpeg_reader import first_frame_time
from .probe import MediaInfo, probe
from .process import DecoderProcess

REPORT_MARK = "[avvp-report] "
# Not `-m`, which would let a file named like a library, in the folder that the program is run from, take its place.
_WORKER = (
    "import sys; sys.path[:] = filter(None, sys.path);"
    "from avvp.pipeline.decode.decord_main import main; main(*sys.argv[1:])"
)


class DecordReader(FrameReader):
    """decord picks frames by index; the times it gives them decide which, by the same rule as ffmpeg's.

    decord opens files by name and follows what they point at, so it is handed only what ffmpeg, unable to reach
    anything else, has already read. It cannot be told which of several video streams to read: the chosen one is
    copied to a temporary file first.
    """

    name = "decord"

    def __iter__(self) -> Iterator[Frames]:
        if importlib.util.find_spec("decord") is None:
            raise MediaError(self.media.path, "decord is not installed on this platform; use --decoder ffmpeg")
        if sum(stream.kind == "video" for stream in self.media.streams) == 1:
            yield from self._read(self.media)
        else:
            with tempfile.TemporaryDirectory(prefix="avvp-stream-") as folder:
                yield from self._read(_copy_stream(self.media, self.stream.index, Path(folder), self.timeout))

    def _read(self, media: MediaInfo) -> Iterator[Frames]:
        outcome: dict[str, float] = {}
        start = first_frame_time(media, media.video or self.stream, self.timeout)

        def command(descriptor: int) -> Sequence[str]:
            return [sys.executable, "-c", _WORKER, str(descriptor), str(start)]

        def on_line(line: str) -> None:
            if line.startswith(REPORT_MARK):
                outcome.update(json.loads(line.removeprefix(REPORT_MARK)))
                check_length(self.media, outcome["end"])

        with DecoderProcess(media.path, command, timeout=self.timeout, on_line=on_line) as process:
            yield from chunks(read_pictures(process))
            status = process.finish()
        self.report.decoded = int(outcome.get("decoded", 0))
        self.report.damaged = int(outcome.get("damaged", 0))
        self.report.end = outcome.get("end", 0.0)
        if not self.report.decoded:
            reason = f" (decord ended with status {status})" if status else ""
            raise MediaError(self.media.path, f"no frames could be decoded{reason}")
        if self.report.damaged:
            self.report.warnings.append(f"decord cannot read past a damaged frame at {self.report.end:.2f} s")
        if status:
            self.report.warnings.append(f"decord ended with status {status} at {self.report.end:.2f} s")
        warn_if_short(self.report, "the video", self.media.duration)


def _copy_stream(media: MediaInfo, index: int, folder: Path, timeout: float) -> MediaInfo:
    """That stream alone, its packets unchanged and on the same time line, in a Matroska file in `folder`."""
    target = folder / "stream.mkv"

    def command(descriptor: int) -> Sequence[str]:
        source = ffmpeg_input(descriptor)[str(index)]
        output = source.output(str(target), c="copy", f="matroska").global_args("-progress", "pipe:1")
        return ffmpeg_command(output, log_level="error")

    with DecoderProcess(media.path, command, timeout=timeout) as process:
        while process.read_line():  # lines of progress: as long as they come, it is not hanging
            pass
        if process.finish() != 0:
            raise MediaError(media.path, f"video stream {index} cannot be copied for decord; use --decoder ffmpeg")
    return probe(target, timeout=timeout)
