"""DHHN: several temporal scales in front of HAN, and networks that guide its training (Jiang et al., ACM MM 2022).

Shapes: B batch, T segments, N segments of a coarser scale, C classes, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .config import GUIDE_HEADS, ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction
from .encoded import Encoded
from .han import HAN, HANLayer
from .mmil import MMILDecoder, segment_attention
from .stems import mean_of_frames

SCALES = ((1, 1), (3, 2), (5, 5))  # kernel and stride of each scale, in segments
_MOMENTUM, _EPSILON = 0.1, 1e-5  # torch's defaults of batch norm
_LOGIT_MARGIN = 1e-6  # probabilities are at least this far from 0 and 1 where their logits are computed
_AUDIO_LAYERS, _AUDIO_REPEATS = 1, 4
_VISUAL_LAYERS, _VISUAL_REPEATS = 2, 3


class SegmentNorm(nn.Module):
    """Batch norm over the real segments of a batch; torch's own would count the padding.

    Args:
        dim: D.

    Source:
        Ioffe and Szegedy, ICML 2015.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(dim))
        self.bias = nn.Parameter(torch.zeros(dim))
        self.register_buffer("running_mean", torch.zeros(dim))
        self.register_buffer("running_var", torch.ones(dim))

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Normalise x (B, N, D); valid (B, N) bool is True on real segments, None when there is no padding."""
        mean, variance = self._measure(x, valid) if self.training else (self.running_mean, self.running_var)
        dtype = torch.promote_types(x.dtype, torch.float32)
        scaled = (x.to(dtype) - mean) * (variance + _EPSILON).rsqrt() * self.weight + self.bias
        return scaled.to(x.dtype)

    def _measure(self, x: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return mean and variance (D,) of a batch, and move the running ones towards them."""
        rows = x.flatten(0, 1) if valid is None else x[valid]
        variance, mean = torch.var_mean(rows.to(torch.promote_types(x.dtype, torch.float32)), dim=0, correction=0)
        if len(rows) > 1:  # a single segment has no variance to remember
            with torch.no_grad():
                self.running_mean.lerp_(mean.to(self.running_mean.dtype), _MOMENTUM)
                unbiased = variance * len(rows) / (len(rows) - 1)
                self.running_var.lerp_(unbiased.to(self.running_var.dtype), _MOMENTUM)
        return mean, variance


class TemporalScale(nn.Module):
    """Strided convolution along time with batch norm and ReLU: (B, T, D) -> (B, ceil(T / stride), D).

    The convolution is written as a linear layer on neighbouring segments side by side, see `mmpyr.TemporalConv`.

    Args:
        dim: D.
        kernel: odd number of segments.
        stride: in segments.
    """

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.kernel = kernel
        self.stride = stride
        self.convolution = nn.Linear(kernel * dim, dim, bias=False)
        self.norm = SegmentNorm(dim)

    def forward(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Convolve x (B, T, D); valid (B, T) bool is True on real segments, None when there is no padding."""
        if valid is not None:  # padded segments are 0, like the zero padding past the end of a video
            x = x * valid.unsqueeze(-1)
        length, reach = x.shape[1], self.kernel // 2
        padded = F.pad(x, (0, 0, reach, reach))
        shifts = [padded[:, step : step + length : self.stride] for step in range(self.kernel)]
        return F.relu(self.norm(self.convolution(torch.cat(shifts, dim=-1)), self.subsample(valid)))

    def subsample(self, valid: Tensor | None) -> Tensor | None:
        """Return which segments of the scale are real, (B, N) bool: those whose middle is."""
        return None if valid is None else valid[:, :: self.stride]


class ScalePair(nn.Module):
    """A scale of both modalities.

    Args:
        dim: D.
        kernel: odd number of segments.
        stride: in segments.
    """

    def __init__(self, dim: int, kernel: int, stride: int) -> None:
        super().__init__()
        self.audio = TemporalScale(dim, kernel, stride)
        self.visual = TemporalScale(dim, kernel, stride)

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None) -> tuple[Tensor, Tensor, Tensor | None]:
        """Convolve both (B, T, D); arguments as for `TemporalScale`.

        Returns:
            Audio and visual, (B, N, D) each, and which of their segments are real, (B, N) bool or None.
        """
        return self.audio(audio, valid), self.visual(visual, valid), self.audio.subsample(valid)


class ScaledHAN(HAN):
    """HAN on several temporal scales of the projected features.

    The same layers encode each scale. Its segments are repeated to the length of the video and added to the sum of the
    finer scales; the encoded segments are the last sum.

    Source:
        Jiang et al., ACM MM 2022; github.com/anonyUsr22/DHHN.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__(config)
        self.scales = nn.ModuleList(ScalePair(config.hidden_dim, *sizes) for sizes in SCALES[: config.scales])

    def forward(self, audio: Tensor, visual: Tensor, valid: Tensor | None = None) -> Encoded:
        """Encode both modalities.

        Args:
            audio: (B, T, D).
            visual: (B, T, D).
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Encoded segments with the sums up to each scale.
        """
        sums: list[tuple[Tensor, Tensor]] = []
        for scale in self.scales:
            coarse_audio, coarse_visual, coarse_valid = scale(audio, visual, valid)
            encoded = super().forward(coarse_audio, coarse_visual, coarse_valid)
            index = _nearest(audio, valid, encoded.audio.shape[1], coarse_valid)
            fine = [x.gather(1, index.expand(-1, -1, x.shape[-1])) for x in (encoded.audio, encoded.visual)]
            before = sums[-1] if sums else None
            sums.append((fine[0], fine[1]) if before is None else (before[0] + fine[0], before[1] + fine[1]))
        return Encoded(*sums[-1], audio, visual, scales=tuple(sums))


def _nearest(fine: Tensor, valid: Tensor | None, length: int, coarse_valid: Tensor | None) -> Tensor:
    """Return which segment of a coarser scale each segment is repeated from: i -> floor(i N / T).

    Args:
        fine: (B, T, D).
        valid: (B, T) bool, or None.
        length: N, with padding.
        coarse_valid: (B, N) bool, or None.

    Returns:
        (B, T, 1) long. In a video with padding, T and N are its real segments.
    """
    positions = torch.arange(fine.shape[1], device=fine.device)
    if valid is None or coarse_valid is None:
        index = (positions * length // fine.shape[1]).expand(fine.shape[0], -1)
    else:
        counts = valid.sum(dim=1, keepdim=True), coarse_valid.sum(dim=1, keepdim=True)
        index = (positions * counts[1] // counts[0]).clamp(max=length - 1)
    return index.unsqueeze(-1)


class ScaledMMIL(MMILDecoder):
    """MMIL on the sums up to each temporal scale; all its probabilities are the mean over the scales.

    Source:
        Jiang et al., ACM MM 2022; github.com/anonyUsr22/DHHN.
    """

    reads_encoded = True

    def forward(self, encoded: Encoded, valid: Tensor | None = None) -> DecoderOutput:  # pyright: ignore[reportIncompatibleMethodOverride] - see `reads_encoded`
        """Predict the events of both modalities.

        Args:
            encoded: of `ScaledHAN`.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            Predictions, with probabilities of the segments; their logits are those of the means.
        """
        decoded = [super(ScaledMMIL, self).forward(audio, visual, valid) for audio, visual in encoded.scales]
        return DecoderOutput(
            audio=_mean_prediction([one.audio for one in decoded]),
            visual=_mean_prediction([one.visual for one in decoded]),
            video_probs=torch.stack([one.video_probs for one in decoded]).mean(dim=0),
        )


def _mean_prediction(predictions: list[ModalityPrediction]) -> ModalityPrediction:
    """Return the mean of a modality's predictions from several scales."""
    logits = torch.stack([one.segment_logits for one in predictions])
    probs = logits.to(torch.promote_types(logits.dtype, torch.float32)).sigmoid().mean(dim=0)
    pooling = [one.pooling_logits for one in predictions if one.pooling_logits is not None]
    return ModalityPrediction(
        torch.logit(probs, eps=_LOGIT_MARGIN),
        torch.stack([one.video_probs for one in predictions]).mean(dim=0),
        pooling_logits=torch.stack(pooling).mean(dim=0),
        segment_probs=probs,
    )


class Guide(nn.Module):
    """Classifier of one modality: ``x = layers(x) + x``, several times, then attention over the segments.

    Args:
        config: widths and dropouts.
        layers: self-attention layers, the same in each repetition.
        repeats: how often.
    """

    def __init__(self, config: ParserConfig, layers: int, repeats: int) -> None:
        super().__init__()
        sizes = (config.hidden_dim, config.feedforward_dim, GUIDE_HEADS, config.dropout, config.attention_dropout)
        self.repeats = repeats
        self.layers = nn.ModuleList(HANLayer(*sizes, cross_attention=False) for _ in range(layers))
        self.prob = nn.Linear(config.hidden_dim, len(config.labels))
        self.frame_attention = nn.Linear(config.hidden_dim, len(config.labels))

    def classify(self, x: Tensor, valid: Tensor | None) -> Tensor:
        """Compute probabilities of the video.

        Args:
            x: (B, T, D), projected features.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            (B, C), at least float32.
        """
        mask = None if valid is None else valid[:, None, :]
        for _ in range(self.repeats):
            refined = x
            for layer in self.layers:
                refined = layer(refined, None, mask)
            x = refined + x
        logits, frame_logits = self.prob(x), self.frame_attention(x)
        dtype = torch.promote_types(logits.dtype, torch.float32)
        return (logits.to(dtype).sigmoid() * segment_attention(frame_logits.to(dtype), valid)).sum(dim=1)


class AudioGuide(Guide):
    """Guide with a projection of the audio features."""

    def __init__(self, config: ParserConfig) -> None:
        super().__init__(config, _AUDIO_LAYERS, _AUDIO_REPEATS)
        self.projection = nn.Linear(config.audio_dim, config.hidden_dim)

    def forward(self, audio: Tensor, valid: Tensor | None) -> Tensor:
        """Classify audio features (B, T, audio_dim) -> (B, C)."""
        return self.classify(self.projection(audio), valid)


class VisualGuide(Guide):
    """Guide with a stem of its own for both visual streams."""

    def __init__(self, config: ParserConfig) -> None:
        super().__init__(config, _VISUAL_LAYERS, _VISUAL_REPEATS)
        self.visual_2d = nn.Linear(config.visual_2d_dim, config.hidden_dim)
        if config.visual_3d_dim:
            self.visual_3d = nn.Linear(config.visual_3d_dim, config.hidden_dim)
            self.fusion = nn.Linear(2 * config.hidden_dim, config.hidden_dim)

    def forward(self, visual_2d: Tensor, visual_3d: Tensor | None, segments: int, valid: Tensor | None) -> Tensor:
        """Classify visual features (B, kT, visual_2d_dim) and (B, T, visual_3d_dim), T `segments` -> (B, C)."""
        x = self.visual_2d(mean_of_frames(visual_2d, segments))
        if visual_3d is not None:
            x = self.fusion(torch.cat([x, self.visual_3d(visual_3d)], dim=-1))
        return self.classify(x, valid)


class Guides(nn.Module):
    """Networks of one modality each that a parser learns from in training; checkpoints leave them out.

    Source:
        Jiang et al., ACM MM 2022; github.com/anonyUsr22/DHHN.
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.audio = AudioGuide(config)
        self.visual = VisualGuide(config)

    def forward(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, valid: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Classify the features of a batch; arguments as for `AVParser.predict`.

        Returns:
            Probabilities of the videos by their audio and by their visual features, (B, C) each.
        """
        return self.audio(audio, valid), self.visual(visual_2d, visual_3d, audio.shape[1], valid)
