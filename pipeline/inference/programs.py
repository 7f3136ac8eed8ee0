"""Networks in the form that is exported and converted: tensors in, a tuple of tensors out, no choice by a value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ...extractors.base import Extractor
from ...extractors.sampling import Stream, rows_per_segment
from ...models.layers import segment_mask
from ...models.localizers.localizer import EventLocalizer
from ...models.parser import AVParser
from ...weights.messages import first_line
from ..errors import SetupError
from .networks import Network, network_features
from .output_tables import has_pooled

PARSER = "parser"
_EXAMPLES = 2  # inputs in the batch that a network is traced with

_OUTPUTS = ("audio_segment_probs", "visual_segment_probs", "audio_video_probs", "visual_video_probs")
POOLED = "video_probs"  # of parsers with `has_pooled`
_LOCALIZER_OUTPUTS = ("segment_probs", "spatial_attention")
OUTPUTS_PER_SECOND = ("audio_segment_probs", "visual_segment_probs", *_LOCALIZER_OUTPUTS)  # (B, T, ...)


class ParserProgram(nn.Module):
    """A parser of windows of T segments, (B, T, ...), that takes the number of real segments of each.

    Args:
        parser: in eval mode, on the CPU.
    """

    def __init__(self, parser: AVParser) -> None:
        super().__init__()
        self.parser = parser

    def forward(
        self, audio: Tensor, visual_2d: Tensor, visual_3d: Tensor | None, lengths: Tensor
    ) -> tuple[Tensor, ...]:
        output = self.parser.predict(audio, visual_2d, visual_3d, segment_mask(lengths, audio.shape[1]))
        found = tuple(getattr(output, name) for name in _OUTPUTS)
        pooled = (output.video_probs,) if has_pooled(output, self.parser.config) else ()
        # Decoders that pool give sums of weighted probabilities, which rounding can take beyond 1; MGN's segments are.
        return tuple(probs.clamp(0, 1) for probs in (*found, *pooled))


class TwoStreamProgram(nn.Module):
    """A parser of features without clips of frames: visual_3d is not among its inputs.

    Args:
        program: of the parser.
    """

    def __init__(self, program: ParserProgram) -> None:
        super().__init__()
        self.program = program

    def forward(self, audio: Tensor, visual_2d: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        return self.program(audio, visual_2d, None, lengths)


class LocalizerProgram(nn.Module):
    """A localizer of windows of T segments, (B, T, ...), that takes the number of real segments of each.

    Args:
        localizer: in eval mode, on the CPU.
    """

    def __init__(self, localizer: EventLocalizer) -> None:
        super().__init__()
        self.localizer = localizer

    def forward(self, audio: Tensor, visual_map: Tensor, lengths: Tensor) -> tuple[Tensor, ...]:
        output = self.localizer.predict(audio, visual_map, segment_mask(lengths, audio.shape[1]))
        return tuple(getattr(output, name).to(audio.dtype) for name in _LOCALIZER_OUTPUTS)


class ExtractorProgram(nn.Module):
    """An extractor that takes reduced inputs (N, *shape), see `InputFormat`, and prepares them itself.

    Args:
        extractor: in eval mode, on the CPU.
    """

    def __init__(self, extractor: Extractor) -> None:
        super().__init__()
        self.extractor = extractor

    def forward(self, inputs: Tensor) -> tuple[Tensor, ...]:
        return (self.extractor(self.extractor.prepare(inputs)),)


@dataclass(frozen=True)
class Program:
    """A network to export. The first axis of all inputs and outputs is the batch, of any size."""

    name: str  # `PARSER` or a stream
    module: nn.Module
    examples: Mapping[str, Tensor]  # input name -> tensor
    outputs: tuple[str, ...]  # names

    def trace(self) -> torch.export.ExportedProgram:
        """Trace the network with torch.export, without a record of where the code is on this machine.

        Raises SetupError if it cannot be traced.
        """
        batch = torch.export.Dim("batch")
        arguments = tuple(self.examples.values())
        try:
            with torch.no_grad():
                traced = torch.export.export(self.module, arguments, dynamic_shapes=({0: batch},) * len(arguments))
        except Exception as error:  # whatever a part of another package does
            raise SetupError(
                f"the {self.name} cannot be exported by torch.export: {type(error).__name__}: {first_line(error)}"
            ) from error
        for node in traced.graph.nodes:
            node.meta.pop("stack_trace", None)
        return traced

    def run(self, arrays: Sequence[NDArray[np.generic]]) -> list[NDArray[np.float32]]:
        """Run the network itself.

        Args:
            arrays: in the order of `examples`.

        Returns:
            The outputs.
        """
        with torch.inference_mode():
            return [tensor.numpy() for tensor in self.module(*map(torch.from_numpy, arrays))]


def parser_program(parser: Network, frames_per_segment: int) -> Program:
    """Make the program of a parser or a localizer.

    Args:
        parser: in eval mode, on the CPU.
        frames_per_segment: rows per second of the visual 2D features.

    Returns:
        The program, for windows of `config.segments` seconds.
    """
    length = parser.config.segments
    rows = {
        stream: (length * rows_per_segment(stream, frames_per_segment), width)
        for stream, width in network_features(parser.config).items()
    }
    examples: dict[str, Tensor] = {stream: torch.zeros(_EXAMPLES, *shape) for stream, shape in rows.items()}
    if isinstance(parser, EventLocalizer):
        module: nn.Module = LocalizerProgram(parser)
        outputs = _LOCALIZER_OUTPUTS
    else:
        with torch.inference_mode():
            pooled = has_pooled(parser(*examples.values()), parser.config)
        program = ParserProgram(parser)
        module = program if parser.config.visual_3d_dim else TwoStreamProgram(program)
        outputs = (*_OUTPUTS, *([POOLED] if pooled else []))
    examples["lengths"] = torch.full((_EXAMPLES,), length, dtype=torch.int64)
    return Program(PARSER, module, examples, outputs)


def extractor_programs(extractors: Mapping[str, Extractor]) -> dict[Stream, Program]:
    """Make the programs of extractors.

    Args:
        extractors: name -> plain extractor of each stream, in eval mode, on the CPU.

    Returns:
        Stream -> program, in the order of the extractors.
    """
    programs: dict[Stream, Program] = {}
    for extractor in extractors.values():
        form = extractor.input_format
        example = torch.from_numpy(np.zeros((_EXAMPLES, *form.shape), form.dtype))
        program = Program(extractor.stream, ExtractorProgram(extractor), {"inputs": example}, ("features",))
        programs[extractor.stream] = program
    return programs
