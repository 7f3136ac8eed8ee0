"""Compare the decisions of a parser under profiles that do less work with those under its own profile, and the work.

    python benchmarks/agreement.py [--count 100]
    python benchmarks/agreement.py --clips DIR [--weights BUNDLE]
    python benchmarks/agreement.py --large 1280x720

Clips are generated as those that the bundle `demo` was trained on, by another seed, or given. Each is parsed under the
bundle's profile, and under others with several differences up to which pictures count as the same
(`--similar-pictures`). Printed for each, over all clips:

equal      cells (a class in a second, heard or seen) that are decided as under the bundle's profile
active     of the cells that are active in either, those that are active in both
cosine     of ResNet's features (means of seconds) with those under the bundle's profile, the mean over all seconds
pictures   inputs of ResNet that are computed, in percent of those under the bundle's profile
clips      the same of R(2+1)D's
work       multiply-adds of the full-size networks (VGGish, ResNet-152, R(2+1)D-18), the same
decoding   processor time of decoding and resizing, the same; profiles take turns, clip by clip

Generated clips are small, so that no profile scales them; with `--large` they are enlarged first. Their pictures are
drawn: agreement on them says little about films.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from avvp.extractors.profiles import get_profile
from avvp.extractors.sampling import Stream
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.diagnosis.speed import count_multiply_adds
from avvp.pipeline.inference.bundle import LoadedBundle, load_networks
from avvp.pipeline.inference.predict import predict_video
from avvp.pipeline.preprocess.network_inputs import NetworkInputs
from avvp.pipeline.synthetic.dataset import SynthJob, write_dataset
from measure.inputs import run_ffmpeg
from measure.options import make_parser
from numpy.typing import NDArray

_PROFILES = ("clean-fast", "fast")
_LEVELS = (0.0, 0.5, 1.0, 2.0, 4.0)  # of `similar_pictures`
_FULL_SIZE: dict[Stream, str] = {"audio": "vggish", "visual_2d": "resnet152", "visual_3d": "r2plus1d_18"}
_SEED = 20_231  # of the generated clips; those of `demo` have others
_SUFFIXES = {".mp4", ".mkv", ".webm", ".avi", ".mov"}


@dataclass
class Totals:
    """Sums over clips of what one variant computed.

    Attributes:
        decided: decisions of each clip, (2, T, C): heard, seen.
        pictures: ResNet's features of each clip, (T, D), means of the seconds.
        inputs: stream -> inputs that were computed.
        seconds: processor time of decoding and resizing.
    """

    decided: list[NDArray[np.bool_]] = field(default_factory=list)
    pictures: list[NDArray[np.float32]] = field(default_factory=list)
    inputs: dict[Stream, int] = field(default_factory=dict)
    seconds: float = 0.0

    def work(self, costs: Mapping[Stream, float]) -> float:
        """Return the multiply-adds, with those of an input of each stream."""
        return sum(costs[stream] * count for stream, count in self.inputs.items())


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--clips", type=Path, metavar="DIR", help="videos, in place of generated ones")
    parser.add_argument("--count", type=int, help="generated clips of 10 s [default: 100]")
    parser.add_argument("--weights", default="demo")
    parser.add_argument("--large", metavar="WxH", help="enlarge generated clips")
    parser.add_argument("--levels", type=float, nargs="+", help="similar pictures, in levels of 255 [default: 0 to 4]")
    options = parser.parse_args(argv)
    loaded = load_networks(options.weights, device="cpu")
    own = loaded.extractors.spec.profile
    levels = options.levels or ((0.0, 2.0) if options.smoke else _LEVELS)
    others = [name for name in _PROFILES if own in get_profile(name).approximates]
    # A published profile computes every picture.
    of_own = () if get_profile(own).frames == "jpeg" else levels
    variants = [(own, level) for level in (0.0, *of_own)] + [(name, level) for name in others for level in levels]
    variants = list(dict.fromkeys(variants))
    totals = {variant: Totals() for variant in variants}
    with tempfile.TemporaryDirectory() as temporary:
        if options.clips is not None:
            clips = sorted(path for path in options.clips.iterdir() if path.suffix.lower() in _SUFFIXES)
            if not clips:
                sys.exit(f"{options.clips} has no videos ({', '.join(sorted(_SUFFIXES))})")
        else:
            count = options.count or (1 if options.smoke else 100)
            clips = list(generate(Path(temporary), count, 2 if options.smoke else 10, options.large))
        for clip in clips:
            for (profile, level), total in totals.items():
                parse(clip, loaded, DecodeOptions(similar_pictures=level), profile, total)
    print(f"{len(clips)} clips, {sum(one.shape[1] for one in totals[own, 0.0].decided)} s, bundle {loaded.name}")
    report(totals, (own, 0.0))


def generate(folder: Path, count: int, seconds: int, size: str | None) -> Iterator[Path]:
    """Generate clips; enlarge them to a size "WxH"."""
    write_dataset(folder / "set", SynthJob({"train": 0, "val": 0, "test": count}, _SEED, seconds), workers=2)
    for path in sorted((folder / "set" / "videos").iterdir()):
        if size is None:
            yield path
            continue
        target = folder / f"large-{path.name}"
        scaling = f"scale={size.replace('x', ':')}:flags=lanczos"
        run_ffmpeg("-i", path, "-vf", scaling, "-c:v", "libx264", "-preset", "veryfast", "-c:a", "copy", target)
        yield target


def parse(path: Path, loaded: LoadedBundle, decoding: DecodeOptions, profile: str, total: Totals) -> None:
    """Decode a clip, run the networks of a bundle, decide, and add up."""
    extractors = loaded.extractors.networks[0][1]
    reader = NetworkInputs(path, [one.input_format for one in extractors.values()], profile=profile, options=decoding)
    rows: dict[Stream, list[NDArray[np.float32]]] = {stream: [] for stream in extractors}
    started = time.process_time()
    for stream, inputs in reader:
        total.seconds += time.process_time() - started
        total.inputs[stream] = total.inputs.get(stream, 0) + len(inputs)
        with torch.inference_mode():
            rows[stream].append(extractors[stream](extractors[stream].prepare(torch.from_numpy(inputs))).numpy())
        started = time.process_time()
    total.seconds += time.process_time() - started
    features = [np.concatenate(rows[stream])[reader.summary.rows[stream]] for stream in loaded.extractors.spec.streams]
    of_pictures = features[loaded.extractors.spec.streams.index("visual_2d")]
    total.pictures.append(of_pictures.reshape(len(features[0]), -1, of_pictures.shape[1]).mean(axis=1))
    probabilities = predict_video(loaded.parser, features, loaded.device)
    total.decided.append(np.stack(loaded.decision(probabilities, loaded.thresholds)))


def cosine(full: Totals, total: Totals) -> float:
    """Return the mean cosine of the features of a second."""
    one, other = np.concatenate(full.pictures), np.concatenate(total.pictures)
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
    return float(((one * other).sum(axis=1) / np.maximum(norms, 1e-12)).mean())


def report(totals: Mapping[tuple[str, float], Totals], reference: tuple[str, float]) -> None:
    """Print the table."""
    full = totals[reference]
    costs: dict[Stream, float] = {stream: count_multiply_adds([name], "clean") for stream, name in _FULL_SIZE.items()}
    costs["visual_2d"] /= 8  # of a second
    print(
        f"{'profile':<12}{'similar':>8}{'equal':>9}{'active':>9}{'cosine':>8}{'pictures':>10}{'clips':>8}{'work':>7}{'decoding':>10}"
    )
    for (profile, level), total in totals.items():
        equal = cells = either = both = 0
        for one, other in zip(full.decided, total.decided, strict=True):
            cells, equal = cells + one.size, equal + int((one == other).sum())
            either, both = either + int((one | other).sum()), both + int((one & other).sum())
        shares = [total.inputs[stream] / full.inputs[stream] for stream in ("visual_2d", "visual_3d")]
        agreement = f"{equal / cells:>9.2%}{both / max(either, 1):>9.2%}{cosine(full, total):>8.4f}"
        work, decoding = total.work(costs) / full.work(costs), total.seconds / full.seconds
        print(f"{profile:<12}{level:>8g}{agreement}{shares[0]:>10.0%}{shares[1]:>8.0%}{work:>7.0%}{decoding:>10.0%}")


if __name__ == "__main__":
    main()
