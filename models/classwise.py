"""Classwise: decoder in which the classes of a second attend to each other (Lin et al., NeurIPS 2021).

Shapes: B batch, T segments, C classes, D width, K width of a class vector.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction
from .han import HANLayer
from .mmil import pool


class ClasswiseDecoder(nn.Module):
    """Segment classifier over class vectors that interact, with MMIL's pooling.

    Each second of a modality becomes one vector of width K for every class. An attention layer as in HAN, whose
    sequence is the classes, relates them to each other and to those of the other modality in the same second; a linear
    layer turns each into the probability of its class. MMIL's attention, which reads the encoder's output, pools them.

    Source:
        Lin et al., NeurIPS 2021; github.com/GenjiB/CM-Co-Occurrence-AVVP.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        dim, classes, width = config.hidden_dim, len(config.labels), config.class_dim
        self.classes = classes
        self.audio_classes = nn.Linear(dim, classes * width)
        self.visual_classes = nn.Linear(dim, classes * width)
        self.interaction = HANLayer(width, width, 1, config.class_dropout, config.class_dropout)
        self.audio_prob = nn.Linear(width, 1)
        self.visual_prob = nn.Linear(width, 1)
        self.frame_attention = nn.Linear(dim, classes)
        self.modality_attention = nn.Linear(dim, classes)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> DecoderOutput:
        """Predict the events of both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions with the logits of the pooling.
        """
        audio_classes = self._class_vectors(self.audio_classes(audio))
        visual_classes = self._class_vectors(self.visual_classes(visual))
        related = (
            self.interaction(audio_classes, visual_classes, None),
            self.interaction(visual_classes, audio_classes, None),
        )
        logits = torch.stack(
            [
                head(vectors).squeeze(-1).unflatten(0, audio.shape[:2])
                for head, vectors in zip((self.audio_prob, self.visual_prob), related, strict=True)
            ],
            dim=2,
        )
        both = torch.stack([audio, visual], dim=2)
        frame_logits = self.frame_attention(both)
        pooled = pool(logits, frame_logits, self.modality_attention(both), valid)
        first, second = (
            ModalityPrediction(
                logits[:, :, index], pooled.modalities[:, index], pooling_logits=frame_logits[:, :, index]
            )
            for index in (0, 1)
        )
        return DecoderOutput(audio=first, visual=second, video_probs=pooled.video)

    def _class_vectors(self, projected: Tensor) -> Tensor:
        """Return one vector for each class of each second, (B, T, C K) -> (B T, C, K)."""
        return projected.relu().unflatten(-1, (self.classes, -1)).flatten(0, 1)
