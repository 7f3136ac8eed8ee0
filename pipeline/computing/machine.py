"""What a measurement of speed depends on: processor, cores, device and versions."""

from __future__ import annotations

import hashlib
import json
import platform
import re
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING

from ..decode.process import available_cores

if TYPE_CHECKING:
    import torch

_PACKAGES = ("torch", "openvino")  # that compute


@dataclass(frozen=True)
class Machine:
    """A device of a machine, with what computes on it.

    Attributes:
        processor: model of the CPU.
        cores: of the CPU that networks use.
        device: "cpu", or the name of the GPU.
        packages: name -> version, of those that are installed.
    """

    processor: str
    cores: int
    device: str
    packages: tuple[tuple[str, str], ...]

    @property
    def key(self) -> str:
        """Identifies the machine: 64 hexadecimal digits."""
        return hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode()).hexdigest()

    def __str__(self) -> str:
        where = f"{self.processor}, {self.cores} cores" if self.device == "cpu" else self.device
        return f"{where}, {', '.join(f'{name} {number}' for name, number in self.packages)}"


def this_machine(device: torch.device, cores: int | None = None) -> Machine:
    """Describe this machine.

    Args:
        device: that networks compute on.
        cores: that they use on a CPU; None is all that this process may use.

    Returns:
        The description.
    """
    name = "cpu"
    if device.type == "cuda":
        import torch

        name = torch.cuda.get_device_name(device)
    return Machine(processor_name(), cores or available_cores(), name, _installed())


def processor_name() -> str:
    """Return the model of the CPU as Linux names it."""
    try:
        text = Path("/proc/cpuinfo").read_text(errors="replace")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1].strip() if found else platform.machine()


def _installed() -> tuple[tuple[str, str], ...]:
    found = []
    for name in _PACKAGES:
        try:
            found.append((name, version(name)))
        except PackageNotFoundError:
            continue
    return tuple(found)
