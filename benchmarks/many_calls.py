"""Call `parse_video` many times in one process and watch its memory, descriptors and processes.

    python benchmarks/many_calls.py [--calls 1000]

Good files take turns with broken ones, as in a server that lives for weeks. The networks are those of the demo bundle.
Prints the figures after the first 60 calls and after the last. Fails if the resident memory of the program or of its
decode worker has grown by more than 5 %, or if there are more descriptors, threads, child processes or temporary files
than before.
"""

from __future__ import annotations

import contextlib
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from avvp.pipeline import parse_video
from avvp.pipeline.errors import MediaError
from avvp.pipeline.inference.bundle import load_networks
from measure.inputs import run_ffmpeg
from measure.memory import resident_bytes
from measure.options import make_parser

_WARM_UP = 60  # calls after which nothing may grow any more
_GROWTH = 1.05  # of resident memory: the allocators' noise


@dataclass(frozen=True)
class Usage:
    """What the process holds.

    Attributes:
        program: resident memory in MiB.
        children: resident memory of the child processes in MiB.
        descriptors: open files, pipes, sockets.
        threads: of Python.
        processes: children.
        temporary: files and folders in the folder for temporary files.
    """

    program: float
    children: float
    descriptors: int
    threads: int
    processes: int
    temporary: int

    @classmethod
    def now(cls) -> Usage:
        """Read the figures of this process."""
        children = (Path(f"/proc/self/task/{os.getpid()}/children").read_text()).split()
        return cls(
            program=resident_bytes() / 2**20,
            children=sum(resident_bytes(int(child)) for child in children) / 2**20,
            descriptors=len(list(Path("/proc/self/fd").iterdir())),
            threads=threading.active_count(),
            processes=len(children),
            temporary=len(list(Path(tempfile.gettempdir()).iterdir())),
        )

    def __str__(self) -> str:
        return ", ".join(f"{field.name} {getattr(self, field.name):.6g}" for field in fields(self))

    def growth_since(self, earlier: Usage) -> list[str]:
        """Return the names of what has grown."""
        allowed = {"program": _GROWTH, "children": _GROWTH}
        names = [field.name for field in fields(self)]
        return [name for name in names if getattr(self, name) > getattr(earlier, name) * allowed.get(name, 1)]


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--calls", type=int, help="[default: 1000]")
    options = parser.parse_args(argv)
    warm_up = 4 if options.smoke else _WARM_UP
    calls = options.calls or (8 if options.smoke else 1000)
    with tempfile.TemporaryDirectory() as temporary, temporary_files_in(Path(temporary) / "tmp"):
        files = make_files(Path(temporary))
        bundle = load_networks("demo", device="cpu")
        before, started, failed = Usage.now(), time.monotonic(), 0
        for call in range(calls):
            if call == warm_up:
                before = Usage.now()
                print(f"after {warm_up} calls: {before}", flush=True)
            try:
                parse_video(files[call % len(files)], weights=bundle)
            except MediaError:
                failed += 1
        after, seconds = Usage.now(), time.monotonic() - started
        print(f"after {calls} calls: {after}")
    print(f"{calls} calls in {seconds:.1f} s, {failed} of them of files that cannot be decoded")
    if not options.smoke and (growth := after.growth_since(before)):
        sys.exit(f"grown: {', '.join(growth)}")


@contextlib.contextmanager
def temporary_files_in(folder: Path) -> Iterator[None]:
    """Make this process and its children put their temporary files into a new folder within the context."""
    folder.mkdir()
    earlier = tempfile.tempdir, os.environ.get("TMPDIR")
    os.environ["TMPDIR"] = tempfile.tempdir = str(folder)
    try:
        yield
    finally:
        tempfile.tempdir = earlier[0]
        del os.environ["TMPDIR"]
        if earlier[1] is not None:
            os.environ["TMPDIR"] = earlier[1]


def make_files(folder: Path) -> list[Path]:
    """Generate a good video, one without sound, one cut in half, one of random bytes."""
    picture, sound = "testsrc2=s=160x120:r=12:d=2", "sine=r=16000:d=2"
    codecs = ("-c:v", "libx264", "-preset", "ultrafast", "-pix_fmt", "yuv420p")
    good, silent, cut, noise = (folder / f"{name}.mkv" for name in ("good", "silent", "cut", "noise"))
    run_ffmpeg("-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound, *codecs, "-c:a", "aac", good)
    run_ffmpeg("-f", "lavfi", "-i", picture, *codecs, silent)
    content = good.read_bytes()
    cut.write_bytes(content[: len(content) // 2])
    noise.write_bytes(os.urandom(10_000))
    return [good, silent, cut, noise]


if __name__ == "__main__":
    main()
