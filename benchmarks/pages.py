"""Measure the size of pages, and the time to decode their film and sound.

    python benchmarks/pages.py [--minutes 60] [--pages 5000]

Prints the CPU seconds that film, waveform and spectrogram of a generated video in 720p take and the kilobytes that they
add to a page, for one minute and for `--minutes`; then the size of a folder of pages of 10 s with 25 classes and
probabilities, with its index.
"""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from avvp.models.labels import LLP_LABELS
from avvp.pipeline.inference.thresholds import Thresholds
from avvp.pipeline.outputs.html.bands import media_bands
from avvp.pipeline.outputs.html.index import write_index
from avvp.pipeline.outputs.html.page import write_page
from avvp.pipeline.outputs.html.site import write_program
from avvp.pipeline.timeline import SegmentProbabilities, Timeline, all_events
from measure.inputs import generate_clip, run_ffmpeg
from measure.options import make_parser


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=int, help="[default: 60]")
    parser.add_argument("--pages", type=int, help="[default: 5000]")
    options = parser.parse_args(argv)
    minutes = options.minutes or (2 if options.smoke else 60)
    pages = options.pages or (3 if options.smoke else 5000)
    minute = 2 if options.smoke else 60  # seconds
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clip = generate_clip(folder / "minute.mp4", seconds=minute, size="64x36" if options.smoke else "1280x720")
        measure_bands(clip, minute)
        measure_bands(repeat(clip, minutes, folder), minute * minutes)
        measure_folder(folder / "site", pages)


def repeat(clip: Path, times: int, folder: Path) -> Path:
    """Join a clip with itself, without encoding it again."""
    names, joined = folder / "names.txt", folder / "long.mp4"
    names.write_text(f"file '{clip}'\n" * times, encoding="utf-8")
    run_ffmpeg("-f", "concat", "-safe", 0, "-i", names, "-c", "copy", joined)
    return joined


def measure_bands(media: Path, seconds: int) -> None:
    """Print time and size of what a page shows of a file."""
    before = sum(os.times()[:4])  # of this process and of the decoders that have ended
    bands, warnings = media_bands(media, float(seconds))
    size = len(json.dumps(bands)) / 1000
    print(f"{seconds} s of media: {size:.1f} kB in {sum(os.times()[:4]) - before:.1f} s, {len(warnings)} warnings")


def measure_folder(folder: Path, count: int) -> None:
    """Print the size of a folder of pages."""
    folder.mkdir()
    timelines = {folder / f"clip{number}.html": random_timeline(number) for number in range(count)}
    started = time.monotonic()
    program = write_program(folder, next(iter(timelines.values())))
    for page, timeline in timelines.items():
        write_page(timeline, page, shared=program)
    write_index(folder, timelines, "clips")
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    print(f"{count} pages of 10 s: {size / 1e6:.1f} MB in {time.monotonic() - started:.1f} s")


def random_timeline(number: int) -> Timeline:
    """Make ten seconds of events, with probabilities per second and per video."""
    rng = np.random.default_rng(number)
    tables = [rng.random((10, len(LLP_LABELS))).astype(np.float32) ** 4 for _ in range(2)]
    of_video = [np.repeat(rng.random((1, len(LLP_LABELS))).astype(np.float32), 10, axis=0) for _ in range(2)]
    probabilities = SegmentProbabilities(*tables, *of_video)
    thresholds = Thresholds.uniform(LLP_LABELS)
    events = all_events(thresholds.decide(probabilities), probabilities, LLP_LABELS)
    media = {"path": f"clip{number}.mp4", "duration": 10.0, "audio_codec": "aac", "video_codec": "h264"}
    return Timeline(events, LLP_LABELS, probabilities, media, {"thresholds": thresholds.to_dict()})


if __name__ == "__main__":
    main()
