"""Find, download, verify and read the weight files of a bundle; reading executes no code."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from .errors import WeightsError
from .fetch import fetch_file
from .locate import bundle_paths, missing_message, sha256_of, verify_file
from .manifest import Bundle, list_files
from .source import ANYWHERE, WeightSource

_SCALAR = type(np.float64(0)).__reduce__(np.float64(0))[0]  # rebuilds NumPy numbers from bytes
# Under the names of NumPy 1 and NumPy 2. Data types and numbers execute no code when they are unpickled.
_NUMBERS: list[Any] = [
    (_SCALAR, "numpy.core.multiarray.scalar"),
    (_SCALAR, "numpy._core.multiarray.scalar"),
    np.dtype,
    *(type(np.dtype(kind)) for kind in ("f8", "f4", "i8", "i4", "b1")),
]


def gather_files(bundle: Bundle, source: WeightSource = ANYWHERE) -> tuple[dict[str, Path], dict[str, str]]:
    """Find, download where missing, and verify the files of a bundle.

    Args:
        bundle: the bundle.
        source: search folder, whether to download, progress callback.

    Returns:
        Path by key of the manifest (or by name, for a file in the bundle's folder), and sha256 by file name.

    Raises:
        WeightsError: a file is damaged, unknown or cannot be downloaded. For missing files the message lists their
            addresses and the folder to put them into.
    """
    paths, missing = bundle_paths(bundle, source.folder)
    if missing and source.offline:
        raise WeightsError(missing_message(missing, source.folder))
    known, hashes = list_files(), {}
    for key, path in paths.items():
        in_bundle = bundle.root is not None and path.parent == bundle.root
        hashes[path.name] = sha256_of(path) if in_bundle or key not in known else verify_file(known[key], path)
    for file in missing:
        try:
            paths[file.key], hashes[file.name] = fetch_file(file, source.folder, progress=source.progress)
        except WeightsError as error:
            raise WeightsError(f"{error}\n{missing_message(missing, source.folder)}") from error
    return paths, hashes


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Read the tensors of a weight file; the `state_dict` entry of a training run's file is read as well.

    Only tensors and NumPy numbers are unpickled; training runs store such numbers beside the tensors.

    Args:
        path: a .safetensors, .pt or .pth file.

    Returns:
        Key -> tensor on the CPU; floating-point tensors are converted to float32.

    Raises:
        WeightsError: the file is damaged, is not a dictionary of tensors, or holds NaN or infinity.
    """
    try:
        with torch.serialization.safe_globals(_NUMBERS):
            is_safetensors = path.suffix == ".safetensors"
            content = load_file(path) if is_safetensors else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise WeightsError(f"{path}: damaged, or not a weight file: {reason}") from error
    if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):  # file of a training run
        content = content["state_dict"]
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{path}: not a plain dictionary of tensors")
    return {key: _to_float32(path, key, value) for key, value in content.items()}


def _to_float32(path: Path, key: str, value: Tensor) -> Tensor:
    """Convert to float32; refuse NaN and infinity here rather than in the first result."""
    if not value.is_floating_point():
        return value
    if not bool(torch.isfinite(value).all()):
        raise WeightsError(f"{path}: {key} holds values that are not finite")
    return value.float()
