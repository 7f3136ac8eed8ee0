"""Decode damaged copies of small clips and check that nothing is lost without a warning.

    nice python benchmarks/fuzzing.py [--mutants 1000] [--first SEED] [--only SEED]

Each seed chooses one of 13 containers and damages the clip: flipped bytes, zeroed ranges, cut ends, blocks that are
removed, repeated or swapped, integers of headers that are edited. The copy is decoded by `open_media`, three of four
under profile clean, the others under llp. Fails if decoding ends with anything but a result or a reason, if it hangs,
or if a stream ends more than half a second before what ffmpeg itself decodes, without a warning about it.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from multiprocessing.pool import ThreadPool
from pathlib import Path

from avvp.pipeline.decode.container.media_facts import MediaFacts
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.decode.open_media import open_media
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.errors import DecodeTimeoutError, MediaError
from measure.mutations import make_clips, mutate
from measure.options import make_parser

_SECONDS = 4.0  # of a clip
_LIMIT = 20.0  # seconds for one mutant, which takes less than one
_MISSING = 0.5  # seconds by which a stream may be shorter than ffmpeg's without a warning
_BUGS = ("its decoder ", "internal error")  # how the cause of an error begins after a traceback, or a signal
# Words by one of which a warning says that it is about a stream, or about the whole file.
_ABOUT: Mapping[str, tuple[str, ...]] = {
    "video": ("video", "visual", "frames", "the file is damaged", "time stamps"),
    "audio": ("audio", "the file is damaged", "time stamps"),
}


@dataclass(frozen=True)
class Outcome:
    """Result of one mutant."""

    seed: int
    damage: str  # container, and what was done to it
    kind: str  # "decoded", "with warnings", "refused" or "violation"
    detail: str = ""


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--mutants", type=int, help="number of mutants [default: 1000]")
    parser.add_argument("--first", type=int, default=0, metavar="SEED", help="seed of the first mutant [default: 0]")
    parser.add_argument("--only", type=int, metavar="SEED", help="decode one mutant and show its result")
    parser.add_argument("--keep", type=Path, metavar="FOLDER", help="write the mutants of violations here")
    options = parser.parse_args(argv)
    seeds = range(options.first, options.first + (options.mutants or (13 if options.smoke else 1000)))
    if options.only is not None:
        seeds = range(options.only, options.only + 1)
    counts: Counter[str] = Counter()
    with tempfile.TemporaryDirectory() as temporary, ThreadPool(available_cores()) as pool:
        fuzzer = Fuzzer(Path(temporary), options.keep)
        for outcome in pool.imap_unordered(fuzzer.run, seeds):
            counts[outcome.kind] += 1
            if outcome.kind == "violation" or options.only is not None:
                print(f"seed {outcome.seed} ({outcome.damage}): {outcome.kind}: {outcome.detail}", flush=True)
    print(", ".join(f"{count} {kind}" for kind, count in sorted(counts.items())))
    if counts["violation"]:
        sys.exit(f"{counts['violation']} of {len(seeds)} mutants violate a rule; --only SEED makes one again")


class Fuzzer:
    """Maker and checker of mutants."""

    def __init__(self, folder: Path, kept: Path | None) -> None:
        """Make the clips.

        Args:
            folder: for clips and mutants.
            kept: for the mutants of violations.
        """
        self._folder, self._kept = folder, kept
        self._clips = make_clips(folder, seconds=_SECONDS)

    def run(self, seed: int) -> Outcome:
        """Make a mutant, decode it and compare its lengths with ffmpeg's."""
        chance, clip = random.Random(seed), self._clips[seed % len(self._clips)]  # noqa: S311
        damage, content = mutate(clip.read_bytes(), chance)
        path = self._folder / f"{seed}{clip.suffix}"
        path.write_bytes(content)
        profile = "llp" if chance.random() < 0.25 else "clean"
        kind, detail = check(path, profile)
        if kind == "violation" and self._kept is not None:
            self._kept.mkdir(parents=True, exist_ok=True)
            (self._kept / path.name).write_bytes(content)
        path.unlink()
        return Outcome(seed, f"{clip.suffix[1:]}, {damage}, {profile}", kind, detail)


def check(path: Path, profile: str) -> tuple[str, str]:
    """Decode a file; return the kind of its outcome, and the details."""
    started = time.monotonic()
    try:
        with open_media(path, profile, decoding=DecodeOptions(timeout=_LIMIT)) as media:
            for _ in media:
                pass
    except DecodeTimeoutError as error:
        return "violation", f"{error.cause} ({time.monotonic() - started:.0f} s)"
    except MediaError as error:
        return "violation" if error.cause.startswith(_BUGS) else "refused", error.cause
    except Exception as error:  # the rule that is checked
        return "violation", f"{type(error).__name__}: {error}"
    missing = find_missing(media.facts, media.warnings, ffmpeg_lengths(path))
    if missing:
        return "violation", f"{'; '.join(missing)}; warnings: {media.warnings}"
    return "with warnings" if media.warnings else "decoded", "; ".join(media.warnings)


def find_missing(facts: MediaFacts, warnings: Sequence[str], expected: Mapping[str, float]) -> list[str]:
    """List the streams that are shorter than expected without a warning."""
    missing: list[str] = []
    for kind, decoded in (("video", facts.video_duration), ("audio", facts.audio_duration)):
        warned = any(word in warning for warning in warnings for word in _ABOUT[kind])
        if expected.get(kind, 0.0) - (decoded or 0.0) > _MISSING and not warned:
            missing.append(f"{decoded or 0.0:.2f} s of {kind}, ffmpeg decodes {expected[kind]:.2f} s")
    return missing


def ffmpeg_lengths(path: Path) -> dict[str, float]:
    """Return the seconds that ffmpeg decodes of the first stream of each kind; nothing where it is too slow."""
    command = [ffmpeg_binary(), "-nostdin", "-loglevel", "quiet", "-protocol_whitelist", "file,pipe", "-threads", "1"]
    command += ["-i", path.as_posix(), "-map", "0:V:0?", "-map", "0:a:0?", "-fps_mode", "passthrough"]
    try:
        result = subprocess.run([*command, "-f", "framecrc", "-"], capture_output=True, timeout=_LIMIT, check=False)
    except subprocess.TimeoutExpired:
        return {}
    return parse_lengths(result.stdout.decode("ascii", "replace").splitlines())


def parse_lengths(lines: Sequence[str]) -> dict[str, float]:
    """Parse the output of ffmpeg's muxer framecrc: the decoded seconds of each stream, by kind.

    Both the end of the last frame and the sum of all are too large for some files, so the smaller one counts: ffmpeg
    leaves holes where time stamps jump, and decodes some parts twice.
    """
    ticks: dict[str, Fraction] = {}
    kinds: dict[str, str] = {}
    ends: Counter[str] = Counter()
    sums: Counter[str] = Counter()
    for line in lines:
        name, _, value = line.partition(": ")
        if name.startswith("#tb "):
            ticks[name.split()[1]] = Fraction(value)
        elif name.startswith("#media_type "):
            kinds[name.split()[1]] = value
        elif not name.startswith("#"):
            stream, _, shown, length, *_ = (field.strip() for field in line.split(","))
            ends[stream] = max(ends[stream], int(shown) + int(length))
            sums[stream] += int(length)
    return {kinds[stream]: float(min(ends[stream], sums[stream]) * ticks[stream]) for stream in ends}


if __name__ == "__main__":
    main()
