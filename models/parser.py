"""The parser: features of a video in, probabilities per second, class and modality out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from .config import ParserConfig
from .han import HAN
from .layers import segment_mask
from .leap import LeapDecoder
from .mmil import MMILDecoder
from .mmpyr import MMPyramid

ENCODERS: dict[str, Callable[[ParserConfig], nn.Module]] = {"mmpyr": MMPyramid, "han": HAN}
DECODERS: dict[str, Callable[[ParserConfig, Tensor | None], nn.Module]] = {
    "leap": LeapDecoder,
    "mmil": lambda config, _: MMILDecoder(config),
}


@dataclass(frozen=True)
class ParserOutput:
    """What a parser says of B videos of up to T segments and C classes. Probabilities lie in [0, 1].

    At padded segments (`valid` False) the segment probabilities and the attention are 0.
    """

    audio_segment_probs: Tensor  # (B, T, C)
    visual_segment_probs: Tensor  # (B, T, C)
    audio_video_probs: Tensor  # (B, C)
    visual_video_probs: Tensor  # (B, C)
    video_probs: Tensor  # (B, C), LEAP: union of the modalities; MMIL: pooled over both
    audio_hidden: Tensor  # (B, T, D), encoder output
    visual_hidden: Tensor  # (B, T, D)
    valid: Tensor  # (B, T) bool
    audio_segment_logits: Tensor  # (B, T, C)
    visual_segment_logits: Tensor  # (B, T, C)
    audio_video_logits: Tensor | None = None  # (B, C), LEAP only
    visual_video_logits: Tensor | None = None  # (B, C)
    audio_attention: Tensor | None = None  # (B, C, T), LEAP only: label to segment, sums to 1 over T
    visual_attention: Tensor | None = None  # (B, C, T)
    audio_label_hidden: Tensor | None = None  # (B, C, D), LEAP only: refined label embeddings
    visual_label_hidden: Tensor | None = None  # (B, C, D)


class FeatureStem(nn.Module):
    """Extractor features to the width of the encoder, both visual networks fused.

    audio (B, T, A), visual_2d (B, kT, V) with k frames a segment, visual_3d (B, T, S) -> two (B, T, D).
    """

    def __init__(self, config: ParserConfig) -> None:
        super().__init__()
        self.audio = nn.Linear(config.audio_dim, config.hidden_dim)
        self.visual_2d = nn.Linear(config.visual_2d_dim, config.hidden_dim)
        self.visual_3d = nn.Linear(config.visual_3d_dim, config.hidden_dim)
        self.fusion = nn.Linear(2 * config.hidden_dim, config.hidden_dim)

    def forward(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor) -> tuple[Tensor, Tensor]:
        # The projection is affine, so averaging the frames first is the same function, k times cheaper.
        per_segment = visual_2d.unflatten(1, (audio.shape[1], -1)).mean(dim=2)
        visual = torch.cat([self.visual_2d(per_segment), self.visual_3d(visual_3d)], dim=-1)
        return self.audio(audio), self.fusion(visual)


class AVParser(nn.Module):
    """An encoder (MM-Pyr or HAN) and a decoder (LEAP or MMIL), for any T, C and widths.

    label_embeddings: (C, W) where the decoder reads them (`ParserConfig.needs_label_embeddings`); they travel with
    the checkpoint.
    """

    def __init__(self, config: ParserConfig, label_embeddings: Tensor | None = None) -> None:
        super().__init__()
        self.config = config
        self.unused_keys: tuple[str, ...] = ()  # what `load_published` found in the file and had no use for
        self.stem = FeatureStem(config)
        self.encoder = ENCODERS[config.encoder](config)
        self.decoder = DECODERS[config.decoder](config, label_embeddings)

    def forward(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor, *, lengths: Tensor | None = None
    ) -> ParserOutput:
        """Parse a batch.

        audio (B, T, A), visual_2d (B, kT, V), visual_3d (B, T, S); lengths (B,) holds the real number of
        segments of each video where a batch mixes them: what is past the end has no influence on the rest.
        Raises ValueError where the shapes disagree.
        """
        audio, visual, valid = self._encode(audio, visual_2d, visual_3d, lengths)
        batch, length, _ = audio.shape
        heard, seen, video_probs = self.decoder(audio, visual, valid)
        audio_segments, visual_segments = heard.segment_logits.sigmoid(), seen.segment_logits.sigmoid()
        if valid is not None:
            audio_segments = audio_segments * valid.unsqueeze(-1)
            visual_segments = visual_segments * valid.unsqueeze(-1)
        return ParserOutput(
            audio_segment_probs=audio_segments,
            visual_segment_probs=visual_segments,
            audio_video_probs=heard.video_probs,
            visual_video_probs=seen.video_probs,
            video_probs=video_probs,
            audio_hidden=audio,
            visual_hidden=visual,
            valid=torch.ones(batch, length, dtype=torch.bool, device=audio.device) if valid is None else valid,
            audio_segment_logits=heard.segment_logits,
            visual_segment_logits=seen.segment_logits,
            audio_video_logits=heard.video_logits,
            visual_video_logits=seen.video_logits,
            audio_attention=heard.attention,
            visual_attention=seen.attention,
            audio_label_hidden=heard.label_hidden,
            visual_label_hidden=seen.label_hidden,
        )

    def attention_maps(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Label-to-segment logits of every LEAP block, audio and visual: two (B, blocks, C, T).

        Takes what `forward` takes. The softmax over T is the attention of a block; at padded segments the logits are
        -inf. Raises ValueError where the shapes disagree and where the decoder is not LEAP, which alone attends.
        """
        if not isinstance(self.decoder, LeapDecoder):
            raise ValueError(f"the decoder {self.config.decoder!r} has no label-to-segment attention; leap has")
        audio, visual, valid = self._encode(audio, visual_2d, visual_3d, lengths)
        return self.decoder.attention_logits(audio, visual, valid)

    def _encode(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor, lengths: Tensor | None
    ) -> tuple[Tensor, Tensor, Tensor | None]:
        """The encoder's audio and visual (B, T, D), and which segments are real (B, T); None where all are."""
        self._check(audio, visual_2d, visual_3d, lengths)
        length = audio.shape[1]
        # Full-length batches run without masks: the published forward pass, and the faster one.
        valid = None if lengths is None or bool((lengths == length).all()) else segment_mask(lengths, length)
        audio, visual = self.encoder(*self.stem(audio, visual_2d, visual_3d), valid)
        return audio, visual, valid

    def _check(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor, lengths: Tensor | None) -> None:
        widths = (self.config.audio_dim, self.config.visual_2d_dim, self.config.visual_3d_dim)
        for name, tensor, width in zip(
            ("audio", "visual_2d", "visual_3d"), (audio, visual_2d, visual_3d), widths, strict=True
        ):
            if tensor.dim() != 3 or tensor.shape[-1] != width or len(tensor) != len(audio):
                raise ValueError(f"{name} is {tuple(tensor.shape)}, expected ({len(audio)}, T, {width})")
        segments = audio.shape[1]
        if segments == 0 or visual_3d.shape[1] != segments or visual_2d.shape[1] % segments:
            raise ValueError(
                f"segments disagree: audio {segments}, visual_2d {visual_2d.shape[1]}, visual_3d {visual_3d.shape[1]}"
            )
        if lengths is not None and (
            lengths.shape != (len(audio),) or bool((lengths < 1).any()) or bool((lengths > segments).any())
        ):
            raise ValueError(f"lengths must be {len(audio)} numbers from 1 to {segments}, got {lengths.tolist()}")


def build_parser(config: ParserConfig, label_embeddings: Tensor | None = None) -> AVParser:
    """A parser with freshly initialised parameters. label_embeddings: (C, W) float, where the decoder reads them."""
    return AVParser(config, label_embeddings)
