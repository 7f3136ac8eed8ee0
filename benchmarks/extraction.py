"""Feature extraction, ours against a plain rendition of the published scripts, in one run on one machine.

    python benchmarks/extraction.py [CLIP...] [--copies N] [--precision fp32|bf16|fp16]

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
from pathlib import Path

import numpy as np
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.fused import fuse
from avvp.extractors.profiles import feature_spec
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.pipeline.decode_pool import DecodeOptions
from avvp.pipeline.engine import Engine
from avvp.pipeline.extraction import ExtractionJob, make_plan, parameter_hashes, run_plan, save_features
from avvp.pipeline.journal import Journal
from avvp.pipeline.lanes import PRECISIONS, available_cores, batch_sizes, decode_workers, make_lanes
from avvp.pipeline.probe import ffmpeg_binary, probe
from avvp.pipeline.segments import segment_count, spread_indices
from avvp.pipeline.sound import SoundReader
from avvp.pipeline.speed import matmul_rate
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
        seconds = list(SoundReader(media, "nearest"))[:segments]
        network = networks["audio"]
        rows["audio"] = network(network.preprocess(np.stack(seconds))).numpy()
    for stream, values in rows.items():
        np.save(folder / f"{stream}.npy", values)
    shutil.rmtree(pictures)
    return rows


def extract_ours(clips: list[Path], plain: dict[str, Extractor], precision: str, output: Path) -> float:
    """Seconds that the engine takes for all clips."""
    named = dict(zip(NAMES, plain.values(), strict=True))
    spec = feature_spec("llp", named)
    fused = {extractor.stream: fuse(extractor, dtype=PRECISIONS[precision]) for extractor in plain.values()}
    parameters = parameter_hashes(spec, dict.fromkeys(fused, "random"), precision=precision, decoder="auto")
    job = ExtractionJob({clip.stem: clip for clip in clips}, output, spec, tuple(fused), parameters)
    lanes, sizes = make_lanes(fused, CPU), batch_sizes(CPU)
    with torch.inference_mode():  # weights are laid out at first use
        for stream, network in fused.items():
            form = network.input_format
            network(network.prepare(torch.from_numpy(np.zeros((sizes[stream], *form.shape), form.dtype))))
    output.mkdir()
    journal = Journal(output)
    started = time.perf_counter()
    with Engine(
        lanes, sizes, DecodeOptions("llp"), lambda video: save_features(job, video), workers=decode_workers(CPU)
    ) as engine:
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
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        run(options, Path(temporary))


def run(options: argparse.Namespace, folder: Path) -> None:
    clips = options.clips or [generate(folder / f"generated{number}.mp4", number) for number in range(3)]
    copies = [
        clip if not number else folder / f"{clip.stem}-{number}.mp4"
        for number in range(options.copies)
        for clip in clips
    ]
    for copy, clip in zip(copies, clips * options.copies, strict=True):
        if copy != clip:
            shutil.copy(clip, copy)
    made = [build_extractor(name, untrained_state(extractor_shapes(name), 1)) for name in NAMES]
    plain = {extractor.stream: extractor for extractor in made}
    eager = {
        extractor.stream: build_extractor(name, untrained_state(extractor_shapes(name), 1)).to(
            memory_format=torch.contiguous_format
        )
        for name, extractor in zip(NAMES, made, strict=True)
    }
    peaks = [matmul_rate(CPU)]
    expected, started = {}, time.perf_counter()
    for clip in clips:
        (folder / clip.stem).mkdir()
        expected[clip.stem] = extract_plainly(clip, eager, folder / clip.stem)
    theirs = (time.perf_counter() - started) / len(clips)
    seconds = sum(len(rows["visual_3d"]) for rows in expected.values()) / len(clips)
    threads = torch.get_num_threads()
    print(f"{available_cores()} cores; a clip has {seconds:.1f} s")
    print(f"plain: {theirs:.2f} s a clip")
    for precision in options.precision:
        took = extract_ours(copies, plain, precision, folder / precision) / len(copies)
        torch.set_num_threads(threads)
        peaks.append(matmul_rate(CPU))
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
            f"ours {precision}: {took:.2f} s a clip, x{theirs / took:.2f}; efficiency"
            f" {seconds * FLOP_A_SECOND / took / peak:.2f} of {peak / 1e9:.0f} GFLOP/s; relative difference: {errors}"
        )


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
