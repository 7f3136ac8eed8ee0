"""Measured speeds that are remembered: `speeds.json` in the user's cache folder.

The file is a convenience. One that is missing, damaged or of another version is measured again; where it cannot be
written, each program measures. Two programs that write at the same time may forget what one of them has measured.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import platformdirs

from ...weights.safe_paths import is_file
from ..errors import OutputError
from ..files import write_atomic
from ..text_files import parse_json
from .machine import Machine

FILE = "speeds.json"
MAX_SPEED_BYTES = 1 << 20  # of the file
MAX_MEASUREMENTS = 64  # in it; the oldest are forgotten
_FORMAT = 1  # increases when something else is measured
_MAX_WORD = 64  # characters of a name
_MAX_SPEEDS = 32  # of one measurement


@dataclass(frozen=True)
class Speed:
    """How fast and how exactly networks compute in a way.

    Attributes:
        backend: key in `BACKENDS`.
        precision: of the backend.
        rate: batches or steps per second; only ratios mean something.
        error: distance from torch's fp32, relative.
    """

    backend: str
    precision: str
    rate: float
    error: float


@dataclass(frozen=True)
class Measurement:
    """Speeds of one machine for one purpose.

    Attributes:
        subject: what was measured, as "extraction".
        machine: description of the machine.
        speeds: of each way that the machine can compute in.
        failed: way, as "bf16 by openvino" -> why it cannot, of those that were tried.
        measured: seconds since 1970.
    """

    subject: str
    machine: str
    speeds: tuple[Speed, ...]
    failed: Mapping[str, str]
    measured: float


def recall(machine: Machine, subject: str) -> Measurement | None:
    """Return what was measured for a purpose on a machine like this, None if nothing is remembered."""
    return read_measurements().get(_key(machine, subject))


def remember(machine: Machine, subject: str, speeds: Sequence[Speed], failed: Mapping[str, str]) -> Measurement:
    """Write a measurement to the file, as far as that can be written.

    Args:
        machine: on which it was made.
        subject: what was measured.
        speeds: of each way.
        failed: see `Measurement`.

    Returns:
        The measurement.
    """
    usable = tuple(speed for speed in speeds if math.isfinite(speed.rate) and math.isfinite(speed.error))
    wrong = {f"{speed.precision} by {speed.backend}": "computes NaN or infinity" for speed in set(speeds) - set(usable)}
    made = Measurement(subject, str(machine), usable, {**failed, **wrong}, time.time())
    kept = {**read_measurements(), _key(machine, subject): made}
    newest = sorted(kept, key=lambda key: kept[key].measured)[-MAX_MEASUREMENTS:]
    document = {"format": _FORMAT, "measurements": {key: asdict(kept[key]) for key in newest}}
    with contextlib.suppress(OutputError, OSError):
        speed_path().parent.mkdir(parents=True, exist_ok=True)
        write_atomic(speed_path(), json.dumps(document, indent=1).encode() + b"\n")
    return made


def read_measurements() -> dict[str, Measurement]:
    """Return the measurements of the file by key; those that are not valid are left out."""
    path = speed_path()
    try:
        if not is_file(path) or path.stat().st_size > MAX_SPEED_BYTES:
            return {}
        document = parse_json(path.read_bytes())
        if document["format"] != _FORMAT:
            return {}
        entries = list(document["measurements"].items())[-MAX_MEASUREMENTS:]
    except (OSError, ValueError, TypeError, KeyError, AttributeError, RecursionError):
        return {}
    found = {}
    for key, value in entries:
        with contextlib.suppress(ValueError, TypeError, KeyError, AttributeError):
            found[key] = _read(value)
    return found


def speed_path() -> Path:
    """Return the path of the file, which need not exist."""
    return Path(platformdirs.user_cache_dir("avvp")) / FILE


def _key(machine: Machine, subject: str) -> str:
    return f"{subject} {machine.key}"


def _read(value: Mapping[str, Any]) -> Measurement:
    """Read a measurement. Raises ValueError, TypeError or KeyError if it is none."""
    if len(value["speeds"]) > _MAX_SPEEDS or len(value["failed"]) > _MAX_SPEEDS:
        raise ValueError("too many ways")
    speeds = tuple(
        Speed(_word(entry["backend"]), _word(entry["precision"]), _number(entry["rate"]), _number(entry["error"]))
        for entry in value["speeds"]
    )
    failed = {_word(way): _word(reason, 1000) for way, reason in value["failed"].items()}
    return Measurement(
        _word(value["subject"], 200), _word(value["machine"], 1000), speeds, failed, _number(value["measured"])
    )


def _word(value: Any, longest: int = _MAX_WORD) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= longest:
        raise ValueError("not a name")
    return value


def _number(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value < 0:
        raise ValueError("not a number")
    return float(value)
