"""Count the parameters and multiply-adds of a parser's modules."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...models.config import ParserConfig
from ...models.labels import LLP_LABELS
from ...models.parser import AVParser
from ..evaluation.tables import Table
from ..features.npy_folders import PUBLISHED_SPEC
from .recipe import load_recipe
from .recipe_parts import build_recipe_parser

_PARTS = ("stem", "encoder", "decoder")
_GLOVE_DIM = 300
_LLP_SEGMENTS = 10


class ModuleStats(NamedTuple):
    """Size of one module of a parser."""

    name: str
    parameters: int
    unused_when_published: int  # further parameters, which the published program stores and never reads
    multiply_adds: int  # for one video


def recipe_parser(recipe: str, changes: Iterable[str] = ()) -> AVParser:
    """Build the parser that a recipe trains on LLP.

    Args:
        recipe: name or file.
        changes: settings to change, "table.key=value".

    Returns:
        The parser, untrained.

    Raises:
        SetupError: the recipe is unknown or invalid, or a part of another package cannot be built.
    """
    loaded = load_recipe(recipe, changes)
    config = loaded.parser_config(LLP_LABELS, PUBLISHED_SPEC.dims, _LLP_SEGMENTS, _GLOVE_DIM)
    return build_recipe_parser(loaded, config, torch.zeros(len(LLP_LABELS), _GLOVE_DIM))


def count_parts(parser: AVParser, segments: int | None = None) -> list[ModuleStats]:
    """Count stem, encoder and decoder.

    Args:
        parser: on the CPU.
        segments: seconds of the video whose multiply-adds are counted; by default the parser's window.

    Returns:
        The three modules.
    """
    config = parser.config
    length = segments or config.segments
    dims = (config.audio_dim, config.visual_2d_dim, config.visual_3d_dim)
    rate = PUBLISHED_SPEC.frames_per_segment
    inputs = [torch.zeros(1, length * rows, dim) for rows, dim in zip((1, rate, 1), dims, strict=True)]
    counter = FlopCounterMode(display=False)
    # Without gradients the counter fails at a parameter that is an argument of a module, unless it requires none. It
    # does not count the products of fused attention.
    copied = copy.deepcopy(parser).eval().requires_grad_(False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        copied(*inputs)
    flops = counter.get_flop_counts()
    unused = unused_when_published(config)
    return [
        ModuleStats(
            name,
            _parameters(getattr(parser, name)),
            unused.get(name, 0),
            sum(flops.get(f"{type(parser).__name__}.{name}", {}).values()) // 2,
        )
        for name in _PARTS
    ]


def unused_when_published(config: ParserConfig) -> dict[str, int]:
    """Count the parameters that the published programs store but never use in a forward pass.

    MM-Pyr and LEAP: one template of attention and feed-forward each for the pyramid, its fusion and LEAP, from which
    layers are copied; and a norm inside each attention. HAN: three further encoders and two norms. VALOR: two norms.

    Args:
        config: of the parser.

    Returns:
        Module name -> number of parameters.
    """
    dim, inner = config.hidden_dim, config.feedforward_dim
    linear, norm = dim * dim + dim, 2 * dim
    feedforward = 2 * dim * inner + dim + inner
    template = 4 * linear + norm + feedforward
    unused: dict[str, int] = {}
    if config.encoder == "mmpyr":
        unused["encoder"] = 2 * template + norm * (3 * config.levels + 2)
    elif config.encoder == "han":
        valor = config.han_order == "sequential"
        unused["encoder"] = 2 * norm if valor else 3 * (4 * linear + feedforward + 2 * norm) + 4 * norm
    if config.decoder == "leap":
        unused["decoder"] = template + norm * 2 * config.leap_blocks
    return unused


def info_table(name: str, parser: AVParser, parts: list[ModuleStats], segments: int | None) -> Table:
    """Make a table of the modules and their sum.

    Args:
        name: of the parser, for the title.
        parser: the parser.
        parts: of `count_parts`.
        segments: that they were counted with.

    Returns:
        The table, with a comparison to the LEAP paper where it applies.
    """
    parameters = sum(part.parameters for part in parts)
    unused = sum(part.unused_when_published for part in parts)
    total = ModuleStats("whole", parameters, unused, sum(part.multiply_adds for part in parts))
    rows = [
        (
            part.name,
            f"{part.parameters:,}",
            f"{part.parameters + part.unused_when_published:,}",
            _millions(part.multiply_adds),
        )
        for part in (*parts, total)
    ]
    header = ("part", "parameters", "as published", "multiply-adds")
    config = parser.config
    notes = [
        f"{config.encoder} + {config.decoder}, {len(config.labels)} classes; for a video of"
        f" {segments or config.segments} seconds. 'As published' adds parameters that the published program stores and"
        " never reads; they are left out when its weights are loaded.",
    ]
    notes += [f"The {part} is of {part.package} {part.version}." for part in parser.parts]
    if config.encoder == "mmpyr" and config.decoder == "leap":
        notes.append(
            "The LEAP paper states 52.01M parameters, 7.89M of them LEAP (without label projection and video heads),"
            " and 791M multiply-adds, 146M of them LEAP. The stem needs fewer here: frames are averaged before they"
            " are projected, which gives the same result."
        )
    return Table(f"{name}: parameters and multiply-adds", header, tuple(rows), tuple(notes))


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def _millions(count: int) -> str:
    return f"{count / 1e6:.1f}M"
