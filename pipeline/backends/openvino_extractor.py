"""Extractor whose network is an OpenVINO model."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ...extractors.base import Extractor
from .sized_model import SizedModel


class OpenVINOExtractor(Extractor):
    """Extractor that computes by OpenVINO, on the CPU, in batches of any size, see `SizedModel`.

    Args:
        plain: the extractor that the model was converted from: its input, and how that is prepared. It may be on the
            meta device, and is not kept if it is of this program.
        model: `openvino.Model` of `convert`, or one quantized from it.
        precision: "fp32", "bf16", or "int8" for a quantized model.
    """

    def __init__(self, plain: Extractor, model: Any, precision: str) -> None:
        super().__init__(plain.dim)
        self.network = SizedModel(model, precision)
        self.part = plain.part
        self.input_format = plain.input_format  # pyright: ignore[reportAttributeAccessIssue] - a ClassVar of the others
        # Those of this program prepare without parameters; a method is not registered as a module with them.
        self._prepare = type(plain).prepare.__get__(self) if plain.part is None else plain.prepare

    def prepare(self, reduced: Tensor) -> Tensor:
        return self._prepare(reduced).float()

    def expect_callers(self, count: int) -> None:
        self.network.callers = count

    def largest_layer(self) -> int:
        return self.network.largest_layer()

    def forward(self, x: Tensor) -> Tensor:
        """Compute rows.

        Args:
            x: (N, ...) of `prepare`, on the CPU.

        Returns:
            (N, dim) float32.
        """
        return torch.from_numpy(self.network(x.contiguous().numpy())[0])
