"""MM-Pyr and LEAP computed as the published module does, with the parameters of ours.

It projects every frame before averaging, runs both directions of the shared cross-attention layer one after the other,
writes attention out as products, and calls each attention of LEAP a second time for its scores.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from avvp.models.layers import AttentionLayer, Dropout
from avvp.models.leap import LeapDecoder, ModalityDecoder
from avvp.models.mmpyr import LevelFusion, MMPyramid, PyramidLevel, TemporalConv
from avvp.models.parser import AVParser
from avvp.models.stems import FeatureStem
from torch import Tensor, nn
from torch.nn import functional as F


class PlainConv(nn.Module):
    """Convolutions along time as PyTorch has them, with the parameters of a `TemporalConv`."""

    def __init__(self, ours: TemporalConv) -> None:
        super().__init__()
        dim, step = ours.point.out_features, ours.dilation
        self.wide = nn.Conv1d(dim, dim, 3, padding=step, dilation=step)
        self.point = nn.Conv1d(dim, dim, 1)
        state = {
            "wide.weight": ours.wide.weight.unflatten(1, (3, dim)).permute(0, 2, 1),
            "wide.bias": ours.wide.bias,
            "point.weight": ours.point.weight.unsqueeze(-1),
            "point.bias": ours.point.bias,
        }
        self.load_state_dict({key: tensor.detach() for key, tensor in state.items()})

    def forward(self, x: Tensor) -> Tensor:
        """Convolve (B, T, D) -> (B, T, D)."""
        channels = x.transpose(1, 2)
        return F.relu(channels + self.point(F.relu(self.wide(channels)))).transpose(1, 2)


def make_plain(parser: AVParser) -> AVParser:
    """Replace the dropouts and convolutions of a parser by PyTorch's own, in place; return it."""
    for module in list(parser.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, TemporalConv):
                setattr(module, name, PlainConv(child))
            elif isinstance(child, Dropout):
                setattr(module, name, nn.Dropout(child.rate))
    return parser


def encode_plainly(parser: AVParser, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor) -> tuple[Tensor, Tensor]:
    """Run stem and encoder.

    Args:
        parser: of `make_plain`, MM-Pyr + LEAP.
        audio: (B, T, audio_dim).
        visual_2d: (B, kT, visual_2d_dim).
        visual_3d: (B, T, visual_3d_dim).

    Returns:
        Audio and visual features, (B, T, D) each.
    """
    stem, encoder = cast("FeatureStem", parser.stem), cast("MMPyramid", parser.encoder)
    frames = visual_2d.shape[1] // audio.shape[1]
    projected = stem.visual_2d(visual_2d).permute(0, 2, 1).unsqueeze(-1)
    per_second = F.avg_pool2d(projected, (frames, 1)).squeeze(-1).permute(0, 2, 1)
    visual = stem.fusion(torch.cat([per_second, stem.visual_3d(visual_3d)], dim=-1))
    audio = stem.audio(audio)
    audio_levels, visual_levels = [], []
    for level in cast("Iterable[PyramidLevel]", encoder.levels):
        audio, visual = _level(level, audio, visual)
        audio_levels.append(audio)
        visual_levels.append(visual)
    return _fuse(encoder.audio_fusion, audio_levels), _fuse(encoder.visual_fusion, visual_levels)


def decode_plainly(
    parser: AVParser, label_embeddings: Tensor, audio: Tensor, visual: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Run LEAP.

    Args:
        parser: of `make_plain`, MM-Pyr + LEAP.
        label_embeddings: (B, C, W), those of each clip.
        audio: (B, T, D).
        visual: (B, T, D).

    Returns:
        Probabilities: audio and visual segments (B, T, C), audio and visual videos (B, C).
    """
    decoder = cast("LeapDecoder", parser.decoder)
    labels = decoder.label_projection(label_embeddings)
    audio_segments, audio_video = _decode_modality(decoder.audio, labels, audio)
    visual_segments, visual_video = _decode_modality(decoder.visual, labels, visual)
    return audio_segments, visual_segments, audio_video, visual_video


def _attention(layer: AttentionLayer, query: Tensor, memory: Tensor, mask: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the attended values and the mean of the scores over the heads."""
    attention = layer.attention
    q, k, v = (
        x.unflatten(-1, (attention.heads, -1)).transpose(1, 2)
        for x in (attention.query(query), attention.key(memory), attention.value(memory))
    )
    scores = q @ k.transpose(-2, -1) / q.shape[-1] ** 0.5
    masked = scores if mask is None else scores.masked_fill(~mask, -1e9)
    attended = F.dropout(masked.softmax(-1), attention.dropout, attention.training) @ v
    return attention.output(attended.transpose(1, 2).contiguous().flatten(2)), scores.mean(1)


def _layer(layer: AttentionLayer, query: Tensor, memory: Tensor, mask: Tensor | None = None) -> Tensor:
    attended, _ = _attention(layer, layer.attention_norm(query), memory, mask)
    x = query + layer.dropout(attended)
    return x + layer.dropout(layer.feedforward(layer.feedforward_norm(x)))


def _level(level: PyramidLevel, audio: Tensor, visual: Tensor) -> tuple[Tensor, Tensor]:
    index = torch.arange(audio.shape[1], device=audio.device)
    mask = (index[:, None] - index[None, :]).abs() <= level.reach
    audio_cross = _layer(level.cross, audio, visual, mask)
    visual_cross = _layer(level.cross, visual, audio, mask)
    audio = level.audio_gate(_layer(level.audio_self, audio, audio, mask), audio_cross)
    visual = level.visual_gate(_layer(level.visual_self, visual, visual, mask), visual_cross)
    return level.audio_conv(audio), level.visual_conv(visual)


def _fuse(fusion: LevelFusion, levels: list[Tensor]) -> Tensor:
    flat = torch.stack(levels, dim=2).flatten(0, 1)
    mixed = _layer(fusion.interaction, flat, flat)
    return (torch.sigmoid(fusion.select(mixed)) * mixed).sum(1).unflatten(0, levels[0].shape[:2])


def _decode_modality(decoder: ModalityDecoder, labels: Tensor, segments: Tensor) -> tuple[Tensor, Tensor]:
    logits = torch.empty(0)
    for block in cast("Iterable[AttentionLayer]", decoder.blocks):
        attended, _ = _attention(block, block.attention_norm(labels), segments, None)
        updated = labels + block.dropout(attended)
        _, logits = _attention(block, updated, segments, None)  # the whole call again, for its scores
        labels = updated + block.dropout(block.feedforward(block.feedforward_norm(updated)))
    return logits.transpose(1, 2).sigmoid(), decoder.video_head(labels).squeeze(-1).sigmoid()
