"""Compare int8 with fp32: features, decisions, and how fast the networks are, in one run.

    python benchmarks/quantization.py
    python benchmarks/quantization.py --speed --full
    python benchmarks/quantization.py --clips DIR --weights BUNDLE

Clips are generated as those that the bundle `demo` was trained on, by another seed, or given. The networks of the
bundle are quantized on some of them (`--calibrate`); on others (`--check`) features and decisions are compared with
fp32:

cosine     mean of the rows' cosines with those in fp32, and the cosine that 1 % of them are below
relative   norm of the difference, in parts of the norm of the features
equal      cells (a class in a second, heard or seen) that are decided as with fp32
active     of the cells that are active in either, those that are active in both

Then the networks compute batches in as many threads as there are cores, as the engine of batch runs does; fp32 and bf16
by PyTorch and int8 by OpenVINO take turns, and the best of the rounds counts. With `--full` these are the full-size
networks with random parameters: their speed is that of trained ones, how near their features are to fp32 says little
about trained ones. `--speed` leaves out the comparison of decisions.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from avvp.extractors.base import Extractor
from avvp.extractors.registry import meta_extractor
from avvp.extractors.sampling import Stream
from avvp.pipeline.backends.base import ExtractorSource
from avvp.pipeline.backends.openvino_extractor import OpenVINOExtractor
from avvp.pipeline.backends.quantized import load_quantized
from avvp.pipeline.backends.registry import prepare_backend
from avvp.pipeline.batch.compute_workers import batch_sizes
from avvp.pipeline.decode.process import available_cores
from avvp.pipeline.devices import ComputePrecision
from avvp.pipeline.errors import SetupError
from avvp.pipeline.files import list_files
from avvp.pipeline.inference.bundle import load_parser
from avvp.pipeline.inference.extractors import plain_extractors
from avvp.pipeline.quantization.calibration import CalibrationInputs, collect_inputs, split_clips
from avvp.pipeline.quantization.measure import measure
from avvp.pipeline.quantization.quantize import quantize_extractor
from avvp.pipeline.synthetic.dataset import SynthJob, write_dataset
from avvp.weights.manifest import Bundle
from avvp.weights.quantized import QuantizedFile
from avvp.weights.remote.bundles import load_bundle
from measure.options import make_parser
from numpy.typing import NDArray

_CPU = torch.device("cpu")
_SEED = 41_117  # of the generated clips; those of `demo` have others
_FULL_SIZE = "untrained-clean"
_FULL_SIZE_INPUTS = 24  # of each full-size network: enough for its speed
_INSTRUCTIONS = ("avx512_vnni", "avx_vnni", "amx_int8")  # that make int8 faster than fp32


def main(argv: Sequence[str] | None = None) -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--weights", default="demo", help="bundle whose networks are quantized")
    parser.add_argument("--clips", type=Path, help="folder of clips, in place of generated ones")
    parser.add_argument("--calibrate", type=int, help="clips to calibrate on [default: 40; 4 with --speed]")
    parser.add_argument("--check", type=int, default=100, help="other clips to compare on")
    parser.add_argument("--speed", action="store_true", help="measure the speed alone")
    parser.add_argument("--full", action="store_true", help="measure the speed of the full-size networks")
    parser.add_argument("--only", help="with --speed: this network alone")
    parser.add_argument("--seconds", type=float, default=24, help="for the speed of each network")
    options = parser.parse_args(argv)
    bundle = load_bundle(options.weights)
    measured = load_bundle(_FULL_SIZE) if options.full else bundle
    if options.only is not None and (not options.speed or options.only not in measured.extractors):
        parser.error(f"--only needs --speed and one of {', '.join(measured.extractors)}")
    calibrate = 1 if options.smoke else options.calibrate or (4 if options.speed else 40)
    check = 1 if options.smoke else options.check
    with tempfile.TemporaryDirectory() as temporary:
        total = calibrate + (0 if options.speed else check)
        paths = list_files(
            options.clips or _generate(Path(temporary) / "set", total, seconds=2 if options.smoke else 10)
        )
        calibration, held_out = split_clips(paths, calibrate, 0 if options.speed else check)
        plain = plain_extractors(bundle)
        found = collect_inputs(calibration, plain, profile=bundle.profile)
        files = {} if options.speed and options.full else _quantize(plain, found.inputs, options.only)
        if held_out:
            compare(bundle, plain, files, held_out)
        if options.full:
            plain = plain_extractors(measured)
            inputs: dict[Stream, NDArray[Any]] = {
                stream: rows[:_FULL_SIZE_INPUTS] for stream, rows in found.inputs.items()
            }
            files = _quantize(plain, inputs, options.only)
        print(describe_machine())
        for name, file in files.items():
            compare_speed(name, plain[name], file, found, 0.05 if options.smoke else options.seconds)


def _generate(folder: Path, count: int, *, seconds: int) -> Path:
    folder.mkdir()
    write_dataset(folder, SynthJob({"train": 0, "val": 0, "test": count}, _SEED, seconds), workers=available_cores())
    return folder / "videos"


def _quantize(
    plain: Mapping[str, Extractor],
    inputs: Mapping[Stream, NDArray[Any]],
    only: str | None,
) -> dict[str, QuantizedFile]:
    files = {}
    for name, extractor in plain.items():
        if only in {None, name}:
            started = time.perf_counter()
            rows = inputs[extractor.stream]
            files[name] = quantize_extractor(name, extractor, rows)
            size = (len(files[name].program) + len(files[name].constants)) / 1e6
            print(
                f"{name}: quantized on {len(rows)} inputs in {time.perf_counter() - started:.0f} s, {size:.1f} MB,"
                f" ranges {files[name].record['ranges']}"
            )
    return files


def compare(
    bundle: Bundle, plain: Mapping[str, Extractor], files: Mapping[str, QuantizedFile], clips: Sequence[Path]
) -> None:
    """Print how far features and decisions are from those in fp32."""
    quantized = {name: load_quantized(meta_extractor(name), file) for name, file in files.items()}
    parser = load_parser(bundle, device="cpu") if bundle.parser else None
    found = measure(clips, plain, quantized, parser, profile=bundle.profile)
    for name, error in found.errors.items():
        print(
            f"{name}: cosine {error.cosine:.5f}, 1 % below {error.low_cosine:.5f}, relative {error.relative:.4f},"
            f" {error.rows} rows"
        )
    if (agreement := found.agreement) is not None:
        active = 100 * agreement.active_in_both / max(1, agreement.active)
        print(
            f"decisions on {len(found.clips)} clips: equal {100 * agreement.part:.2f} % of {agreement.cells} cells,"
            f" active {active:.1f} % of {agreement.active}"
        )


def compare_speed(name: str, plain: Extractor, file: QuantizedFile, found: CalibrationInputs, seconds: float) -> None:
    """Print inputs per second of a network in each precision, and how many times as fast as fp32 it is."""
    threads, cores = torch.get_num_threads(), available_cores()
    size = batch_sizes(_CPU)[plain.stream]
    inputs = found.inputs[plain.stream]
    batch = torch.from_numpy(inputs[[index % len(inputs) for index in range(size)]])
    ways: dict[str, Extractor] = {}
    for precision in ("fp32", "bf16"):
        try:
            backend = prepare_backend(ComputePrecision(precision), _CPU)
        except SetupError as error:
            print(f"{precision}: {error}")
            continue
        source = ExtractorSource(lambda: plain, lambda: meta_extractor(name), name)
        ways[precision] = backend.arrange(source, ComputePrecision(precision), _CPU)
    quantized = load_quantized(meta_extractor(name), file)
    assert isinstance(quantized, OpenVINOExtractor)
    quantized.expect_callers(cores)
    ways["int8"] = quantized
    torch.set_num_threads(1)
    try:
        rates = _rates({key: (way, way.prepare(batch)) for key, way in ways.items()}, cores, seconds)
    finally:
        torch.set_num_threads(threads)
    shown = ", ".join(f"{key} {rate:.2f}/s ({rate / rates['fp32']:.2f} x)" for key, rate in rates.items())
    print(f"{name}, batches of {size}, {cores} threads: {shown}")


def _rates(ways: Mapping[str, tuple[Extractor, torch.Tensor]], threads: int, seconds: float) -> dict[str, float]:
    """Return inputs per second of each way, the best of rounds in which they take turns."""
    best = dict.fromkeys(ways, 0.0)
    for way, batch in ways.values():
        _compute(way, batch, threads, 0)  # compiles, packs weights
    slice_ = seconds / len(ways) / 4
    for _ in range(4):
        for key, (way, batch) in ways.items():
            best[key] = max(best[key], _compute(way, batch, threads, slice_))
    return best


def _compute(way: Extractor, batch: torch.Tensor, threads: int, seconds: float) -> float:
    """Compute batches in several threads for some seconds, each at least one; return inputs per second."""
    done = [0] * threads
    started = time.perf_counter()

    def work(number: int) -> None:
        with torch.inference_mode():
            while not done[number] or time.perf_counter() - started < seconds:
                way(batch)
                done[number] += 1

    workers = [threading.Thread(target=work, args=(number,)) for number in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    return sum(done) * len(batch) / (time.perf_counter() - started)


def describe_machine() -> str:
    """Return a line on the instructions for int8 that this processor has."""
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        text = ""
    flags = set(text.replace("\n", " ").split())
    found = [name for name in _INSTRUCTIONS if name in flags]
    without = "no instructions for int8 (VNNI, AMX) found: int8 is hardly faster than fp32 here"
    return f"{available_cores()} cores, instructions for int8: {', '.join(found)}" if found else without


if __name__ == "__main__":
    main()
