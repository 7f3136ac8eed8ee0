"""Time decoding against ffmpeg's own, and measure whether the memory of a decode process grows with the file.

    python benchmarks/decoding.py [--seconds 20] [--rounds 3]
    python benchmarks/decoding.py --memory [--minutes 60]

The first prints seconds of video per core-second (processor time of this process and of those that it starts) of
profiles clean and llp, of the frame readers alone, of the audio reader alone, and of `ffmpeg -f null` of the same file
with one thread; medians of rounds in which all take turns, and the ratio of each to ffmpeg. The clips are H.264 with
noise at 30 frames per second and AAC at 44.1 kHz.

The second decodes a video of one minute and a long one (320 x 240, 10 frames per second) under profile clean, each in a
process of its own that decodes as the process behind `open_media` does, and prints the peaks of their memory; it fails
where the long one needs more than 1.1 times as much.
"""

from __future__ import annotations

import resource
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from avvp.extractors.profiles import get_profile
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.readers import build_reader
from measure.inputs import run_ffmpeg
from measure.memory import watch_peaks
from measure.options import make_parser
from measure.programs import Program

_SIZES = {"320x240": "500k", "1280x720": "3M", "1920x1080": "6M"}  # and their bit rates, those of web video
_REFERENCE = "ffmpeg -f null"
_MEMORY_LIMIT = 1.1  # times the peak of the short video


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--seconds", type=float, help="length of the clips [default: 20]")
    parser.add_argument("--rounds", type=int, help="[default: 3]")
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--minutes", type=float, help="length of the long video [default: 60]")
    parser.add_argument("--decode", type=Path, metavar="VIDEO", help="decode a video and print nothing")
    options = parser.parse_args(argv)
    if options.decode:
        _exhaust(MediaSeconds(options.decode, get_profile("clean"), DEFAULT_OPTIONS))
        return
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if options.memory:
            short, long = (2, 4) if options.smoke else (60, 60 * (options.minutes or 60))
            ratio = compare_memory(folder, short, long)
            if ratio > _MEMORY_LIMIT and not options.smoke:
                sys.exit(f"memory grows: x{ratio:.2f}")
            return
        seconds = options.seconds or (1 if options.smoke else 20)
        rounds = options.rounds or (1 if options.smoke else 3)
        for size in ["320x240"] if options.smoke else _SIZES:
            clip = make_clip(folder / f"{size}.mp4", size, seconds=seconds)
            print(f"{size}, {seconds:g} s:")
            report_speed(measure_speed(clip, rounds), seconds)


def make_clip(path: Path, size: str, *, seconds: float) -> Path:
    """Generate a clip.

    Args:
        path: where to write it.
        size: of a frame, a key of `_SIZES`.
        seconds: its length.

    Returns:
        `path`.
    """
    video, audio = f"testsrc2=s={size}:r=30:d={seconds:g}", "0.3*sin(880*PI*t)+0.1*random(0)"
    inputs = ("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", f"aevalsrc={audio}:s=44100:d={seconds:g}")
    codec = ("-vf", "noise=alls=6:allf=t", "-c:v", "libx264", "-preset", "veryfast", "-b:v", _SIZES[size])
    run_ffmpeg(*inputs, *codec, "-pix_fmt", "yuv420p", "-c:a", "aac", path)
    return path


def measure_speed(clip: Path, rounds: int) -> dict[str, list[float]]:
    """Return the processor seconds of each way to decode a clip, one per round."""
    calls: dict[str, Callable[[], object]] = {
        _REFERENCE: lambda: _decode_with_ffmpeg(clip),
        "profile clean": lambda: _exhaust(MediaSeconds(clip, get_profile("clean"), DEFAULT_OPTIONS)),
        "profile llp": lambda: _exhaust(MediaSeconds(clip, get_profile("llp"), DEFAULT_OPTIONS)),
        "frame reader ffmpeg": lambda: _exhaust(build_reader(probe(clip), "ffmpeg")),
        "frame reader decord": lambda: _exhaust(build_reader(probe(clip), "decord")),
        "audio reader": lambda: _exhaust(AudioReader(probe(clip), "filtered")),
    }
    calls["profile clean"]()  # computes what is computed once per process, such as the audio filter
    spent: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            before = _processor_seconds()
            call()
            spent[name].append(_processor_seconds() - before)
    return spent


def report_speed(spent: dict[str, list[float]], seconds: float) -> None:
    """Print seconds of video per core-second, and ratios to ffmpeg."""
    medians = {name: float(np.median(times)) for name, times in spent.items()}
    for name, median in medians.items():
        print(f"  {name}: {seconds / median:.1f} s per core-second, x{medians[_REFERENCE] / median:.2f} of ffmpeg")


def compare_memory(folder: Path, short: float, long: float) -> float:
    """Print the peaks of decoding a video of `short` and of `long` seconds; return their ratio."""
    minute = folder / "minute.mp4"
    sources = ("-f", "lavfi", "-i", f"testsrc2=s=320x240:r=10:d={short:g}", "-f", "lavfi", "-i", f"sine=d={short:g}")
    run_ffmpeg(*sources, "-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac", minute)
    repeated = folder / "long.mp4"
    run_ffmpeg("-stream_loop", round(long / short) - 1, "-i", minute, "-c", "copy", repeated)
    peaks: list[float] = []
    for clip, seconds in ((minute, short), (repeated, long)):
        program = Program(Path(__file__), ["--decode", clip], folder / "log", forked=False)
        peaks.append(watch_peaks(program).program)
        if status := program.wait():
            sys.exit(f"decoding ended with status {status}: {program.last_error()}")
        print(f"{seconds / 60:.3g} min: {peaks[-1]:.0f} MiB")
    ratio = peaks[1] / peaks[0]
    print(f"x{ratio:.2f}")
    return ratio


def _decode_with_ffmpeg(clip: Path) -> None:
    command = [ffmpeg_binary(), "-nostdin", "-loglevel", "error", "-threads", "1", "-i", str(clip)]
    subprocess.run([*command, "-map", "0:v", "-map", "0:a", "-f", "null", "-"], check=True)


def _exhaust(items: Iterable[object]) -> None:
    for _ in items:
        pass


def _processor_seconds() -> float:
    """Return the processor time of this process and of its children that have ended."""
    usages = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(usage.ru_utime + usage.ru_stime for usage in usages)


if __name__ == "__main__":
    main()
