"""Evidence: decoder that weighs evidence for the presence and the absence of each event (Gao et al., CVPR 2023).

Shapes: B batch, T segments, C classes, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction
from .encoded import Encoded
from .layers import Dropout
from .mmil import mean_over_segments, segment_attention

_LIMIT = 10.0  # of the logits of evidence, on both sides
_TEMPERATURE = 0.8  # by which they are divided
_SLOPE = 0.2  # of the leaky ReLUs


class EvidenceDecoder(nn.Module):
    """Segment classifier with one logit for the presence of a class and one for its absence.

    Each logit x is evidence ``e = exp(clamp(x, -10, 10) / 0.8)`` of a Dirichlet distribution with ``alpha = 1 + e``.
    The probability of the class is ``alpha_presence / (alpha_presence + alpha_absence)``, its uncertainty 2 over that
    sum. The absence logit reads the modality together with what both say: an event that only the other modality has is
    to be found absent. Attention over T, one for either logit, pools the logits themselves. The probabilities of the
    whole video come from the features before the encoder, by a classifier of their own.

    Source:
        Gao et al., CVPR 2023; github.com/MengyuanChen21/CVPR2023-CMPAE.
    """

    reads_encoded = True

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        dim, classes = config.hidden_dim, len(config.labels)
        self.presence = nn.Linear(dim, classes)
        self.absence = nn.Linear(dim, classes)
        self.frame_attention = nn.Linear(dim, 2 * classes)
        self.audio_context = nn.Linear(dim, dim)
        self.visual_context = nn.Linear(dim, dim)
        self.video_hidden = nn.Linear(dim, dim)
        self.video_prob = nn.Linear(dim, classes)
        self.dropout = Dropout(config.evidence_dropout)

    def forward(self, encoded: Encoded, valid: Tensor | None = None) -> DecoderOutput:
        """Predict the events of both modalities.

        Args:
            encoded: of the encoder, with the output of the stem.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions, with uncertainties; the segment logits are the log odds of the probabilities.
        """
        both = encoded.audio + encoded.visual
        video_probs, video_uncertainty = self._video(encoded, valid)
        return DecoderOutput(
            audio=self._modality(encoded.audio, self.audio_context(both), valid),
            visual=self._modality(encoded.visual, self.visual_context(both), valid),
            video_probs=video_probs,
            video_uncertainty=video_uncertainty,
        )

    def _modality(self, x: Tensor, context: Tensor, valid: Tensor | None) -> ModalityPrediction:
        """Return the predictions from a modality (B, T, D) and a projection of both (B, T, D)."""
        context = F.leaky_relu(self.dropout(context), _SLOPE)
        logits = torch.stack([self.presence(x), self.absence(x + context)], dim=-1)
        # Exponentials in half precision would overflow: e^12.5 is near its largest number.
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        attention = segment_attention(self.frame_attention(x).unflatten(-1, (-1, 2)).to(logits.dtype), valid)
        pooled = (attention * logits).sum(dim=1)
        return ModalityPrediction(
            segment_logits=log_odds(logits), video_probs=log_odds(pooled).sigmoid(), uncertainty=uncertainty(pooled)
        )

    def _video(self, encoded: Encoded, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return the probabilities (B, C) of the videos and their uncertainty (B,)."""
        hidden = [
            F.leaky_relu(self.video_hidden(x), _SLOPE) for x in (encoded.projected_audio, encoded.projected_visual)
        ]
        logits = self.video_prob(hidden[0] + hidden[1])
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
        strength = (1 + evidence(mean_over_segments(logits, valid))).sum(dim=-1)
        return mean_over_segments(logits.sigmoid(), valid), logits.shape[-1] / strength


def evidence(logits: Tensor) -> Tensor:
    """Compute evidence, ``exp(clamp(x, -10, 10) / 0.8)``, from logits of any shape."""
    return torch.exp(logits.clamp(-_LIMIT, _LIMIT) / _TEMPERATURE)


def log_odds(logits: Tensor) -> Tensor:
    """Compute the log odds of presence, whose sigmoid is ``alpha_presence / (alpha_presence + alpha_absence)``.

    Args:
        logits: (..., 2), of presence and absence.

    Returns:
        (...).
    """
    # log(1 + e^x) is the softplus of x, so that no ratio of large numbers has to be formed.
    presence, absence = F.softplus(logits.clamp(-_LIMIT, _LIMIT) / _TEMPERATURE).unbind(-1)
    return presence - absence


def uncertainty(logits: Tensor) -> Tensor:
    """Compute the uncertainty of a probability, ``2 / (alpha_presence + alpha_absence)``: 1 without any evidence.

    Args:
        logits: (..., 2), of presence and absence.

    Returns:
        (...), in (0, 1].
    """
    return 2 / (1 + evidence(logits)).sum(dim=-1)
