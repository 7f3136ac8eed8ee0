"""Device selection and numeric precision."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from .errors import SetupError
from .precisions import ALL_PRECISIONS, AUTO, BACKENDS, OPENVINO, PRECISIONS, TORCH


@dataclass(frozen=True)
class ComputePrecision:
    """Precision that networks compute in, and with what. Features and probabilities are float32 in any case."""

    name: str = "fp32"  # of `BACKENDS[backend]`; or `AUTO`, until it is chosen
    compiled: bool = False  # by torch.compile
    backend: str = TORCH  # a key of `BACKENDS`; or `AUTO`, until it is chosen

    def __str__(self) -> str:
        return self.name if self.backend == TORCH else f"{self.name} by {self.backend}"

    @property
    def is_chosen(self) -> bool:
        """Whether precision and backend are known, so that networks can be loaded."""
        return AUTO not in (self.name, self.backend)

    @property
    def parameters(self) -> dict[str, str]:
        """What results depend on: the precision; the backend but where it is torch, or computes the same in fp32."""
        backend = {} if self.backend == TORCH or self.name == "fp32" else {"backend": self.backend}
        return {"precision": self.name, **backend}

    @property
    def dtype(self) -> torch.dtype:
        """Type of parameters and activations, of the backend torch."""
        return getattr(torch, PRECISIONS[self.name])

    def prepare(self, device: torch.device) -> None:
        """Check the device, and switch TF32 on or off for the whole process.

        Args:
            device: where the networks will run.

        Raises:
            SetupError: the precision is unknown, or the device or machine does not support it.
        """
        on_gpu = device.type == "cuda"
        if self.backend not in BACKENDS:
            raise SetupError(f"unknown backend {self.backend!r}; known: {', '.join(BACKENDS)}")
        if self.name not in ALL_PRECISIONS:
            raise SetupError(f"unknown precision {self.name!r}; known: {', '.join(ALL_PRECISIONS)}")
        if self.name not in BACKENDS[self.backend]:
            able = [backend for backend, names in BACKENDS.items() if self.name in names]
            raise SetupError(f"{self.name} is computed by the backend {' or '.join(able)}, not by {self.backend}")
        if self.backend == OPENVINO and on_gpu:
            raise SetupError(
                f"the backend {OPENVINO} computes on the CPU, which --device cpu chooses; on {device}, use {TORCH}"
            )
        if self.backend == OPENVINO and self.compiled:
            raise SetupError(f"--compile is of the backend {TORCH}; {OPENVINO} compiles networks always")
        if self.name == "tf32" and not on_gpu:
            raise SetupError(f"tf32 needs an NVIDIA GPU; on {device}, use fp32")
        if self.name == "bf16" and on_gpu and not torch.cuda.is_bf16_supported():
            raise SetupError(f"{device} does not support bf16; use fp16 or fp32")
        if self.compiled and not on_gpu and not any(map(shutil.which, (os.environ.get("CXX", ""), "g++", "clang++"))):
            raise SetupError("--compile on a CPU needs a C++ compiler; install g++")
        if on_gpu:  # PyTorch's default lets cuDNN use TF32, which makes results differ from the CPU's
            torch.backends.cudnn.allow_tf32 = self.name == "tf32"
            torch.backends.cuda.matmul.allow_tf32 = self.name == "tf32"


FP32 = ComputePrecision()


def resolve_device(name: str) -> torch.device:
    """Return the device of a name.

    Args:
        name: `auto` (the first GPU, else the CPU), `cpu`, `cuda` or `cuda:N`.

    Returns:
        The device.

    Raises:
        SetupError: the name is none of these, or the machine has no such device.
    """
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
    """Return one device, or several GPUs.

    Args:
        names: a name as `resolve_device` takes it, or numbered GPUs separated by commas, as `cuda:0,cuda:1`.

    Returns:
        The devices in the order of the names.

    Raises:
        SetupError: a name has no device, appears twice, or is not a numbered GPU although there are several.
    """
    devices: Sequence[torch.device] = [resolve_device(name.strip()) for name in names.split(",")]
    if len(devices) > 1:
        if any(device.type != "cuda" or device.index is None for device in devices):
            raise SetupError(f"--device {names}: several devices must be numbered GPUs, as cuda:0,cuda:1")
        if len(set(devices)) < len(devices):
            raise SetupError(f"--device {names}: a device is named twice")
    return tuple(devices)
