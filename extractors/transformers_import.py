"""Import of transformers, for CLIP, CLAP and PE-AV."""

from __future__ import annotations

import importlib.util
from typing import Any

import torch
from torch import nn

from .torchaudio_import import import_torchaudio

NEEDED_PE_AV = "PE-AV needs transformers 5 and timm; install them with: pip install 'avvp[pe-av]'"
NEEDED = "CLIP and CLAP need transformers; install it with: pip install 'avvp[pseudo]'"


def import_transformers() -> Any:
    """Return the module transformers. Raises ValueError if it is not installed."""
    if importlib.util.find_spec("transformers") is None:
        raise ValueError(NEEDED)
    import_torchaudio()
    import transformers

    transformers.utils.logging.disable_progress_bar()  # for reading parameters from a file, which takes a second
    return transformers


def import_pe_av() -> Any:
    """Return the module transformers, with PE-AV's networks. Raises ValueError if it or timm is not installed."""
    if importlib.util.find_spec("timm") is not None and importlib.util.find_spec("transformers") is not None:
        transformers = import_transformers()
        if hasattr(transformers, "PeAudioEncoder"):  # since 5.0
            return transformers
    raise ValueError(NEEDED_PE_AV)


def fill_buffers(network: nn.Module) -> None:
    """Compute the buffers that files do not have and that the meta device has left without values, in place.

    Args:
        network: of modules of transformers and timm, whose parameters have been loaded.

    Raises:
        ValueError: a buffer cannot be computed.
    """
    for name, module in network.named_modules():
        empty = {key for key, buffer in module.named_buffers(recurse=False) if buffer.is_meta}
        if not empty:
            continue
        if hasattr(module, "init_non_persistent_buffers"):  # of timm
            for key in empty:
                module.register_buffer(key, torch.empty_like(module.get_buffer(key), device="cpu"), persistent=False)
            module.init_non_persistent_buffers()  # type: ignore[operator]
        elif hasattr(module, "config"):  # of transformers: what rotates by position
            with torch.device("cpu"):
                computed = dict(type(module)(module.config).named_buffers())
            for key in empty:
                module.register_buffer(key, computed[key], persistent=False)
        else:
            raise ValueError(f"{name} has buffers without values")
