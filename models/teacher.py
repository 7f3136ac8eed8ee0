"""The temporal teacher: CLAP and CLIP features of a clip's seconds -> logits of classes, with the clip as context.

CLIP and CLAP alone judge each second by itself. This network attends over all seconds of the clip, for each modality
apart, and compares the result with the text features of the classes. Its parameters do not depend on the classes: it is
trained on the classes of one data set and scores those of another.

Shapes: B batch, T segments, C classes, A and V widths of the audio and visual features.

Source:
    Lai et al.: UWAV: Uncertainty-weighted Weakly-supervised Audio-Visual Video Parsing, CVPR 2025, and its program.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..weights.messages import shown
from ..weights.parameters import check_count
from ..weights.parts import Part
from .config import MAX_LAYERS, MAX_SEGMENTS, MAX_WIDTH, check_labels, check_rates, check_sizes, read_fields
from .layers import Dropout, FeedForward, MultiHeadAttention, segment_mask

_MAX_SCALE = 1e4
MAX_POSITIVE_WEIGHT = 1e6
_LIMITS = {
    "audio_dim": MAX_WIDTH,
    "visual_dim": MAX_WIDTH,
    "hidden_dim": MAX_WIDTH,
    "feedforward_dim": MAX_WIDTH,
    "layers": MAX_LAYERS,
    "heads": MAX_WIDTH,
    "segments": MAX_SEGMENTS,
}


@dataclass(frozen=True, kw_only=True)
class TeacherConfig:
    """Architecture of a temporal teacher. The defaults are UWAV's.

    Raises:
        ValueError: a value is out of range, or two values contradict each other.
    """

    labels: tuple[str, ...]  # C class names
    audio_dim: int = 512  # A, width of the audio features (CLAP)
    visual_dim: int = 768  # V, width of the visual features (CLIP)
    hidden_dim: int = 1024
    feedforward_dim: int = 2048
    layers: int = 5  # of each modality
    heads: int = 16
    dropout: float = 0.3  # on both branches of a layer and inside its feed-forward part
    attention_dropout: float = 0.3  # on attention weights
    # Factors of the logits: the natural logarithms of the scales of CLAP and CLIP, which UWAV uses as they are.
    audio_scale: float = 3.2912
    visual_scale: float = 4.6052
    segments: int = 10  # T in training; longer clips are scored in windows of this length

    def __post_init__(self) -> None:
        check_labels(self.labels)
        check_sizes(self, _LIMITS)
        check_rates(self, ("dropout", "attention_dropout"))
        for name in ("audio_scale", "visual_scale"):
            value = getattr(self, name)
            if type(value) not in {int, float} or not 0 < value <= _MAX_SCALE:
                raise ValueError(f"{name} is {shown(value)}; it must be a number above 0, at most {_MAX_SCALE:g}")
        if self.hidden_dim % self.heads:
            raise ValueError(f"heads {self.heads} does not divide hidden_dim {self.hidden_dim}")

    @property
    def needs_label_embeddings(self) -> bool:
        """Whether the network needs vectors of its classes: always, their text features."""
        return True

    @property
    def label_embedding_dim(self) -> int:
        """Width of a class's text features, A + V: CLAP's and, after them, CLIP's."""
        return self.audio_dim + self.visual_dim

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads."""
        return asdict(self) | {"labels": list(self.labels)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> TeacherConfig:
        """Rebuild a configuration from `to_dict`.

        Args:
            mapping: field name -> value; absent fields take their defaults.

        Returns:
            The configuration.

        Raises:
            ValueError: a name is unknown (written by a newer version), or a value is invalid.
        """
        return cls(**read_fields(cls, mapping, "teacher"))


class TeacherOutput(NamedTuple):
    """Logits of a batch of clips."""

    audio_logits: Tensor  # (B, T, C)
    visual_logits: Tensor  # (B, T, C)
    valid: Tensor | None  # (B, T) bool, True on real segments; None when there is no padding

    @property
    def event_probs(self) -> Tensor:
        """(B, T, C) float32, how probably a class is heard and seen in a second: the product of both modalities."""
        return self.audio_logits.float().sigmoid() * self.visual_logits.float().sigmoid()


class _Layer(nn.Module):
    """Self-attention layer with post-norm: ``x = LN(x + drop(MHA(x))); out = LN(x + drop(FF(x)))``."""

    def __init__(self, config: TeacherConfig) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.attention = MultiHeadAttention(dim, config.heads, config.attention_dropout)
        self.feedforward = FeedForward(dim, config.feedforward_dim, config.dropout)
        self.attention_norm = nn.LayerNorm(dim)
        self.feedforward_norm = nn.LayerNorm(dim)
        self.dropout = Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, x, mask)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class _Branch(nn.Module):
    """Network of one modality: features (B, T, W) and text features (C, W) -> logits (B, T, C).

    There are no positions: a second knows what else happens in the clip, not when.
    """

    def __init__(self, config: TeacherConfig, width: int, scale: float) -> None:
        super().__init__()
        dim = config.hidden_dim
        self.scale = scale
        self.stem = nn.Sequential(nn.Linear(width, 2 * dim), nn.ReLU(), nn.Linear(2 * dim, dim))
        self.layers = nn.ModuleList(_Layer(config) for _ in range(config.layers))
        self.head = nn.Sequential(nn.Linear(dim, width), nn.ReLU(), nn.Linear(width, width))

    def forward(self, features: Tensor, text: Tensor, mask: Tensor | None) -> Tensor:
        x = self.stem(features)
        for layer in self.layers:
            x = layer(x, mask)
        return self.head(x) @ text.T * self.scale


class TemporalTeacher(nn.Module):
    """Temporal teacher: a transformer for each modality, whose seconds are compared with text features of classes.

    Args:
        config: the architecture.
        text: (C, A + V) float, text features of `config.labels`: CLAP's and, after them, CLIP's, each of length 1. They
            are saved in checkpoints; `with_classes` replaces them.

    Attributes:
        unused_keys: keys of a published file that were not needed; empty for other teachers.
        parts: of other packages, which teachers do not have.

    Raises:
        ValueError: the text features are missing or have the wrong shape.
    """

    def __init__(self, config: TeacherConfig, text: Tensor | None) -> None:
        super().__init__()
        shape = (len(config.labels), config.label_embedding_dim)
        if text is None or tuple(text.shape) != shape:
            found = "missing" if text is None else str(tuple(text.shape))
            raise ValueError(f"text features are {found}, expected {shape}")
        self.config = config
        self.unused_keys: tuple[str, ...] = ()
        self.parts: tuple[Part, ...] = ()
        self.audio = _Branch(config, config.audio_dim, config.audio_scale)
        self.visual = _Branch(config, config.visual_dim, config.visual_scale)
        self.audio_text = nn.Buffer(text[:, : config.audio_dim].float().clone())
        self.visual_text = nn.Buffer(text[:, config.audio_dim :].float().clone())

    def forward(self, audio: Tensor, visual: Tensor, *, lengths: Tensor | None = None) -> TeacherOutput:
        """Score a batch of clips.

        Args:
            audio: (B, T, A) float, CLAP's features of each second, of length 1.
            visual: (B, T, V) float, CLIP's features of each second, of length 1. Both inputs are converted to the type
                of the parameters.
            lengths: (B,) int, real segments of each clip, 1 to T; None when every clip has T. Padded segments do not
                influence the others.

        Returns:
            Logits for every segment.

        Raises:
            ValueError: the shapes are wrong or disagree.
        """
        self._check(audio, visual, lengths)
        length = audio.shape[1]
        all_real = lengths is None or bool((lengths == length).all())
        valid = None if all_real or lengths is None else segment_mask(lengths, length)
        return TeacherOutput(self.score("audio", audio, valid), self.score("visual", visual, valid), valid)

    def score(self, modality: str, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Score one modality alone, which does not depend on the other.

        Args:
            modality: "audio" or "visual".
            features: (B, T, A or V) float.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            (B, T, C) logits.
        """
        branch: _Branch = getattr(self, modality)
        mask = None if valid is None else valid[:, None, :]
        return branch(features.to(self.audio_text.dtype), getattr(self, f"{modality}_text"), mask)

    def with_classes(self, labels: Sequence[str], text: Tensor) -> TemporalTeacher:
        """Return a teacher with the same parameters, which are shared, for other classes.

        Args:
            labels: C class names.
            text: (C, A + V) float, their text features.

        Returns:
            The teacher, in the same mode and on the same device.

        Raises:
            ValueError: the labels are invalid, or the text features have the wrong shape.
        """
        config = replace(self.config, labels=tuple(labels))
        shape = (len(config.labels), config.label_embedding_dim)
        if tuple(text.shape) != shape:
            raise ValueError(f"text features are {tuple(text.shape)}, expected {shape}")
        teacher = copy.copy(self)
        teacher._buffers = {}  # those of the copied module are another's
        teacher.config = config
        own = text.to(self.audio_text)
        teacher.audio_text = nn.Buffer(own[:, : config.audio_dim].clone())
        teacher.visual_text = nn.Buffer(own[:, config.audio_dim :].clone())
        return teacher

    def _check(self, audio: Tensor, visual: Tensor, lengths: Tensor | None) -> None:
        config = self.config
        if audio.dim() != 3 or audio.shape[-1] != config.audio_dim or audio.shape[1] == 0:
            raise ValueError(f"audio is {tuple(audio.shape)}, expected (B, T, {config.audio_dim})")
        expected = (*audio.shape[:2], config.visual_dim)
        if tuple(visual.shape) != expected:
            raise ValueError(f"visual is {tuple(visual.shape)}, expected {expected}")
        if lengths is not None and (
            lengths.shape != (len(audio),) or bool((lengths < 1).any()) or bool((lengths > audio.shape[1]).any())
        ):
            raise ValueError(f"lengths must be {len(audio)} numbers from 1 to {audio.shape[1]}, got {lengths.tolist()}")


@dataclass(frozen=True, kw_only=True)
class TeacherObjective:
    """Loss of a temporal teacher.

    Raises:
        ValueError: the weight is out of range.
    """

    positive_weight: float = 5.0  # of classes that occur in the clip, in all of its seconds; others have 1

    def __post_init__(self) -> None:
        value = self.positive_weight
        if type(value) not in {int, float} or not 0 <= value <= MAX_POSITIVE_WEIGHT:
            raise ValueError(f"positive_weight is {shown(value)}; it must be from 0 to {MAX_POSITIVE_WEIGHT:g}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping."""
        return asdict(self)


def teacher_loss(output: TeacherOutput, events: Tensor, objective: TeacherObjective) -> Tensor:
    """Compute the binary cross-entropy of the probabilities that a class is heard and seen.

    Args:
        output: of the teacher.
        events: (B, T, C) of 0 and 1, classes that are heard and seen in a second; 0 at padded segments.
        objective: weight of the classes that occur in a clip.

    Returns:
        Scalar, the mean over real segments and classes; NaN where a probability is.

    Source:
        UWAV's program.
    """
    probs = output.event_probs
    undefined = probs.isnan()  # for which torch raises an error, which on a GPU aborts the process's CUDA context
    losses = F.binary_cross_entropy(probs.masked_fill(undefined, 0.0), events, reduction="none")
    losses = losses.masked_fill(undefined, float("nan"))
    occurs = events.amax(dim=1, keepdim=True)
    losses = losses * (1 + (objective.positive_weight - 1) * occurs)
    if output.valid is None:
        return losses.mean()
    return (losses * output.valid[..., None]).sum() / (output.valid.sum() * events.shape[-1])


def meta_teacher(config: TeacherConfig) -> TemporalTeacher:
    """Build a teacher without allocating its tensors, which `load_state_dict` with `assign` then sets.

    Args:
        config: the architecture.

    Returns:
        The teacher, in training mode on the device "meta".
    """
    with torch.device("meta"):
        return TemporalTeacher(config, torch.zeros(len(config.labels), config.label_embedding_dim))


def teacher_shapes(config: TeacherConfig) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of a teacher's tensors without allocating them.

    Args:
        config: the architecture.

    Returns:
        Key of `state_dict` -> shape.

    Raises:
        ValueError: the teacher has more parameters than a network may have.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in meta_teacher(config).state_dict().items()}
    check_count(shapes)
    return shapes


def restore_teacher(config: TeacherConfig, tensors: Mapping[str, Tensor]) -> TemporalTeacher:
    """Build a teacher with the parameters of a file.

    Args:
        config: the architecture.
        tensors: key of `state_dict` -> tensor, with the shapes of `teacher_shapes`; they are kept, not copied.

    Returns:
        The teacher, in eval mode on the CPU.
    """
    teacher = meta_teacher(config)
    teacher.load_state_dict(tensors, assign=True)
    return teacher.eval()
