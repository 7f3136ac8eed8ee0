"""Text encoders by the extractor whose space they share."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...weights.parameters import check_parameters
from ...weights.untrained import untrained_state
from ..clap_keys import convert_clap
from ..transformers_import import fill_buffers, import_transformers
from .base import Tokenizer, TransformerTextEncoder
from .pe_av import (
    PE_AV_BEGIN,
    PE_AV_END,
    PE_AV_MAX_TOKENS,
    PE_AV_PADDING,
    build_pe_av_text,
    pe_av_prefixes,
    rename_pe_av_text,
)  # fmt: skip
from .tokens import ByteTokenizer, FileTokenizer

Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class TextModel:
    """How a text encoder is built, and which tensors of the extractor's file are its own.

    Attributes:
        build: returns a model of transformers with random parameters. Its sizes may be those of a file, of which it is
            given key -> shape.
        prefixes: of its keys in the file.
        rename: from the keys of a file to those of transformers.
        max_tokens: that it reads of a sentence.
        padding: token that fills sentences up.
        bytes: tokenizer where the parameters are random.
    """

    build: Callable[[Shapes | None], Any]
    prefixes: tuple[str, ...]
    rename: Callable[[Mapping[str, Tensor]], Mapping[str, Tensor]]
    max_tokens: int
    padding: int
    bytes: Tokenizer

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Return the keys and shapes of the parameters, without allocating them."""
        with torch.device("meta"):
            return {key: tuple(tensor.shape) for key, tensor in self.build(None).named_parameters()}

    def encoder(self, state: Mapping[str, Tensor], tokenizer: Tokenizer) -> TransformerTextEncoder:
        """Build the encoder with these parameters, under transformers' keys. Raises ValueError if they do not fit."""
        with torch.device("meta"):
            model = self.build({key: tuple(tensor.shape) for key, tensor in state.items()})
        check_parameters(dict(state), {key: tuple(tensor.shape) for key, tensor in model.named_parameters()})
        model.load_state_dict(dict(state), assign=True, strict=False)
        for module in model.modules():  # computed by the constructor, here without values
            for name, buffer in list(module.named_buffers(recurse=False)):
                if name in _COMPUTED:
                    count = buffer.shape[-1]
                    values = torch.zeros(1, count) if name == "token_type_ids" else torch.arange(count)[None]
                    module.register_buffer(name, values.long(), persistent=False)
        fill_buffers(model)
        model.eval().requires_grad_(False)
        return TransformerTextEncoder(model, tokenizer, max_tokens=self.max_tokens, padding=self.padding)


def _clip(width: int, *, feedforward: int, layers: int, heads: int, dim: int) -> Any:
    transformers = import_transformers()
    config = transformers.CLIPTextConfig(
        hidden_size=width, intermediate_size=feedforward, num_hidden_layers=layers, num_attention_heads=heads,
        projection_dim=dim, eos_token_id=_CLIP_END,
    )  # fmt: skip
    return transformers.CLIPTextModelWithProjection(config)


def _clap(**sizes: Any) -> Any:
    transformers = import_transformers()
    return transformers.ClapTextModelWithProjection(transformers.ClapTextConfig(**sizes))


def _same(state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
    return state


_CLIP_BEGIN, _CLIP_END = 49_406, 49_407
_COMPUTED = ("position_ids", "token_type_ids")  # in some files
_PREFIXES = ("text_model.", "text_projection.")
_LAION_PREFIXES = (*_PREFIXES, "text_branch.")
_CLIP_BYTES = ByteTokenizer(_CLIP_BEGIN, _CLIP_END, 0)
_CLAP_BYTES = ByteTokenizer(0, 2, 4)
_PE_AV_BYTES = ByteTokenizer(PE_AV_BEGIN, PE_AV_END, 0)
_TINY_PE_AV = (12, 16, 3)
_TINY_CLAP = {
    "hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "projection_dim": 12,
}  # fmt: skip


def _pe_av(kind: str, build: Callable[[Shapes | None], Any]) -> TextModel:
    rename = partial(rename_pe_av_text, kind=kind)
    return TextModel(build, pe_av_prefixes(kind), rename, PE_AV_MAX_TOKENS, PE_AV_PADDING, _PE_AV_BYTES)


TEXT_MODELS: dict[str, TextModel] = {
    "clip": TextModel(
        lambda _: _clip(768, feedforward=3072, layers=12, heads=12, dim=768),
        _PREFIXES, _same, 77, _CLIP_END, _CLIP_BYTES,
    ),
    "clip_b32": TextModel(
        lambda _: _clip(512, feedforward=2048, layers=12, heads=8, dim=512),
        _PREFIXES, _same, 77, _CLIP_END, _CLIP_BYTES,
    ),
    "clap": TextModel(lambda _: _clap(), _LAION_PREFIXES, convert_clap, 77, 1, _CLAP_BYTES),
    "clap_unfused": TextModel(lambda _: _clap(), _LAION_PREFIXES, convert_clap, 77, 1, _CLAP_BYTES),
    "pe_av_audio": _pe_av("audio", build_pe_av_text),
    "pe_av_video": _pe_av("video", build_pe_av_text),
    "pe_av_audio_tiny": _pe_av("audio", partial(build_pe_av_text, sizes=_TINY_PE_AV)),
    "pe_av_video_tiny": _pe_av("video", partial(build_pe_av_text, sizes=_TINY_PE_AV)),
    "clip_tiny": TextModel(
        lambda _: _clip(16, feedforward=16, layers=1, heads=2, dim=12),
        _PREFIXES, _same, 77, _CLIP_END, _CLIP_BYTES,
    ),
    "clap_tiny": TextModel(lambda _: _clap(**_TINY_CLAP), _LAION_PREFIXES, convert_clap, 77, 1, _CLAP_BYTES),
    "clap_unfused_tiny": TextModel(
        lambda _: _clap(**_TINY_CLAP), _LAION_PREFIXES, convert_clap, 77, 1, _CLAP_BYTES
    ),
}  # fmt: skip


def is_of_text(name: str, key: str) -> bool:
    """Return whether a text encoder needs a tensor of its extractor's file, which may have ten times as many.

    Args:
        name: of the extractor, a key in `TEXT_MODELS`.
        key: of the tensor.

    Raises:
        ValueError: the extractor has no text encoder.
    """
    return key.removeprefix("module.").startswith(_find(name).prefixes)


def build_text_encoder(name: str, state: Mapping[str, Tensor], tokenizer: Path) -> TransformerTextEncoder:
    """Build the text encoder of an extractor.

    Args:
        name: of the extractor, a key in `TEXT_MODELS`.
        state: tensors of the extractor's file, under the published keys; only those of `is_of_text` are needed.
        tokenizer: path of its `tokenizer.json`.

    Returns:
        The encoder, on the CPU.

    Raises:
        ValueError: the extractor has no text encoder, or a file does not fit.
    """
    model = _find(name)
    renamed = model.rename({key: tensor for key, tensor in state.items() if is_of_text(name, key)})
    own = {key: tensor for key, tensor in renamed.items() if not key.endswith(_COMPUTED)}
    return model.encoder(own, FileTokenizer(tokenizer))


def untrained_text_encoder(name: str, seed: int) -> TransformerTextEncoder:
    """Build the text encoder of an extractor with random parameters; its tokens are bytes.

    Args:
        name: of the extractor, a key in `TEXT_MODELS`.
        seed: of the parameters.

    Returns:
        The encoder, on the CPU.

    Raises:
        ValueError: the extractor has no text encoder.
    """
    model = _find(name)
    return model.encoder(untrained_state(model.shapes(), seed), model.bytes)


def _find(name: str) -> TextModel:
    if name not in TEXT_MODELS:
        raise ValueError(f"extractor {name} has no text encoder; those of {', '.join(TEXT_MODELS)} have one")
    return TEXT_MODELS[name]
