"""LEAP in place of a localizer's last classifier."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn

from ..leap import LabelQueries, ModalityDecoder, check_label_embeddings
from .config import LocalizerConfig
from .encoded import Classified


class LeapClassifier(LabelQueries):
    """Project segments onto label embeddings; everything behind the classifier stays the system's own.

    Where the background is a class, its query is the embedding of its name, or learned. With `leap_memory`
    "modalities" each modality has a decoder, and their logits are averaged.

    Args:
        config: sizes, queries and memory.
        label_embeddings: (N, W) float, of `config.embedding_labels`; None with learned queries.

    Raises:
        ValueError: the label embeddings are missing or have the wrong shape.

    Source:
        LEAP paper, Table 5; where the decoder stands is a decision of this program, the paper does not say it.
    """

    def __init__(self, config: LocalizerConfig, label_embeddings: Tensor | None) -> None:
        given = None
        if config.needs_label_embeddings:
            expected = (len(config.embedding_labels), config.label_embedding_dim)
            given = check_label_embeddings(label_embeddings, expected)
        super().__init__(config.queries, config.leap.width, given)
        missing = 0 if given is None else config.queries - len(config.embedding_labels)
        self.background_query = nn.Parameter(torch.randn(missing, config.leap.width)) if missing else None
        self.detects_apart = not config.classifies_background
        names = ("fused",) if config.leap_memory == "fused" else ("audio", "visual")
        self.decoders = nn.ModuleDict({name: ModalityDecoder(config.leap) for name in names})

    def queries(self) -> Tensor:
        """Compute the queries, (Q, D)."""
        queries = super().queries()
        return queries if self.background_query is None else torch.cat([queries, self.background_query])

    def forward(self, audio: Tensor, visual: Tensor, fused: Tensor, valid: Tensor | None = None) -> Classified:
        """Decode the segments.

        Args:
            audio: (B, T, D), read with `leap_memory` "modalities".
            visual: (B, T, D), the same.
            fused: (B, T, fused_dim), read with `leap_memory` "fused".
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Logits of labels and segments; where events are detected apart, the category logits are the video logits of
            the refined label embeddings.
        """
        memories = {"audio": audio, "visual": visual, "fused": fused}
        queries = self.queries()
        found = [decoder(queries, memories[name], valid) for name, decoder in self.decoders.items()]
        video = torch.stack([prediction.video_logits for prediction in found]).mean(dim=0)
        return Classified(
            segment_logits=torch.stack([prediction.segment_logits for prediction in found]).mean(dim=0),
            category_logits=video if self.detects_apart else None,
            label_video_logits=video,
            attention=torch.stack([prediction.attention for prediction in found]).mean(dim=0),
        )

    def attention_logits(
        self, audio: Tensor, visual: Tensor, fused: Tensor, valid: Tensor | None = None
    ) -> dict[str, Tensor]:
        """Compute the label-to-segment logits of every block; arguments as in `forward`.

        Returns:
            "fused", or "audio" and "visual" -> (B, blocks, Q, T), -inf at padded segments.
        """
        memories = {"audio": audio, "visual": visual, "fused": fused}
        queries = self.queries()
        return {
            name: cast("ModalityDecoder", decoder).attention_logits(queries, memories[name], valid)
            for name, decoder in self.decoders.items()
        }
