"""Which precisions a processor computes in."""

from __future__ import annotations

import torch

_CPU_CHECKS = {"bf16": "_is_mkldnn_bf16_supported", "fp16": "_is_mkldnn_fp16_supported"}


def is_supported(precision: str, device: torch.device) -> bool:
    """Whether the device has instructions for this precision: without them, products take minutes or fail."""
    if device.type != "cpu" or precision not in _CPU_CHECKS:
        return True
    return bool(getattr(torch.ops.mkldnn, _CPU_CHECKS[precision])())
