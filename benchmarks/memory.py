"""Measure whether memory grows with the length of a video or with the number of videos.

    python benchmarks/memory.py [--minutes 60] [--profile clean]
    python benchmarks/memory.py --batch [--minutes 120] [--videos 200] [--profile clean]
    python benchmarks/memory.py --pseudo-labels [--minutes 120] [--videos 200]

The first extracts features of a video of one minute and of a long one, each in a process of its own; the second runs
`avvp extract` on one video of ten seconds, on many of them, and on a long one; the third does so with `avvp
pseudo-label`. All use tiny networks. The peaks of the program and of the largest process that it starts are read from
/proc. Prints ratios and fails above 1.5.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from avvp.extractors.sampling import SAMPLE_RATE
from measure.inputs import TINY_NETWORKS, run_ffmpeg, write_tiny_bundle
from measure.memory import Peaks, watch_peaks
from measure.options import make_parser
from measure.programs import AVVP, Program

LIMIT = 1.5  # times the peaks of the first case


@dataclass(frozen=True)
class Sizes:
    """Lengths and number of the generated videos.

    In smoke mode their audio has the networks' sample rate: resampling imports PyTorch in each decoding process.
    """

    short: float  # minutes
    long: float  # minutes
    videos: int  # copies of the short one
    sample_rate: int  # Hz, of the audio


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--minutes", type=float, help="length of the long video [default: 60; of batch runs 120]")
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--pseudo-labels", action="store_true")
    parser.add_argument("--videos", type=int, help="number of short videos [default: 200]")
    parser.add_argument("--profile", choices=["clean", "llp"], default="clean")
    parser.add_argument("--extract", type=Path, metavar="VIDEO", help="extract features of a video and print nothing")
    options = parser.parse_args(argv)
    if options.extract:
        extract_one(options.extract, options.profile)
        return
    batch = options.batch or options.pseudo_labels
    long, videos = (1 / 15, 3) if options.smoke else (120 if batch else 60, 200)
    short = 1 / 30 if options.smoke else 1 / 6 if batch else 1
    sample_rate = SAMPLE_RATE if options.smoke else 44_100
    sizes = Sizes(short, options.minutes or long, options.videos or videos, sample_rate)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        cases = make_cases(folder, sizes, batch=batch)
        results = {}
        for number, (case, clips) in enumerate(cases.items()):
            own = folder / str(number)
            own.mkdir()
            if options.pseudo_labels:
                results[case] = pseudo_label(own, clips, forked=options.smoke)
            elif options.batch:
                results[case] = extract_batch(own, clips, options.profile, forked=options.smoke)
            else:
                arguments = ["--extract", clips[0], "--profile", options.profile]
                results[case] = run(Path(__file__), arguments, own / "log", forked=options.smoke)
            print(f"{case}: program {results[case].program:.0f} MiB, largest child {results[case].child:.0f} MiB")
    report(results)


def make_cases(folder: Path, sizes: Sizes, *, batch: bool) -> dict[str, list[Path]]:
    """Generate videos; return the videos of each case by its name."""
    short, long = folder / "short.mp4", folder / "long.mp4"
    make_video(short, sizes.short, sizes.sample_rate)
    make_video(long, sizes.long, sizes.sample_rate)
    first, last = f"1 video of {60 * sizes.short:g} s", f"1 video of {sizes.long:.3g} min"
    if not batch:
        return {first: [short], last: [long]}
    copies = [folder / f"copy{number}.mp4" for number in range(sizes.videos)]
    for copy in copies:
        copy.hardlink_to(short)
    return {first: [short], f"{len(copies)} videos of {60 * sizes.short:g} s": copies, last: [long]}


def make_video(path: Path, minutes: float, sample_rate: int) -> None:
    """Generate a 320 x 240 video with audio: one minute at most is encoded, the rest repeats it."""
    minute, seconds = path.with_name("minute.mp4"), min(60, 60 * minutes)
    video, audio = f"testsrc2=s=320x240:r=25:d={seconds:g}", f"sine=f=440:b=4:r={sample_rate}:d={seconds:g}"
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")
    run_ffmpeg("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, *codecs, minute)
    run_ffmpeg("-stream_loop", max(0, round(minutes) - 1), "-i", minute, "-c", "copy", path)


def extract_one(video: Path, profile: str) -> None:
    """Extract features of one video in this process."""
    from avvp.extractors import build_extractor
    from avvp.pipeline import extract_features

    extract_features(video, {name: build_extractor(name) for name in TINY_NETWORKS}, profile=profile)


def extract_batch(folder: Path, clips: Sequence[Path], profile: str, *, forked: bool) -> Peaks:
    """Return the peaks of `avvp extract` with tiny networks."""
    bundle = write_tiny_bundle(folder / "bundle", profile)
    return run_on_list(["extract", "--weights", bundle], TINY_NETWORKS[0], clips, folder, forked=forked)


def pseudo_label(folder: Path, clips: Sequence[Path], *, forked: bool) -> Peaks:
    """Return the peaks of `avvp pseudo-label` with tiny teachers."""
    from measure.from_tests import write_teachers

    clip, clap = write_teachers(folder)
    command = ["pseudo-label", "--no-weak-labels", "--clip-model", clip, "--clap-model", clap, "--offline"]
    return run_on_list(command, "CLIP/scores", clips, folder, forked=forked)


def run_on_list(command: Sequence[object], outputs: str, clips: Sequence[Path], folder: Path, *, forked: bool) -> Peaks:
    """Run an `avvp` command on a list of clips.

    Args:
        command: with its options.
        outputs: folder, within the output folder, that must hold a file for each clip at the end.
        clips: to run it on.
        folder: for the list and the output.
        forked: see `Program`.
    """
    (folder / "list.txt").write_text("".join(f"{clip}\n" for clip in clips), encoding="utf-8")
    arguments = [*command, "--list", folder / "list.txt", "-o", folder / "output", "-q"]
    peaks = run(AVVP, arguments, folder / "log", forked=forked)
    files = len(list((folder / "output" / outputs).iterdir()))
    if files != len(clips):
        sys.exit(f"only {files} of {len(clips)} videos were done")
    return peaks


def run(script: Path, arguments: Sequence[object], log: Path, *, forked: bool) -> Peaks:
    """Return the peaks of a program; exit if it fails."""
    program = Program(script, arguments, log, forked=forked)
    peaks = watch_peaks(program)
    if status := program.wait():
        sys.exit(f"{script.name} ended with status {status}: {program.last_error()}")
    return peaks


def report(results: dict[str, Peaks]) -> None:
    """Print the ratios to the first case; exit with an error above `LIMIT`."""
    (_, first), *others = results.items()
    largest = 0.0
    for case, peaks in others:
        ratios = {name: getattr(peaks, name) / getattr(first, name) for name in Peaks._fields}
        print(f"{case}: {', '.join(f'{name} x{ratio:.2f}' for name, ratio in ratios.items())}")
        largest = max(largest, *ratios.values())
    if largest > LIMIT:
        sys.exit(f"memory grows: x{largest:.2f}")


if __name__ == "__main__":
    main()
