"""The loss that an objective names: `objective_terms`, or a part of another package.

A loss of another package is a function ``part(output, targets, objective, **loss_options)`` of the parser's output, the
labels of the batch and the objective of the recipe. It returns a mapping of names to scalar tensors, whose sum is
minimised: `objective_terms` with settings of its own, which it can call, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from ..weights.parts import Part, load_part
from .config import ParserConfig
from .decoder_output import ParserOutput
from .losses import OWN_LOSSES, Objective, Targets, objective_terms

Loss = Callable[[ParserOutput, Targets], dict[str, Tensor]]
_BATCH, _SEGMENTS = 2, 3  # of the output that a loss is tried with


def load_loss(objective: Objective, trust: Iterable[str] = ()) -> tuple[Loss, Part | None]:
    """Load the loss that an objective names.

    Args:
        objective: choice and weights of the terms.
        trust: packages that "module:Name" may name, see `load_part`.

    Returns:
        The loss, and the part if it is of another package. The loss raises ValueError where the part fails or returns
        something else than terms.

    Raises:
        ValueError: the part cannot be loaded.
    """
    if objective.loss in OWN_LOSSES:
        return partial(objective_terms, objective=objective), None
    part = load_part("loss", objective.loss, OWN_LOSSES, trust)

    def loss(output: ParserOutput, targets: Targets) -> dict[str, Tensor]:
        terms = part.call(output, targets, objective, **objective.loss_options)
        if not isinstance(terms, Mapping) or not terms or not all(map(_is_term, terms.items())):
            found = ", ".join(map(_describe, terms.items())) if isinstance(terms, Mapping) else type(terms).__name__
            raise ValueError(f"the {part} returned {found or 'no terms'}, expected names and scalar tensors")
        return dict(terms)

    return loss, part


def try_loss(loss: Loss, objective: Objective, config: ParserConfig) -> None:
    """Check a loss of another package with a small random output.

    Args:
        loss: of `load_loss`.
        objective: that it was loaded for.
        config: of the parser.

    Raises:
        ValueError: it fails, returns something else than terms, or its sum has no gradient.
    """
    classes, width = len(config.labels), config.hidden_dim
    generator = torch.Generator().manual_seed(0)

    def values(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator).requires_grad_()

    def labels(*shape: int) -> Tensor:
        return (torch.rand(*shape, generator=generator) < 0.5).float()

    segments = [values(_BATCH, _SEGMENTS, classes) for _ in range(2)]
    videos = [values(_BATCH, classes) for _ in range(2)]
    pooled = config.pools
    output = ParserOutput(
        audio_segment_probs=segments[0].sigmoid(),
        visual_segment_probs=segments[1].sigmoid(),
        audio_video_probs=videos[0].sigmoid(),
        visual_video_probs=videos[1].sigmoid(),
        video_probs=values(_BATCH, classes).sigmoid(),
        audio_hidden=values(_BATCH, _SEGMENTS, width),
        visual_hidden=values(_BATCH, _SEGMENTS, width),
        valid=torch.ones(_BATCH, _SEGMENTS, dtype=torch.bool),
        audio_segment_logits=segments[0],
        visual_segment_logits=segments[1],
        audio_video_logits=None if pooled else videos[0],
        visual_video_logits=None if pooled else videos[1],
    )
    tables = [labels(_BATCH, _SEGMENTS, classes) if objective.needs_segment_labels else None for _ in range(2)]
    terms = loss(output, Targets(labels(_BATCH, classes), *tables))
    if not any(term.requires_grad for term in terms.values()):
        raise ValueError(f"the loss {objective.loss} has no gradient: compute it from the tensors of the output")


def _is_term(item: tuple[object, object]) -> bool:
    name, value = item
    return isinstance(name, str) and isinstance(value, Tensor) and value.dim() == 0 and value.is_floating_point()


def _describe(item: tuple[object, object]) -> str:
    name, value = item
    return f"{name}: {tuple(value.shape)}" if isinstance(value, Tensor) else f"{name}: {type(value).__name__}"
