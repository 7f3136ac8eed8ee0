"""Text features of classes, which temporal teachers compare the seconds of a clip with."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from ..devices import ComputePrecision
from .prompts import Prompts
from .teachers import load_teachers


def name_prompts(labels: Sequence[str]) -> Prompts:
    """Make sentences of the names of classes, in VALOR's words.

    Args:
        labels: C class names; underscores become spaces.

    Returns:
        "A photo of ..." for CLIP and "This is a sound of ..." for CLAP; every threshold is 0.
    """
    names = [label.replace("_", " ") for label in labels]
    zeros = (0.0,) * len(names)
    return Prompts(
        labels=tuple(labels),
        visual_prompts=tuple(f"A photo of {name}." for name in names),
        audio_prompts=tuple(f"This is a sound of {name}" for name in names),
        visual_thresholds=zeros,
        audio_thresholds=zeros,
    )


def encode_prompts(prompts: Prompts, *, clip: str, clap: str, offline: bool) -> tuple[Tensor, Tensor]:
    """Encode the sentences of classes with the text towers of CLAP and CLIP.

    Args:
        prompts: of C classes.
        clip: folder, or name on the Hugging Face hub.
        clap: the same, or LAION's own file with the suffix .pt.
        offline: use only files on this machine.

    Returns:
        CLAP's and CLIP's text features, (C, A) and (C, V) float32, each of length 1.

    Raises:
        SetupError: transformers or files are missing; the message names all of them.
    """
    loaded = load_teachers(prompts, clip=clip, clap=clap, offline=offline, device="cpu", precision=ComputePrecision())
    ((_, networks),) = loaded.networks
    teachers: Mapping[Any, Any] = networks
    return teachers["audio"].text_embeddings.float(), teachers["visual_2d"].text_embeddings.float()
