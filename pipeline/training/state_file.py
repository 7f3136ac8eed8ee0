"""State files: tensors and a description that a run is resumed from, with checksums that a flipped bit breaks.

A state is a safetensors file. Its metadata holds the description as JSON, which includes the SHA-256 of all tensors,
and the SHA-256 of that JSON. So the description can be checked alone, without reading the tensors.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ...weights.messages import shown
from ..errors import SetupError
from ..files import replacing
from ..text import escape
from ..text_files import parse_json

FORMAT_VERSION = 2
_METADATA_KEY = "avvp"
_CHECKSUM_KEY = "sha256"  # of the text under _METADATA_KEY


def write_state_file(path: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Write a state atomically.

    Args:
        path: the file.
        tensors: on any device.
        content: JSON-ready.

    Raises:
        OutputError: the file cannot be written.
    """
    on_cpu = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    description = {
        "format": FORMAT_VERSION,
        "tensors": len(on_cpu),
        "tensors_sha256": _hash_tensors(on_cpu),
        "content": content,
    }
    text = json.dumps(description)
    metadata = {_METADATA_KEY: text, _CHECKSUM_KEY: hashlib.sha256(text.encode()).hexdigest()}
    with replacing(path) as temporary:
        try:
            save_file(on_cpu, temporary, metadata=metadata)
        except SafetensorError as error:  # raised when the disk is full
            raise OSError(str(error)) from error


def read_state_content(path: Path) -> dict[str, Any]:
    """Read the content of a state without its tensors.

    Args:
        path: the file.

    Returns:
        The content, as it was written.

    Raises:
        SetupError: the file cannot be read or is damaged.
    """
    with _naming(path), safe_open(path, framework="pt") as file:
        return _description(file.metadata(), len(file.keys()))["content"]


def read_state_file(path: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Read a state.

    Args:
        path: the file.

    Returns:
        The content and the tensors, on the CPU, as they were written.

    Raises:
        SetupError: the file cannot be read or is damaged.
    """
    with _naming(path):
        with safe_open(path, framework="pt") as file:
            names = list(file.keys())
            description = _description(file.metadata(), len(names))
            tensors = {name: file.get_tensor(name).clone() for name in names}
        if description["tensors_sha256"] != _hash_tensors(tensors):
            raise ValueError("damaged: its tensors do not have the checksum they were written with")
        return description["content"], tensors


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except (SafetensorError, OSError, ValueError) as error:
        raise SetupError(f"{escape(path)}: cannot be resumed from: {escape(error)}") from error


def _description(metadata: Mapping[str, str] | None, count: int) -> dict[str, Any]:
    """Check the metadata of a file with `count` tensors. Raises ValueError."""
    text = (metadata or {}).get(_METADATA_KEY)
    if text is None:
        raise ValueError("not a state of this program")
    description = parse_json(text)
    version = description.get("format") if isinstance(description, dict) else None
    if version != FORMAT_VERSION:
        raise ValueError(
            f"of format {shown(version)}, this program reads {FORMAT_VERSION}; finish the run with the version of"
            " avvp that started it, or start a new one"
        )
    if description.get("tensors") != count:
        raise ValueError(f"holds {count} tensors of {shown(description.get('tensors'))}")
    if (metadata or {}).get(_CHECKSUM_KEY) != hashlib.sha256(text.encode(errors="replace")).hexdigest():
        raise ValueError("damaged: its description does not have the checksum it was written with")
    if not isinstance(description.get("content"), dict) or not isinstance(description.get("tensors_sha256"), str):
        raise ValueError("its description lacks the content or the checksum of the tensors")
    return description


def _hash_tensors(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name]
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode(errors="replace"))
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
