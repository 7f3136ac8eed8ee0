"""Sizes of the networks of an open bundle, and what it looks for, for avvp model-info."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ...weights.manifest import Bundle
    from ...weights.source import WeightSource
    from ..evaluation.tables import Table
    from ..training.model_info import ModuleStats

_SENTENCES = ["A photo of a dog."] * 16  # a batch of a text encoder
_ORIGINS = {
    "default": "the defaults of the rule",
    "given": "given",
    "calibrated": "calibrated",
    "valor": "VALOR's, of logits",
}


def open_info(name: str, bundle: Bundle, source: WeightSource) -> tuple[list[ModuleStats], Table]:
    """Count the parameters and multiply-adds of an open bundle's networks.

    Args:
        name: of the bundle, for the title.
        bundle: an open one.
        source: where weight files may come from.

    Returns:
        Its extractors, for one second, and its text encoders, for one short sentence; and a table of them.

    Raises:
        SetupError: a file does not fit.
        WeightsError: files are missing or damaged.
    """
    from ...weights.remote.gather import gather_files
    from ..errors import SetupError
    from ..evaluation.tables import Table
    from ..inference.extractors import plain_extractors
    from ..inference.open_network import load_text_encoder, vocabulary_of

    paths, _ = gather_files(bundle, source)
    parts: list[ModuleStats] = []
    try:
        for key, extractor in plain_extractors(bundle, source=source).items():
            parts.append(_count(key, extractor, partial(_one_second, extractor), 1))
            encoder: Any = load_text_encoder(bundle, key, paths, source.trust)
            if key in bundle.parts:  # which encodes sentences itself
                continue
            compute = partial(encoder.encode, _SENTENCES)
            parts.append(_count(f"{key}, text", encoder, compute, len(_SENTENCES)))
    except ValueError as error:
        raise SetupError(f"bundle {name}: {error}") from error
    rows = tuple((part.name, f"{part.parameters:,}", f"{part.multiply_adds / 1e6:,.1f}M") for part in parts)
    total = sum(part.parameters for part in parts)
    notes = ["Multiply-adds of an extractor are for one second, those of a text encoder for one short sentence."]
    if "classes" in bundle.parser:
        vocabulary = vocabulary_of(bundle, paths)
        notes += [
            f"{len(vocabulary.classes):,} classes in {bundle.parser['classes']}, by the rule {vocabulary.rule.name};"
            f" the thresholds are {_ORIGINS[vocabulary.origin]}. --classes finds others."
        ]
    else:
        notes += ["It finds the classes that --classes names."]
    table_rows = (*rows, ("whole", f"{total:,}", ""))
    return parts, Table(
        f"{name}: parameters and multiply-adds", ("part", "parameters", "multiply-adds"), table_rows, tuple(notes)
    )


def _one_second(extractor: Any) -> None:
    import torch

    inputs = torch.zeros(1, *extractor.input_format.shape)
    extractor(extractor.prepare(inputs))


def _count(name: str, module: Any, compute: Callable[[], Any], times: int) -> ModuleStats:
    """Count a module by computing something `times` times."""
    import torch
    from torch.nn.attention import SDPBackend, sdpa_kernel
    from torch.utils.flop_counter import FlopCounterMode

    from ..training.model_info import ModuleStats

    counter = FlopCounterMode(display=False)
    with torch.inference_mode(), sdpa_kernel(SDPBackend.MATH), counter:  # it does not see into fused attention
        compute()
    parameters = sum(parameter.numel() for parameter in module.parameters())
    return ModuleStats(name, parameters, 0, counter.get_total_flops() // 2 // times)
