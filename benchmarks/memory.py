"""Does memory grow with the video, or with their number? Peak memory of runs over generated videos.

    python benchmarks/memory.py [--minutes 60] [--profile clean]
    python benchmarks/memory.py --batch [--minutes 120] [--videos 200] [--profile clean]
    python benchmarks/memory.py --pseudo-labels [--minutes 120] [--videos 200]

The first parses a video of one minute and a long one as `avvp parse` does; the second runs `avvp extract` over one of
ten seconds, over many of them, and over a long one; the third `avvp pseudo-label`. All with tiny networks; the peaks of
the program and of the largest process that it starts are read from the system. Prints ratios and fails above 1.5.
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

from avvp.pipeline.decode.ffmpeg import ffmpeg_binary

LIMIT = 1.5  # of the peak for one minute
NETWORKS = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")


def make_video(path: Path, minutes: float) -> None:
    """A 320 x 240 video with sound; one minute is coded at most, the rest repeats it."""
    minute, seconds = path.with_name("minute.mp4"), min(60, 60 * minutes)
    picture, sound = f"testsrc2=s=320x240:r=25:d={seconds:g}", f"sine=f=440:b=4:d={seconds:g}"
    sources = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
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
        peaks += descendants_mib(os.getpid())
        time.sleep(0.05)


def command(pid: int | str) -> bytes:
    """Its command line."""
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def descendants_mib(pid: int) -> list[float]:
    """The peaks of the processes that one has started, and those they have."""
    found = []
    with contextlib.suppress(OSError, IndexError):  # it may be gone by now
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if command(child) != command(pid):  # or it was split off a moment ago, and still is what started it
                    found += [peak_mib(child), *descendants_mib(int(child))]
    return found


def extract(folder: Path, profile: str) -> list[str | Path]:
    """A command that extracts features with tiny networks."""
    bundle = folder / "bundle"
    bundle.mkdir()
    names = ", ".join(f'{name} = ""' for name in NETWORKS)
    (bundle / "bundle.toml").write_text(f'profile = "{profile}"\nseed = 1\nextractors = {{ {names} }}\nparser = {{}}\n')
    return ["extract", "--weights", bundle]


def pseudo_label(folder: Path) -> list[str | Path]:
    """A command that makes pseudo labels with tiny teachers."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "tests"))
    from teachers import write_teachers

    clip, clap = write_teachers(folder)
    return ["pseudo-label", "--no-weak-labels", "--clip-model", clip, "--clap-model", clap, "--offline"]


def measure_batch(command: list[str | Path], made: str, clips: list[Path], folder: Path) -> dict[str, float]:
    """A command over some clips: peaks of the program and of the largest process it started.

    made: the folder, of those that it writes, where each clip has a file.
    """
    (folder / "list.txt").write_text("".join(f"{clip}\n" for clip in clips))
    arguments = [*command, "--list", folder / "list.txt", "-o", folder / "output", "-q"]
    program = Path(sys.executable).with_name("avvp")
    process = subprocess.Popen([program, *arguments], stderr=subprocess.DEVNULL)
    own = started = 0.0
    while process.poll() is None:
        with contextlib.suppress(OSError, IndexError):
            own = max(own, peak_mib(process.pid))
        started = max([started, *descendants_mib(process.pid)])
        time.sleep(0.05)
    files = len(list((folder / "output" / made).iterdir()))
    if files != len(clips):
        sys.exit(f"only {files} of {len(clips)} videos were done")
    return {"videos": files, "process_mib": own, "decoder_mib": started}


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
    parser.add_argument("--minutes", type=float)
    parser.add_argument("--batch", action="store_true")
    parser.add_argument("--pseudo-labels", action="store_true")
    parser.add_argument("--videos", type=int, default=200)
    parser.add_argument("--profile", choices=["clean", "llp"], default="clean")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        print(json.dumps(measure(options.measure, options.profile)))
        return
    batch = options.batch or options.pseudo_labels
    minutes = options.minutes or (120 if batch else 60)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        short, long = folder / "short.mp4", folder / "long.mp4"
        make_video(short, 1 / 6 if batch else 1)
        make_video(long, minutes)
        if batch:
            copies = [folder / f"copy{number}.mp4" for number in range(options.videos)]
            for copy in copies:
                copy.hardlink_to(short)
            cases = {"1 video of 10 s": [short], f"{options.videos} videos": copies, f"{minutes:g} min": [long]}
            results = {}
            for number, (case, clips) in enumerate(cases.items()):
                own = folder / str(number)
                own.mkdir()
                command = pseudo_label(own) if options.pseudo_labels else extract(own, options.profile)
                made = "CLIP/scores" if options.pseudo_labels else NETWORKS[0]
                results[case] = measure_batch(command, made, clips, own)
        else:
            paths = {"1 min": short, f"{minutes:g} min": long}
            results = {case: run_child(path, options.profile) for case, path in paths.items()}
    (_, first), *others = results.items()
    print(f"{next(iter(results))}: {json.dumps(first)}")
    worst = 0.0
    for case, result in others:
        ratios = {part: result[part] / first[part] for part in ("process_mib", "decoder_mib")}
        worst = max(worst, *ratios.values())
        told = ", ".join(f"{part} x{ratio:.2f}" for part, ratio in ratios.items())
        print(f"{case}: {json.dumps(result)}: {told}")
    sys.exit(f"memory grows: x{worst:.2f}" if worst > LIMIT else 0)


if __name__ == "__main__":
    main()
