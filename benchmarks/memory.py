"""Does memory grow with the video? Peak memory for a generated video of one minute and one of an hour.

    python benchmarks/memory.py [--minutes 60] [--profile clean]

Decoding, sampling and feature extraction run as `avvp parse` does them, with the tiny networks, in a process of their
own; its peak and that of the decoders it starts are read from the system. Prints the ratio of the two lengths and
fails above 1.5.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

from avvp.pipeline.probe import ffmpeg_binary

LIMIT = 1.5  # of the peak for one minute
NETWORKS = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")


def make_video(path: Path, minutes: float) -> None:
    """A 320 x 240 video with sound; one minute is coded, the rest repeats it."""
    minute = path.with_name("minute.mp4")
    sources = ["-f", "lavfi", "-i", "testsrc2=s=320x240:r=25:d=60", "-f", "lavfi", "-i", "sine=f=440:b=4:d=60"]
    coded = ["-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    quiet = [ffmpeg_binary(), "-y", "-loglevel", "error"]
    subprocess.run([*quiet, *sources, *coded, str(minute)], check=True)
    loops = max(0, round(minutes) - 1)
    subprocess.run([*quiet, "-stream_loop", str(loops), "-i", str(minute), "-c", "copy", str(path)], check=True)


def peak_mib(pid: int | str) -> float:
    """The largest resident memory that a process ever had, in MiB."""
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def watch_decoders(peaks: list[float]) -> None:
    """Note, for ever, the peaks of the processes that this one has started."""
    while True:
        for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split():
            with contextlib.suppress(OSError, IndexError):  # it may be gone by now
                peaks.append(peak_mib(pid))
        time.sleep(0.05)


def measure(path: Path, profile: str) -> dict[str, float]:
    """Run in a child: peak resident memory, in MiB, of this process and of the largest decoder it started."""
    from avvp.extractors import build_extractor
    from avvp.pipeline import extract_features

    decoders = [0.0]
    threading.Thread(target=watch_decoders, args=(decoders,), daemon=True).start()
    features = extract_features(path, {name: build_extractor(name) for name in NETWORKS}, profile=profile)
    return {"segments": features.segments, "process_mib": peak_mib("self"), "decoder_mib": max(decoders)}


def run_child(path: Path, profile: str) -> dict[str, float]:
    command = [sys.executable, __file__, "--measure", str(path), "--profile", profile]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--profile", choices=["clean", "llp"], default="clean")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.profile)))
        return
    with tempfile.TemporaryDirectory() as folder:
        results = []
        for minutes in (1.0, options.minutes):
            path = Path(folder) / f"{minutes:g}-minutes.mp4"
            make_video(path, minutes)
            results.append(run_child(path, options.profile))
            print(f"{minutes:g} min: {json.dumps(results[-1])}")
    short, long = results
    worst = 0.0
    for part in ("process_mib", "decoder_mib"):
        ratio = long[part] / short[part]
        worst = max(worst, ratio)
        print(f"{part}: x{ratio:.2f} for x{long['segments'] / short['segments']:.0f} the video")
    sys.exit(f"memory grows with the video: x{worst:.2f}" if worst > LIMIT else 0)


if __name__ == "__main__":
    main()
