"""Main function of the decord worker process: sampled frames as PPM on stdout, a report on stderr.

`decord_reader` starts it with two arguments: a descriptor of the media file, and the time of the first frame in
seconds from the container's time zero, because decord counts from the first frame.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys

import numpy as np

from ...extractors.sampling import FRAMES_PER_SEGMENT
from ..segments import sample_count, sample_times, shown_frames
from .decord_reader import REPORT_MARK


def main(descriptor: str, start: str) -> None:
    """Write every sampled frame to stdout, and the report to stderr before and after.

    Args:
        descriptor: number of an open descriptor of the media file.
        start: seconds from the container's time zero to the first frame.
    """
    _die_with_parent()
    import decord

    # Messages that the libraries print must not end up between the frames.
    output = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    reader = decord.VideoReader(f"/proc/self/fd/{descriptor}", ctx=decord.cpu(0))
    times = reader.get_frame_timestamp(range(len(reader))).astype(np.float64)
    times += float(start) - times[0, 0]
    report = {"decoded": 0, "damaged": 0, "end": times[-1, 1]}
    # The report is also written before the frames, so that the parent can refuse time stamps that reach for days.
    print(REPORT_MARK + json.dumps(report), file=sys.stderr, flush=True)  # noqa: T201
    samples = sample_times(sample_count(times[-1, 1], FRAMES_PER_SEGMENT), FRAMES_PER_SEGMENT)
    repeats = np.bincount(shown_frames(times[:, 0], samples), minlength=len(reader))
    for index, count in enumerate(repeats):
        try:
            frame = reader.next()  # every frame, in order: seeking gives wrong frames of some H.265 files
        except decord.DECORDError:
            report["damaged"] = 1  # decord cannot read past a damaged frame
            break
        report |= {"decoded": index + 1, "end": times[index, 1]}
        if count:
            image = ppm(frame.asnumpy())
            for _ in range(count):
                output.write(image)
    output.close()
    print(REPORT_MARK + json.dumps(report), file=sys.stderr)  # noqa: T201


def _die_with_parent() -> None:
    """Ask the kernel to kill this process when its parent dies, even if decord hangs."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def ppm(frame: np.ndarray) -> bytes:
    """Encode one frame as PPM, without the row padding that decord returns as additional columns."""
    height, width = frame.shape[:2]
    pixels = frame.reshape(height, -1)[:, : 3 * width]
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
