"""Precision that the extractors of a bundle compute in: the one that is wanted, or int8 if they are quantized."""

from __future__ import annotations

from collections.abc import Mapping

from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.quantized import identify_calibration, is_quantized
from ..devices import ComputePrecision
from ..errors import SetupError
from ..precisions import AUTO, OPENVINO, TORCH

INT8 = ComputePrecision("int8", backend=OPENVINO)


def has_quantized_networks(bundle: Bundle) -> bool:
    """Return whether the extractors of a bundle are quantized. Raises SetupError if some are and others are not."""
    quantized = [name for name, file in bundle.extractors.items() if is_quantized(file)]
    if others := [name for name in bundle.extractors if quantized and name not in quantized]:
        raise SetupError(
            f"bundle {shown(bundle.name)}: {quantized[0]} is quantized and {others[0]} is not; all or none must be"
        )
    return bool(quantized)


def check_named(bundle: Bundle, *, precision: str | None = None, backend: str | None = None) -> None:
    """Check what a user has typed: `precision_of` would take fp32 and torch for defaults, which leave the choice open.

    Args:
        bundle: the bundle.
        precision: that the user names; None if there is none.
        backend: the same.

    Raises:
        SetupError: the bundle's networks are quantized, so that they do not compute in fp32, or not by torch.
    """
    named = "--precision fp32" if precision == "fp32" else "--backend torch" if backend == TORCH else ""
    if named and has_quantized_networks(bundle):
        raise SetupError(f"the networks of {shown(bundle.name)} are quantized; for {named}, name the original bundle")


def precision_of(bundle: Bundle, wanted: ComputePrecision) -> ComputePrecision:
    """Return what the extractors of a bundle compute in.

    Args:
        bundle: the bundle.
        wanted: by the user; fp32, the default, leaves it to a bundle of quantized networks.

    Returns:
        `wanted`, or int8 for quantized networks.

    Raises:
        SetupError: the networks cannot compute in what is wanted.
    """
    if not has_quantized_networks(bundle):
        if wanted.name == INT8.name:
            raise SetupError(
                f"int8 needs quantized networks, and bundle {shown(bundle.name)} has none: avvp weights quantize makes"
                " a bundle of them from clips of yours, for --weights"
            )
        return wanted
    left_open = wanted.name in {"fp32", AUTO} and wanted.backend in {TORCH, INT8.backend, AUTO}
    named = wanted.name == INT8.name and wanted.backend in {INT8.backend, AUTO}
    if (left_open or named) and not wanted.compiled:
        return INT8
    if wanted.compiled:
        raise SetupError(f"bundle {shown(bundle.name)}: its networks are quantized; leave out --compile")
    found = f"{wanted.name} by {wanted.backend}"
    raise SetupError(f"bundle {shown(bundle.name)}: its networks compute in int8 by {OPENVINO}, not in {found}")


def calibration_of(bundle: Bundle, weight_ids: Mapping[str, str]) -> str:
    """Return what identifies the calibration of a bundle's extractors; empty if they are not quantized.

    Args:
        bundle: the bundle.
        weight_ids: extractor name -> sha256 of its file.
    """
    return identify_calibration(weight_ids) if has_quantized_networks(bundle) else ""
