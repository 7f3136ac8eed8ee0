"""PE-AV's embeddings of seconds of sound and of video, by the modules of transformers.

A published file holds one model: encoders of sounds, of videos and of both, and a text model. Each extractor takes its
own part. How deep and wide an encoder is follows from the shapes in the file, so that all sizes are read whose pictures
have 336 x 336 pixels.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Extractor, normalize
from .inputs import PE_AV_FRAMES, PE_AV_SIZE, PE_AV_WAVEFORM
from .transformers_import import fill_buffers, import_pe_av

_MEAN = _STD = (0.5, 0.5, 0.5)  # of pixels in [0, 1]
_ARCHITECTURE = "vit_pe_core_large_patch14_336"  # timm's name of the encoder of single frames


@dataclass(frozen=True)
class PEAVSizes:
    """Sizes of an encoder over time, and of what is below it.

    Attributes:
        width: of the encoder.
        feedforward: of its layers.
        layers: how many.
        heads: of attention.
        head: width of a head.
        dim: of the embeddings, the width of the text model.
        inner: width of the codec's first layer for sounds, of the encoder of frames for pictures.
        code: width of the codec's codes; of a frame's embedding.
        blocks: of the encoder of frames.
        patch: side of its patches, in pixels.
    """

    width: int = 1792
    feedforward: int = 4800
    layers: int = 6
    heads: int = 14
    head: int = 128
    dim: int = 1024
    inner: int = 64
    code: int = 128
    blocks: int = 0
    patch: int = 0


_AUDIO = PEAVSizes()  # transformers' for `facebook/pe-av-large`
_VIDEO = replace(_AUDIO, inner=1024, code=1024, blocks=24, patch=14)
_TINY_AUDIO = PEAVSizes(width=32, feedforward=48, layers=2, heads=2, head=16, dim=12, inner=2, code=6)
_TINY_VIDEO = replace(_TINY_AUDIO, inner=64, code=20, blocks=1, patch=112)


class _Head(nn.Module):
    """From an encoder's width to that of the text model."""

    def __init__(self, width: int, dim: int) -> None:
        super().__init__()
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.layer_norm(x))


class _Float32(nn.Module):
    """A module that computes in float32 within a network of another precision.

    Args:
        inner: the module, on the device that it stays on.
    """

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self._inner = [inner]  # in a list, so that the network's type does not become its own
        self.like = nn.Parameter(torch.zeros(()), requires_grad=False)  # has the network's type

    def forward(self, x: Tensor) -> Tensor:
        return self._inner[0](x.float()).to(self.like.dtype)


class _PEAV(Extractor):
    """An encoder with its head, under the published keys.

    Args:
        sizes: of a file that is yet to be loaded.

    Source:
        Vyas et al.: Pushing the Frontier of Audiovisual Perception with Large-Scale Multimodal Correspondence Learning,
        arXiv 2512.19687; the models `facebook/pe-av-*` of the Hugging Face hub.
    """

    kind: ClassVar[str]  # "audio" or "video"
    wanted_prefixes: ClassVar[tuple[str, ...]]  # of the keys of its own part in the published file
    unused_prefixes = (
        "text_model.", "audio_model.text_", "video_model.text_", "audio_video_", "text_audio_video_",
        "audio_plus_text_", "video_plus_text_",
    )  # fmt: skip

    def __init__(self, sizes: PEAVSizes) -> None:
        super().__init__(dim=sizes.dim)
        self.sizes = sizes
        self._build()

    def _build(self) -> None:
        parts = {f"{self.kind}_encoder": self._encoder(), f"{self.kind}_head": _Head(self.sizes.width, self.sizes.dim)}
        self.add_module(f"{self.kind}_model", nn.ModuleDict(parts))
        self.dim = self.sizes.dim

    def _encoder(self) -> Any:
        raise NotImplementedError

    def _inner_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:  # noqa: ARG002
        """Return the sizes of what is below the encoder over time. Raises KeyError, ValueError."""
        return {
            name: getattr(self.sizes, name) for name in ("inner", "code", "blocks", "patch")
        }  # in all files the same

    def load_published(self, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Replace the parameters, as `Extractor.load_published` does; the sizes are those of the tensors."""
        own = {key: tensor for key, tensor in state_dict.items() if ".rope." not in key}  # computed
        sizes = self._find_sizes({key: tuple(tensor.shape) for key, tensor in own.items()})
        if sizes != self.sizes:
            self.sizes = sizes
            with torch.device("meta"):
                self._build()
        unused = super().load_published(own)
        fill_buffers(self)
        return unused

    def _find_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> PEAVSizes:
        """Return the sizes that shapes of tensors have; its own where the shapes are of something else."""
        encoder = f"{self.kind}_model.{self.kind}_encoder"
        layer = f"{encoder}.layers.0"
        try:
            (head,) = shapes[f"{layer}.self_attn.q_norm.weight"]
            feedforward, width = shapes[f"{layer}.mlp.gate_proj.weight"]
            heads = shapes[f"{layer}.self_attn.q_proj.weight"][0] // head
            dim, _ = shapes[f"{self.kind}_model.{self.kind}_head.proj.weight"]
            layers = _count(shapes, f"{encoder}.layers")
            return PEAVSizes(width, feedforward, layers, heads, head, dim, **self._inner_sizes(shapes))
        except (KeyError, IndexError, ValueError, ZeroDivisionError):
            return self.sizes  # the message of what does not fit names the tensors

    def _pool(self, output: Any) -> Tensor:
        head = self.get_submodule(f"{self.kind}_model.{self.kind}_head")
        return F.normalize(head(output.pooler_output).float(), dim=-1)

    def _time_sizes(self) -> dict[str, Any]:
        sizes = self.sizes
        return {
            "hidden_size": sizes.width, "intermediate_size": sizes.feedforward, "num_hidden_layers": sizes.layers,
            "num_attention_heads": sizes.heads, "head_dim": sizes.head,
        }  # fmt: skip


class PEAVAudio(_PEAV):
    """Sounds: seconds of waveform (N, 1, 48000) -> embeddings (N, dim) of length 1."""

    input_format = PE_AV_WAVEFORM
    kind = "audio"
    wanted_prefixes = ("audio_model.audio_encoder.", "audio_model.audio_head.")
    unused_prefixes = (*_PEAV.unused_prefixes, "video_model.")
    float32_inputs = True

    def _encoder(self) -> Any:
        transformers = import_pe_av()
        codec = {"encoder_hidden_size": self.sizes.inner, "codebook_dim": self.sizes.code}
        return transformers.PeAudioEncoder(transformers.PeAudioEncoderConfig(dac_config=codec, **self._time_sizes()))

    def prepare(self, reduced: Tensor) -> Tensor:
        return reduced.unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(self.get_submodule("audio_model.audio_encoder")(input_values=x))

    def fold(self) -> PEAVAudio:
        """Return a copy whose codec computes in float32 in every precision: eight bits of a waveform are noise."""
        copied = copy.deepcopy(self)
        embedder: Any = copied.get_submodule("audio_model.audio_encoder.embedder")
        embedder.dac_encoder = _Float32(embedder.dac_encoder)
        return copied


class PEAVVideo(_PEAV):
    """Videos: frames of seconds (N, F, 3, 336, 336) -> embeddings (N, dim) of length 1. Needs timm."""

    input_format = PE_AV_FRAMES
    kind = "video"
    wanted_prefixes = ("video_model.video_encoder.", "video_model.video_head.")
    unused_prefixes = (*_PEAV.unused_prefixes, "audio_model.")

    def _encoder(self) -> Any:
        transformers = import_pe_av()
        sizes = self.sizes
        model = {
            "embed_dim": sizes.inner, "depth": sizes.blocks, "num_heads": max(1, sizes.inner // 64),
            "patch_size": sizes.patch, "img_size": (PE_AV_SIZE, PE_AV_SIZE),
        }  # fmt: skip
        frames = {
            "architecture": _ARCHITECTURE, "do_pooling": True, "num_labels": sizes.code, "global_pool": "map",
            "model_args": model,
        }  # fmt: skip
        config = transformers.PeVideoEncoderConfig(vision_config=frames, **self._time_sizes())
        return transformers.PeVideoEncoder(config)

    def _inner_sizes(self, shapes: Mapping[str, tuple[int, ...]]) -> dict[str, int]:
        frames = "video_model.video_encoder.embedder.vision_model.timm_model"
        inner, _, patch, _ = shapes[f"{frames}.patch_embed.proj.weight"]
        code, _ = shapes[f"{frames}.head.weight"]
        return {"inner": inner, "code": code, "blocks": _count(shapes, f"{frames}.blocks"), "patch": patch}

    def prepare(self, reduced: Tensor) -> Tensor:
        """Standardise the channels: (N, F, 336, 336, 3) -> (N, F, 3, 336, 336)."""
        return normalize(reduced, _MEAN, _STD).permute(0, 1, 4, 2, 3).contiguous()

    def forward(self, x: Tensor) -> Tensor:
        return self._pool(self.get_submodule("video_model.video_encoder")(pixel_values_videos=x))


def pe_av_audio() -> PEAVAudio:
    """Build the encoder of sounds of `facebook/pe-av-large`: 1024 values."""
    return PEAVAudio(_AUDIO)


def pe_av_video() -> PEAVVideo:
    """Build the encoder of videos of `facebook/pe-av-large`: 1024 values."""
    return PEAVVideo(_VIDEO)


def pe_av_audio_tiny() -> PEAVAudio:
    """Build a network of a size for tests: 12 values."""
    return PEAVAudio(_TINY_AUDIO)


def pe_av_video_tiny() -> PEAVVideo:
    """Build a network of a size for tests: 12 values."""
    return PEAVVideo(_TINY_VIDEO)


def _count(shapes: Mapping[str, tuple[int, ...]], prefix: str) -> int:
    """Return how many layers there are."""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    return len({found[1] for found in map(pattern.match, shapes) if found})
