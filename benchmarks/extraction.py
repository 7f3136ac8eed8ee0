"""Feature extraction, ours against a plain rendition of the published scripts, in one run on one machine.

    python benchmarks/extraction.py [CLIP...] [--copies N] [--precision fp32|bf16|fp16] [--rounds N] [--compile]

The plain rendition does what the published scripts do: ffmpeg writes JPEG files, PIL reads them, ResNet-152 and
R(2+1)D-18 run eagerly in torch's default layout in two passes over them, VGGish in a third over the sound. Ours is
`avvp extract` as it is, decoding, resizing and writing included; loading the networks is timed in neither. Both have
the same random parameters, so their features must be equal.

Efficiency is useful FLOP / (wall time x rate of large fp32 matrix products measured in the same run, before and
after). Without clips, three of ten seconds are generated.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.fused import fuse
from avvp.extractors.profiles import feature_spec
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.pipeline.batch.compute_workers import batch_sizes, warm_up
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.journal import Journal
from avvp.pipeline.batch.open_storage import open_storage
from avvp.pipeline.batch.plan import BatchJob, make_plan, run_plan
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.decode.audio import AudioReader
from avvp.pipeline.decode.ffmpeg import ffmpeg_binary
from avvp.pipeline.decode.probe import probe
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.devices import PRECISIONS, ComputePrecision
from avvp.pipeline.inference.bundle import LoadedExtractors
from avvp.pipeline.preprocess.worker_process import DecodeOptions
from avvp.pipeline.segments import segment_count, spread_indices
from avvp.pipeline.training.matmul_rate import matmul_rate
from avvp.weights.manifest import load_bundle
from avvp.weights.untrained import untrained_state
from PIL import Image

NAMES = ("vggish", "resnet152", "r2plus1d_18")
FOLDERS = {"audio": "vggish", "visual_2d": "res152", "visual_3d": "r2plus1d_18"}
FLOP_A_SECOND = 227e9  # 184 ResNet-152 on 8 frames, 41 R(2+1)D-18, 2 VGGish
CPU = torch.device("cpu")


def extract_plainly(clip: Path, networks: dict[str, Extractor], folder: Path) -> dict[str, np.ndarray]:
    """One clip the published way; `networks` are eager, in torch's default memory layout."""
    pictures = folder / "pictures"
    pictures.mkdir()
    subprocess.run(
        [ffmpeg_binary(), "-loglevel", "error", "-i", str(clip), "-r", "8", str(pictures / "%06d.jpg")], check=True
    )
    files = sorted(pictures.iterdir())
    media = probe(clip)
    segments = segment_count(len(files) / 8)
    picked = [files[index] for index in spread_indices(len(files), 8 * segments)]
    rows = {}
    with torch.inference_mode():
        for stream in ("visual_2d", "visual_3d"):  # two passes, each reads the files again
            network = networks[stream]
            made = []
            for first in range(0, len(picked), 8):
                frames = np.stack([np.asarray(Image.open(file).convert("RGB")) for file in picked[first : first + 8]])
                made.append(network(network.preprocess(frames).contiguous()).numpy())
            rows[stream] = np.concatenate(made)
        seconds = list(AudioReader(media, "nearest"))[:segments]
        network = networks["audio"]
        rows["audio"] = network(network.preprocess(np.stack(seconds))).numpy()
    for stream, values in rows.items():
        np.save(folder / f"{stream}.npy", values)
    shutil.rmtree(pictures)
    return rows


@dataclass(frozen=True)
class RandomTask(ExtractTask):
    """`avvp extract` with networks that are here already."""

    loaded: LoadedExtractors | None = None

    def load(self, progress: object = None) -> LoadedExtractors:  # noqa: ARG002
        assert self.loaded is not None
        return self.loaded


def extract_ours(clips: list[Path], plain: dict[str, Extractor], arithmetic: ComputePrecision, output: Path) -> float:
    """Seconds that the engine takes for all clips."""
    spec = feature_spec("llp", dict(zip(NAMES, plain.values(), strict=True)))
    fused = {
        extractor.stream: fuse(extractor, dtype=arithmetic.dtype, compiled=arithmetic.compiled)
        for extractor in plain.values()
    }
    networks = ((CPU, fused),)
    loaded = LoadedExtractors("random", "", networks, spec, dict.fromkeys(fused, "random"), {}, True, arithmetic)
    settings = ComputeSettings(DecodeOptions("llp"), arithmetic=arithmetic)
    task = RandomTask(load_bundle("untrained"), settings, loaded=loaded)
    storage, products = open_storage(output), task.products(loaded)
    engine = task.engine(loaded, products, storage, videos=len(clips))
    warm_up(networks, batch_sizes(CPU))  # weights are laid out at first use
    journal = Journal(storage)
    started = time.perf_counter()
    with engine:
        job = BatchJob({clip.stem: clip for clip in clips}, storage, products)
        outcome = run_plan(job, make_plan(job, journal), journal, engine)
    seconds = time.perf_counter() - started
    journal.close()
    assert outcome.done == len(clips), outcome.failures
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--copies", type=int, default=1, help="how often ours gets each clip: a longer run")
    parser.add_argument("--precision", choices=list(PRECISIONS), nargs="+", default=["fp32", "bf16"])
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--compile", action="store_true", help="ours through torch.compile")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(options, Path(temporary))


def run(options: argparse.Namespace, folder: Path) -> None:
    clips = options.clips or [generate(folder / f"generated{number}.mp4", number) for number in range(3)]
    made = [build_extractor(name, untrained_state(extractor_shapes(name), 1)) for name in NAMES]
    plain = {extractor.stream: extractor for extractor in made}
    eager = {
        extractor.stream: build_extractor(name, untrained_state(extractor_shapes(name), 1)).to(
            memory_format=torch.contiguous_format
        )
        for name, extractor in zip(NAMES, made, strict=True)
    }
    print(f"{available_cores()} cores")
    for number in range(options.rounds):
        measure_round(clips, plain, eager, options, folder / str(number))


def measure_round(
    clips: list[Path],
    plain: dict[str, Extractor],
    eager: dict[str, Extractor],
    options: argparse.Namespace,
    folder: Path,
) -> None:
    """Plain, then ours in each precision, with the yardstick before and after each."""
    folder.mkdir()
    copies = list(clips)
    for number in range(1, options.copies):
        copies += [Path(shutil.copy(clip, folder / f"{clip.stem}-{number}.mp4")) for clip in clips]
    threads = torch.get_num_threads()
    peaks = [measure_peak()]
    expected, started = {}, time.perf_counter()
    for clip in clips:
        (folder / clip.stem).mkdir()
        expected[clip.stem] = extract_plainly(clip, eager, folder / clip.stem)
    theirs = (time.perf_counter() - started) / len(clips)
    peaks.append(measure_peak())
    seconds = sum(len(rows["visual_3d"]) for rows in expected.values()) / len(clips)
    flop = seconds * FLOP_A_SECOND
    print(f"plain: {theirs:.2f} s for {seconds:.1f} s; efficiency {flop / theirs / np.mean(peaks):.2f}")
    for precision in options.precision:
        arithmetic = ComputePrecision(precision, options.compile)
        took = extract_ours(copies, plain, arithmetic, folder / precision) / len(copies)
        torch.set_num_threads(threads)
        peaks.append(measure_peak())
        peak = float(np.mean(peaks[-2:]))
        worst = {
            stream: max(
                difference(np.load(folder / precision / name / f"{clip}.npy"), rows[stream])
                for clip, rows in expected.items()
            )
            for stream, name in FOLDERS.items()
        }
        errors = ", ".join(f"{stream} {error:.1e}" for stream, error in worst.items())
        print(
            f"ours {precision}: {took:.2f} s a clip, x{theirs / took:.2f}; efficiency {flop / took / peak:.2f} of"
            f" {peak / 1e9:.0f} GFLOP/s; relative difference: {errors}"
        )


def measure_peak() -> float:
    """FLOP a second of large products, over some seconds: a shared machine's rate is not steady."""
    return float(np.mean([matmul_rate(CPU) for _ in range(6)]))


def difference(rows: np.ndarray, expected: np.ndarray) -> float:
    """Relative to what distinguishes the rows of a clip."""
    return float(np.linalg.norm(rows - expected) / np.linalg.norm(expected - expected.mean(axis=0)))


def generate(path: Path, number: int) -> Path:
    picture = f"mandelbrot=s=640x360:r=25:start_scale={3 - number}"
    sound = f"anoisesrc=d=10:r=44100:seed={number}:color=pink"
    inputs = ["-f", "lavfi", "-i", picture, "-f", "lavfi", "-i", sound]
    coded = ["-t", "10", "-c:v", "libx264", "-pix_fmt", "yuv420p", "-c:a", "aac"]
    subprocess.run([ffmpeg_binary(), "-y", "-loglevel", "error", *inputs, *coded, str(path)], check=True)
    return path


if __name__ == "__main__":
    main()
