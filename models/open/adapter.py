"""The temporal adapter: embeddings of a clip's seconds -> embeddings in the same space, with the clip as context.

Each modality has transformer layers of its own. What they return is compared with the embeddings of sentences, as the
embeddings of CLIP and CLAP are, so that an adapter that was trained on some classes finds others. A second has the
class that is both heard and seen most, or "other".

Shapes: B batch, T segments, C classes, A and V widths of the audio and visual embeddings.

Source:
    Zhou et al.: Towards Open-Vocabulary Audio-Visual Event Localization, CVPR 2025, its fine-tuned baseline.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ...weights.messages import shown
from ...weights.parameters import check_count
from ...weights.parts import Part
from ..config import MAX_LAYERS, MAX_SEGMENTS, MAX_WIDTH, check_labels, check_rates, check_sizes, read_fields
from ..layers import FeedForward, segment_mask

OTHER = "other"  # what a second has that has none of the classes
MAX_SCALE = 1e4  # of the logits of the loss
_LIMITS = {
    "audio_dim": MAX_WIDTH,
    "visual_dim": MAX_WIDTH,
    "attention_dim": MAX_WIDTH,
    "feedforward_dim": MAX_WIDTH,
    "layers": MAX_LAYERS,
    "heads": MAX_WIDTH,
    "segments": MAX_SEGMENTS,
}


@dataclass(frozen=True, kw_only=True)
class AdapterConfig:
    """Architecture of a temporal adapter. The defaults are OV-AVEL's but for the widths, which are CLAP's and CLIP's.

    Raises:
        ValueError: a value is out of range, or two values contradict each other.
    """

    labels: tuple[str, ...]  # C class names, of all splits
    trained: tuple[str, ...] = ()  # those of them that training compares with each other; none: all
    audio_dim: int = 512  # A
    visual_dim: int = 768  # V
    attention_dim: int = 256  # of queries, keys and values, all heads together
    feedforward_dim: int = 512
    layers: int = 1  # of each modality
    heads: int = 1
    dropout: float = 0.1  # on both branches of a layer, inside its feed-forward part, and on attention weights
    segments: int = 10  # T in training; longer videos are computed in windows of this length

    def __post_init__(self) -> None:
        check_labels(self.labels)
        if OTHER in self.labels:
            raise ValueError(f"a class is called {OTHER!r}, the name of what has none of the classes")
        if not isinstance(self.trained, tuple) or not set(self.trained) <= set(self.labels):
            raise ValueError(f"trained is {shown(self.trained)}, expected some of the labels")
        check_sizes(self, _LIMITS)
        check_rates(self, ("dropout",))
        if self.attention_dim % self.heads:
            raise ValueError(f"heads {self.heads} does not divide attention_dim {self.attention_dim}")

    @property
    def attention_dropout(self) -> float:
        """Rate on attention weights."""
        return self.dropout

    @property
    def needs_label_embeddings(self) -> bool:
        """Whether the network needs vectors of its classes: always, the embeddings of their sentences."""
        return True

    @property
    def label_embedding_dim(self) -> int:
        """Width of a class's embeddings, A + V: CLAP's and, after them, CLIP's."""
        return self.audio_dim + self.visual_dim

    @property
    def embedding_labels(self) -> tuple[str, ...]:
        """What has embeddings: the classes and, last, "other"."""
        return (*self.labels, OTHER)

    @property
    def trained_columns(self) -> list[int]:
        """Indices in `embedding_labels` of what training compares: the trained classes, and "other"."""
        known = set(self.trained or self.labels)
        return [index for index, label in enumerate(self.embedding_labels) if label in known or label == OTHER]

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping that `from_dict` reads."""
        return asdict(self) | {"labels": list(self.labels), "trained": list(self.trained)}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> AdapterConfig:
        """Rebuild a configuration from `to_dict`.

        Args:
            mapping: field name -> value; absent fields take their defaults.

        Returns:
            The configuration.

        Raises:
            ValueError: a name is unknown (written by a newer version), or a value is invalid.
        """
        values = read_fields(cls, mapping, "adapter")
        trained = values.get("trained", ())
        if not isinstance(trained, list | tuple) or not all(isinstance(label, str) for label in trained):
            raise ValueError(f"trained is {shown(trained)}, expected a list of names")
        return cls(**{**values, "trained": tuple(trained)})


class AdapterOutput(NamedTuple):
    """Embeddings of a batch of clips, compared with the classes and, last, "other"."""

    audio: Tensor  # (B, T, C + 1) cosines
    visual: Tensor  # (B, T, C + 1) cosines
    valid: Tensor | None  # (B, T) bool, True on real segments; None when there is no padding

    def probabilities(self, columns: Tensor | None = None) -> Tensor:
        """Compare entries with each other in each second.

        Args:
            columns: (K,) long, the entries; None for all.

        Returns:
            (B, T, K) float32 from 0 for the least to 1 for the most: roots of the products of both cosines where both
            are positive. 0 where all entries are alike.
        """
        audio, visual = self.audio.float(), self.visual.float()
        if columns is not None:
            audio, visual = audio[..., columns], visual[..., columns]
        product = audio * visual
        positive = product > 0
        root = torch.where(positive, torch.where(positive, product, 1.0).sqrt(), 0.0)  # whose gradient at 0 is finite
        least = root.amin(dim=-1, keepdim=True)
        spread = root.amax(dim=-1, keepdim=True) - least
        return torch.where(spread > 0, (root - least) / torch.where(spread > 0, spread, 1.0), 0.0)


class _Attention(nn.Module):
    """Self-attention whose heads are narrower than its input: (B, T, W) -> (B, T, W)."""

    def __init__(self, config: AdapterConfig, width: int) -> None:
        super().__init__()
        self.heads, self.dropout = config.heads, config.dropout
        self.query = nn.Linear(width, config.attention_dim)
        self.key = nn.Linear(width, config.attention_dim)
        self.value = nn.Linear(width, config.attention_dim)
        self.output = nn.Linear(config.attention_dim, width)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        query, key, value = (
            part(x).unflatten(-1, (self.heads, -1)).transpose(1, 2) for part in (self.query, self.key, self.value)
        )
        rate = self.dropout if self.training else 0.0
        attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask, dropout_p=rate)
        return self.output(attended.transpose(1, 2).flatten(2))


class _Layer(nn.Module):
    """Transformer layer with post-norm: ``x = LN(x + drop(attention(x))); out = LN(x + drop(feed-forward(x)))``."""

    def __init__(self, config: AdapterConfig, width: int) -> None:
        super().__init__()
        self.attention = _Attention(config, width)
        self.feedforward = FeedForward(width, config.feedforward_dim, config.dropout)
        self.attention_norm = nn.LayerNorm(width)
        self.feedforward_norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        x = self.attention_norm(x + self.dropout(self.attention(x, mask)))
        return self.feedforward_norm(x + self.dropout(self.feedforward(x)))


class _Branch(nn.Module):
    """Layers of one modality: (B, T, W) -> (B, T, W), of length 1."""

    def __init__(self, config: AdapterConfig, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(_Layer(config, width) for _ in range(config.layers))

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        for layer in self.layers:
            x = layer(x, mask)
        return F.normalize(x, dim=-1)


class TemporalAdapter(nn.Module):
    """Transformer layers of each modality, whose results are compared with embeddings of sentences.

    Args:
        config: the architecture.
        text: (C + 1, A + V) float, embeddings of the sentences of `config.embedding_labels`: CLAP's and, after them,
            CLIP's, each of length 1. They are not trained, and are saved in checkpoints.

    Attributes:
        parts: of other packages, which adapters do not have.

    Raises:
        ValueError: the embeddings are missing or have the wrong shape.
    """

    def __init__(self, config: AdapterConfig, text: Tensor | None) -> None:
        super().__init__()
        shape = (len(config.embedding_labels), config.label_embedding_dim)
        if text is None or tuple(text.shape) != shape:
            found = "missing" if text is None else str(tuple(text.shape))
            raise ValueError(f"the embeddings of the classes are {found}, expected {shape}")
        self.config = config
        self.parts: tuple[Part, ...] = ()
        self.audio = _Branch(config, config.audio_dim)
        self.visual = _Branch(config, config.visual_dim)
        self.audio_text = nn.Buffer(text[:, : config.audio_dim].float().clone())
        self.visual_text = nn.Buffer(text[:, config.audio_dim :].float().clone())

    def forward(self, audio: Tensor, visual: Tensor, *, lengths: Tensor | None = None) -> AdapterOutput:
        """Compare a batch of clips with the classes.

        Args:
            audio: (B, T, A) float, CLAP's embeddings of each second, of length 1.
            visual: (B, T, V) float, CLIP's embeddings of each second, of length 1.
            lengths: (B,) int, real segments of each clip, 1 to T; None when every clip has T. Padded segments do not
                influence the others.

        Returns:
            Cosines of every segment.
        """
        length = audio.shape[1]
        all_real = lengths is None or bool((lengths == length).all())
        valid = None if all_real or lengths is None else segment_mask(lengths, length)
        heard = self.adapt("audio", audio, valid) @ self.audio_text.T
        return AdapterOutput(heard, self.adapt("visual", visual, valid) @ self.visual_text.T, valid)

    def adapt(self, modality: str, features: Tensor, valid: Tensor | None = None) -> Tensor:
        """Compute the embeddings of one modality, which do not depend on the other.

        Args:
            modality: "audio" or "visual".
            features: (B, T, A or V) float.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Embeddings of the same shape, of length 1.
        """
        branch: _Branch = getattr(self, modality)
        return branch(features.to(self.audio_text.dtype), None if valid is None else valid[:, None, None, :])


@dataclass(frozen=True, kw_only=True)
class AdapterObjective:
    """Loss of a temporal adapter.

    Raises:
        ValueError: the scale is out of range.
    """

    scale: float = 1.0  # of the probabilities as logits of the cross-entropy; OV-AVEL takes them as they are

    def __post_init__(self) -> None:
        value = self.scale
        if type(value) not in {int, float} or not math.isfinite(value) or not 0 < value <= MAX_SCALE:
            raise ValueError(f"scale is {shown(value)}; it must be a number above 0, at most {MAX_SCALE:g}")

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping."""
        return asdict(self)


def adapter_loss(output: AdapterOutput, segments: Tensor, config: AdapterConfig, objective: AdapterObjective) -> Tensor:
    """Compute the cross-entropy of the class of each second, over the trained classes and "other".

    Args:
        output: of the adapter.
        segments: (B, T) long in [0, C], class of each second, C where there is none.
        config: of the adapter.
        objective: scale of the logits.

    Returns:
        Scalar, the mean over real segments.

    Raises:
        ValueError: a second has a class that is not one of the trained.

    Source:
        OV-AVEL's program: the probabilities are the logits.
    """
    columns = torch.tensor(config.trained_columns, device=segments.device)
    places = torch.full((len(config.embedding_labels),), -1, device=segments.device)
    places[columns] = torch.arange(len(columns), device=segments.device)
    targets = places[segments]
    if output.valid is not None:
        targets = targets.masked_fill(~output.valid, len(columns) - 1)  # not counted
    if bool((targets < 0).any()):
        raise ValueError("a second of a training clip has a class that is not one of config.trained")
    logits = objective.scale * output.probabilities(columns)
    losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view_as(targets)
    if output.valid is None:
        return losses.mean()
    return (losses * output.valid).sum() / output.valid.sum()


def meta_adapter(config: AdapterConfig) -> TemporalAdapter:
    """Build an adapter without allocating its tensors, which `load_state_dict` with `assign` then sets.

    Args:
        config: the architecture.

    Returns:
        The adapter, in training mode on the device "meta".
    """
    with torch.device("meta"):
        return TemporalAdapter(config, torch.zeros(len(config.embedding_labels), config.label_embedding_dim))


def adapter_shapes(config: AdapterConfig) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of an adapter's tensors without allocating them.

    Args:
        config: the architecture.

    Returns:
        Key of `state_dict` -> shape.

    Raises:
        ValueError: the adapter has more parameters than a network may have.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in meta_adapter(config).state_dict().items()}
    check_count(shapes)
    return shapes


def restore_adapter(config: AdapterConfig, tensors: Mapping[str, Tensor]) -> TemporalAdapter:
    """Build an adapter with the parameters of a file.

    Args:
        config: the architecture.
        tensors: key of `state_dict` -> tensor, with the shapes of `adapter_shapes`; they are kept, not copied.

    Returns:
        The adapter, in eval mode on the CPU.
    """
    adapter = meta_adapter(config)
    adapter.load_state_dict(tensors, assign=True)
    return adapter.eval()
