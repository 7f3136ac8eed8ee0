"""The localizer network: features of a clip -> the class of its event, second by second."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from ...weights.parameters import check_count
from ...weights.parts import Part
from ..layers import segment_mask
from .ave import AVEEncoder, DMRNEncoder
from .cmbs import CMBSEncoder
from .config import LocalizerConfig
from .dch import EventClassifier, SegmentClassifier
from .encoded import Encoded
from .leap_head import LeapClassifier
from .output import LocalizerOutput
from .psp import PSPEncoder
from .readouts import build_readout

ENCODERS: dict[str, Callable[[LocalizerConfig], nn.Module]] = {
    "ave": AVEEncoder,
    "dmrn": DMRNEncoder,
    "psp": PSPEncoder,
    "cmbs": CMBSEncoder,
    "cpsp": PSPEncoder,
}


class EventLocalizer(nn.Module):
    """Localizer of one audio-visual event a clip: encoder, classifier (the system's own or LEAP), readout.

    Args:
        config: the architecture.
        label_embeddings: (N, W) float, of `config.embedding_labels`; required when `config.needs_label_embeddings`,
            saved in checkpoints.

    Attributes:
        unused_keys: keys of a published file that `load_published` did not need; empty for other localizers.
        parts: of other packages, which localizers do not have.

    Raises:
        ValueError: the label embeddings are missing or have the wrong shape.
    """

    def __init__(self, config: LocalizerConfig, label_embeddings: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.unused_keys: tuple[str, ...] = ()
        self.parts: tuple[Part, ...] = ()
        self.encoder = ENCODERS[config.system](config)
        if config.decoder == "leap":
            self.decoder = LeapClassifier(config, label_embeddings)
        else:
            self.decoder = SegmentClassifier(config) if config.classifies_background else EventClassifier(config)
        self.readout = build_readout(config)

    def forward(self, audio: Tensor, visual: Tensor, *, lengths: Tensor | None = None) -> LocalizerOutput:
        """Localize the events of a batch of clips.

        Args:
            audio: (B, T, audio_dim) float.
            visual: (B, T, H, W, visual_dim) float, feature maps, or (B, T, H * W * visual_dim), the same values. Both
                inputs are converted to the type of the parameters.
            lengths: (B,) int, real segments of each clip, 1 to T; None when every clip has T. Padded segments do not
                influence the others.

        Returns:
            Predictions for every segment and for the clips.

        Raises:
            ValueError: the shapes are wrong or disagree.
        """
        self._check(audio, visual, lengths)
        length = audio.shape[1]
        all_real = lengths is None or bool((lengths == length).all())
        return self.predict(audio, visual, None if all_real or lengths is None else segment_mask(lengths, length))

    def predict(self, audio: Tensor, visual: Tensor, valid: Tensor | None) -> LocalizerOutput:
        """Localize events without checking the batch: no value is read, so that it can be exported.

        Args:
            audio: as in `forward`.
            visual: as in `forward`.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            As `forward`.
        """
        encoded = self._encode(audio, visual, valid)
        classified = self.decoder(encoded.audio, encoded.visual, encoded.fused, valid)
        weights = encoded.attention
        if valid is None:
            valid = torch.ones(audio.shape[:2], dtype=torch.bool, device=audio.device)
            mask = None
        else:
            mask, weights = valid, weights * valid[..., None]
        return LocalizerOutput(
            valid=valid,
            audio_hidden=encoded.audio,
            visual_hidden=encoded.visual,
            fused=encoded.fused,
            spatial_attention=weights.unflatten(2, (self.config.side, self.config.side)),
            similarity=encoded.similarity if self.config.supervision == "full" else None,
            label_video_logits=classified.label_video_logits,
            label_segment_logits=None if self.config.decoder == "dch" else classified.segment_logits,
            attention=classified.attention,
            **self.readout(encoded, classified, mask),
        )

    def attention_maps(self, audio: Tensor, visual: Tensor, *, lengths: Tensor | None = None) -> dict[str, Tensor]:
        """Compute the label-to-segment logits of every LEAP block; arguments as in `forward`.

        The softmax over T of a block's logits is its attention.

        Returns:
            Name in `attention_memories` -> logits (B, blocks, Q, T), -inf at padded segments.

        Raises:
            ValueError: the shapes are wrong or disagree, or the decoder is not LEAP and has no such attention.
        """
        if not isinstance(self.decoder, LeapClassifier):
            raise ValueError(f"the decoder {self.config.decoder!r} has no label-to-segment attention; leap has")
        self._check(audio, visual, lengths)
        valid = None if lengths is None else segment_mask(lengths, audio.shape[1])
        encoded = self._encode(audio, visual, valid)
        return self.decoder.attention_logits(encoded.audio, encoded.visual, encoded.fused, valid)

    @property
    def attention_memories(self) -> tuple[str, ...]:
        """Names of what LEAP's decoders read: "fused", or "audio" and "visual"; empty without LEAP."""
        return tuple(self.decoder.decoders) if isinstance(self.decoder, LeapClassifier) else ()

    def _encode(self, audio: Tensor, visual: Tensor, valid: Tensor | None) -> Encoded:
        dtype = next(self.parameters()).dtype
        maps = visual.flatten(2).unflatten(2, (self.config.positions, self.config.visual_dim))
        return self.encoder(audio.to(dtype), maps.to(dtype), valid)

    def _check(self, audio: Tensor, visual: Tensor, lengths: Tensor | None) -> None:
        config = self.config
        if audio.dim() != 3 or audio.shape[-1] != config.audio_dim or audio.shape[1] == 0:
            raise ValueError(f"audio is {tuple(audio.shape)}, expected (B, T, {config.audio_dim})")
        maps = (config.side, config.side, config.visual_dim)
        flat = (config.positions * config.visual_dim,)
        if visual.shape[:2] != audio.shape[:2] or tuple(visual.shape[2:]) not in {maps, flat}:
            batch, length, _ = audio.shape
            raise ValueError(
                f"visual is {tuple(visual.shape)}, expected feature maps {(batch, length, *maps)} or"
                f" {(batch, length, *flat)}"
            )
        if lengths is not None and (
            lengths.shape != (len(audio),) or bool((lengths < 1).any()) or bool((lengths > audio.shape[1]).any())
        ):
            raise ValueError(f"lengths must be {len(audio)} numbers from 1 to {audio.shape[1]}, got {lengths.tolist()}")


def build_localizer(config: LocalizerConfig, label_embeddings: Tensor | None = None) -> EventLocalizer:
    """Build a localizer with newly initialised parameters.

    Args:
        config: the architecture.
        label_embeddings: (N, W) float, of `config.embedding_labels`; required when `config.needs_label_embeddings`.

    Returns:
        The localizer, in training mode on the CPU.

    Raises:
        ValueError: the label embeddings are missing or have the wrong shape.
    """
    return EventLocalizer(config, label_embeddings)


def meta_localizer(config: LocalizerConfig) -> EventLocalizer:
    """Build a localizer without allocating its tensors, which `load_state_dict` with `assign` then sets.

    Args:
        config: the architecture.

    Returns:
        The localizer, in training mode on the device "meta".
    """
    embeddings = None
    with torch.device("meta"):
        if config.needs_label_embeddings:
            embeddings = torch.zeros(len(config.embedding_labels), config.label_embedding_dim)
        return EventLocalizer(config, embeddings)


def localizer_shapes(config: LocalizerConfig) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of a localizer's tensors without allocating them.

    Args:
        config: the architecture.

    Returns:
        Key of `state_dict` -> shape.

    Raises:
        ValueError: the localizer has more parameters than a network may have.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in meta_localizer(config).state_dict().items()}
    check_count(shapes)
    return shapes


def restore_localizer(config: LocalizerConfig, tensors: Mapping[str, Tensor]) -> EventLocalizer:
    """Build a localizer with the parameters of a file.

    Args:
        config: the architecture.
        tensors: key of `state_dict` -> tensor, with the shapes of `localizer_shapes`; they are kept, not copied.

    Returns:
        The localizer, in eval mode on the CPU.
    """
    localizer = meta_localizer(config)
    localizer.load_state_dict(tensors, assign=True)
    return localizer.eval()
