"""OpenVINO as a backend: networks of the CPU, in fp32, bf16, or int8 where they are quantized."""

from __future__ import annotations

from pathlib import Path

import torch

from ...extractors.base import Extractor
from ..devices import ComputePrecision
from ..errors import SetupError
from ..precisions import OPENVINO
from .base import Backend, ExtractorSource
from .convert import convert
from .model_store import ModelStore, model_key
from .openvino_extractor import OpenVINOExtractor
from .openvino_import import computes_bfloat16, has_openvino


class OpenVINOBackend(Backend):
    """OpenVINO's networks of the CPU. Models are converted once for each machine, then read from a `ModelStore`.

    Args:
        folder: of the store, see `ModelStore`.
    """

    name = OPENVINO

    def __init__(self, folder: Path | None = None) -> None:
        self._folder = folder

    def obstacle(self, precision: ComputePrecision) -> str:
        """Return that OpenVINO is not installed, or that the CPU has no bf16 for it."""
        if not has_openvino():
            return f"the backend {OPENVINO} needs OpenVINO, not installed here: pip install 'avvp[openvino]'"
        if precision.name == "bf16" and not computes_bfloat16():
            return f"this CPU has no instructions for bf16, which the backend {OPENVINO} needs; use fp32"
        return ""

    def arrange(
        self,
        source: ExtractorSource,
        precision: ComputePrecision,
        device: torch.device,  # noqa: ARG002 - always the CPU
    ) -> Extractor:
        """Read the converted model, or convert the network; see `Backend.arrange`.

        The plain extractor is loaded only where it has to be converted, or is of another package.
        """
        if precision.name == "int8":
            raise SetupError(
                "int8 needs networks that avvp weights quantize has made, as a bundle for --weights; these compute in"
                " fp32 or bf16"
            )
        outline = source.outline()
        plain = outline if outline.part is None else source.load()  # what prepares an input may have parameters
        model = ModelStore(self._folder).provide(
            model_key(outline, source.weights),
            lambda: convert(source.load() if plain is outline else plain),
            source.tell,
        )
        # What keeps its inputs in float32 would lose them in bf16, which OpenVINO has for a whole network only.
        return OpenVINOExtractor(plain, model, "fp32" if plain.float32_inputs else precision.name).eval()
