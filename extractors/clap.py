"""CLAP's features of chunks of audio, by the modules of transformers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from .base import Extractor
from .clap_keys import convert_clap
from .inputs import CLAP_MEL, CLAP_MEL_SLANEY
from .transformers_import import import_transformers

_POSITIONS = "relative_position_index"  # computed, and in files all the same


class CLAP(Extractor):
    """Audio half of CLAP with fusion: spectrograms (N, 1, 1001, 64) of up to ten seconds -> (N, dim) of length 1.

    Keys are those of transformers' `ClapModel`; files of LAION's program are read as well.

    Args:
        model: of transformers, with `audio_model` and `audio_projection`.

    Source:
        VALOR's program uses laion_clap with fusion; Wu et al.: Large-Scale Contrastive Language-Audio Pretraining with
        Feature Fusion and Keyword-to-Caption Augmentation, ICASSP 2023.
    """

    input_format = CLAP_MEL
    unused_prefixes = ("text_model.", "text_projection.", "logit_scale")

    def __init__(self, model: Any) -> None:
        super().__init__(dim=model.config.projection_dim)
        self.audio_model, self.audio_projection = model.audio_model, model.audio_projection
        for module in self.modules():
            # Fusion is of audio longer than ten seconds, which there is none of; it would look for some in each batch.
            if hasattr(module, "enable_fusion"):
                module.enable_fusion = False  # type: ignore[assignment]
            if hasattr(module, _POSITIONS):  # has values where the parameters are yet to be loaded
                setattr(module, _POSITIONS, _relative_positions(*module.window_size))  # type: ignore[misc]
                module._non_persistent_buffers_set.add(_POSITIONS)

    def load_published(self, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Replace the parameters, as `Extractor.load_published` does; the keys may be those of LAION's program."""
        converted = convert_clap(state_dict)
        return super().load_published({key: value for key, value in converted.items() if not key.endswith(_POSITIONS)})

    def prepare(self, reduced: Tensor) -> Tensor:
        return reduced.unsqueeze(1)

    def forward(self, x: Tensor) -> Tensor:
        pooled = self.audio_model(input_features=x).pooler_output
        return F.normalize(self.audio_projection(pooled).float(), dim=-1)


class UnfusedCLAP(CLAP):
    """Audio half of CLAP without fusion: other spectrograms, and no layers that fusion needs.

    Source:
        AV2A's program uses what laion_clap loads by default, `630k-audioset-best.pt`.
    """

    input_format = CLAP_MEL_SLANEY


def clap_fusion() -> CLAP:
    """Build LAION's HTSAT-tiny with fusion: 512 values per chunk."""
    return CLAP(_model())


def clap_unfused() -> UnfusedCLAP:
    """Build LAION's HTSAT-tiny without fusion: 512 values per chunk."""
    return UnfusedCLAP(_model(fusion=False))


def clap_tiny() -> CLAP:
    """Build a network of a size for tests: 12 values."""
    return CLAP(_model(**_TINY))


def clap_unfused_tiny() -> UnfusedCLAP:
    """Build a network of a size for tests: 12 values."""
    return UnfusedCLAP(_model(fusion=False, **_TINY))


_TINY: dict[str, Any] = {
    "hidden_size": 16, "patch_embeds_hidden_size": 8, "depths": [1, 1], "num_attention_heads": [1, 2],
    "num_hidden_layers": 2, "projection_dim": 12, "aff_block_r": 2,
}  # fmt: skip


def _model(*, fusion: bool = True, **sizes: Any) -> Any:
    transformers = import_transformers()
    return transformers.ClapAudioModelWithProjection(transformers.ClapAudioConfig(enable_fusion=fusion, **sizes))


def _relative_positions(rows: int, columns: int) -> Tensor:
    """Return the entry of the bias table for each pair of positions of a window, (rows x columns)^2."""
    place = torch.arange(rows * columns, device="cpu")
    down, across = (axis[:, None] - axis for axis in (place // columns, place % columns))
    return (down + rows - 1) * (2 * columns - 1) + across + columns - 1
