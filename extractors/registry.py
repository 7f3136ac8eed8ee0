"""Feature extractors by name."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from ..weights.parts import Part
from .base import Extractor
from .clap import clap_fusion, clap_tiny, clap_unfused, clap_unfused_tiny
from .clip import clip_b32, clip_l14, clip_tiny
from .parts import build_part, extractor_part, try_part
from .pe_av import PEAVAudio, PEAVVideo, pe_av_audio, pe_av_audio_tiny, pe_av_video, pe_av_video_tiny
from .r2plus1d import r2plus1d_18, r2plus1d_small, r2plus1d_tiny
from .resnet import resnet152, resnet_small, resnet_tiny
from .vgg19 import vgg19, vgg19_small, vgg19_tiny
from .vggish import vggish, vggish_small, vggish_tiny

EXTRACTORS: dict[str, Callable[[], Extractor]] = {
    "vggish": vggish,
    "resnet152": resnet152,
    "r2plus1d_18": r2plus1d_18,
    "vgg19": vgg19,
    "clip": clip_l14,
    "clap": clap_fusion,
    "clip_b32": clip_b32,
    "clap_unfused": clap_unfused,
    "pe_av_audio": pe_av_audio,
    "pe_av_video": pe_av_video,
    "vggish_small": vggish_small,
    "resnet_small": resnet_small,
    "r2plus1d_small": r2plus1d_small,
    "vgg19_small": vgg19_small,
    "vggish_tiny": vggish_tiny,
    "resnet_tiny": resnet_tiny,
    "r2plus1d_tiny": r2plus1d_tiny,
    "vgg19_tiny": vgg19_tiny,
    "clip_tiny": clip_tiny,
    "clap_tiny": clap_tiny,
    "clap_unfused_tiny": clap_unfused_tiny,
    "pe_av_audio_tiny": pe_av_audio_tiny,
    "pe_av_video_tiny": pe_av_video_tiny,
}
# Extractors that are a small part of their published file, by the prefixes of its keys that are theirs.
_PARTS = {
    "pe_av_audio": PEAVAudio.wanted_prefixes,
    "pe_av_audio_tiny": PEAVAudio.wanted_prefixes,
    "pe_av_video": PEAVVideo.wanted_prefixes,
    "pe_av_video_tiny": PEAVVideo.wanted_prefixes,
}


def choose_wanted(name: str) -> Callable[[str], bool] | None:
    """Return which tensors of its published file an extractor needs, where these are a small part of it.

    Args:
        name: of the extractor.

    Returns:
        Whether the tensor of a key is needed; None for extractors whose files are read as a whole.
    """
    prefixes = _PARTS.get(name)
    return None if prefixes is None else lambda key: key.startswith(prefixes)


def extractor_shapes(
    name: str, *, reference: str | None = None, trust: Iterable[str] = ()
) -> dict[str, tuple[int, ...]]:
    """Return the keys and shapes of an extractor's tensors without allocating them.

    Args:
        name: key in `EXTRACTORS`, or the name of an extractor of another package.
        reference: its "module:Name"; None for this program's extractors and for entry points.
        trust: packages that `reference` may name.

    Returns:
        Key -> shape.

    Raises:
        ValueError: the name is unknown, or the part of another package is not trusted or cannot be built.
    """
    module = meta_extractor(name, reference=reference, trust=trust)
    return {key: tuple(tensor.shape) for key, tensor in module.state_dict().items()}


def meta_extractor(name: str, *, reference: str | None = None, trust: Iterable[str] = ()) -> Extractor:
    """Build an extractor without allocating its tensors; arguments and errors as for `extractor_shapes`."""
    constructor, _ = _constructor(name, reference, trust)
    with torch.device("meta"):
        return constructor()


def build_extractor(
    name: str,
    state_dict: Mapping[str, Tensor] | None = None,
    *,
    reference: str | None = None,
    trust: Iterable[str] = (),
) -> Extractor:
    """Build a feature extractor.

    Args:
        name: key in `EXTRACTORS`, or the name of an extractor of another package.
        state_dict: tensors under the published keys; random parameters when None.
        reference: "module:Name" of another package; None for this program's extractors and for entry points.
        trust: packages that `reference` may name.

    Returns:
        The extractor in eval mode, without gradients, on the CPU, in the memory layout that it is fastest in.

    Raises:
        ValueError: the name is unknown, or the tensors do not fit the extractor, or the part of another package is not
            trusted, cannot be built or does not do what it must.
    """
    constructor, part = _constructor(name, reference, trust)
    if state_dict is None:
        extractor = constructor()
    else:
        # Spend no time on parameters that are replaced immediately. Other packages may have tensors without a key.
        with torch.device("meta") if part is None else contextlib.nullcontext():
            extractor = constructor()
        extractor.load_published(state_dict)
    extractor.to(memory_format=extractor.memory_format)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    extractor = extractor.eval().requires_grad_(False)
    if part is not None:
        try_part(part, extractor)
    return extractor


def _constructor(name: str, reference: str | None, trust: Iterable[str]) -> tuple[Callable[[], Extractor], Part | None]:
    """Return what builds an extractor, and its part if it is of another package."""
    if name in EXTRACTORS and reference is None:
        return EXTRACTORS[name], None
    part = extractor_part(name, EXTRACTORS, reference, trust)
    return partial(build_part, part), part
