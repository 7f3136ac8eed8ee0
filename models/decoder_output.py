"""Results of decoders and of parsers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from torch import Tensor


class ModalityPrediction(NamedTuple):
    """Predictions for one modality. Probabilities of padded segments are not yet set to 0."""

    segment_logits: Tensor  # (B, T, C)
    video_probs: Tensor  # (B, C)
    video_logits: Tensor | None = None  # (B, C), LEAP
    attention: Tensor | None = None  # (B, C, T), LEAP: softmax of the segment logits over the segments
    label_hidden: Tensor | None = None  # (B, C, D), LEAP: the refined label embeddings
    pooling_logits: Tensor | None = None  # (B, T, C), decoders that pool as MMIL does: its attention over the segments
    uncertainty: Tensor | None = None  # (B, C), evidence: of the video probabilities
    token_logits: Tensor | None = None  # (B, G, C), groups: classes of the learned tokens, which training reads
    segment_probs: Tensor | None = None  # (B, T, C), where they are not the sigmoid of the logits


class DecoderOutput(NamedTuple):
    """Predictions for both modalities and for the whole video."""

    audio: ModalityPrediction
    visual: ModalityPrediction
    video_probs: Tensor  # (B, C)
    video_uncertainty: Tensor | None = None  # (B,), evidence: of the video probabilities


@dataclass(frozen=True, repr=False)
class ParserOutput:
    """Output of a parser for B videos of up to T segments and C classes. Probabilities are in [0, 1].

    The segments' scores of the decoder groups can be up to 2. At padded segments (`valid` False) the segment
    probabilities and the attention are 0.
    """

    audio_segment_probs: Tensor  # (B, T, C)
    visual_segment_probs: Tensor  # (B, T, C)
    audio_video_probs: Tensor  # (B, C)
    visual_video_probs: Tensor  # (B, C)
    # (B, C), LEAP: union of the modalities; MMIL, classwise: pooled over both; evidence, groups: classified apart
    video_probs: Tensor
    audio_hidden: Tensor  # (B, T, D), encoder output
    visual_hidden: Tensor  # (B, T, D)
    valid: Tensor  # (B, T) bool, True on real segments
    audio_segment_logits: Tensor  # (B, T, C)
    visual_segment_logits: Tensor  # (B, T, C)
    audio_video_logits: Tensor | None = None  # (B, C), LEAP only
    visual_video_logits: Tensor | None = None  # (B, C)
    audio_attention: Tensor | None = None  # (B, C, T), LEAP only: label to segment, sums to 1 over T
    visual_attention: Tensor | None = None  # (B, C, T)
    audio_label_hidden: Tensor | None = None  # (B, C, D), LEAP only: refined label embeddings
    visual_label_hidden: Tensor | None = None  # (B, C, D)
    audio_projected: Tensor | None = None  # (B, T, D), output of the stem
    visual_projected: Tensor | None = None  # (B, T, D)
    audio_pooling_logits: Tensor | None = None  # (B, T, C), attention over the segments of decoders that pool
    visual_pooling_logits: Tensor | None = None  # (B, T, C)
    audio_uncertainty: Tensor | None = None  # (B, C), evidence: of the video probabilities of a modality
    visual_uncertainty: Tensor | None = None  # (B, C)
    video_uncertainty: Tensor | None = None  # (B,)
    audio_token_logits: Tensor | None = None  # (B, G, C), groups: classes of the learned tokens
    visual_token_logits: Tensor | None = None  # (B, G, C)
    audio_guide_probs: Tensor | None = None  # (B, C), networks that guide the training of scales
    visual_guide_probs: Tensor | None = None  # (B, C)

    def __repr__(self) -> str:
        tensors = ((name, value) for name, value in vars(self).items() if value is not None)
        return "\n".join(["ParserOutput", *(f"  {name:<21} {tuple(value.shape)}" for name, value in tensors)])


# Mixed with those of a pass without cross-attention, where `self_attention_share` asks for it.
_MIXED = ("audio_segment_probs", "visual_segment_probs", "audio_video_probs", "visual_video_probs", "video_probs")

# A parser can be exported as it is: its output is a tree of tensors.
torch.export.register_dataclass(ParserOutput, serialized_type_name="avvp.ParserOutput")


def segment_probs(prediction: ModalityPrediction, valid: Tensor | None) -> Tensor:
    """Return segment probabilities (B, T, C), 0 where valid (B, T) is False."""
    probs = prediction.segment_logits.sigmoid() if prediction.segment_probs is None else prediction.segment_probs
    return probs if valid is None else probs * valid.unsqueeze(-1)


def mix_outputs(output: ParserOutput, other: ParserOutput, share: float) -> ParserOutput:
    """Return an output with the share of another in its probabilities; its segment logits are their log odds."""
    mixed = {name: (1 - share) * getattr(output, name) + share * getattr(other, name) for name in _MIXED}
    for modality in ("audio", "visual"):
        probs = mixed[f"{modality}_segment_probs"]
        mixed[f"{modality}_segment_logits"] = probs.logit(eps=torch.finfo(probs.dtype).eps)
    return replace(output, **mixed)


def join_outputs(audio: ParserOutput, visual: ParserOutput) -> ParserOutput:
    """Return an output with the audio of one and the visual of another; what is of both is their mean."""
    of_visual = {name: value for name, value in vars(visual).items() if name.startswith("visual_")}
    means = {
        name: (value + getattr(visual, name)) / 2
        for name, value in vars(audio).items()
        if name in {"video_probs", "video_uncertainty"} and value is not None
    }
    return replace(audio, **of_visual, **means)
