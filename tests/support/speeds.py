"""Measurements of speed that this machine is taken to have made."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

import torch
from avvp.pipeline.computing.machine import this_machine
from avvp.pipeline.computing.measure_extraction import SUBJECT
from avvp.pipeline.computing.speed_file import Measurement, Speed, remember

WAYS = (("torch", "fp32"), ("torch", "bf16"), ("openvino", "fp32"), ("openvino", "bf16"))


def remember_rates(
    *rates: float,
    errors: tuple[float, ...] = (0.0, 2e-3, 1e-6, 2e-3),
    cores: int | None = None,
    failed: Mapping[str, str] = MappingProxyType({}),
) -> Measurement:
    """Remember rates of `WAYS`, in this order; those that are not given are not measured."""
    speeds = [Speed(*way, rate, error) for way, rate, error in zip(WAYS, rates, errors, strict=False)]
    return remember(this_machine(torch.device("cpu"), cores), SUBJECT, speeds, failed)
