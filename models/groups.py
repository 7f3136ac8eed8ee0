"""Groups: decoder of MGN (Mo and Tian, NeurIPS 2022).

Shapes: B batch, T segments, C classes, D width. There is one group for each class.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction
from .encoded import Encoded
from .mgn import Grouping, TransformerBlock, run_blocks
from .mmil import segment_attention

_LOGIT_MARGIN = 1e-6  # scores are at least this far from 0 and 1 where their logits are computed


class GroupsDecoder(nn.Module):
    """Classifier of the groups that the encoder mgn gathers, one for each class.

    The groups of both modalities are related by blocks, and the audio groups are gathered by the visual ones; each of
    the result gives the probability of its class in the video, the groups of a modality those of the modality. The
    score of a class in a segment is ``p (1 + softmax over T of the assignment)``, p the probability of the modality:
    it can exceed 1, and is nearly the same in all segments.

    Source:
        Mo and Tian, NeurIPS 2022; github.com/stoneMo/MGN.
    """

    reads_encoded = True

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        dim, classes = config.hidden_dim, len(config.labels)
        self.blocks = nn.ModuleList(TransformerBlock(config) for _ in range(config.cross_group_blocks))
        self.grouping = Grouping(config, classes)
        self.prob = nn.Linear(dim, 1)
        self.audio_prob = nn.Linear(dim, 1)
        self.visual_prob = nn.Linear(dim, 1)
        self.token_classifier = nn.Linear(dim, classes)

    def forward(self, encoded: Encoded, valid: Tensor | None = None) -> DecoderOutput:
        """Predict the events of both modalities.

        Args:
            encoded: of the encoder mgn.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions with the scores of the segments and the logits of the tokens.
        """
        assert encoded.audio_groups is not None  # of mgn, see `ParserConfig`
        assert encoded.visual_groups is not None
        groups = run_blocks(self.blocks, encoded.audio_groups, encoded.visual_groups, None)
        video = _probability(self.prob, self.grouping(*groups, None).groups)
        modalities = (
            (self.audio_prob, encoded.audio_groups, encoded.audio_assignment, encoded.audio_tokens),
            (self.visual_prob, encoded.visual_groups, encoded.visual_assignment, encoded.visual_tokens),
        )
        audio, visual = (
            self._predict(_probability(head, groups), assignment, tokens, valid)
            for head, groups, assignment, tokens in modalities
        )
        return DecoderOutput(audio=audio, visual=visual, video_probs=video)

    def _predict(
        self, probs: Tensor, assignment: Tensor | None, tokens: Tensor | None, valid: Tensor | None
    ) -> ModalityPrediction:
        """Predict a modality from the probabilities of its groups (B, C)."""
        assert assignment is not None
        assert tokens is not None
        scores = probs.unsqueeze(1) * (1 + segment_attention(assignment.transpose(1, 2).to(probs.dtype), valid))
        return ModalityPrediction(
            torch.logit(scores, eps=_LOGIT_MARGIN),
            probs,
            token_logits=self.token_classifier(tokens),
            segment_probs=scores,
        )


def _probability(head: nn.Linear, groups: Tensor) -> Tensor:
    """Return the probability of the class of each group, (B, C), at least float32."""
    logits = head(groups).squeeze(-1)
    return logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid()
