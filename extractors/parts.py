"""Extractors of other packages: how they are loaded, tried, and run in other precisions.

A part is a class or a function that is called without arguments and returns an `Extractor`: a network of one of the
`INPUT_FORMATS`, or of the `TEACHER_FORMATS` of CLIP and CLAP, with ``forward`` (N inputs of `prepare` -> (N, dim)
float) and the width `dim`. Its name in a bundle stands for one network, in features, too; variants get names of their
own.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor, nn

from ..weights.parameters import check_count
from ..weights.parts import Part, load_part
from .base import Extractor
from .inputs import INPUT_FORMATS, PE_AV_FORMATS, TEACHER_FORMATS, UNFUSED_FORMATS
from .profiles import MAX_FEATURE_WIDTH

_INPUTS = 2  # that an extractor is tried with


def extractor_part(name: str, own: Collection[str], reference: str | None = None, trust: Iterable[str] = ()) -> Part:
    """Load the part of an extractor of another package.

    Args:
        name: of the extractor.
        own: names of this program.
        reference: "module:Name"; None where the name is that of an entry point.
        trust: packages that the reference may name, see `load_part`.

    Returns:
        The part, whose value builds the extractor.

    Raises:
        ValueError: the name is one of this program or unknown, or the part is not trusted or cannot be loaded.
    """
    if reference is not None and name in own:
        raise ValueError(f"extractor {name} is one of this program and cannot be replaced; give the part another name")
    return load_part("extractor", reference or name, own, trust)


def build_part(part: Part) -> Extractor:
    """Build an extractor of another package.

    Args:
        part: of `extractor_part`.

    Returns:
        The extractor, with the part as its attribute.

    Raises:
        ValueError: it fails, or what it returns is no extractor of one of the `INPUT_FORMATS`, or too large.
    """
    extractor = part.call()
    if not isinstance(extractor, Extractor):
        raise ValueError(f"the {part} returned {type(extractor).__name__}, expected an avvp.extractors.Extractor")
    formats = INPUT_FORMATS | TEACHER_FORMATS | UNFUSED_FORMATS | PE_AV_FORMATS
    if getattr(extractor, "input_format", None) not in formats.values():
        known = ", ".join(formats)
        where = "INPUT_FORMATS or TEACHER_FORMATS of avvp.extractors.inputs"
        raise ValueError(f"the {part} has no input_format of {where} ({known})")
    if type(extractor.dim) is not int or not 1 <= extractor.dim <= MAX_FEATURE_WIDTH:
        raise ValueError(f"the {part} has dim {extractor.dim!r}, expected an integer from 1 to {MAX_FEATURE_WIDTH}")
    check_count({key: tuple(tensor.shape) for key, tensor in extractor.state_dict().items()})
    extractor.part = part
    return extractor


def try_part(part: Part, extractor: Extractor) -> None:
    """Check an extractor of another package with inputs of zeros.

    Args:
        part: that it was built by.
        extractor: with parameters, in eval mode, on the CPU.

    Raises:
        ValueError: it fails, or its rows have another shape or type than they must, or are not finite.
    """
    form = extractor.input_format
    inputs = torch.from_numpy(np.zeros((_INPUTS, *form.shape), form.dtype))
    with torch.no_grad():
        prepared = replace(part, value=extractor.prepare).call(inputs)
        rows = replace(part, value=extractor).call(prepared)
    expected = (_INPUTS, extractor.dim)
    if not isinstance(rows, Tensor) or tuple(rows.shape) != expected or not rows.is_floating_point():
        found = f"{rows.dtype} {tuple(rows.shape)}" if isinstance(rows, Tensor) else type(rows).__name__
        raise ValueError(f"the {part} returned {found} for {_INPUTS} inputs of {form.shape}, expected float {expected}")
    if not bool(rows.isfinite().all()):
        raise ValueError(f"the {part} returned values that are not finite")


class CastExtractor(Extractor):
    """Extractor of another package in another precision, or compiled; rows stay float32.

    Args:
        plain: the extractor; it is kept, not copied.
        dtype: of the operations that autocast chooses.
        compiled: use torch.compile.
    """

    def __init__(self, plain: Extractor, dtype: torch.dtype, *, compiled: bool) -> None:
        super().__init__(plain.dim)
        self.plain = plain
        self.body: Callable[[Tensor], Tensor] | nn.Module = torch.compile(plain) if compiled else plain
        self.dtype = dtype
        self.part = plain.part
        self.input_format = plain.input_format  # pyright: ignore[reportAttributeAccessIssue] - a ClassVar of the others

    def prepare(self, reduced: Tensor) -> Tensor:
        return self.plain.prepare(reduced)

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast(x.device.type, self.dtype, enabled=self.dtype != torch.float32):
            return self.body(x).float()
