"""PyTorch as a backend: fused extractors, or those of other packages under autocast."""

from __future__ import annotations

import copy

import torch

from ...extractors.base import Extractor
from ...extractors.fused import fuse
from ...extractors.parts import CastExtractor
from ..devices import ComputePrecision
from ..precisions import TORCH
from .base import Backend, ExtractorSource


class TorchBackend(Backend):
    """PyTorch, on a CPU by oneDNN's convolutions. The reference: its fp32 features are those of the goldens."""

    name = TORCH

    def obstacle(self, precision: ComputePrecision) -> str:  # noqa: ARG002
        """Return an empty string: `ComputePrecision.prepare` knows all that PyTorch cannot do."""
        return ""

    def arrange(self, source: ExtractorSource, precision: ComputePrecision, device: torch.device) -> Extractor:
        """Load the extractor and fuse it; one of another package stays as it is, under autocast where not fp32."""
        plain = source.load()
        if plain.part is None:
            return fuse(plain.to(device), dtype=precision.dtype, compiled=precision.compiled)
        if device.type != "cpu":
            plain = copy.deepcopy(plain).to(device)  # `source.load` may give the same one for another GPU
        if precision.dtype == torch.float32 and not precision.compiled:
            return plain
        return CastExtractor(plain, precision.dtype, compiled=precision.compiled)
