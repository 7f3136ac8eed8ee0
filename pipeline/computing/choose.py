"""Choice of backend and precision where the user says "auto": the fastest here that is exact enough."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

import torch

from ..backends.registry import prepare_backend
from ..devices import FP32, ComputePrecision
from ..errors import SetupError
from ..precisions import AUTO, BACKENDS, TORCH
from ..text import escape
from .machine import this_machine
from .measure_extraction import CPU_PRECISIONS, GPU_PRECISIONS, SUBJECT, measure_extraction
from .speed_file import Measurement, Speed, recall, speed_path

# Largest relative distance of the measured rows from torch's fp32. For the others it is a cosine of 0.99995.
MAX_ERRORS = {"fp32": 1e-4, "tf32": 1e-2, "bf16": 1e-2}
_WORTH = 1.05  # times as fast as torch's fp32 that another way must be to be chosen


@dataclass(frozen=True)
class Choice:
    """What networks compute with.

    Attributes:
        precision: with its backend.
        reason: one line for the user; empty where there was nothing to choose.
    """

    precision: ComputePrecision
    reason: str = ""


def choose(wanted: ComputePrecision, device: torch.device, cores: int | None = None) -> Choice:
    """Choose what is `AUTO` in a precision.

    In the precision that the user names, the fastest backend is chosen; else the fastest of fp32 and bf16, on a GPU
    also tf32. int8 and fp16 are never chosen: the user has to name them.

    Args:
        wanted: by the user.
        device: that networks compute on.
        cores: of a CPU that they use; None is all that this process may use.

    Returns:
        The choice: as it is wanted if that is clear.

    Raises:
        SetupError: this machine cannot compute in the precision that is wanted, or with the backend.
    """
    if wanted.is_chosen:
        return Choice(wanted)
    ways = _possible(wanted, device)
    if len(ways) == 1:
        return Choice(ways[0])
    machine = this_machine(device, cores)
    measured = recall(machine, SUBJECT)
    measurement = measured or measure_extraction(device, cores)
    fastest = fastest_of(measurement, ways)
    if fastest is None:  # of what is possible nothing was measured, or nothing is exact enough
        return Choice(ways[0], f"computing in {ways[0]}: nothing else is exact enough on this machine")
    when = "measured before" if measured else "measured now, and remembered"
    if recall(machine, SUBJECT) is None:
        when = f"measured now, and each time: {escape(speed_path())} cannot be written"
    return Choice(fastest, f"computing in {fastest}{_describe_gain(measurement, fastest)} ({when})")


def fastest_of(measurement: Measurement, ways: Iterable[ComputePrecision]) -> ComputePrecision | None:
    """Return the fastest of some ways that is exact enough; torch in fp32 where no other is worth it.

    Args:
        measurement: of the machine.
        ways: to choose from.

    Returns:
        One of the ways, None if none of them was measured and is exact enough.
    """
    speeds = {(speed.backend, speed.precision): speed for speed in measurement.speeds if is_exact(speed)}
    able = [way for way in ways if (way.backend, way.name) in speeds]

    def rate(way: ComputePrecision) -> float:
        is_plain = (way.backend, way.name) == (FP32.backend, FP32.name)
        return speeds[way.backend, way.name].rate * (_WORTH if is_plain else 1)

    return max(able, key=rate, default=None)


def is_exact(speed: Speed) -> bool:
    """Return whether rows of a precision are as near to torch's fp32 as they must be to be chosen."""
    return speed.error <= MAX_ERRORS.get(speed.precision, 0.0)


def _possible(wanted: ComputePrecision, device: torch.device) -> list[ComputePrecision]:
    """Return the ways that are wanted and possible here. Raises SetupError if there is none."""
    if wanted.name == AUTO:
        names: tuple[str, ...] = GPU_PRECISIONS if device.type == "cuda" else CPU_PRECISIONS
    else:
        names = (wanted.name,)
    backends = [wanted.backend] if wanted.backend != AUTO else [TORCH] if wanted.compiled else list(BACKENDS)
    ways: list[ComputePrecision] = []
    problems: list[SetupError] = []
    for backend in backends:
        for name in names:
            if name not in BACKENDS.get(backend, names):
                continue
            way = replace(wanted, name=name, backend=backend)
            try:
                prepare_backend(way, device)
            except SetupError as error:
                problems.append(error)
            else:
                ways.append(way)
    if not ways:
        if problems:
            raise problems[0]
        replace(wanted, backend=backends[0]).prepare(device)  # raises: no backend has such a precision
        raise AssertionError("a precision of no backend")
    return ways


def _describe_gain(measurement: Measurement, way: ComputePrecision) -> str:
    rates = {(speed.backend, speed.precision): speed.rate for speed in measurement.speeds}
    plain = rates.get((FP32.backend, FP32.name))
    if plain is None or (way.backend, way.name) == (FP32.backend, FP32.name):
        return ""
    return f", {rates[way.backend, way.name] / plain:.1f} times as fast as fp32 by torch"
