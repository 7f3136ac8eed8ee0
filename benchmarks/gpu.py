"""Measure everything that a GPU is used for; one command.

    python benchmarks/gpu.py [CLIP...] [--parts PART...] [--precision NAME...] [--compile] [--copies N] [--profile NAME]
        [--decoder NAME...] [--workers N] [--device cuda|cpu]
        [-o TABLE.md]

Parts: `machine` (rates of matrix products and copies), `networks` (the three of LLP alone, at the batch sizes of a
batch run; with --compile through torch.compile too), `memory` (the batch engine on inputs in memory: recorded or not,
one lane and two), `decode` (the decode workers alone), `files` (`avvp extract` from file to file, and what bounds it),
`training` (an epoch of 10,000 clips of LLP's shapes), `pseudo` (CLIP and CLAP, from inputs in memory).

All networks are of full size with random parameters. Prints a table in Markdown; -o also writes it to a file.
Rates of clips are of clips of ten seconds and without start and end of a run. Without clips, three are generated.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import platform
import queue
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from avvp.extractors.base import Extractor
from avvp.extractors.cuda_graphs import record_graph
from avvp.extractors.fused import fuse
from avvp.extractors.profiles import PROFILES, feature_spec, get_profile
from avvp.extractors.registry import build_extractor, extractor_shapes
from avvp.extractors.sampling import LLP_STREAMS, Stream
from avvp.models import ParserConfig, build_parser
from avvp.models.labels import LLP_LABELS
from avvp.models.loss_parts import load_loss
from avvp.models.losses import Objective
from avvp.pipeline.batch.compute_workers import batch_sizes, decode_workers, record_graphs
from avvp.pipeline.batch.extract_task import ExtractTask
from avvp.pipeline.batch.task import ComputeSettings
from avvp.pipeline.datasets.clips import Batch, SplitDataset
from avvp.pipeline.datasets.loader import iterate_batches
from avvp.pipeline.decode.options import DecodeOptions
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.decode.readers import FRAME_READERS
from avvp.pipeline.devices import ComputePrecision, resolve_device
from avvp.pipeline.inference.extractors import DeviceNetworks, LoadedExtractors
from avvp.pipeline.precisions import PRECISIONS, TRAINING_PRECISIONS
from avvp.pipeline.preprocess.worker_process import DecodeWorker
from avvp.pipeline.training.batches.hooks import NO_HOOKS, step_context
from avvp.pipeline.training.matmul_rate import matmul_rate
from avvp.pipeline.training.recipe import load_recipe
from avvp.pipeline.training.step import StepRecorder, make_optimizer, training_step
from avvp.weights.manifest import Bundle
from avvp.weights.untrained import untrained_state
from measure.batch import time_batch
from measure.in_memory import middle_rate, random_clips, random_inputs, time_engine
from measure.inputs import generate_clip
from measure.options import make_parser
from measure.precisions import is_supported
from measure.timing import time_call
from measure.utilization import UtilizationSampler
from torch.amp.grad_scaler import GradScaler

NETWORKS = ("vggish", "resnet152", "r2plus1d_18")
TINY = ("vggish_tiny", "resnet_tiny", "r2plus1d_tiny")
TEACHERS, TINY_TEACHERS = ("clap", "clip"), ("clap_tiny", "clip_tiny")
CLIP_SECONDS, EPOCH_CLIPS, BATCH = 10, 10_000, 32
_TINY_PARSER: Mapping[str, Any] = {
    "hidden_dim": 16, "feedforward_dim": 16, "heads": 2, "levels": 2, "leap_blocks": 1, "leap_heads": 2
}  # fmt: skip


@dataclass(frozen=True)
class Sizes:
    """How much is computed."""

    names: Sequence[str] = NETWORKS
    teachers: Sequence[str] = TEACHERS
    rounds: int = 20  # batches of each network
    clips: int = 400  # in memory
    steps: int = -(-EPOCH_CLIPS // BATCH)  # of training
    stored: int = 2000  # clips in the store of `training`
    seconds: int = CLIP_SECONDS
    batch_seconds: int | None = None  # of video; None is what suits the device
    parser: Mapping[str, Any] = field(default_factory=dict)


SMOKE = Sizes(TINY, TINY_TEACHERS, 2, 3, 2, 64, 2, 1, _TINY_PARSER)


@dataclass(frozen=True)
class Setting:
    """What is measured, with what."""

    device: torch.device
    sizes: Sizes
    precisions: Sequence[str]
    options: argparse.Namespace
    folder: Path
    lines: list[str] = field(default_factory=list)

    def add(self, what: str, figure: str) -> None:
        """Print a row of the table and keep it."""
        self.lines.append(f"| {what} | {figure} |")
        print(self.lines[-1], flush=True)

    def batches(self, profile: str = "") -> dict[Stream, int]:
        """Return the inputs in a batch of each stream."""
        return batch_sizes(self.device, self.sizes.batch_seconds, profile or self.options.profile)

    @property
    def rates(self) -> dict[Stream, int]:
        """Inputs per second of each stream."""
        return {"audio": 1, "visual_2d": get_profile(self.options.profile).rows_per_segment, "visual_3d": 1}


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS))
    parser.add_argument("--precision", nargs="+", choices=list(PRECISIONS), default=list(PRECISIONS))
    parser.add_argument("--compile", action="store_true", help="also measure the networks through torch.compile")
    parser.add_argument("--copies", type=int, default=60, help="how often each clip is extracted [default: 60]")
    known = [
        name
        for name, profile in PROFILES.items()
        if profile.inputs == "networks" and set(profile.streams) == set(LLP_STREAMS)
    ]
    parser.add_argument("--profile", choices=known, default="clean", help="[default: clean]")
    parser.add_argument("--decoder", choices=list(FRAME_READERS), nargs="+", default=["auto"], help="of files")
    parser.add_argument("--workers", type=int, help="decode workers [default: those of a batch run]")
    parser.add_argument("--device", default="auto")
    parser.add_argument("-o", "--output", type=Path, help="file for the table")
    options = parser.parse_args(argv)
    device = resolve_device(options.device)
    precisions = [name for name in options.precision if can_compute(name, device)]
    sizes = SMOKE if options.smoke else Sizes()
    with tempfile.TemporaryDirectory() as temporary:
        setting = Setting(device, sizes, precisions, options, Path(temporary))
        print("| measured | |\n|---|---|")
        for name in options.parts:
            started = time.monotonic()
            with torch.inference_mode(name != "training"):
                PARTS[name](setting)
            print(f"part {name}: {time.monotonic() - started:.1f} s", flush=True)
        if options.output is not None:
            options.output.write_text("\n".join(["| measured | |", "|---|---|", *setting.lines, ""]), encoding="utf-8")


def can_compute(precision: str, device: torch.device) -> bool:
    """Whether a device computes in this precision at a useful speed."""
    return is_supported(precision, device) and (device.type == "cuda" or precision in {"fp32", "bf16"})


def load(setting: Setting, names: Sequence[str], precision: ComputePrecision) -> dict[Stream, Extractor]:
    """Build extractors with random parameters as a batch run arranges them."""
    precision.prepare(setting.device)
    extractors = [_plain(name, setting.device) for name in names]
    return {one.stream: fuse(one, dtype=precision.dtype, compiled=precision.compiled) for one in extractors}


@cache
def _plain(name: str, device: torch.device) -> Extractor:
    return build_extractor(name, untrained_state(extractor_shapes(name), 1)).to(device)


def measure_machine(setting: Setting) -> None:
    """Measure matrix products, and copies to the device."""
    device = setting.device
    model = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.machine()
    setting.add("device", f"{model}, {available_cores()} cores, PyTorch {torch.__version__}")
    for precision in setting.precisions:
        chosen = ComputePrecision(precision)
        chosen.prepare(device)
        setting.add(f"matrix products, {precision}", f"{matmul_rate(device, chosen.dtype) / 1e12:.4g} TFLOP/s")
    if device.type != "cuda":
        return
    content = torch.empty(256 << 20, dtype=torch.uint8)
    for name, source in (("pageable", content), ("pinned", content.pin_memory())):
        seconds = min(time_call(lambda source=source: source.to(device, non_blocking=True), device) for _ in range(5))
        setting.add(f"copy to the GPU, {name} memory", f"{source.nbytes / seconds / 1e9:.1f} GB/s")


def measure_networks(setting: Setting) -> None:
    """Run each network alone, with inputs on the device."""
    for precision in setting.precisions:
        for compiled in (False, True) if setting.options.compile else (False,):
            _measure_networks(setting, ComputePrecision(precision, compiled))


def _measure_networks(setting: Setting, precision: ComputePrecision) -> None:
    sizes, needed = setting.batches(), 0.0
    for stream, network in load(setting, setting.sizes.names, precision).items():
        inputs = torch.from_numpy(random_inputs(network.input_format, sizes[stream])).to(setting.device)
        started = time.monotonic()
        network(network.prepare(inputs)).cpu()
        first = time.monotonic() - started
        kinds: dict[str, Extractor] = {"": network}
        if setting.device.type == "cuda":
            kinds["recorded"] = record_graph(network, sizes[stream], setting.device)
        rates = {}
        for kind, one in kinds.items():
            seconds = _median_seconds(lambda one=one, inputs=inputs: one(one.prepare(inputs)), setting)
            rates[kind] = sizes[stream] / seconds
        needed += setting.rates[stream] * CLIP_SECONDS / max(rates.values())
        how = "compiled, " if precision.compiled else ""
        figures = ", ".join(f"{rate:,.0f} inputs/s {kind}".strip() for kind, rate in rates.items())
        first_batch = f" (first batch {first:.1f} s)" if precision.compiled else ""
        setting.add(f"{stream}, {how}{precision.name}, batches of {sizes[stream]}", figures + first_batch)
    setting.add(f"the three, {'compiled, ' if precision.compiled else ''}{precision.name}", f"{1 / needed:.1f} clips/s")


def _median_seconds(call: Callable[[], object], setting: Setting) -> float:
    call()
    return float(np.median([time_call(call, setting.device) for _ in range(setting.sizes.rounds)]))


def measure_memory(setting: Setting) -> None:
    """Run the batch engine without decoding."""
    sizes = setting.batches()
    for precision in setting.precisions:
        networks: DeviceNetworks = setting.device, load(setting, setting.sizes.names, ComputePrecision(precision))
        recorded = record_graphs(networks, sizes)
        most = 2 if precision in {"fp32", "bf16"} else 1
        for name, one in {"recorded": recorded, "not recorded": networks}.items():
            for lanes in (2, 1)[:most] if name == "recorded" else (2,)[: most - 1]:
                with UtilizationSampler(setting.device) as sampler:
                    rate = time_engine(
                        [one] * lanes, sizes, setting.rates, clips=setting.sizes.clips, seconds=setting.sizes.seconds,
                        decoders=min(8, decode_workers(setting.device)),
                    )  # fmt: skip
                how = f"{precision}, {name}, {lanes} lane{'s' if lanes > 1 else ''}"
                setting.add(f"from memory, {how}", f"{rate:.1f} clips/s ({sampler.describe()})")


def find_clips(setting: Setting) -> list[Path]:
    """Return the clips of the command line, or generated ones, each copied under other names."""
    options, folder = setting.options, setting.folder / "clips"
    if folder.exists():
        return sorted(folder.iterdir())
    folder.mkdir()
    count, size = (1, "160x120") if options.smoke else (3, "640x360")
    clips = options.clips or [
        generate_clip(setting.folder / f"clip{number}.mp4", seconds=setting.sizes.seconds, size=size, number=number)
        for number in range(count)
    ]
    for number in range(2 if options.smoke else options.copies):
        for clip in clips:
            shutil.copy(clip, folder / f"{clip.stem}-{number:03d}{clip.suffix}")
    return sorted(folder.iterdir())


def measure_decode(setting: Setting) -> None:
    """Run the decode workers alone, as many as a batch run starts."""
    for decoder in setting.options.decoder:
        _measure_decode(setting, DecodeOptions(decoder))


def _measure_decode(setting: Setting, decoding: DecodeOptions) -> None:
    profile, clips, times = setting.options.profile, find_clips(setting), list[float]()
    waiting: queue.SimpleQueue[Path] = queue.SimpleQueue()
    for clip in clips:
        waiting.put(clip)
    workers = min(setting.options.workers or decode_workers(setting.device), len(clips))
    started = time.perf_counter()

    def decode() -> None:
        with contextlib.closing(DecodeWorker(profile, decoding)) as worker, contextlib.suppress(queue.Empty):
            while True:
                worker.decode(waiting.get_nowait(), get_profile(profile).streams, lambda *_: None)
                times.append(time.perf_counter() - started)

    threads = [threading.Thread(target=decode) for _ in range(workers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if len(times) < len(clips):
        sys.exit(f"{len(clips) - len(times)} of {len(clips)} clips were not decoded")
    setting.add(
        f"decoding alone, {profile}, decoder {decoding.decoder}, {workers} workers",
        f"{middle_rate(times):.1f} clips/s, the first after {times[0]:.1f} s",
    )


def measure_files(setting: Setting) -> None:
    """Run `avvp extract`."""
    clips, profile = find_clips(setting), setting.options.profile
    plain = {name: _plain(name, setting.device) for name in setting.sizes.names}
    bundle = Bundle(
        name="random", description="", profile=profile, extractors=dict.fromkeys(plain, ""), parser={}, seed=1
    )
    for precision in setting.precisions:
        chosen = ComputePrecision(precision)
        networks = load(setting, setting.sizes.names, chosen)
        spec = feature_spec(profile, plain, precision=precision)
        loaded = LoadedExtractors(((setting.device, networks),), spec, dict.fromkeys(networks, "random"), chosen)
        layouts = {"packed": setting.options.decoder, "llp": setting.options.decoder[:1] if precision == "bf16" else ()}
        for layout, decoder in [(layout, one) for layout, decoders in layouts.items() for one in decoders]:
            settings = ComputeSettings(
                DecodeOptions(decoder), str(setting.device), chosen, batch_size=setting.sizes.batch_seconds,
                workers=setting.options.workers,
            )  # fmt: skip
            task, times = ExtractTask(bundle=bundle, settings=settings, layout=layout), list[float]()
            output = setting.folder / "extracted"
            with UtilizationSampler(setting.device) as sampler, torch.inference_mode(mode=False):
                started = os.times()
                seconds = time_batch(task, loaded, clips, output, times.append)
                used = sum(os.times()[:2]) - sum(started[:2])
            shutil.rmtree(output)
            setting.add(
                f"from files, {precision}, {profile}, decoder {decoder}, layout {layout}",
                f"{middle_rate(times):.1f} clips/s ({len(clips) / seconds:.1f} with start and end;"
                f" {sampler.describe()}; this process uses {used / seconds:.2g} cores)",
            )


def measure_training(setting: Setting) -> None:
    """Train MM-Pyr and LEAP for an epoch, from a packed store."""
    clips = random_clips(setting.folder / "store", setting.sizes.stored, CLIP_SECONDS)
    for precision in setting.precisions:
        if precision in TRAINING_PRECISIONS:
            _measure_training(setting, clips, precision)


def _measure_training(setting: Setting, clips: SplitDataset, precision: str) -> None:
    sizes, device = setting.sizes, setting.device
    ComputePrecision(precision).prepare(device)
    torch.manual_seed(1)
    recipe = load_recipe("leap-published", [f"training.precision={precision}"])
    assert isinstance(recipe.objective, Objective)
    loss, _ = load_loss(recipe.objective)
    parser = build_parser(ParserConfig(labels=LLP_LABELS, **sizes.parser), torch.randn(len(LLP_LABELS), 300))
    parser = parser.to(device).train()
    optimizer, scaler = make_optimizer(recipe.training, parser), GradScaler(device.type, enabled=precision == "fp16")
    recorder, context = StepRecorder(), step_context(0, 0, 0, sizes.steps)
    order = np.arange(sizes.steps * BATCH) % len(clips)
    figures: dict[str, str] = {}
    samplers: dict[str, UtilizationSampler] = {}
    for name, take in {"": recorder.step, "not recorded": training_step}.items():

        def step(batch: Batch, take: Any = take) -> None:
            take(parser, batch.to(device), recipe, optimizer, scaler, loss=loss, hooks=NO_HOOKS, context=context)

        steps = sizes.steps if not name else max(2, sizes.steps // 4)
        batches = iterate_batches(clips, order[: steps * BATCH], BATCH, pin=device.type == "cuda")
        warm_up = max(1, steps // 20)
        for _ in range(warm_up):
            step(next(batches))
        with UtilizationSampler(device) as samplers[name]:
            seconds = time_call(lambda batches=batches, step=step: [step(batch) for batch in batches], device)
        a_step = seconds / (steps - warm_up)
        figures[name] = f"{a_step * EPOCH_CLIPS / BATCH:.2f} s an epoch, {1000 * a_step:.1f} ms a step {name}".strip()
    batch, repeats = clips.batch(order[:BATCH]).to(device), min(sizes.steps, 50)

    def repeat() -> None:
        for _ in range(repeats):
            recorder.step(parser, batch, recipe, optimizer, scaler, loss=loss, hooks=NO_HOOKS, context=context)

    alone = 1000 * time_call(repeat, device) / repeats
    setting.add(
        f"training, {precision}, epochs of {EPOCH_CLIPS:,} clips",
        f"{'; '.join(figures.values())}; {alone:.1f} ms without reading ({samplers[''].describe()})",
    )


def measure_pseudo_labels(setting: Setting) -> None:
    """Run CLIP and CLAP by the batch engine, without decoding."""
    rates: Mapping[Stream, int] = {"audio": 1, "visual_2d": 1}
    sizes: dict[Stream, int] = {stream: setting.batches("clip-clap")[stream] for stream in rates}
    for precision in setting.precisions:
        networks = record_graphs(
            (setting.device, load(setting, setting.sizes.teachers, ComputePrecision(precision))), sizes
        )
        with UtilizationSampler(setting.device) as sampler:
            rate = time_engine(
                [networks] * 2, sizes, rates, clips=setting.sizes.clips, seconds=setting.sizes.seconds, decoders=4
            )
        hours = rate * setting.sizes.seconds
        setting.add(
            f"pseudo labels from memory, {precision}", f"{hours:,.0f} hours of video an hour ({sampler.describe()})"
        )


PARTS: Mapping[str, Callable[[Setting], None]] = {
    "machine": measure_machine,
    "networks": measure_networks,
    "memory": measure_memory,
    "decode": measure_decode,
    "files": measure_files,
    "training": measure_training,
    "pseudo": measure_pseudo_labels,
}

if __name__ == "__main__":
    main()
