"""Hundreds of files, some of them broken, in a run that is killed again and again.

    python benchmarks/endurance.py [--files 500] [--broken 40] [--kills 8] [--seed 1]

Generates small videos, among them broken ones of every kind; extracts all of them once without disturbance, and once
more in a run that is killed at random moments (SIGKILL) and started again. Fails unless both leave the same files, byte
for byte, every good video is done, each broken one is named with its cause, and nothing was computed twice after it was
journalled. The networks are the tiny ones.
"""

from __future__ import annotations

import argparse
import csv
import json
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from avvp.pipeline.decode.ffmpeg import ffmpeg_binary

NETWORKS = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
KINDS = 20  # distinct good videos; the others are copies


def make_good(path: Path, number: int) -> None:
    """One or two seconds, now and then without sound or without picture, with an odd size or frame rate."""
    chance = random.Random(number)  # noqa: S311
    seconds = chance.choice([1, 2])
    size = f"{2 * chance.randint(40, 160)}x{2 * chance.randint(40, 120)}"
    picture = ["-f", "lavfi", "-i", f"testsrc2=s={size}:r={chance.choice([5, 12, 25, 30])}:d={seconds}"]
    sound = ["-f", "lavfi", "-i", f"anoisesrc=d={seconds}:seed={number}:r={chance.choice([8000, 22050, 48000])}"]
    inputs = sound if number % 10 == 7 else picture if number % 10 == 3 else [*picture, *sound]
    subprocess.run([ffmpeg_binary(), "-y", "-loglevel", "error", *inputs, str(path)], check=True)


def breakers(good: Path) -> list[Callable[[Path], object]]:
    """Ways for a file to be broken, so that nothing can be made of it."""
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


def generate(folder: Path, files: int, broken: int, chance: random.Random) -> set[str]:
    """Returns the names of the broken ones, without suffix."""
    originals = folder.with_name("originals")
    originals.mkdir()
    folder.mkdir()
    for number in range(KINDS):
        make_good(originals / f"{number}.mp4", number)
    ways = breakers(originals / "0.mp4")
    bad = {f"clip{number}" for number in chance.sample(range(files), broken)}
    for number in range(files):
        path = folder / f"clip{number}.mp4"
        if path.stem in bad:
            ways[len(list(folder.iterdir())) % len(ways)](path)
        else:
            shutil.copy(originals / f"{number % KINDS}.mp4", path)
    return bad


def start(videos: Path, output: Path, bundle: Path) -> subprocess.Popen[bytes]:
    program = Path(sys.executable).with_name("avvp")
    command = [program, "extract", videos, "-o", output, "--weights", bundle, "-q"]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.npy")}


def count(folder: Path, status: str) -> Counter[str]:
    lines = [line for path in (folder / "journal").glob("*.jsonl") for line in path.read_text().splitlines()]
    return Counter(record["id"] for record in map(json.loads, lines) if record["status"] == status)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--files", type=int, default=500)
    parser.add_argument("--broken", type=int, default=40)
    parser.add_argument("--kills", type=int, default=8)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    chance = random.Random(options.seed)  # noqa: S311
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        videos, bundle, whole, killed = (folder / name for name in ("videos", "bundle", "whole", "killed"))
        bundle.mkdir()
        names = ", ".join(f'{name} = ""' for name in NETWORKS)
        (bundle / "bundle.toml").write_text(f'profile = "clean"\nseed = 1\nextractors = {{ {names} }}\nparser = {{}}\n')
        bad = generate(videos, options.files, options.broken, chance)
        began = time.monotonic()
        status = start(videos, whole, bundle).wait()
        took = time.monotonic() - began
        print(f"undisturbed: {took:.0f} s, exit status {status}")
        kills = 0
        while True:
            process = start(videos, killed, bundle)
            try:
                status = process.wait(chance.uniform(3, took / 3) if kills < options.kills else None)
                break
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.wait()
                kills += 1
        twice = [name for name, times in count(killed, "done").items() if times > 1]
        with (killed / "failures.csv").open(newline="") as file:
            failed = {row["id"]: row["cause"] for row in csv.DictReader(file)}
        problems = {
            "the files differ": contents(killed) != contents(whole),
            "good videos are missing": len(contents(killed)) != 3 * (options.files - options.broken),
            "broken ones are not named": failed.keys() != bad or not all(failed.values()),
            f"computed twice: {twice}": bool(twice),
            f"exit status {status}": status != (1 if bad else 0),
            "half-written files are left": bool(list(killed.rglob(".avvp-*"))),
        }
        begun = sum(count(killed, "started").values()) - options.files
        print(f"killed {kills} times: {len(count(killed, 'done'))} done, {len(failed)} failed, {begun} begun again")
        for cause, times in Counter(failed.values()).most_common():
            print(f"  {times} x {cause}")
        if found := [problem for problem, is_so in problems.items() if is_so]:
            sys.exit("; ".join(found))
        print("the files of both runs are the same, and nothing was computed twice")


if __name__ == "__main__":
    main()
