"""The parser network: features of a video -> probabilities per segment, class and modality."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..weights.parameters import check_count
from ..weights.parts import Part
from .config import ParserConfig
from .decoder_output import ParserOutput, join_outputs, mix_outputs, segment_probs
from .dhhn import Guides
from .encoded import Encoded
from .layers import Dropout, segment_mask
from .leap import LeapDecoder
from .mgn import MGN, initialize
from .parts import build_decoder, build_encoder, try_decoder, try_encoder
from .stems import STEMS

__all__ = [
    "AVParser",
    "NetworkPair",
    "ParserOutput",
    "build_parser",
    "join_networks",
    "meta_parser",
    "parser_shapes",
    "restore_parser",
]


class AVParser(nn.Module):
    """Audio-visual video parser: feature stem, encoder (such as MM-Pyr or HAN), decoder (such as LEAP or MMIL).

    Encoder and decoder can be of other packages, see `parts`.

    Args:
        config: the architecture.
        label_embeddings: (C, W) float, required when `config.needs_label_embeddings`; saved in checkpoints.
        trust: packages whose encoders and decoders the configuration may name by "module:Name".

    Attributes:
        unused_keys: keys of a published file that `load_published` did not need; empty for other parsers.
        parts: encoder and decoder, as far as they are of other packages.
        guides: networks that guide the training, if the configuration has them.

    Raises:
        ValueError: the label embeddings are missing or have the wrong shape, or a part of another package is not
            trusted or cannot be built.
    """

    def __init__(
        self, config: ParserConfig, label_embeddings: Tensor | None = None, *, trust: Iterable[str] = ()
    ) -> None:
        super().__init__()
        self.config = config
        self.unused_keys: tuple[str, ...] = ()
        self.stem = STEMS[config.stem](config)
        self.encoder, encoder = build_encoder(config, trust)
        self.decoder, decoder = build_decoder(config, label_embeddings, trust)
        self.visual_dropout = Dropout(config.visual_dropout)
        self.guides = Guides(config) if config.guides else None
        self.parts: tuple[Part, ...] = tuple(part for part in (encoder, decoder) if part is not None)
        if isinstance(self.encoder, MGN):
            self.apply(initialize)

    def try_parts(self) -> None:
        """Check encoder and decoder of other packages with small random inputs; nothing where there are none.

        The parser is on the CPU and has its parameters.

        Raises:
            ValueError: a part fails, returns other shapes than it must, or depends on padded segments.
        """
        for part in self.parts:
            if part.kind == "encoder":
                try_encoder(part, self.encoder, self.config)
            else:
                try_decoder(part, self.decoder, self.config)

    def forward(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> ParserOutput:
        """Parse a batch of videos.

        Args:
            audio: (B, T, audio_dim) float.
            visual_2d: (B, kT, visual_2d_dim) float, k frames per segment.
            visual_3d: (B, T, visual_3d_dim) float; None where `visual_3d_dim` is 0.
            lengths: (B,) int, real segments of each video, 1 to T; None when every video has T. Padded segments do not
                influence the others.

        Returns:
            Predictions for every segment and for the videos.

        Raises:
            ValueError: the shapes are wrong or disagree.
        """
        return self.predict(audio, visual_2d, visual_3d, self._valid(audio, visual_2d, visual_3d, lengths))

    def predict(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, valid: Tensor | None) -> ParserOutput:
        """Parse a batch of videos without checking it: no value is read, so that it can be exported.

        Args:
            audio: as in `forward`.
            visual_2d: as in `forward`.
            visual_3d: as in `forward`.
            valid: (B, T) bool, True on real segments; None when there is no padding.

        Returns:
            As `forward`.
        """
        encoded = self.encode(audio, visual_2d, visual_3d, valid)
        output = self.decode(encoded, valid)
        if encoded.others is not None:
            output = mix_outputs(output, self.decode(encoded.others, valid), self.config.self_attention_share)
        if self.guides is None:
            return output
        audio_probs, visual_probs = self.guides(audio, visual_2d, visual_3d, valid)
        return replace(output, audio_guide_probs=audio_probs, visual_guide_probs=visual_probs)

    def encode(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, valid: Tensor | None) -> Encoded:
        """Compute what the decoder reads; arguments as for `predict`."""
        projected = self.stem(audio, visual_2d, visual_3d)
        encoded = self.encoder(*projected, valid)
        return encoded if isinstance(encoded, Encoded) else Encoded(*encoded, *projected)

    def decode(self, encoded: Encoded, valid: Tensor | None) -> ParserOutput:
        """Predict from encoded segments.

        Args:
            encoded: of `encode`.
            valid: as for `predict`.

        Returns:
            As `forward`.
        """
        audio, visual = encoded.audio, encoded.visual
        read = encoded._replace(visual=self.visual_dropout(visual))
        if getattr(self.decoder, "reads_encoded", False):
            decoded = self.decoder(read, valid)
        else:
            decoded = self.decoder(read.audio, read.visual, valid)
        from_audio, from_visual = decoded.audio, decoded.visual
        batch, length, _ = audio.shape
        return ParserOutput(
            audio_segment_probs=segment_probs(from_audio, valid),
            visual_segment_probs=segment_probs(from_visual, valid),
            audio_video_probs=from_audio.video_probs,
            visual_video_probs=from_visual.video_probs,
            video_probs=decoded.video_probs,
            audio_hidden=audio,
            visual_hidden=visual,
            valid=torch.ones(batch, length, dtype=torch.bool, device=audio.device) if valid is None else valid,
            audio_segment_logits=from_audio.segment_logits,
            visual_segment_logits=from_visual.segment_logits,
            audio_video_logits=from_audio.video_logits,
            visual_video_logits=from_visual.video_logits,
            audio_attention=from_audio.attention,
            visual_attention=from_visual.attention,
            audio_label_hidden=from_audio.label_hidden,
            visual_label_hidden=from_visual.label_hidden,
            audio_projected=encoded.projected_audio,
            visual_projected=encoded.projected_visual,
            audio_pooling_logits=from_audio.pooling_logits,
            visual_pooling_logits=from_visual.pooling_logits,
            audio_uncertainty=from_audio.uncertainty,
            visual_uncertainty=from_visual.uncertainty,
            video_uncertainty=decoded.video_uncertainty,
            audio_token_logits=from_audio.token_logits,
            visual_token_logits=from_visual.token_logits,
        )

    def without_guides(self) -> tuple[ParserConfig, dict[str, Tensor]]:
        """Return configuration and tensors of what is left after the training: the parser without its guides."""
        tensors = self.state_dict()
        if self.guides is None:
            return self.config, tensors
        kept = {key: tensor for key, tensor in tensors.items() if not key.startswith("guides.")}
        return replace(self.config, guides=False), kept

    def attention_maps(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the label-to-segment logits of every LEAP block; arguments as in `forward`.

        The softmax over T of a block's logits is its attention.

        Returns:
            Audio and visual logits, (B, blocks, C, T) each, -inf at padded segments.

        Raises:
            ValueError: the shapes are wrong or disagree, or the decoder is not LEAP and has no such attention.

        Source:
            LEAP paper, Figs. 5 and 6.
        """
        if not isinstance(self.decoder, LeapDecoder):
            raise ValueError(f"the decoder {self.config.decoder!r} has no label-to-segment attention; leap has")
        valid = self._valid(audio, visual_2d, visual_3d, lengths)
        encoded = self.encode(audio, visual_2d, visual_3d, valid)
        return self.decoder.attention_logits(encoded.audio, encoded.visual, valid)

    def _valid(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, lengths: Tensor | None
    ) -> Tensor | None:
        """Check a batch. Return which segments are real (B, T), None if all are."""
        self._check(audio, visual_2d, visual_3d, lengths)
        length = audio.shape[1]
        # Full-length batches run without masks: the published forward pass, and the faster one.
        return None if lengths is None or bool((lengths == length).all()) else segment_mask(lengths, length)

    def _check(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, lengths: Tensor | None) -> None:
        expected = self.config.stream_dims
        features = {"audio": audio, "visual_2d": visual_2d} | ({} if visual_3d is None else {"visual_3d": visual_3d})
        if features.keys() != expected.keys():
            raise ValueError(f"the features are {', '.join(features)}; the parser reads {', '.join(expected)}")
        for name, tensor in features.items():
            # `len` would fix the size of the batch in exported programs.
            if tensor.dim() != 3 or tensor.shape[-1] != expected[name] or tensor.shape[0] != audio.shape[0]:
                raise ValueError(f"{name} is {tuple(tensor.shape)}, expected ({audio.shape[0]}, T, {expected[name]})")
        segments = audio.shape[1]
        per_second = audio if visual_3d is None else visual_3d
        if segments == 0 or per_second.shape[1] != segments or visual_2d.shape[1] % segments:
            found = ", ".join(f"{name} {tensor.shape[1]}" for name, tensor in features.items())
            raise ValueError(f"segments disagree: {found}")
        if lengths is not None and (
            lengths.shape != (len(audio),) or bool((lengths < 1).any()) or bool((lengths > segments).any())
        ):
            raise ValueError(f"lengths must be {len(audio)} numbers from 1 to {segments}, got {lengths.tolist()}")


class NetworkPair(AVParser):
    """Two whole parsers as one: the audio predictions are those of the first, the visual ones those of the second.

    The probability of a class in the video is the mean of both networks'. Arguments and errors as for `AVParser`.

    Source:
        Jiang et al., ACM MM 2022 (github.com/anonyUsr22/DHHN), whose networks are two epochs of one training.
    """

    def __init__(
        self, config: ParserConfig, label_embeddings: Tensor | None = None, *, trust: Iterable[str] = ()
    ) -> None:
        nn.Module.__init__(self)  # without the parts of a single network
        self.config = config
        self.unused_keys = ()
        self.guides = None
        single = replace(config, modality_networks=False)
        self.audio_network = AVParser(single, label_embeddings, trust=trust)
        self.visual_network = AVParser(single, label_embeddings, trust=trust)
        self.parts = self.audio_network.parts

    def try_parts(self) -> None:
        """Check the parts of both networks, see `AVParser.try_parts`."""
        self.audio_network.try_parts()
        self.visual_network.try_parts()

    def predict(self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, valid: Tensor | None) -> ParserOutput:
        """Parse a batch of videos without checking it; arguments as for `AVParser.predict`."""
        streams = audio, visual_2d, visual_3d, valid
        return join_outputs(self.audio_network.predict(*streams), self.visual_network.predict(*streams))

    def attention_maps(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None = None, *, lengths: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Compute the label-to-segment logits of both networks; arguments as for `AVParser.attention_maps`."""
        networks = self.audio_network, self.visual_network
        first, second = (network.attention_maps(audio, visual_2d, visual_3d, lengths=lengths) for network in networks)
        return first[0], second[1]


def join_networks(audio: AVParser, visual: AVParser, *, trust: Iterable[str] = ()) -> AVParser:
    """Join two parsers of one architecture, such as two epochs of a training.

    Args:
        audio: its audio predictions are used. Guides are left out.
        visual: its visual predictions are used.
        trust: as for `build_parser`.

    Returns:
        A parser with copies of both, in eval mode on the CPU.

    Raises:
        ValueError: their architectures differ, or they are joined already.
    """
    (config, first), (other, second) = audio.without_guides(), visual.without_guides()
    if config != other or config.modality_networks:
        raise ValueError("networks of two architectures, or of joined networks, cannot be joined")
    named = {f"audio_network.{key}": tensor for key, tensor in first.items()}
    named |= {f"visual_network.{key}": tensor for key, tensor in second.items()}
    tensors = {key: tensor.detach().cpu().clone() for key, tensor in named.items()}
    return restore_parser(replace(config, modality_networks=True), tensors, trust)


def build_parser(
    config: ParserConfig, label_embeddings: Tensor | None = None, *, trust: Iterable[str] = ()
) -> AVParser:
    """Build a parser with newly initialised parameters.

    Args:
        config: the architecture.
        label_embeddings: (C, W) float, required when `config.needs_label_embeddings`.
        trust: packages whose encoders and decoders the configuration may name by "module:Name".

    Returns:
        The parser, in training mode on the CPU; parts of other packages have been tried.

    Raises:
        ValueError: the label embeddings are missing or have the wrong shape, or a part of another package is not
            trusted, cannot be built or does not do what it must.
    """
    parser = _new_parser(config, label_embeddings, trust)
    parser.try_parts()
    return parser


def meta_parser(config: ParserConfig, trust: Iterable[str] = ()) -> AVParser:
    """Build a parser without allocating its tensors, which `load_state_dict` with `assign` then sets.

    Args:
        config: the architecture.
        trust: as for `build_parser`.

    Returns:
        The parser, in training mode on the device "meta".
    """
    with torch.device("meta"):
        return _new_parser(config, _empty_embeddings(config), trust)


def parser_shapes(config: ParserConfig, trust: Iterable[str] = ()) -> dict[str, tuple[int, ...]]:
    """Compute the shapes of a parser's tensors without allocating them.

    Args:
        config: the architecture.
        trust: as for `build_parser`.

    Returns:
        Key of `state_dict` -> shape.

    Raises:
        ValueError: the parser has more parameters than a network may have, or a part of another package is not trusted
            or cannot be built.
    """
    shapes = {key: tuple(tensor.shape) for key, tensor in meta_parser(config, trust).state_dict().items()}
    check_count(shapes)
    return shapes


def restore_parser(config: ParserConfig, tensors: Mapping[str, Tensor], trust: Iterable[str] = ()) -> AVParser:
    """Build a parser with the parameters of a file.

    Args:
        config: the architecture.
        tensors: key of `state_dict` -> tensor, with the shapes of `parser_shapes`; they are kept, not copied.
        trust: as for `build_parser`.

    Returns:
        The parser, in eval mode on the CPU; parts of other packages have been tried.

    Raises:
        ValueError: a part of another package is not trusted, cannot be built or does not do what it must.
    """
    parser = meta_parser(config, trust)
    if parser.parts:  # they may have tensors that are not in the file
        parser = _new_parser(config, _empty_embeddings(config), trust)
    parser.load_state_dict(tensors, assign=True)
    parser.eval().try_parts()
    return parser


def _new_parser(config: ParserConfig, label_embeddings: Tensor | None, trust: Iterable[str]) -> AVParser:
    kind = NetworkPair if config.modality_networks else AVParser
    return kind(config, label_embeddings, trust=trust)


def _empty_embeddings(config: ParserConfig) -> Tensor | None:
    return torch.zeros(len(config.labels), config.label_embedding_dim) if config.needs_label_embeddings else None
