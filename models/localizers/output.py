"""Output of a localizer, and what it says about each second."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True, repr=False)
class LocalizerOutput:
    """Output of a localizer for B clips of up to T segments; C classes, the background is class C.

    A value that a system does not compute is None. Q is the number of LEAP's queries, C + 1 where the classifier has a
    background and else C; D the width of one modality.
    """

    valid: Tensor  # (B, T) bool, True on real segments
    audio_hidden: Tensor  # (B, T, D), of the modality alone, what `fused` is made of
    visual_hidden: Tensor  # (B, T, D)
    fused: Tensor  # (B, T, D or 2D), what the classifier or LEAP reads
    spatial_attention: Tensor  # (B, T, H, W), of the feature map, sums to 1 over H and W
    segment_logits: Tensor | None = None  # (B, T, C + 1): AVE, DMRN, PSP
    event_logits: Tensor | None = None  # (B, T), whether there is an event: CMBS full, CPSP
    category_logits: Tensor | None = None  # (B, C), class of the clip's event: CMBS full, CPSP
    gate: Tensor | None = None  # (B, T), in [0, 1]: CMBS
    modality_logits: Tensor | None = None  # (B, C), of both modalities before they are fused: CMBS full
    video_logits: Tensor | None = None  # (B, C + 1), of the clip: CMBS weak
    video_probs: Tensor | None = None  # (B, C + 1), CPSP (B, C): of the clip, sum to 1; weak supervision
    similarity: Tensor | None = None  # (B, T), cosine of audio and visual: PSP, CPSP with full supervision
    label_video_logits: Tensor | None = None  # (B, Q), LEAP: of the refined label embeddings
    label_segment_logits: Tensor | None = None  # (B, T, Q), LEAP: of labels and segments
    attention: Tensor | None = None  # (B, Q, T), LEAP: label to segment, sums to 1 over T

    def __repr__(self) -> str:
        tensors = ((name, value) for name, value in vars(self).items() if value is not None)
        return "\n".join(["LocalizerOutput", *(f"  {name:<21} {tuple(value.shape)}" for name, value in tensors)])

    @property
    def predictions(self) -> Tensor:
        """Class of each second, (B, T) long in [0, C], where C is the background and padding.

        CMBS and CPSP: the clip's category where the event probability is above 0.5 (with weak supervision CMBS's gate),
        else the background. The others: the largest segment logit, of equals the first.
        """
        classes, events, _ = self._decide()
        return torch.where(events & self.valid, classes, self._count)

    @property
    def segment_probs(self) -> Tensor:
        """Probability of each class against its strongest rival, the background included: (B, T, C), 0 at padding.

        It is at least 0.5 for the class that `predictions` names, and below 0.5 for all others.
        """
        classes, events, probs = self._decide()
        is_class = classes[..., None] == torch.arange(self._count, device=classes.device)
        below = 0.5 - torch.finfo(probs.dtype).eps / 4  # the largest number below 0.5
        probs = torch.where(is_class & events[..., None], probs.clamp(min=0.5), probs.clamp(max=below))
        return probs * self.valid[..., None]

    @property
    def _count(self) -> int:
        """C."""
        if self.category_logits is not None:
            return self.category_logits.shape[-1]
        scores = self.video_probs if self.segment_logits is None else self.segment_logits
        assert scores is not None
        return scores.shape[-1] - 1

    def _decide(self) -> tuple[Tensor, Tensor, Tensor]:
        """Return the class of each second (B, T), whether it is an event (B, T), and probabilities (B, T, C)."""
        if self.event_logits is not None:
            scores = self.video_probs if self.category_logits is None else self.category_logits
            return self._detect(
                self.event_logits > 0, self.event_logits.to(_dtype(self.event_logits)).sigmoid(), scores
            )
        if self.gate is not None:
            return self._detect(self.gate > 0.5, self.gate.to(_dtype(self.gate)), self.video_probs)
        assert self.segment_logits is not None
        logits = self.segment_logits.to(_dtype(self.segment_logits))
        classes = logits.argmax(dim=-1)
        largest, second = logits.topk(2, dim=-1).values.split(1, dim=-1)
        is_class = classes[..., None] == torch.arange(logits.shape[-1], device=logits.device)
        probs = (logits - torch.where(is_class, second, largest)).sigmoid()[..., : self._count]
        return classes, classes < self._count, probs

    def _detect(self, events: Tensor, probs: Tensor, scores: Tensor | None) -> tuple[Tensor, Tensor, Tensor]:
        """Give every second of a clip the clip's class, the largest of `scores` (B, C or C + 1)."""
        assert scores is not None
        classes = scores.argmax(dim=-1)[:, None].expand(-1, events.shape[1])
        is_class = classes[..., None] == torch.arange(self._count, device=classes.device)
        return classes, events & (classes < self._count), probs[..., None] * is_class


# A localizer can be exported as it is: its output is a tree of tensors.
torch.export.register_dataclass(LocalizerOutput, serialized_type_name="avvp.LocalizerOutput")


def _dtype(tensor: Tensor) -> torch.dtype:
    """Return the dtype of probabilities: at least float32, whose values just below 0.5 are not rounded to it."""
    return torch.promote_types(tensor.dtype, torch.float32)
