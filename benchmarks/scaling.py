"""Measure how time and memory grow with length, number of files, classes, resolution and cores.

    python benchmarks/scaling.py --plot docs/scaling.png [--axis AXIS ...]
    python benchmarks/scaling.py --quick [--axis AXIS ...]

Whole commands run with tiny networks on generated media, each in a process of its own: what grows is what this program
adds. Their costs are the processor seconds of all processes, the peaks of memory those of the program. Steps are
measured in this process, the least of three calls. For each, the exponent p says that what is added to the smallest
case grows as size^p: 1 is a straight line, whatever starting costs. Exits with an error where something grows faster
than it should, and names it. --quick takes about ten minutes on two cores, all sizes an hour or two.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import torch
from avvp.extractors.profiles import PROFILES, get_profile
from avvp.extractors.sampling import SAMPLE_RATE
from avvp.pipeline.decode.media_seconds import MediaSeconds
from avvp.pipeline.decode.options import DEFAULT_OPTIONS
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.outputs.plots.figure import save_figure
from measure.batch import kept_threads, time_batch
from measure.from_tests import write_parsing_bundle
from measure.growth import Curve, draw_curves, measure_steps, print_table
from measure.inputs import run_ffmpeg
from measure.memory import watch_peaks
from measure.options import make_parser
from measure.programs import AVVP, Program, spent_seconds
from measure.timelines import format_steps, parser_steps, timeline_steps

_CODECS = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p", "-c:a", "aac")
_DECODED = ("clean", "llp", "clean-fast")  # profiles whose decoding is measured


@dataclass(frozen=True)
class Sizes:
    """What is measured at which sizes."""

    minutes: Sequence[float]  # of one video
    timeline_minutes: Sequence[float]  # of a timeline without media
    files: Sequence[int]
    classes: Sequence[int]
    class_seconds: int  # of the timeline that has them
    heights: Sequence[int]  # of frames of 16:9
    clip_seconds: int  # of a clip of each resolution, and of those of the cores
    bundle: str | None  # whose extractors are timed with each number of cores; None: the tiny ones
    repeats: int  # of each step, and rounds of the cores


FULL = Sizes(
    (1, 3, 10, 30, 60, 180), (1, 10, 60, 180), (10, 100, 1000, 5000), (25, 50, 100, 200, 500), 1800,
    (240, 360, 480, 720, 1080, 2160), 10, "untrained-clean", 3,
)  # fmt: skip
QUICK = Sizes(
    (1, 3, 10), (1, 10, 60), (10, 50, 200), (25, 100, 300), 600, (240, 480, 1080, 2160), 3, "untrained-clean", 2
)
SMOKE = Sizes((1 / 60,), (0.1,), (1,), (2, 3), 6, (36,), 1, None, 1)


class Cost(NamedTuple):
    """What a program has cost."""

    seconds: float  # of the processor, of all its processes
    peak: float  # MiB of the program


@dataclass(frozen=True)
class Bench:
    """Sizes, and where generated files go.

    Attributes:
        sizes: to measure.
        folder: temporary.
        bundle: of tiny networks.
        forked: see `Program`.
    """

    sizes: Sizes
    folder: Path
    bundle: Path
    forked: bool

    def run(self, script: Path, *arguments: object) -> Cost:
        """Run a program in a process of its own; exit if it fails."""
        spent = [0.0]
        program = Program(script, arguments, self.folder / "log", forked=self.forked)
        peaks = watch_peaks(program, lambda: spent.append(spent_seconds(program.pid)))
        if status := program.wait():
            sys.exit(f"{' '.join(map(str, arguments[:2]))} ended with status {status}: {program.last_error()}")
        return Cost(max(spent), peaks.program)


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--quick", action="store_true", help="smaller sizes, about ten minutes")
    parser.add_argument("--axis", action="append", choices=AXES, help="measure only this axis; repeatable")
    parser.add_argument("--plot", type=Path, help="draw the curves: png, svg or pdf")
    parser.add_argument("--decode", type=Path, metavar="VIDEO", help="decode a video and print nothing")
    parser.add_argument("--profile", choices=list(PROFILES), default="clean", help="of --decode")
    options = parser.parse_args(argv)
    if options.decode:
        for _ in MediaSeconds(options.decode, get_profile(options.profile), DEFAULT_OPTIONS):
            pass
        return
    sizes = SMOKE if options.smoke else QUICK if options.quick else FULL
    curves: list[Curve] = []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        bench = Bench(sizes, folder, write_parsing_bundle(folder / "bundle", "clean"), forked=options.smoke)
        for axis in options.axis or AXES:
            measured = list(AXES[axis](bench))
            print_table(measured)
            sys.stdout.flush()
            curves += measured
        path = options.plot or folder / "scaling.png"
        save_figure(path, partial(draw_curves, curves))
    print()
    if (steep := [f"{curve.name} with {curve.axis}" for curve in curves if curve.is_too_steep]) and not options.smoke:
        sys.exit(f"grows faster than its size: {', '.join(steep)}")
    print(f"{len(curves)} curves: nothing grows faster than its size")


def measure_length(bench: Bench) -> Iterator[Curve]:
    """Measure a command on one video, and steps on timelines without media."""
    costs = list[Cost]()
    for minutes in bench.sizes.minutes:
        video = make_video(bench.folder / f"{minutes:g}.mp4", minutes=minutes)
        output = bench.folder / "events.json"
        costs.append(
            bench.run(
                AVVP, "parse", video, "-o", output, "--segments", "--weights", bench.bundle, "-q", "--device", "cpu"
            )
        )
        video.unlink()
    yield _program("minutes", "avvp parse", bench.sizes.minutes, costs)
    yield from _steps("minutes", bench.sizes.timeline_minutes, lambda size: (round(60 * size), 25), bench)


def measure_files(bench: Bench) -> Iterator[Curve]:
    """Measure commands on folders of videos, and of what is made of them."""
    names = ["avvp parse", "avvp parse, all done", "avvp status", "avvp find", "avvp convert", "avvp report"]
    costs: dict[str, list[Cost]] = {name: [] for name in names}
    clip = make_video(bench.folder / "second.mp4", minutes=1 / 60)
    for count in bench.sizes.files:
        videos, events, made = (bench.folder / f"{name}{count}" for name in ("videos", "events", "made"))
        videos.mkdir()
        for number in range(count):
            (videos / f"clip{number}.mp4").hardlink_to(clip)
        parse = ("parse", videos, "--output-dir", events, "--weights", bench.bundle, "-q", "--device", "cpu")
        commands = [
            parse,
            parse,
            ("status", events),
            ("find", events, "--min-score", "0.1", "-q"),
            ("convert", events, "-f", "csv", "-o", made / "csv", "-q"),
            ("report", events, "--media", videos, "--output-dir", made / "pages", "--no-bands", "-q"),
        ]
        for name, command in zip(names, commands, strict=True):
            costs[name].append(bench.run(AVVP, *command))
    for name in names:
        yield _program("files", name, bench.sizes.files, costs[name])


def measure_classes(bench: Bench) -> Iterator[Curve]:
    """Measure parsers of many classes, and steps on their timelines."""
    seconds = bench.sizes.class_seconds
    # In the decoder classwise every class attends to every other.
    decoders = {
        "parser, decoder leap": "leap",
        "parser, decoder mmil": "mmil",
        "parser, decoder classwise": "classwise",
    }
    parsed = measure_steps(
        "classes",
        bench.sizes.classes,
        lambda size: parser_steps(seconds // 3, round(size), decoders),
        repeats=bench.sizes.repeats,
    )
    yield from (replace(curve, expected=2.0 if "classwise" in curve.name else 1.0) for curve in parsed)
    yield from _steps("classes", bench.sizes.classes, lambda size: (seconds, round(size)), bench, with_parser=False)


def measure_resolution(bench: Bench) -> Iterator[Curve]:
    """Measure the decoding of clips of one length, whose frames have more and more pixels."""
    sizes = [height * _width(height) / 1e6 for height in bench.sizes.heights]
    clips = [
        make_video(bench.folder / f"{height}.mp4", minutes=bench.sizes.clip_seconds / 60, height=height, rate=30)
        for height in bench.sizes.heights
    ]
    for profile in (name for name in _DECODED if name in PROFILES):
        costs = [bench.run(Path(__file__), "--decode", clip, "--profile", profile) for clip in clips]
        yield _program("megapixels", f"decode, profile {profile}", sizes, costs)


def measure_cores(bench: Bench) -> Iterator[Curve]:
    """Measure the extraction of clips with one core and with more, the networks being loaded."""
    from avvp.pipeline.batch.extract_task import ExtractTask
    from avvp.pipeline.batch.task import ComputeSettings
    from avvp.weights.remote.bundles import load_bundle
    from avvp.weights.source import ANYWHERE

    counts = sorted({1, 2, available_cores()} & set(range(1, available_cores() + 1)))
    tiny, frames = str(bench.bundle), bench.sizes.heights[-2:][0]
    cases = {
        "networks of full size": (bench.sizes.bundle or tiny, bench.sizes.heights[0]),
        f"decoding of {frames}p": (tiny, frames),
    }
    for place, (name, (bundle, height)) in enumerate(cases.items()):
        folder, best = bench.folder / f"cores{place}", dict[int, float]()
        folder.mkdir()
        clip = make_video(folder / "clip.mp4", minutes=bench.sizes.clip_seconds / 60, height=height, rate=30)
        videos = [folder / f"clip{number}.mp4" for number in range(2 * counts[-1])]
        for video in videos:
            video.hardlink_to(clip)
        settings = ComputeSettings(DEFAULT_OPTIONS, device="cpu")
        task = ExtractTask(bundle=load_bundle(bundle, ANYWHERE), settings=settings)
        loaded = task.load()
        for number in range(bench.sizes.repeats):
            for count in counts:
                output = folder / f"{count}-{number}"
                output.mkdir()
                with cores(count):
                    spent = time_batch(task, loaded, videos, output)
                best[count] = min(best.get(count, spent), spent)
        yield Curve("cores", name, tuple(map(float, counts)), tuple(best[count] for count in counts))


AXES: dict[str, Callable[[Bench], Iterator[Curve]]] = {
    "length": measure_length,
    "files": measure_files,
    "classes": measure_classes,
    "resolution": measure_resolution,
    "cores": measure_cores,
}


@contextlib.contextmanager
def cores(count: int) -> Iterator[None]:
    """Let this process, and those that it starts, use only some cores within the context."""
    earlier = os.sched_getaffinity(0)
    os.sched_setaffinity(0, sorted(earlier)[:count])
    try:
        yield
    finally:
        os.sched_setaffinity(0, earlier)


def make_video(path: Path, *, minutes: float, height: int = 48, rate: int = 8) -> Path:
    """Generate a video with audio: one minute at most is encoded, the rest repeats it.

    The audio has the networks' sample rate: what resamples is started in each decoding process once.
    """
    seconds, piece = min(60, 60 * minutes), path.with_name(f"piece-{path.name}")
    video = f"testsrc2=s={_width(height)}x{height}:r={rate}:d={seconds:g}"
    audio = f"sine=f=440:b=4:r={SAMPLE_RATE}:d={seconds:g}"
    run_ffmpeg("-f", "lavfi", "-i", video, "-f", "lavfi", "-i", audio, *_CODECS, "-g", "16", piece)
    run_ffmpeg("-stream_loop", max(0, round(minutes) - 1), "-i", piece, "-c", "copy", path)
    piece.unlink()
    return path


def _width(height: int) -> int:
    """Return the width of a frame of 16:9, an even number."""
    return 2 * round(height * 8 / 9)


def _program(axis: str, name: str, sizes: Sequence[float], costs: Sequence[Cost]) -> Curve:
    seconds, peaks = zip(*costs, strict=True)
    return Curve(axis, name, tuple(map(float, sizes)), seconds, peaks)


def _steps(
    axis: str,
    sizes: Sequence[float],
    seconds_and_classes: Callable[[float], tuple[int, int]],
    bench: Bench,
    *,
    with_parser: bool = True,
) -> Iterator[Curve]:
    """Measure what is done with timelines; the many formats are in the background of the picture."""
    measure = partial(measure_steps, axis, sizes, repeats=bench.sizes.repeats)
    with kept_threads():
        torch.set_num_threads(1)
        if with_parser:
            decoders = {"parser in windows of 10 s": "leap"}
            yield from measure(lambda size: parser_steps(*seconds_and_classes(size), decoders))
        yield from measure(lambda size: timeline_steps(*seconds_and_classes(size), bench.folder))
        for curve in measure(lambda size: format_steps(*seconds_and_classes(size), bench.folder)):
            yield replace(curve, background=True)


if __name__ == "__main__":
    main()
