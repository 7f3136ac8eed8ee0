"""Time feature extraction against a plain implementation of the published scripts.

    python benchmarks/extraction.py [CLIP...] [--profile llp|clean|fast|ave|...] [--copies N] [--rounds N]
        [--precision fp32|bf16|...] [--backend torch|openvino] [--weights BUNDLE] [--compile]

The plain implementation does what the published scripts do: ffmpeg writes JPEG files, PIL reads them, ResNet-152 and
R(2+1)D-18 run eagerly in PyTorch's default memory format in two passes over the frames, VGGish in a third pass over the
audio. Under the profiles ave and ave-4 it runs VGG19 on the frames that it takes of those of a pipe. Ours is `avvp
extract`: decoding, resizing and writing are timed, loading the networks is timed in neither. Both have the same random
parameters, so their features must be equal under the published profiles. Under clean, clean-fast and fast the inputs of
ours differ, and under fast there are fewer: efficiency counts the work that is done. With `--weights`, such as a
quantized bundle for int8, ours has other parameters, and no difference is printed.

Efficiency is useful FLOP / (time x rate of large fp32 matrix products measured in the same run, before and after).
Without clips, three of ten seconds are generated.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.profiles import PROFILES, Profile, get_profile
from avvp.extractors.registry import EXTRACTORS, build_extractor, extractor_shapes
from avvp.extractors.sampling import Stream
from avvp.pipeline.batch.compute_workers import batch_sizes, warm_up
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.features.npy_folders import folder_name
from avvp.pipeline.inference.extractors import load_extractors
from avvp.pipeline.precisions import ALL_PRECISIONS, BACKENDS, TORCH
from avvp.weights.manifest import Bundle
from avvp.weights.remote.bundles import load_bundle
from avvp.weights.untrained import untrained_state
from measure.batch import time_batch
from measure.inputs import generate_clip
from measure.options import make_parser
from measure.precisions import is_supported
from measure.timing import CPU, mean_matmul_rate, time_call
from numpy.typing import NDArray
from reference.extraction import extract_maps_plainly, extract_plainly
from torch.utils.flop_counter import FlopCounterMode

NETWORKS = {"audio": "vggish", "visual_2d": "resnet152", "visual_3d": "r2plus1d_18", "visual_map": "vgg19"}
TINY = {"audio": "vggish_tiny", "visual_2d": "resnet_tiny", "visual_3d": "r2plus1d_tiny", "visual_map": "vgg19_tiny"}
MAX_FP32_ERROR = 1e-3  # relative; larger is a defect of one of the two

_SEED = 1  # of random parameters, of both programs

Features = dict[Stream, NDArray[np.float32]]


@dataclass(frozen=True)
class Networks:
    """The same parameters twice, and what a second of video costs."""

    profile: Profile
    names: Sequence[str]  # of the extractors, in the order of the profile's streams
    eager: Mapping[Stream, Extractor]  # in PyTorch's default memory format
    flop: float  # useful FLOP of ours per second of video
    plain_flop: float  # of the plain program


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument(
        "--profile", choices=[name for name, profile in PROFILES.items() if profile.inputs == "networks"], default="llp"
    )
    parser.add_argument("--copies", type=int, default=1, help="how often ours extracts each clip: a longer run")
    parser.add_argument("--precision", choices=list(ALL_PRECISIONS), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--backend", choices=list(BACKENDS), default=TORCH)
    parser.add_argument("--weights", help="bundle of our networks, of the profile's streams [default: random ones]")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="run our networks through torch.compile")
    options = parser.parse_args(argv)
    profile = get_profile(options.profile)
    chosen = TINY if options.smoke else NETWORKS
    networks = build_networks(profile, [chosen[stream] for stream in profile.streams])
    print(f"{available_cores()} cores; {networks.flop / 1e9:.4g} GFLOP per second of video")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        count, seconds, size = (1, 2, "160x120") if options.smoke else (3, 10, "640x360")
        clips = options.clips or [
            generate_clip(folder / f"generated{number}.mp4", seconds=seconds, size=size, number=number)
            for number in range(count)
        ]
        for number in range(options.rounds):
            measure_round(clips, networks, options, folder / str(number))


def build_networks(profile: Profile, names: Sequence[str]) -> Networks:
    """Build the extractors of the plain program, with seeded random parameters."""
    eager = [build_extractor(name, untrained_state(extractor_shapes(name), _SEED)) for name in names]
    plain = [network.to(memory_format=torch.contiguous_format) for network in eager]  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    return Networks(
        profile,
        names,
        {network.stream: network for network in plain},
        sum(count_flop(name, profile.rows_per_segment) for name in names),
        sum(count_flop(name, profile.frames_per_segment) for name in names),
    )


def count_flop(name: str, frames: int) -> int:
    """Count the FLOP of an extractor for one second of video, of which so many frames are sampled."""
    with torch.device("meta"):
        network = EXTRACTORS[name]().eval()
    inputs = frames if network.stream in {"visual_2d", "visual_map"} else 1
    one = torch.from_numpy(np.zeros((inputs, *network.input_format.shape), network.input_format.dtype))
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        network(network.prepare(one.to("meta")))
    return counter.get_total_flops()


def measure_round(clips: Sequence[Path], networks: Networks, options: argparse.Namespace, folder: Path) -> None:
    """Time the plain program, then ours in each precision, with the matrix-output rate before and after each."""
    folder.mkdir()
    copies = list(clips)
    for number in range(1, options.copies):
        copies += [Path(shutil.copy(clip, folder / f"{clip.stem}-{number}.mp4")) for clip in clips]
    rates = [mean_matmul_rate(smoke=options.smoke)]
    expected: dict[str, Features] = {}

    def extract_all() -> None:
        for clip in clips:
            target = folder / clip.stem
            if networks.profile.frames == "squashed":
                frames = networks.profile.frames_per_segment
                expected[clip.stem] = extract_maps_plainly(clip, networks.eager, target, frames=frames)
            else:
                expected[clip.stem] = extract_plainly(clip, networks.eager, target)

    plain = time_call(extract_all) / len(clips)
    rates.append(mean_matmul_rate(smoke=options.smoke))
    seconds = sum(len(rows["audio"]) for rows in expected.values()) / len(clips)
    flop, work = seconds * networks.flop, seconds * networks.plain_flop
    print(f"plain: {plain:.2f} s for {seconds:.1f} s of video; efficiency {work / plain / np.mean(rates):.3g}")
    for precision in options.precision:
        if not is_supported(precision, CPU):
            print(f"ours {precision}: not measured, this processor does not compute in {precision}")
            continue
        output = folder / precision
        computed = ComputePrecision(precision, options.compile, options.backend)
        ours = time_ours(copies, networks, computed, output, options.weights) / len(copies)
        rates.append(mean_matmul_rate(smoke=options.smoke))
        rate = float(np.mean(rates[-2:]))
        errors = {} if options.weights else worst_errors(output, networks, expected)
        listed = ", ".join(f"{stream} {error:.1e}" for stream, error in errors.items()) or "not compared"
        print(
            f"ours {computed}: {ours:.2f} s a clip, x{plain / ours:.2f}; efficiency {flop / ours / rate:.3g} of"
            f" {rate / 1e9:.0f} GFLOP/s; relative difference: {listed}"
        )
        published = networks.profile.frames != "exact"
        if published and precision == "fp32" and max(errors.values(), default=0.0) > MAX_FP32_ERROR:
            sys.exit("the features of the two programs differ")


def time_ours(
    clips: Sequence[Path], networks: Networks, precision: ComputePrecision, output: Path, weights: str | None
) -> float:
    """Return the seconds that the batch engine takes for all clips, with the networks of a bundle or random ones."""
    if weights is None:
        extractors = dict.fromkeys(networks.names, "")
        bundle = Bundle(name="random", description="", profile="llp", extractors=extractors, parser={}, seed=_SEED)
    else:
        bundle = load_bundle(weights)
    bundle = replace(bundle, profile=networks.profile.name)
    loaded = load_extractors(bundle, device="cpu", precision=precision)
    task = ExtractTask(bundle=bundle, settings=ComputeSettings(DecodeOptions(), precision=precision))
    warm_up(loaded.networks, batch_sizes(CPU))  # weights are packed at the first batch
    return time_batch(task, loaded, clips, output)


def worst_errors(output: Path, networks: Networks, expected: Mapping[str, Features]) -> dict[Stream, float]:
    """Return the largest relative difference of our features in each stream."""
    return {
        stream: max(
            relative_difference(
                np.load(output / folder_name(name) / f"{clip}.npy"), of_pictures(rows[stream], stream, networks.profile)
            )
            for clip, rows in expected.items()
        )
        for name, stream in zip(networks.names, networks.profile.streams, strict=True)
    }


def of_pictures(rows: NDArray[np.float32], stream: Stream, profile: Profile) -> NDArray[np.float32]:
    """Return the rows of the frames that a profile has rows for."""
    if stream != "visual_2d":
        return rows
    return rows.reshape(-1, profile.frames_per_segment, rows.shape[1])[:, profile.pictures].reshape(-1, rows.shape[1])


def relative_difference(rows: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """Return the norm of the difference over the norm of what distinguishes the rows of a clip."""
    return float(np.linalg.norm(rows - expected) / np.linalg.norm(expected - expected.mean(axis=0)))


if __name__ == "__main__":
    main()
