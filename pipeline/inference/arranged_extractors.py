"""Extractors of a bundle as they are computed: each by its backend, on each device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache, partial
from pathlib import Path

import torch

from ...extractors.base import Extractor
from ...extractors.registry import build_extractor, choose_wanted, extractor_shapes, meta_extractor
from ...weights.load import read_state_dict
from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.parts import Part
from ...weights.quantized import is_quantized, read_quantized
from ...weights.remote.gather import file_name
from ...weights.untrained import untrained_state
from ..backends.base import ExtractorSource
from ..backends.quantized import load_quantized
from ..backends.registry import prepare_backend
from ..devices import ComputePrecision
from ..text import escape


def load_extractor(bundle: Bundle, name: str, paths: Mapping[str, Path], trust: Sequence[str]) -> Extractor:
    """Load an extractor of a bundle as a plain network.

    Args:
        bundle: the bundle.
        name: of one of its extractors.
        paths: of the bundle's files, by their names in it.
        trust: packages whose parts it may name.

    Returns:
        The extractor in eval mode, on the CPU.

    Raises:
        ValueError: it has no file, or its weights do not fit.
    """
    _check_file(bundle, name)
    file, reference = bundle.extractors[name], bundle.parts.get(name)
    if is_quantized(file):
        raise ValueError(f"extractor {name} is quantized; name the bundle that it was quantized from")
    if bundle.seed is not None:
        shapes = extractor_shapes(name, reference=reference, trust=trust)
        return build_extractor(name, untrained_state(shapes, bundle.seed), reference=reference, trust=trust)
    try:
        state = read_state_dict(paths[file], keep=choose_wanted(name))
        return build_extractor(name, state, reference=reference, trust=trust)
    except ValueError as error:
        raise ValueError(f"{escape(paths[file])}: {error}") from error


def arrange_extractors(
    bundle: Bundle,
    paths: Mapping[str, Path],
    hashes: Mapping[str, str],
    devices: Sequence[torch.device],
    precision: ComputePrecision,
    *,
    trust: Sequence[str],
    tell: Callable[[str], None] = lambda _: None,
) -> tuple[list[dict[str, Extractor]], dict[str, str]]:
    """Load the extractors of a bundle, and arrange them for the precision on each device.

    Args:
        bundle: the bundle.
        paths: of its files, by their names in it.
        hashes: of its files, by the names of the files.
        devices: of the extractors.
        precision: to compute in, and by which backend.
        trust: packages whose parts it may name.
        tell: called with lines for the user.

    Returns:
        Name -> extractor on each device, and name -> what identifies its parameters and code.

    Raises:
        SetupError: a network cannot be computed in this precision here.
        ValueError: an extractor has no file, or its weights do not fit.
    """
    backends = [prepare_backend(precision, device) for device in devices]
    arranged: list[dict[str, Extractor]] = [{} for _ in devices]
    weight_ids: dict[str, str] = {}
    for name, file in bundle.extractors.items():
        _check_file(bundle, name)
        weights = _identify(bundle, file, paths, hashes)
        if is_quantized(file):
            of_cpu = _load_quantized(bundle, name, paths, trust)
            for of_device in arranged:
                of_device[name] = of_cpu
            weight_ids[name] = weights
            continue
        load: Callable[[], Extractor] = partial(load_extractor, bundle, name, paths, trust)
        source = ExtractorSource(
            cache(load) if len(devices) > 1 else load,
            partial(meta_extractor, name, reference=bundle.parts.get(name), trust=trust),
            weights,
            tell,
        )
        for device, backend, of_device in zip(devices, backends, arranged, strict=True):
            of_device[name] = backend.arrange(source, precision, device)
        weight_ids[name] = _with_part(weights, arranged[0][name].part)
    return arranged, weight_ids


def outline_extractors(
    bundle: Bundle, paths: Mapping[str, Path], hashes: Mapping[str, str], *, trust: Sequence[str]
) -> tuple[dict[str, Extractor], dict[str, str]]:
    """Build the extractors of a bundle without parameters: they compute nothing, and say what they would compute.

    Args:
        bundle: the bundle.
        paths: of its files, by their names in it.
        hashes: of its files, by the names of the files.
        trust: packages whose parts it may name.

    Returns:
        Name -> extractor, and name -> what identifies its parameters and code, as of `arrange_extractors`.

    Raises:
        ValueError: an extractor has no file, or cannot be built.
    """
    outlines: dict[str, Extractor] = {}
    weight_ids: dict[str, str] = {}
    for name, file in bundle.extractors.items():
        _check_file(bundle, name)
        outlines[name] = meta_extractor(name, reference=bundle.parts.get(name), trust=trust)
        weight_ids[name] = _with_part(_identify(bundle, file, paths, hashes), outlines[name].part)
    return outlines, weight_ids


def _identify(bundle: Bundle, file: str, paths: Mapping[str, Path], hashes: Mapping[str, str]) -> str:
    """Return what identifies the parameters in a file of an extractor."""
    return f"untrained, seed {bundle.seed}" if bundle.seed is not None else hashes[file_name(file, paths[file])]


def _load_quantized(bundle: Bundle, name: str, paths: Mapping[str, Path], trust: Sequence[str]) -> Extractor:
    """Load a quantized extractor. Raises SetupError, ValueError, WeightsError."""
    path = paths[bundle.extractors[name]]
    outline = meta_extractor(name, reference=bundle.parts.get(name), trust=trust)
    if outline.part is not None:
        raise ValueError(f"extractor {name} is of another package, and these are not quantized")
    file = read_quantized(path)
    if file.extractor != name:
        raise ValueError(f"{escape(path)}: holds the network {shown(file.extractor)}, not {name}")
    try:
        return load_quantized(outline, file)
    except ValueError as error:
        raise ValueError(f"{escape(path)}: {error}") from error


def _check_file(bundle: Bundle, name: str) -> None:
    if bundle.seed is None and not bundle.extractors[name]:
        raise ValueError(f"extractor {name} has no file: the run was trained without --extractors, which copies it")


def _with_part(weights: str, part: Part | None) -> str:
    """Return what identifies the parameters of an extractor and, if it is of another package, its code."""
    return weights if part is None else f"{weights}, {part.name} {part.version} {part.source}"
