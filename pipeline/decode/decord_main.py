"""Main function of the decord worker process: sampled frames as PPM on stdout, a report on stderr.

`decord_reader` starts it with two arguments: a descriptor of the media file, and a file of the times of its frames.
Before each image stands a line with the number of samples that show it.
"""

from __future__ import annotations

import contextlib
import json
import sys
from pathlib import Path

import av
import av.error
import numpy as np

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..child_output import take_standard_output
from ..segments import sample_count, sample_times, shown_frames
from .process import die_with_parent

REPORT_MARK = "[avvp-report] "  # before the JSON object on standard error


def main(descriptor: str, times_file: str) -> None:
    """Write every sampled frame to stdout, and then the report to stderr.

    Args:
        descriptor: number of an open descriptor of the media file.
        times_file: a .npy file (F, 2): seconds at which each frame begins and ends, ascending.
    """
    die_with_parent()
    import decord

    output = take_standard_output()
    path = f"/proc/self/fd/{descriptor}"
    times = np.load(times_file, allow_pickle=False)
    report = {"decoded": 0, "damaged": 0, "end": float(times[-1, 1])}
    samples = sample_times(sample_count(times[-1, 1], FRAMES_PER_SEGMENT), FRAMES_PER_SEGMENT)
    repeats = np.bincount(shown_frames(times[:, 0], samples), minlength=len(times))

    def write_frames(reader: decord.VideoReader) -> None:
        for index, count in enumerate(repeats[: len(reader)]):
            frame = reader.next()  # every frame, in order: seeking gives wrong frames of some H.265 files
            if index < report["decoded"]:
                continue
            report.update(decoded=index + 1, end=float(times[: index + 1, 1].max()))
            if count:
                output.write(b"%d\n" % count + ppm(frame.asnumpy()))

    try:
        write_frames(decord.VideoReader(path, ctx=decord.cpu(0)))
    except decord.DECORDError:  # its frames before the damage are lost, more of them the busier the machine is
        report["damaged"] = 1
        sound = Path(times_file).with_name("sound.mkv")
        with contextlib.suppress(decord.DECORDError, av.error.FFmpegError):
            copy_before_damage(path, sound)
            write_frames(decord.VideoReader(str(sound), ctx=decord.cpu(0)))
    output.close()
    print(REPORT_MARK + json.dumps(report), file=sys.stderr)  # noqa: T201


def copy_before_damage(path: str, target: Path) -> None:
    """Copy the packets of a video up to the first that cannot be decoded, which decord cannot read past."""
    with av.open(path) as media, av.open(str(target), "w", format="matroska") as output:
        video = media.streams.video[0]
        video.codec_context.thread_count = 1  # else an error comes with a later packet
        copied = output.add_stream_from_template(video)
        for packet in media.demux(video):
            if not packet.size:
                return
            try:
                packet.decode()
            except av.error.FFmpegError:
                return
            packet.stream = copied
            output.mux(packet)


def ppm(frame: np.ndarray) -> bytes:
    """Encode one frame as PPM, without the row padding that decord returns as additional columns."""
    height, width = frame.shape[:2]
    pixels = frame.reshape(height, -1)[:, : 3 * width]
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
