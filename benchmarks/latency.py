"""Measure how long one clip takes: from the start of `avvp-parse`, with networks that are loaded, and by `avvp serve`.

Each way to compute ("backend:precision" or "backend:precision:profile") takes its turn in every round, so that other
work on the machine slows down all of them; the servers of `avvp serve` alone run one after the other. The least of the
rounds is printed, and how many times as fast as with the first way the whole clip is. The networks are those of full
size with random parameters, in files as they are downloaded. int8 needs a bundle of `avvp weights quantize`,
which is made first from the same networks and generated clips: minutes.
"""

from __future__ import annotations

import argparse
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import avvp
import torch
from avvp.extractors.inputs import FRAME, FRAME_CLIP
from avvp.extractors.registry import extractor_shapes
from avvp.models.files.checkpoint import dump_checkpoint
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.inference.bundle import load_networks
from avvp.weights.untrained import untrained_state
from measure.inputs import generate_clip
from measure.memory import resident_bytes
from measure.options import make_parser
from measure.programs import AVVP
from startup import descendants, has_open

_WHOLE = {"start": "timeline (s)", "warm": "clip (s)", "serve": "later (s)"}  # part -> figure of the whole clip
_WAYS = ("torch:fp32", "torch:bf16", "openvino:fp32", "openvino:bf16", "openvino:int8", "openvino:int8:fast")
_POLL_INTERVAL = 0.005  # seconds
_BLOCK = 512  # bytes of `st_blocks`
_MIB = 1 << 20
_SECOND = 2 * FRAME.nbytes + FRAME_CLIP.nbytes  # bytes of inputs, where fewest pictures are taken


class Start(NamedTuple):
    """Seconds from the start of the program."""

    decoding: float  # until a process of its own has opened the clip
    first_second: float  # until as many bytes of inputs are there as a second has
    timeline: float  # until the program has ended
    memory: float  # MiB, the most that was seen of the program


class Warm(NamedTuple):
    """Seconds of one clip with networks that are loaded."""

    features: float  # decoded and computed
    parser: float
    write: float

    @property
    def clip(self) -> float:
        """From the file to the timeline on disk."""
        return sum(self)


@dataclass(frozen=True)
class Way:
    """How clips are computed."""

    backend: str
    precision: str
    profile: str | None
    bundle: str  # name or folder

    def options(self) -> dict[str, Any]:
        """Return the options that differ from way to way."""
        found = {"weights": self.bundle, "backend": self.backend, "precision": self.precision}
        return found if self.profile is None else found | {"profile": self.profile}

    def arguments(self) -> list[str]:
        """Return the options for a command line."""
        return [argument for name, value in self.options().items() for argument in (f"--{name}", value)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the parts in turn and print their figures."""
    options = _read_options(arguments)
    rounds = 1 if options.smoke else options.rounds
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bundle = options.weights or ("demo" if options.smoke else str(write_bundle(folder / "bundle")))
        (folder / "clips").mkdir()
        seconds = 2 if options.smoke else 10
        clip = generate_clip(folder / "clips" / "clip.mp4", seconds=seconds, size="320x240").resolve()
        ways = {text: _read_way(text, bundle, options.quantized, folder) for text in options.ways.split(",")}
        measures = {"start": _measure_start, "warm": _measure_warm, "serve": _measure_serve}
        for part in options.parts:
            print(f"{part}: clip of {seconds} s, {available_cores()} cores")
            _print(measures[part](ways, clip, rounds), _WHOLE[part])
    return 0


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--parts", default=",".join(_WHOLE), help=f"of {', '.join(_WHOLE)}; separated by commas")
    parser.add_argument("--ways", help=f"separated by commas; by default {','.join(_WAYS)}")
    parser.add_argument("--weights", help="name or folder of a bundle, in place of random parameters")
    parser.add_argument("--quantized", help="folder of a bundle for int8, in place of one that is made")
    options = parser.parse_args(arguments)
    options.ways = options.ways or ("torch:fp32" if options.smoke else ",".join(_WAYS))
    options.parts = options.parts.split(",")
    if wrong := [part for part in options.parts if part not in _WHOLE]:
        parser.error(f"--parts: {wrong[0]!r} is none of {', '.join(_WHOLE)}")
    if wrong := [way for way in options.ways.split(",") if not 2 <= len(way.split(":")) <= 3]:
        parser.error(f"--ways: {wrong[0]!r} is not backend:precision or backend:precision:profile")
    return options


def write_bundle(folder: Path) -> Path:
    """Write the networks of the bundle untrained-clean as files.

    Args:
        folder: made here.

    Returns:
        `folder`.
    """
    folder.mkdir()
    loaded = load_networks("untrained-clean", device="cpu")
    names = loaded.extractors.spec.extractors
    files = ", ".join(f'{name} = "{name}.pth"' for name in names)
    for name in names:
        torch.save(untrained_state(extractor_shapes(name), 1), folder / f"{name}.pth")
    parser = dump_checkpoint(loaded.trained_parser, loaded.extractors.spec.to_dict(), {})
    (folder / "parser.safetensors").write_bytes(parser)
    (folder / "bundle.toml").write_text(
        f'profile = "clean"\nextractors = {{ {files} }}\nparser = {{ checkpoint = "parser.safetensors" }}\n'
    )
    return folder


def _read_way(text: str, bundle: str, given: str | None, folder: Path) -> Way:
    """Read a way; make the bundle of quantized networks where it needs one and none is given."""
    backend, precision, *profile = text.split(":")
    if precision == "int8":
        quantized = Path(given) if given else folder / "int8"
        if not given and not quantized.exists():
            clips = folder / "calibration"
            clips.mkdir()
            for number in range(2):
                generate_clip(clips / f"{number}.mp4", size="320x240", number=number)
            counts = ("--calibrate", "1", "--check", "1")
            subprocess.run(
                [AVVP, "weights", "quantize", bundle, "--clips", clips, "-o", quantized, *counts],
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        bundle = str(quantized)
    return Way(backend, precision, profile[0] if profile else None, bundle)


def _measure_start(ways: Mapping[str, Way], clip: Path, rounds: int) -> Mapping[str, Mapping[str, float]]:
    runs: dict[str, list[Start]] = {text: [] for text in ways}
    for _ in range(rounds):
        for text, way in ways.items():
            runs[text].append(_start(way, clip))
    return {
        text: {
            "until decoding (s)": min(run.decoding for run in of_way),
            "first second (s)": min(run.first_second for run in of_way),
            "timeline (s)": min(run.timeline for run in of_way),
            "memory (MiB)": max(run.memory for run in of_way),
        }
        for text, of_way in runs.items()
    }


def _start(way: Way, clip: Path) -> Start:
    """Run `avvp-parse` and watch it from outside."""
    command = [AVVP.with_name("avvp-parse"), clip, "-q", "-o", clip.with_name("events.json"), *way.arguments()]
    started = time.monotonic()
    process = subprocess.Popen(command)
    decoding = first = memory = 0.0
    while process.poll() is None:
        memory = max(memory, _resident(process.pid))
        if not first:
            children = list(descendants(process.pid))
            if not decoding and any(has_open(child, clip) for child in children):
                decoding = time.monotonic() - started
            if decoding and any(_input_bytes(child) >= _SECOND for child in children):
                first = time.monotonic() - started
        time.sleep(_POLL_INTERVAL)
    if process.returncode or not decoding:
        raise SystemExit(f"{command[0]} failed, or did not decode in a process of its own")
    total = time.monotonic() - started
    return Start(decoding, first or total, total, memory / _MIB)


def _resident(pid: int) -> int:
    try:
        return resident_bytes(pid)
    except (OSError, ValueError):  # it has ended
        return 0


def _input_bytes(pid: int) -> int:
    """Return how much of the memory that a decode worker shares with the program has been written to."""
    try:
        files = [file for file in Path(f"/proc/{pid}/fd").iterdir() if "avvp-inputs" in str(file.readlink())]
        return max((file.stat().st_blocks * _BLOCK for file in files), default=0)
    except OSError:
        return 0


def _measure_warm(ways: Mapping[str, Way], clip: Path, rounds: int) -> Mapping[str, Mapping[str, float]]:
    target = clip.with_name("events.json")
    runs: dict[str, list[Warm]] = {text: [] for text in ways}
    parsers = {text: avvp.load(device="cpu", **way.options()) for text, way in ways.items()}
    try:
        for parser in parsers.values():
            parser.parse(clip)
        for _ in range(rounds):
            for text, parser in parsers.items():
                runs[text].append(_parse(parser, clip, target))
    finally:
        for parser in parsers.values():
            parser.close()
    best = {text: min(of_way, key=lambda run: run.clip) for text, of_way in runs.items()}
    return {
        text: {
            "clip (s)": run.clip,
            "features (s)": run.features,
            "parser (s)": run.parser,
            "write (s)": run.write,
        }
        for text, run in best.items()
    }


def _parse(parser: avvp.Parser, clip: Path, target: Path) -> Warm:
    times = [time.perf_counter()]
    features = parser.extract(clip)
    times.append(time.perf_counter())
    timeline = parser.parse_features(features)
    times.append(time.perf_counter())
    timeline.save(target)
    times.append(time.perf_counter())
    return Warm(*(end - begin for begin, end in itertools.pairwise(times)))


def _measure_serve(ways: Mapping[str, Way], clip: Path, rounds: int) -> Mapping[str, Mapping[str, float]]:
    results: dict[str, Mapping[str, float]] = {}
    for text, way in ways.items():
        with _server(way, clip.parent) as (address, ready):
            requests = [_request(address, clip.name) for _ in range(1 + rounds)]
        results[text] = {"ready (s)": ready, "first request (s)": requests[0], "later (s)": min(requests[1:])}
    return results


@contextmanager
def _server(way: Way, folder: Path) -> Iterator[tuple[str, float]]:
    """Run `avvp serve`; give its address, and the seconds until it answered."""
    with tempfile.TemporaryDirectory() as output:
        started = time.monotonic()
        command = [AVVP, "serve", folder, "-q", "--port", "0", "-o", output, *way.arguments()]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line.startswith("open "):
                raise SystemExit("avvp serve did not start")
            yield line.split()[1], time.monotonic() - started
        finally:
            process.terminate()
            process.communicate()


def _request(address: str, name: str) -> float:
    """Send a job by HTTP, and wait for it. Returns seconds."""
    started = time.monotonic()
    with closing(HTTPConnection(urlsplit(address).netloc, timeout=60)) as connection:
        job = _json(connection, "POST", "/parse", json.dumps({"path": name}))
        while job["status"] in {"queued", "running"}:
            time.sleep(_POLL_INTERVAL)
            job = _json(connection, "GET", f"/jobs/{job['id']}")
    if job["status"] != "done":
        raise SystemExit(f"the job {job['status']}: {job.get('cause')}")
    return time.monotonic() - started


def _json(connection: HTTPConnection, method: str, path: str, body: str | None = None) -> Any:
    connection.request(method, path, body, {"Content-Type": "application/json"})
    return json.loads(connection.getresponse().read())


def _print(results: Mapping[str, Mapping[str, float]], whole: str) -> None:
    """Print a table, with the ratio of the first way's figure `whole` to that of each."""
    first = next(iter(results.values()))
    print(" | ".join(["way", *first, "ratio"]))
    for text, figures in results.items():
        print(" | ".join([text, *(f"{figure:.2f}" for figure in (*figures.values(), first[whole] / figures[whole]))]))


if __name__ == "__main__":
    sys.exit(main())
