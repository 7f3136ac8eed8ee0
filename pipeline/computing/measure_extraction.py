"""How fast each backend computes here in each precision, by a part of ResNet-152: it takes most of a clip's time."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...extractors.base import Extractor
from ...extractors.resnet import Bottleneck, ResNet
from ...weights.untrained import untrained_state
from ..backends.base import ExtractorSource
from ..backends.registry import prepare_backend
from ..devices import ComputePrecision
from ..errors import SetupError
from ..precisions import BACKENDS
from .machine import Machine, this_machine
from .speed_file import Measurement, Speed, remember

SUBJECT = "extraction"
CPU_PRECISIONS = ("fp32", "bf16")  # that are measured
GPU_PRECISIONS = ("fp32", "tf32", "bf16")  # fp16 is left out: its range may not suffice
_STAGES = (1, 1, 4)  # blocks: of ResNet-152's 50, 36 are like the last three
_SEED = 0
_CPU_PICTURES, _GPU_PICTURES = 4, 128  # in a batch
_SECONDS = 1.0  # of all rounds together
_LEAST_ROUNDS = 3
_MOST_CALLERS = 16


class _Way(NamedTuple):
    """A network that computes in one way."""

    precision: ComputePrecision
    network: Extractor


def measure_extraction(device: torch.device, cores: int | None = None) -> Measurement:
    """Measure all that `auto` chooses from, for about a second, and remember it.

    On a CPU each core computes batches of its own, as in the compute threads of commands. The ways take turns, so that
    other programs disturb all of them alike; of each the fastest round counts.

    Args:
        device: that networks compute on.
        cores: of a CPU that they use; None is all that this process may use.

    Returns:
        The measurement; a way that cannot compute here is in its `failed`.
    """
    machine = this_machine(device, cores)
    with _using(machine, device), torch.inference_mode():
        plain = probe()
        ways, failed = _arrange(plain, device, _callers(machine, device))
        count = _GPU_PICTURES if device.type == "cuda" else _CPU_PICTURES
        pixels = np.random.default_rng(_SEED).integers(0, 256, (count, *plain.input_format.shape), np.uint8)
        pictures = torch.from_numpy(pixels).to(device)
        expected = plain.to(device)(plain.prepare(pictures)).cpu()
        with _Callers(_callers(machine, device)) as callers:
            speeds = _time(ways, pictures, expected, failed, callers)
    return remember(machine, SUBJECT, speeds, failed)


def measured_ways(device: torch.device) -> list[ComputePrecision]:
    """Return the ways that `measure_extraction` tries on a device."""
    precisions = GPU_PRECISIONS if device.type == "cuda" else CPU_PRECISIONS
    return [
        ComputePrecision(precision, backend=backend)
        for backend, known in BACKENDS.items()
        for precision in precisions
        if precision in known
    ]


def probe() -> ResNet:
    """Build the network that is measured: three stages of ResNet-152, the third of four blocks, random parameters."""
    with torch.device("meta"):
        network = _outline()
    shapes = {key: tuple(tensor.shape) for key, tensor in network.state_dict().items()}
    network.load_state_dict(untrained_state(shapes, _SEED), assign=True)
    return network.to(memory_format=network.memory_format).eval().requires_grad_(False)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs


def _outline() -> ResNet:
    network = ResNet(Bottleneck, _STAGES, width=64)
    network.dim //= 2 ** (4 - len(_STAGES))  # which is that of four stages
    return network


def _meta_outline() -> ResNet:
    with torch.device("meta"):
        return _outline().eval()


def _callers(machine: Machine, device: torch.device) -> int:
    """Return the threads that compute: one for each core of a CPU."""
    return 1 if device.type == "cuda" else min(machine.cores, _MOST_CALLERS)


class _Callers:
    """Threads that compute the same batch at the same time."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._pool = ThreadPoolExecutor(count)

    def __enter__(self) -> _Callers:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown()

    def compute(self, way: _Way, pictures: Tensor) -> Tensor:
        """Compute a batch in each thread; return the rows of the first."""
        way.precision.prepare(pictures.device)  # sets TF32 for the process
        rows = list(self._pool.map(partial(_compute, way), [pictures] * self._count))
        return rows[0]


def _arrange(plain: ResNet, device: torch.device, callers: int) -> tuple[list[_Way], dict[str, str]]:
    """Build the networks of all ways; return also why others cannot be built."""
    source = ExtractorSource(partial(_copy, plain), _meta_outline, f"probe {_STAGES}, seed {_SEED}")
    ways: list[_Way] = []
    failed: dict[str, str] = {}
    for precision in measured_ways(device):
        try:
            backend = prepare_backend(precision, device)
            network = backend.arrange(source, precision, device)
            network.expect_callers(callers)
            ways.append(_Way(precision, network))
        except SetupError as error:
            failed[str(precision)] = str(error)
    return ways, failed


def _copy(plain: ResNet) -> Extractor:
    """Return a network with the same parameters, for a backend to change."""
    network = _meta_outline()
    network.load_state_dict(plain.state_dict(), assign=True)
    return network


def _time(
    ways: list[_Way], pictures: Tensor, expected: Tensor, failed: dict[str, str], callers: _Callers
) -> list[Speed]:
    """Measure the ways in turn; add those that fail to `failed`."""
    errors: dict[_Way, float] = {}
    for way in ways:
        try:
            rows = callers.compute(way, pictures).cpu()
        except (RuntimeError, SetupError) as error:
            failed[str(way.precision)] = str(error).split("\n", 1)[0][:500] or type(error).__name__
            continue
        errors[way] = float((rows - expected).norm() / expected.norm())
    best = dict.fromkeys(errors, float("inf"))
    rounds, started = 0, time.perf_counter()
    while best and (rounds < _LEAST_ROUNDS or time.perf_counter() - started < _SECONDS):
        for way in best:
            before = time.perf_counter()
            callers.compute(way, pictures)
            best[way] = min(best[way], time.perf_counter() - before)
        rounds += 1
    return [Speed(way.precision.backend, way.precision.name, 1 / best[way], errors[way]) for way in best]


def _compute(way: _Way, pictures: Tensor) -> Tensor:
    with torch.inference_mode():  # of this thread
        rows = way.network(way.network.prepare(pictures))
    if pictures.device.type == "cuda":
        torch.cuda.synchronize(pictures.device)
    return rows


@contextlib.contextmanager
def _using(machine: Machine, device: torch.device) -> Iterator[None]:
    """Compute with the cores of a machine, and leave PyTorch's settings as they were."""
    threads, tf32 = torch.get_num_threads(), torch.backends.cuda.matmul.allow_tf32
    cudnn = torch.backends.cudnn.allow_tf32
    torch.set_num_threads(max(1, machine.cores // _callers(machine, device)))
    try:
        if device.type == "cuda":
            ComputePrecision().prepare(device)  # what the others are compared with is no TF32
        yield
    finally:
        torch.set_num_threads(threads)
        torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = tf32, cudnn
