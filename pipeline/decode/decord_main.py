"""Run by `decode_decord` in a process of its own: sampled frames as PPM on stdout, a report on stderr.

Its arguments are a descriptor of the media and when the first frame appears, in seconds from the container's time
zero: decord counts from that frame.
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
    """Write every sampled frame, then what became of the stream."""
    _die_with_parent()
    import decord

    # Whatever the libraries print must not end up between the pictures.
    pictures = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())

    reader = decord.VideoReader(f"/proc/self/fd/{descriptor}", ctx=decord.cpu(0))
    times = reader.get_frame_timestamp(range(len(reader))).astype(np.float64)
    times += float(start) - times[0, 0]
    report = {"decoded": 0, "damaged": 0, "end": times[-1, 1]}
    # A report before the pictures, too: time stamps that reach for days are the reader's to refuse.
    print(REPORT_MARK + json.dumps(report), file=sys.stderr, flush=True)  # noqa: T201
    samples = sample_times(sample_count(times[-1, 1], FRAMES_PER_SEGMENT), FRAMES_PER_SEGMENT)
    shown = np.bincount(shown_frames(times[:, 0], samples), minlength=len(reader))
    for index, count in enumerate(shown):
        try:
            frame = reader.next()  # in order, every one: skipping ahead gives wrong frames of some H.265 files
        except decord.DECORDError:
            report["damaged"] = 1  # decord does not get past it
            break
        report |= {"decoded": index + 1, "end": times[index, 1]}
        if count:
            picture = ppm(frame.asnumpy())
            for _ in range(count):
                pictures.write(picture)
    pictures.close()
    print(REPORT_MARK + json.dumps(report), file=sys.stderr)  # noqa: T201


def _die_with_parent() -> None:
    """A worker that hangs must not outlive a parent that was killed."""
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def ppm(frame: np.ndarray) -> bytes:
    """One picture as PPM. decord hands over rows with their padding, as if it were more than three channels."""
    height, width = frame.shape[:2]
    pixels = frame.reshape(height, -1)[:, : 3 * width]
    return b"P6\n%d %d\n255\n" % (width, height) + pixels.tobytes()
