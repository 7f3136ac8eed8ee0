"""Encoders and decoders by name: this program's, and those of other packages with the checks of their contract.

A part of another package is a class or a function that is called when a parser is built. Shapes: B batch, T segments,
C classes, D `ParserConfig.hidden_dim`, W `ParserConfig.label_embedding_dim`.

encoder    ``part(config, **encoder_options)`` returns a module with ``forward(audio, visual, valid)``: (B, T, D) of
           each modality, and which segments are real, (B, T) bool or None where all are; it returns audio and visual
           (B, T, D).
decoder    ``part(config, label_embeddings, **decoder_options)`` returns a module with ``forward(audio, visual, valid)``
           that returns a `DecoderOutput`. `label_embeddings` are (C, W) float, or None with
           ``label_queries = "learned"``.

Padded segments must not change the outputs of the others. Modules are built on the device "meta", too, where tensors
have no values.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..weights.parts import Part, load_part
from .classwise import ClasswiseDecoder
from .config import ParserConfig
from .decoder_output import DecoderOutput, ModalityPrediction
from .dhhn import ScaledHAN, ScaledMMIL
from .evidence import EvidenceDecoder
from .groups import GroupsDecoder
from .han import HAN
from .leap import LeapDecoder, check_label_embeddings
from .mgn import MGN
from .mmil import MMILDecoder
from .mmpyr import MMPyramid

ENCODERS: dict[str, Callable[[ParserConfig], nn.Module]] = {
    "mmpyr": MMPyramid,
    "han": lambda config: ScaledHAN(config) if config.scales > 1 else HAN(config),
    "mgn": MGN,
}
DECODERS: dict[str, Callable[[ParserConfig, Tensor | None], nn.Module]] = {
    "leap": LeapDecoder,
    "mmil": lambda config, _: ScaledMMIL(config) if config.scales > 1 else MMILDecoder(config),
    "evidence": lambda config, _: EvidenceDecoder(config),
    "classwise": lambda config, _: ClasswiseDecoder(config),
    "groups": lambda config, _: GroupsDecoder(config),
}

_BATCH = 2
_MOST_SEGMENTS = 6  # of the inputs that parts are tried with
_MOST_DIFFERENCE = 1e-3  # of outputs near 1 with other padding; rounding is far below


def build_encoder(config: ParserConfig, trust: Iterable[str] = ()) -> tuple[nn.Module, Part | None]:
    """Build the encoder that a configuration names.

    Args:
        config: the architecture.
        trust: packages that "module:Name" may name, see `load_part`.

    Returns:
        The encoder, and the part if it is of another package.

    Raises:
        ValueError: the part cannot be loaded or built, or is no module.
    """
    if config.encoder in ENCODERS:
        return ENCODERS[config.encoder](config), None
    part = load_part("encoder", config.encoder, ENCODERS, trust)
    return _module(part, part.call(config, **config.encoder_options)), part


def build_decoder(
    config: ParserConfig, label_embeddings: Tensor | None, trust: Iterable[str] = ()
) -> tuple[nn.Module, Part | None]:
    """Build the decoder that a configuration names.

    Args:
        config: the architecture.
        label_embeddings: (C, W) float, required when `config.needs_label_embeddings`.
        trust: packages that "module:Name" may name, see `load_part`.

    Returns:
        The decoder, and the part if it is of another package.

    Raises:
        ValueError: the part cannot be loaded or built, or is no module; or the label embeddings are missing or have the
            wrong shape.
    """
    if config.decoder in DECODERS:
        return DECODERS[config.decoder](config, label_embeddings), None
    part = load_part("decoder", config.decoder, DECODERS, trust)
    expected = (len(config.labels), config.label_embedding_dim)
    given = check_label_embeddings(label_embeddings, expected) if config.needs_label_embeddings else None
    return _module(part, part.call(config, given, **config.decoder_options)), part


def try_encoder(part: Part, encoder: nn.Module, config: ParserConfig) -> None:
    """Check an encoder of another package with random inputs, with and without padding.

    Args:
        part: that it was built by.
        encoder: with parameters, on the CPU.
        config: of its parser.

    Raises:
        ValueError: it fails, its outputs have other shapes than they must, or depend on padded segments.
    """

    def check(outputs: object, batch: int, length: int) -> list[Tensor]:
        expected = (batch, length, config.hidden_dim)
        if not isinstance(outputs, tuple) or len(outputs) != 2:
            raise ValueError(f"the {part} returned {_kind(outputs)}, expected audio and visual of {expected} each")
        return [
            _checked(part, name, tensor, expected) for name, tensor in zip(("audio", "visual"), outputs, strict=True)
        ]

    _try(part, encoder, config, check)


def try_decoder(part: Part, decoder: nn.Module, config: ParserConfig) -> None:
    """Check a decoder of another package; arguments and errors as in `try_encoder`."""
    classes = len(config.labels)

    def check(outputs: object, batch: int, length: int) -> list[Tensor]:
        if not isinstance(outputs, DecoderOutput):
            raise ValueError(f"the {part} returned {_kind(outputs)}, expected a DecoderOutput")
        found = [_checked_probs(part, "video_probs", outputs.video_probs, (batch, classes))]
        for name, modality in (("audio", outputs.audio), ("visual", outputs.visual)):
            if not isinstance(modality, ModalityPrediction):
                raise ValueError(f"the {part} returned {_kind(modality)} as {name}, expected a ModalityPrediction")
            found += [
                _checked(part, f"{name}.segment_logits", modality.segment_logits, (batch, length, classes)),
                _checked_probs(part, f"{name}.video_probs", modality.video_probs, (batch, classes)),
            ]
            if modality.segment_probs is not None:
                found.append(_checked(part, f"{name}.segment_probs", modality.segment_probs, (batch, length, classes)))
            if modality.video_logits is not None:
                _checked(part, f"{name}.video_logits", modality.video_logits, (batch, classes))
        if (outputs.audio.video_logits is None) != (outputs.visual.video_logits is None):
            raise ValueError(f"the {part} has video_logits for one modality, expected them for both or for none")
        return found

    _try(part, decoder, config, check)


def _try(
    part: Part, module: nn.Module, config: ParserConfig, check: Callable[[object, int, int], list[Tensor]]
) -> None:
    """Run a module on full batches, and on padded ones whose padding differs; compare what is real."""
    length = min(config.segments, _MOST_SEGMENTS)
    real = max(1, length - 2)  # segments of the second, padded input
    generator = torch.Generator().manual_seed(0)
    inputs = [torch.randn(_BATCH, length, config.hidden_dim, generator=generator) for _ in range(2)]
    valid = torch.ones(_BATCH, length, dtype=torch.bool)
    valid[1, real:] = False
    audio, visual = inputs
    with _evaluating(module):
        check(_run(part, module, audio, visual, None), _BATCH, length)
        padded = check(_run(part, module, audio, visual, valid), _BATCH, length)
        for tensor in inputs:
            tensor[1, real:] = torch.randn(length - real, config.hidden_dim, generator=generator)
        other = check(_run(part, module, audio, visual, valid), _BATCH, length)
    for first, second in zip(padded, other, strict=True):
        if first.dim() == 3:  # (B, T, ...): outputs at padded segments are not used
            first, second = first * valid.unsqueeze(-1), second * valid.unsqueeze(-1)  # noqa: PLW2901
        difference = float(((first - second).abs() / (1 + first.abs())).max())
        if not difference <= _MOST_DIFFERENCE:
            raise ValueError(
                f"the {part} depends on padding: outputs of real segments change by {difference:.2g} with the values of"
                " padded ones; use `valid` (B, T), True on real segments"
            )


def _run(part: Part, module: nn.Module, audio: Tensor, visual: Tensor, valid: Tensor | None) -> Any:
    """Call a module that a part has built. Raises ValueError that names the part."""
    return replace(part, value=module).call(audio, visual, valid)


@contextmanager
def _evaluating(module: nn.Module) -> Iterator[None]:
    """Set a module to evaluation mode within the context, without gradients; the random state stays as it is."""
    training = module.training
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        try:
            module.eval()
            yield
        finally:
            module.train(training)


def _module(part: Part, value: object) -> nn.Module:
    if not isinstance(value, nn.Module):
        raise ValueError(f"the {part} returned {_kind(value)}, expected a torch.nn.Module")
    return value


def _checked(part: Part, name: str, tensor: object, shape: tuple[int, ...]) -> Tensor:
    if not isinstance(tensor, Tensor) or tuple(tensor.shape) != shape or not tensor.is_floating_point():
        raise ValueError(f"the {part} returned {_kind(tensor)} as {name}, expected float of {shape}")
    if not bool(tensor.isfinite().all()):
        raise ValueError(f"the {part} returned values that are not finite as {name}")
    return tensor


def _checked_probs(part: Part, name: str, tensor: object, shape: tuple[int, ...]) -> Tensor:
    probs = _checked(part, name, tensor, shape)
    least, most = (float(bound) for bound in torch.aminmax(probs))
    # Sums of weighted probabilities can exceed 1 by rounding.
    if least < -_MOST_DIFFERENCE or most > 1 + _MOST_DIFFERENCE or math.isnan(least):
        raise ValueError(f"the {part} returned {least:.3g} to {most:.3g} as {name}, expected probabilities")
    return probs


def _kind(value: object) -> str:
    if isinstance(value, Tensor):
        return f"{str(value.dtype).removeprefix('torch.')} of {tuple(value.shape)}"
    return f"{len(value)} values" if isinstance(value, tuple) else type(value).__name__
