"""Extract features of hundreds of files, some of them broken, in a run that is killed repeatedly.

    python benchmarks/endurance.py [--files 500] [--broken 40] [--kills 8] [--seed 1]

Generates small videos, among them broken ones of ten kinds; extracts all of them once without interruption, and once
more in a run in which a decoding process, an ffmpeg and then the run itself are killed at random moments (SIGKILL), and
which is started again, each time with a clock that jumps by another time. Fails unless both leave the same files, byte
for byte, every good video is done, each broken one is named with its cause, nothing was computed twice after it was
journalled, and no temporary file is left. The networks are the tiny ones.
"""

from __future__ import annotations

import csv
import json
import os
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from avvp.extractors.sampling import SAMPLE_RATE
from measure.inputs import TINY_NETWORKS, run_ffmpeg, write_tiny_bundle
from measure.options import make_parser
from measure.programs import AVVP, Program

_VICTIMS = {"decoding process": b"worker_main", "ffmpeg": b"ffmpeg"}  # what is killed, with a word of its command line
_MOST_WAIT = 1.0  # seconds for an ffmpeg, which not every video needs
_CLOCKS = (-1e9, -86_400.0, 3600.0, 1e9)  # seconds by which the clock of a start jumps
_SILENT, _NO_VIDEO = 3, 7  # last digits of the numbers of videos without audio, and without frames


@dataclass(frozen=True)
class Inputs:
    """What is generated."""

    files: int
    broken: int  # of the files
    originals: Sequence[int]  # numbers of distinct good videos; the others are copies
    sample_rates: Sequence[int]  # Hz
    seed: int


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--files", type=int, help="[default: 500]")
    parser.add_argument("--broken", type=int, help="[default: 40]")
    parser.add_argument("--kills", type=int, help="[default: 8]")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    files, broken, kills = (16, 10, 1) if options.smoke else (500, 40, 8)
    inputs = Inputs(
        files=options.files or files,
        broken=broken if options.broken is None else options.broken,
        originals=(1, _SILENT, _NO_VIDEO) if options.smoke else range(20),
        # With the networks' own rate, no decoding process imports PyTorch to resample.
        sample_rates=(SAMPLE_RATE,) if options.smoke else (8_000, 22_050, 48_000),
        seed=options.seed,
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        names = generate_files(folder / "videos", inputs)
        write_tiny_bundle(folder / "bundle", "llp")  # the profile whose decoding processes start ffmpeg
        runs = Runs(folder, random.Random(inputs.seed), forked=options.smoke)  # noqa: S311
        runs.run_undisturbed()
        status = runs.run_with_kills(kills if options.kills is None else options.kills)
        problems = runs.find_problems(names, inputs.files, status)
        if problems:
            sys.exit("; ".join(problems))
        print("the files of both runs are the same, and nothing was computed twice")


def generate_files(folder: Path, inputs: Inputs) -> set[str]:
    """Write the videos; return the names of the broken ones, without suffix."""
    originals = folder.with_name("originals")
    originals.mkdir()
    folder.mkdir()
    for number in inputs.originals:
        make_good_video(originals / f"{number}.mp4", number, inputs.sample_rates)
    breakers = make_breakers(originals / f"{inputs.originals[0]}.mp4")
    chance = random.Random(inputs.seed)  # noqa: S311
    broken = sorted(chance.sample(range(inputs.files), inputs.broken))
    for number in range(inputs.files):
        path = folder / f"clip{number}.mp4"
        if number in broken:
            breakers[broken.index(number) % len(breakers)](path)
        else:
            original = inputs.originals[number % len(inputs.originals)]
            shutil.copy(originals / f"{original}.mp4", path)
    return {f"clip{number}" for number in broken}


def make_good_video(path: Path, number: int, sample_rates: Sequence[int]) -> None:
    """Generate one or two seconds of an unusual size or frame rate; some have no audio, some no frames."""
    chance = random.Random(number)  # noqa: S311
    seconds = chance.choice([1, 2])
    size = f"{2 * chance.randint(40, 160)}x{2 * chance.randint(40, 120)}"
    video = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={chance.choice([5, 12, 25, 30])}:d={seconds}"]
    audio = ["-f", "lavfi", "-i", f"anoisesrc=d={seconds}:seed={number}:r={chance.choice(sample_rates)}"]
    sources = {_NO_VIDEO: audio, _SILENT: video}.get(number % 10, [*video, *audio])
    run_ffmpeg(*sources, path)


def make_breakers(good: Path) -> list[Callable[[Path], object]]:
    """Return ten functions that write a file which cannot be decoded."""
    content = good.read_bytes()
    noise = random.Random(0).randbytes(20_000)  # noqa: S311
    return [
        lambda path: path.write_bytes(b""),
        lambda path: path.write_text("not a video\n" * 40),
        lambda path: path.write_bytes(noise),
        lambda path: path.write_bytes(content[:24]),
        lambda path: path.write_bytes(content.replace(b"moov", b"mooz")),
        lambda path: path.write_text("#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n"),
        lambda path: path.write_text("ffconcat version 1.0\nfile '/etc/passwd'\n"),
        lambda path: path.symlink_to("nowhere.mp4"),
        lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + noise[:100]),
        lambda path: path.write_bytes(b"PK\x03\x04" + noise),
    ]


class Runs:
    """Both runs over the videos.

    Args:
        folder: with the videos and the bundle; the outputs are made in it.
        chance: when to kill.
        forked: see `Program`.
    """

    def __init__(self, folder: Path, chance: random.Random, *, forked: bool) -> None:
        self._folder, self._chance, self._forked = folder, chance, forked
        self._whole, self._killed = folder / "whole", folder / "killed"
        self._temporary = folder / "tmp"
        self._temporary.mkdir()
        if not forked:  # the server that programs are forked from has files of its own
            os.environ["TMPDIR"] = str(self._temporary)

    def run_undisturbed(self) -> None:
        """Extract everything once."""
        started = time.monotonic()
        status = self._start(self._whole).wait()
        print(f"undisturbed: {time.monotonic() - started:.1f} s, exit status {status}")

    def run_with_kills(self, kills: int) -> int:
        """Extract everything, killed so many times; return the exit status of the last start.

        A video whose decoding was killed has failed, so the last start tries again what has failed.
        """
        killed = Counter(dict.fromkeys((*_VICTIMS, "run"), 0))
        most = max(1, len(list((self._folder / "videos").iterdir())) // (kills + 1) // (len(_VICTIMS) + 1))
        while killed["run"] < kills:
            program = self._start(self._killed, clock=self._chance.choice(_CLOCKS))
            for what, word in _VICTIMS.items():
                self._wait_for_starts(program, self._chance.randint(1, most))
                deadline = time.monotonic() + _MOST_WAIT
                while program.poll() is None and time.monotonic() < deadline:
                    if program.kill_descendant(word, self._chance):
                        killed[what] += 1
                        break
            self._wait_for_starts(program, self._chance.randint(1, most))
            if program.wait(self._chance.uniform(0, 0.2)) is not None:
                break
            program.kill()
            killed["run"] += 1
        program = self._start(self._killed, "--retry-failed", clock=_CLOCKS[0])
        status = program.wait()
        assert status is not None
        counts = ", ".join(f"{count} x {what}" for what, count in killed.items())
        print(f"killed {counts}; the last line of the last start: {program.last_error()}")
        return status

    def find_problems(self, broken: set[str], files: int, status: int) -> list[str]:
        """Compare both runs; print what was done; return a phrase for each thing that is wrong.

        Args:
            broken: names of the broken videos.
            files: number of videos.
            status: exit status of the run that was killed before.
        """
        done, started = (count_entries(self._killed, status) for status in ("done", "started"))
        repeated = [name for name, times in done.items() if times > 1]
        causes = read_causes(self._killed / "failures.csv")
        print(f"{len(done)} done, {len(causes)} failed, {sum(started.values()) - files} started again")
        for cause, times in Counter(causes.values()).most_common():
            print(f"  {times} x {cause}")
        arrays = read_arrays(self._killed)
        problems = {
            "the files differ": arrays != read_arrays(self._whole),
            "good videos are missing": len(arrays) != len(TINY_NETWORKS) * (files - len(broken)),
            "broken ones are not named": causes.keys() != broken or not all(causes.values()),
            f"computed twice: {repeated}": bool(repeated),
            f"exit status {status}": status != (1 if broken else 0),
            "temporary files are left": any([*self._killed.rglob(".avvp-*"), *self._temporary.iterdir()]),
        }
        return [problem for problem, is_found in problems.items() if is_found]

    def _wait_for_starts(self, program: Program, count: int) -> None:
        """Wait until a program that extracts with kills has started so many more videos, or has ended."""
        earlier = count_entries(self._killed, "started").total()
        while program.wait(0.02) is None and count_entries(self._killed, "started").total() < earlier + count:
            pass

    def _start(self, output: Path, *more: str, clock: float = 0.0) -> Program:
        bundle = self._folder / "bundle"
        arguments = ["extract", self._folder / "videos", "-o", output, "--weights", bundle, "-q", *more]
        return Program(AVVP, arguments, output.with_suffix(".log"), forked=self._forked, clock=clock)


def read_causes(path: Path) -> dict[str, str]:
    """Read why each video failed; none where there is no such file."""
    if not path.exists():
        return {}
    with path.open(newline="") as file:
        return {row["id"]: row["cause"] for row in csv.DictReader(file)}


def read_arrays(folder: Path) -> dict[str, bytes]:
    """Read every .npy file below a folder."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npy")}


def count_entries(folder: Path, status: str) -> Counter[str]:
    """Count a run's journal entries of this status, by video."""
    texts = [path.read_text() for path in (folder / "journal").glob("*.jsonl")]
    lines = [line for text in texts for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return Counter(entry["id"] for entry in map(json.loads, lines) if entry["status"] == status)


if __name__ == "__main__":
    main()
