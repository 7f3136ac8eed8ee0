"""The interface of backends: how an extractor becomes one that computes in a precision, fast, on a device."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from ...extractors.base import Extractor
from ..devices import ComputePrecision


@dataclass(frozen=True)
class ExtractorSource:
    """An extractor that is loaded when a backend asks for it.

    Attributes:
        load: builds the plain extractor with its parameters, in eval mode, on the CPU. Raises SetupError or ValueError.
        outline: builds it without allocating its parameters, on the meta device. Raises ValueError.
        weights: identifies the parameters, as the sha256 of their file does.
        tell: called with lines that the user should know.
    """

    load: Callable[[], Extractor]
    outline: Callable[[], Extractor]
    weights: str
    tell: Callable[[str], None] = lambda _: None


class Backend(ABC):
    """What computes networks.

    Attributes:
        name: key in `BACKENDS`.
    """

    name: ClassVar[str]

    @abstractmethod
    def obstacle(self, precision: ComputePrecision) -> str:
        """Return why this machine cannot compute in a precision, and what to do; empty if it can.

        Args:
            precision: of this backend, for which `ComputePrecision.prepare` finds nothing wrong.

        Returns:
            One line without a full stop.
        """

    @abstractmethod
    def arrange(self, source: ExtractorSource, precision: ComputePrecision, device: torch.device) -> Extractor:
        """Build the extractor that computes.

        Args:
            source: of the plain extractor.
            precision: to compute in.
            device: where inputs are prepared and computed.

        Returns:
            An extractor in eval mode that several threads may call at the same time: inputs (N, ...) of its `prepare`
            -> rows (N, dim) in float32, whatever the precision.

        Raises:
            SetupError: the network cannot be arranged; the message says what to do.
            ValueError: weights do not fit the network.
        """
