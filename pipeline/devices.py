"""Devices, and what numbers they compute with."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .errors import SetupError


@dataclass(frozen=True)
class ComputePrecision:
    """How networks compute. Features and probabilities are float32 in any case."""

    precision: str = "fp32"
    compiled: bool = False  # by torch.compile

    @property
    def dtype(self) -> torch.dtype:
        """Of parameters and of what passes between layers."""
        return PRECISIONS[self.precision]

    def prepare(self, device: torch.device) -> None:
        """Set what PyTorch keeps for the whole process. Raises SetupError for what the device cannot do."""
        on_gpu = device.type == "cuda"
        if self.precision not in PRECISIONS:
            raise SetupError(f"unknown precision {self.precision!r}; known: {', '.join(PRECISIONS)}")
        if self.precision == "tf32" and not on_gpu:
            raise SetupError(f"tf32 is arithmetic of NVIDIA GPUs; on {device}, use fp32")
        if self.precision == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
            raise SetupError(f"{device} does not compute in bf16; use fp16 or fp32")
        if self.compiled and not on_gpu and not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))):
            raise SetupError("--compile on a CPU needs a C++ compiler (g++); there is none")
        if on_gpu:  # with tf32, products round to ten bits, and results are not quite the CPU's
            torch.backends.cudnn.allow_tf32 = self.precision == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = self.precision == "tf32"


PRECISIONS = {"fp32": torch.float32, "tf32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}
FP32 = ComputePrecision()


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Raises SetupError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SetupError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"} or (device.type == "cpu" and device.index):
        raise SetupError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise SetupError(f"device {name!r} is not on this machine ({torch.cuda.device_count()} CUDA devices found)")
    return device


def resolve_devices(names: str) -> tuple[torch.device, ...]:
    """One device, or several GPUs: ``cuda:0,cuda:1``. Raises SetupError as `resolve_device`, and for a mixture."""
    devices: Sequence[torch.device] = [resolve_device(name.strip()) for name in names.split(",")]
    if len(devices) > 1:
        if any(device.type != "cuda" or device.index is None for device in devices):
            raise SetupError(f"--device {names}: several devices must be GPUs with their numbers, as cuda:0,cuda:1")
        if len(set(devices)) < len(devices):
            raise SetupError(f"--device {names}: names a device twice")
    return tuple(devices)
