"""Backends by name."""

from __future__ import annotations

import torch

from ..devices import ComputePrecision
from ..errors import SetupError
from .base import Backend
from .openvino_backend import OpenVINOBackend
from .torch_backend import TorchBackend

BACKENDS: dict[str, Backend] = {backend.name: backend for backend in (TorchBackend(), OpenVINOBackend())}


def prepare_backend(precision: ComputePrecision, device: torch.device) -> Backend:
    """Return the backend of a precision, after a check that it can compute here.

    Args:
        precision: with the name of a backend.
        device: where networks will run.

    Returns:
        The backend.

    Raises:
        SetupError: the backend, the precision and the device do not go together, or this machine cannot compute so.
    """
    precision.prepare(device)
    backend = BACKENDS[precision.backend]
    if reason := backend.obstacle(precision):
        raise SetupError(reason)
    return backend
