"""Text model of PE-AV, which has a head of its own for sounds and for videos, by the modules of transformers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from torch import Tensor, nn

from ..transformers_import import import_pe_av

PE_AV_BEGIN, PE_AV_END, PE_AV_PADDING = 50_281, 50_282, 50_283  # tokens
PE_AV_MAX_TOKENS = 512  # that are read here; the model itself takes 8192
_HEAD = 64  # width of a head of attention, in ModernBERT of all sizes
_LAYER = re.compile(r"text_model\.layers\.(\d+)\.")
_SIZES = (1024, 2624, 22)  # transformers' for `facebook/pe-av-large`: width, feedforward, layers
_VOCABULARY = 50_368


class PEAVText(nn.Module):
    """ModernBERT and a head: the embedding is that of the mark of the beginning.

    Args:
        sizes: width, feedforward and layers.
        vocabulary: how many tokens there are.
    """

    def __init__(self, sizes: tuple[int, int, int], vocabulary: int) -> None:
        super().__init__()
        transformers = import_pe_av()
        width, feedforward, layers = sizes
        config = transformers.ModernBertConfig(
            vocab_size=vocabulary, hidden_size=width, intermediate_size=feedforward, num_hidden_layers=layers,
            num_attention_heads=max(1, width // _HEAD),
        )  # fmt: skip
        self.text_model = transformers.ModernBertModel(config)
        self.layer_norm = nn.LayerNorm(width, eps=1e-6)
        self.proj = nn.Linear(width, width, bias=False)
        self.config = SimpleNamespace(projection_dim=width)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Any:
        """Return `text_embeds` (N, width) of tokens (N, L) and their mask."""
        states = self.text_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        return SimpleNamespace(text_embeds=self.proj(self.layer_norm(states[:, 0])))


def build_pe_av_text(shapes: Mapping[str, tuple[int, ...]] | None, sizes: tuple[int, int, int] = _SIZES) -> PEAVText:
    """Build the text model with random parameters.

    Args:
        shapes: key -> shape of the tensors of a file, which say the sizes; None for `sizes`.
        sizes: width, feedforward and layers.

    Returns:
        The model.
    """
    vocabulary = _VOCABULARY
    if shapes is not None:
        tokens = shapes.get("text_model.embeddings.tok_embeddings.weight", ())
        feedforward = shapes.get("text_model.layers.0.mlp.Wi.weight", ())
        layers = len({found[1] for found in map(_LAYER.match, shapes) if found})
        if len(tokens) == len(feedforward) == 2:  # else the message of what does not fit names the tensors
            vocabulary, sizes = tokens[0], (tokens[1], feedforward[0] // 2, layers)
    return PEAVText(sizes, vocabulary)


def rename_pe_av_text(state: Mapping[str, Tensor], kind: str) -> dict[str, Tensor]:
    """Return the tensors of the text model and of its head for "audio" or "video", under the keys of `PEAVText`."""
    head = f"{kind}_model.text_{kind}_head."
    renamed = {key: tensor for key, tensor in state.items() if key.startswith("text_model.")}
    return renamed | {key.removeprefix(head): tensor for key, tensor in state.items() if key.startswith(head)}


def pe_av_prefixes(kind: str) -> tuple[str, ...]:
    """Return the prefixes of the keys that `rename_pe_av_text` takes."""
    return ("text_model.", f"{kind}_model.text_{kind}_head.")
