"""Frame reader that runs decord in a separate process: on some damaged files decord hangs or crashes its process."""

from __future__ import annotations

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..errors import MediaError
from .base import FrameReader, Frames, check_length, chunks, read_ppm_frames, warn_if_short
from .ffmpeg import ffmpeg_command, ffmpeg_input
from .ffmpeg_reader import first_frame_time
from .probe import MediaInfo, probe
from .process import DecoderProcess

REPORT_MARK = "[avvp-report] "
# Not `-m`, which would import a file of the working directory in place of a library of the same name.
_WORKER = (
    "import sys; sys.path[:] = filter(None, sys.path);"
    "from avvp.pipeline.decode.decord_main import main; main(*sys.argv[1:])"
)


class DecordReader(FrameReader):
    """Frame reader that picks decord's frames by their time stamps, with the same rule as ffmpeg's reader.

    decord opens files by name and follows references in them, so it only gets files that ffmpeg, restricted to one
    descriptor, has already read. It has no option that selects one of several video streams: the selected one is
    first copied to a temporary file.
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
        result: dict[str, float] = {}
        start = first_frame_time(media, media.video or self.stream, self.timeout)

        def command(descriptor: int) -> Sequence[str]:
            return [sys.executable, "-c", _WORKER, str(descriptor), str(start)]

        def on_line(line: str) -> None:
            if line.startswith(REPORT_MARK):
                result.update(json.loads(line.removeprefix(REPORT_MARK)))
                check_length(self.media, result["end"])

        with DecoderProcess(media.path, command, timeout=self.timeout, on_line=on_line) as process:
            yield from chunks(read_ppm_frames(process))
            status = process.finish()
        self.report.decoded = int(result.get("decoded", 0))
        self.report.damaged = int(result.get("damaged", 0))
        self.report.end = result.get("end", 0.0)
        if not self.report.decoded:
            reason = f" (decord ended with status {status})" if status else ""
            raise MediaError(self.media.path, f"no frames could be decoded{reason}")
        if self.report.damaged:
            self.report.warnings.append(f"decord cannot read past a damaged frame at {self.report.end:.2f} s")
        if status:
            self.report.warnings.append(f"decord ended with status {status} at {self.report.end:.2f} s")
        warn_if_short(self.report, "video", self.media.duration)


def _copy_stream(media: MediaInfo, index: int, folder: Path, timeout: float) -> MediaInfo:
    """Copy one stream, packets and time stamps unchanged, to a Matroska file in `folder`."""
    target = folder / "stream.mkv"

    def command(descriptor: int) -> Sequence[str]:
        source = ffmpeg_input(descriptor)[str(index)]
        output = source.output(str(target), c="copy", f="matroska").global_args("-progress", "pipe:1")
        return ffmpeg_command(output, log_level="error")

    with DecoderProcess(media.path, command, timeout=timeout) as process:
        while process.read_line():  # progress lines, which reset the time limit
            pass
        if process.finish() != 0:
            raise MediaError(media.path, f"video stream {index} cannot be copied for decord; use --decoder ffmpeg")
    return probe(target, timeout=timeout)
