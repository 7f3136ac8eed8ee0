"""How fast the backends are here, as it was measured for `auto`."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from .section import Section

if TYPE_CHECKING:
    import torch


def add_backend_speeds(section: Section, device: torch.device, *, again: bool) -> None:
    """Add what is remembered of the speeds of backends and precisions, and what `auto` makes of it.

    Args:
        section: of the speed; its facts get "backends", None if nothing was measured.
        device: that networks compute on.
        again: measure now.
    """
    from ..computing.choose import fastest_of
    from ..computing.machine import this_machine
    from ..computing.measure_extraction import SUBJECT, measure_extraction, measured_ways
    from ..computing.speed_file import recall
    from ..precisions import TORCH

    measurement = measure_extraction(device) if again else recall(this_machine(device), SUBJECT)
    section.facts["backends"] = None
    if measurement is None:
        section.add(
            "backends are not compared yet: avvp doctor --measure-again does, or the first command with --backend auto"
            " or --precision auto"
        )
        return
    rates = {(speed.backend, speed.precision): speed.rate for speed in measurement.speeds}
    plain = rates.get((TORCH, "fp32"), 0.0)
    fastest = fastest_of(measurement, measured_ways(device))
    section.facts["backends"] = {
        "measured": round(measurement.measured),
        "auto": None if fastest is None else {"backend": fastest.backend, "precision": fastest.name},
        "speeds": [
            {
                "backend": speed.backend,
                "precision": speed.precision,
                "times_fp32_by_torch": round(speed.rate / plain, 2),
                "error": float(f"{speed.error:.2g}"),
            }
            for speed in measurement.speeds
        ]
        if plain
        else [],
        "failed": [{"way": way, "reason": reason} for way, reason in measurement.failed.items()],
    }
    when = time.strftime("%Y-%m-%d", time.localtime(measurement.measured))
    others = [
        f"{way} {rates[way.backend, way.name] / plain:.2f} times as fast"
        for way in measured_ways(device)
        if (way.backend, way.name) in rates and plain and (way.backend, way.name) != (TORCH, "fp32")
    ]
    if others:
        section.add(f"extraction against fp32 by {TORCH}, measured on {when}: {', '.join(others)}")
    for way, reason in measurement.failed.items():
        section.add(f"{way}: {reason}", "note")
    if fastest is not None:
        section.add(f"--backend auto --precision auto computes in {fastest}; --measure-again measures again")
