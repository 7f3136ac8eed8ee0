"""Frame reader that runs decord in a separate process: on some damaged files decord hangs or crashes its process."""

from __future__ import annotations

import importlib.util
import json
import tempfile
from collections.abc import Iterator, Sequence
from fractions import Fraction
from pathlib import Path

import av
import av.error
import numpy as np
from numpy.typing import NDArray

from ..errors import MediaError
from .base import FrameReader, Frames, read_ppm_frames, repeated_chunks
from .container.demux import StreamPackets
from .container.outcome import finish_report
from .container.report import DecodeReport, check_length
from .decord_main import REPORT_MARK
from .process import DecoderProcess, describe_exit, python_program
from .video_frames import show_frame

_COPY_TICK, _COPY_TICKS = Fraction(1, 1000), 40  # seconds, and ticks from packet to packet, in the copy


class DecordReader(FrameReader):
    """Frame reader that picks decord's frames by their time stamps, with the same rule as FFmpeg's reader.

    decord opens files by name, follows references in them, cannot select one of several streams, and places frames of
    some containers wrongly. So it gets a copy of the selected stream, and the times come from the packets.
    """

    name = "decord"

    def __iter__(self) -> Iterator[Frames]:
        if importlib.util.find_spec("decord") is None:
            raise MediaError(self.media.path, "decord is not installed on this platform; use --decoder ffmpeg")
        self.report = DecodeReport(self.name, start=float(self.part.start))
        with tempfile.TemporaryDirectory(prefix="avvp-stream-") as name:
            folder = Path(name)
            packets = StreamPackets(self.media, self.stream, self.report, self.timeout)
            times = self._copy_stream(packets, folder / "stream.mkv")
            np.save(folder / "times.npy", times)
            for second, chunk in enumerate(repeated_chunks(self._read(folder, packets))):
                if second < self.part.start:
                    self.held = chunk
                    self._on_skip()
                elif self.part.end is None or second < self.part.end:
                    self.held = None
                    yield chunk
            self.report.cut_at(self.part.end)

    def _read(self, folder: Path, packets: StreamPackets) -> Iterator[tuple[Frames, int]]:
        result: dict[str, float] = {}

        def command(descriptor: int) -> Sequence[str]:
            return python_program("decode.decord_main", str(descriptor), str(folder / "times.npy"))

        def on_line(line: str) -> None:
            if line.startswith(REPORT_MARK):
                result.update(json.loads(line.removeprefix(REPORT_MARK)))

        with DecoderProcess(folder / "stream.mkv", command, timeout=self.timeout, on_line=on_line) as process:
            while repeats := process.read_line():
                frame = next(read_ppm_frames(process), None)
                if frame is None:
                    break
                yield show_frame(frame, self.stream), int(repeats)
            status = process.finish()
        self.report.decoded = int(result.get("decoded", 0))
        self.report.end = result.get("end", 0.0)
        ended = f"decord {describe_exit(status)}"
        if status < 0:
            raise MediaError(self.media.path, f"{ended} at {self.report.end:.2f} s", "crashed")
        if not self.report.decoded:
            raise MediaError(self.media.path, f"no frames could be decoded ({ended})")
        if result.get("damaged"):
            self.report.warnings.append(f"decord cannot read past a damaged frame at {self.report.end:.2f} s")
        if status:
            self.report.warnings.append(f"{ended} at {self.report.end:.2f} s")
        finish_report(self.media, self.report, "video", first_error=packets.first_error)

    def _copy_stream(self, packets: StreamPackets, target: Path) -> NDArray[np.float64]:
        """Copy the packets to a Matroska file; return (F, 2) times at which the frames begin and end, ascending."""
        times: list[tuple[float, float]] = []
        spacing = 1 / self.stream.frame_rate if self.stream.frame_rate else 0.0
        try:
            with av.open(str(target), "w", format="matroska") as output:
                copied = None
                for packet in packets:
                    if copied is None:
                        copied = output.add_stream_from_template(packets.opened)
                    stamp = packet.dts if packet.pts is None else packet.pts
                    if stamp is None or not packet.size:
                        continue
                    begin = float(stamp * packet.time_base)
                    length = float((packet.duration or 0) * packet.time_base) or spacing
                    times.append((begin, begin + length))
                    check_length(self.media, begin + length)
                    # decord decodes in this order, whatever the stamps say.
                    packet.stream, packet.time_base = copied, _COPY_TICK
                    packet.pts = packet.dts = _COPY_TICKS * len(times)
                    packet.duration = _COPY_TICKS
                    output.mux(packet)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise MediaError(
                self.media.path, f"its video cannot be copied for decord ({reason}); use --decoder ffmpeg"
            ) from error
        if not times:
            raise MediaError(self.media.path, "no frames could be decoded (the video stream is empty)")
        return np.array(sorted(times))
