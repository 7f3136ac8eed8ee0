"""Count the parameters and multiply-adds of a network's modules."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace
from typing import NamedTuple

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import AVE_STREAMS
from ...models.config import ParserConfig
from ...models.labels import AVE_LABELS, LLP_LABELS
from ...models.layers import Dropout
from ...models.localizers.config import LocalizerConfig
from ...models.open.adapter import AdapterConfig
from ...models.teacher import TeacherConfig
from ..descriptions import describe_decision
from ..evaluation.tables import Table
from ..features.npy_folders import PUBLISHED_SPEC
from ..inference.networks import TrainedConfig, TrainedNetwork, network_features
from .recipe import load_recipe
from .recipe_parts import build_recipe_network, embedding_labels
from .tasks import network_config

_GLOVE_DIM = 300
_SEGMENTS = 10  # of a clip in LLP and in AVE
_AVE_SPEC = FeatureSpec("ave", 1, ("vggish", "vgg19"), (128, 7 * 7 * 512), frames_per_segment=16, streams=AVE_STREAMS)
_TEACHER_SPEC = FeatureSpec("clip-clap", 1, ("clap", "clip"), (512, 768), 1, streams=("audio", "visual_2d"))
_SPECS = {"avel": (AVE_LABELS, _AVE_SPEC), "teacher": (LLP_LABELS, _TEACHER_SPEC)}
_SPECS["open"] = _SPECS["teacher"]
# Parameters that the published programs of localizers store and never read, with their own sizes and classes: extra
# classifiers and projections (PSP), templates of layers, unused attention and norms (CMBS).
_UNUSED_OF_LOCALIZERS = {
    ("psp", "full"): 118_594,
    ("psp", "weak"): 349,
    ("cmbs", "full"): 4_344_064,
    ("cmbs", "weak"): 5_393_921,
    ("cpsp", "full"): 120_192,
    ("cpsp", "weak"): 120_192,
}


class ModuleStats(NamedTuple):
    """Size of one module of a network."""

    name: str
    parameters: int
    unused_when_published: int  # further parameters, which the published program stores and never reads
    multiply_adds: int  # for one video


def recipe_network(recipe: str, changes: Iterable[str] = ()) -> TrainedNetwork:
    """Build the network that a recipe trains on LLP or, for the task avel, on AVE. Others have LLP's classes.

    Args:
        recipe: name or file.
        changes: settings to change, "table.key=value".

    Returns:
        The network, untrained.

    Raises:
        SetupError: the recipe is unknown or invalid, or a part of another package cannot be built.
    """
    loaded = load_recipe(recipe, changes)
    labels, spec = _SPECS.get(loaded.task, (LLP_LABELS, PUBLISHED_SPEC))
    width = sum(spec.dims) if loaded.task in {"teacher", "open"} else _GLOVE_DIM
    config = network_config(loaded, labels, spec, _SEGMENTS, width)
    return build_recipe_network(loaded, config, torch.zeros(len(embedding_labels(config)), width))


def count_parts(network: TrainedNetwork, segments: int | None = None) -> list[ModuleStats]:
    """Count the modules of a parser (stem, encoder, decoder), a localizer (encoder, decoder, readout) or a teacher.

    Args:
        network: on the CPU.
        segments: seconds of the video whose multiply-adds are counted; by default the network's window.

    Returns:
        The three modules.
    """
    config = network.config
    length = segments or config.segments
    frames = _TEACHER_SPEC if isinstance(config, TeacherConfig | AdapterConfig) else PUBLISHED_SPEC
    rates = {"visual_2d": frames.frames_per_segment}
    # The counter does not see into the LSTMs of oneDNN, which float64 does not use.
    dtype = torch.float64 if isinstance(config, LocalizerConfig) else torch.float32
    inputs = [
        torch.zeros(1, length * rates.get(stream, 1), width, dtype=dtype)
        for stream, width in network_features(config).items()
    ]
    counter = FlopCounterMode(display=False)
    # Without gradients the counter fails at a parameter that is an argument of a module, unless it requires none. It
    # does not count the products of fused attention.
    copied = copy.deepcopy(network).to(dtype).eval().requires_grad_(False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:
        copied(*inputs)
    flops = counter.get_flop_counts()
    unused = unused_when_published(config)
    return [
        ModuleStats(
            name,
            _parameters(module),
            unused.get(name, 0),
            sum(flops.get(f"{type(network).__name__}.{name}", {}).values()) // 2,
        )
        for name, module in network.named_children()
        if not isinstance(module, Dropout)
    ]


def unused_when_published(config: TrainedConfig) -> dict[str, int]:
    """Count the parameters that the published programs store but never use in a forward pass.

    MM-Pyr and LEAP: one template of attention and feed-forward each for the pyramid, its fusion and LEAP, from which
    layers are copied; and a norm inside each attention. HAN: three further encoders and two norms; MA: two attention
    layers and a classifier besides. Other systems built on HAN: two norms; CMPAE's evidence: a second global branch;
    CVCMS's class-wise decoder: a second classifier, co-attention and two encoders. Localizers: known for the published
    sizes and AVE's classes. Teachers and adapters: none.

    Args:
        config: of the network.

    Returns:
        Module name -> number of parameters.
    """
    if isinstance(config, LocalizerConfig):
        published = LocalizerConfig(labels=AVE_LABELS, system=config.system, supervision=config.supervision)
        is_published = replace(config, labels=AVE_LABELS, segments=published.segments) == published
        return {"encoder": _UNUSED_OF_LOCALIZERS.get((config.system, config.supervision), 0)} if is_published else {}
    if isinstance(config, TeacherConfig | AdapterConfig):
        return {}
    if config.modality_networks:
        each = sum(unused_when_published(replace(config, modality_networks=False)).values())
        return {"audio_network": each, "visual_network": each}
    dim, inner = config.hidden_dim, config.feedforward_dim
    linear, norm = dim * dim + dim, 2 * dim
    feedforward = 2 * dim * inner + dim + inner
    template = 4 * linear + norm + feedforward
    unused: dict[str, int] = {}
    if config.encoder == "mmpyr":
        unused["encoder"] = 2 * template + norm * (3 * config.levels + 2)
    elif config.encoder == "han":
        unused["encoder"] = 2 * norm
        if not config.cross_attention:
            unused["encoder"] += config.layers * 4 * linear
        # No network that came after MA stores the three encoders.
        others = config.han_order == "sequential" or config.visual_dropout or config.scales > 1
        if config.decoder == "mmil" and not others:
            unused["encoder"] += 3 * (4 * linear + feedforward + 2 * norm) + 2 * norm
            if config.video_filter == "own":  # MA
                unused["encoder"] += 2 * (4 * linear + norm) + 256 * (2 * dim + 1) + 2 * 257
    if config.decoder == "leap":
        unused["decoder"] = template + norm * 2 * config.leap_blocks
    classes, width = len(config.labels), config.class_dim
    if config.decoder == "evidence":
        unused["decoder"] = linear + (dim + 1) * classes
    elif config.decoder == "classwise":
        layer = 8 * (width * width + width) + 2 * (width * width + width) + 4 * width
        heads = (dim + 1) * classes + (2 * dim + 1) * classes * width + 9 * (width * width + width) + 2 * (width + 1)
        unused["decoder"] = heads + 2 * layer + 3 * 2 * norm
    return unused


def info_table(name: str, network: TrainedNetwork, parts: list[ModuleStats], segments: int | None) -> Table:
    """Make a table of the modules and their sum.

    Args:
        name: of the network, for the title.
        network: the parser or the localizer.
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
    config = network.config
    if isinstance(config, TeacherConfig):
        kind = "temporal teacher"
    elif isinstance(config, AdapterConfig):
        kind = "temporal adapter"
    elif isinstance(config, LocalizerConfig):
        kind = f"{config.system} ({config.supervision}) + {config.decoder}"
    else:
        kind = f"{config.encoder} + {config.decoder}"
    notes = [
        f"{kind}, {len(config.labels)} classes; for a video of"
        f" {segments or config.segments} seconds. 'As published' adds parameters that the published program stores and"
        " never reads; they are left out when its weights are loaded.",
    ]
    notes += [f"The {part} is of {part.package} {part.version}." for part in network.parts]
    if isinstance(config, ParserConfig):
        notes.append(f"Decision: {describe_decision(config)}.")
    if isinstance(config, ParserConfig) and config.encoder == "mmpyr" and config.decoder == "leap":
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
