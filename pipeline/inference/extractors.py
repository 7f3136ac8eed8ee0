"""Load the extractors of a bundle onto devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...extractors.base import Extractor
from ...extractors.profiles import FeatureSpec, feature_spec
from ...extractors.sampling import Stream
from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.remote.gather import gather_files
from ...weights.source import ANYWHERE, WeightSource
from ..devices import FP32, ComputePrecision, resolve_devices
from ..errors import SetupError
from .arranged_extractors import arrange_extractors, load_extractor, outline_extractors
from .bundle_precision import calibration_of, precision_of

DeviceNetworks = tuple[torch.device, Mapping[Stream, Extractor]]


@dataclass(frozen=True)
class LoadedExtractors:
    """Extractors on their devices."""

    networks: tuple[DeviceNetworks, ...]  # the same extractors on each device
    spec: FeatureSpec  # of the features that they compute
    weight_ids: Mapping[Stream, str]  # identifies the parameters: sha256 of the file, or the seed of random ones
    precision: ComputePrecision
    notes: tuple[str, ...] = ()  # of what computes them, for the user
    is_outline: bool = False  # they have no parameters and compute nothing, see `arrange_all`

    @property
    def device(self) -> torch.device:
        """The first device."""
        return self.networks[0][0]

    @property
    def by_name(self) -> Mapping[str, Extractor]:
        """Extractors on the first device, by name."""
        by_stream = self.networks[0][1]
        return {name: by_stream[stream] for name, stream in zip(self.spec.extractors, self.spec.streams, strict=True)}


def load_extractors(
    bundle: Bundle,
    *,
    source: WeightSource = ANYWHERE,
    device: str = "auto",
    precision: ComputePrecision = FP32,
) -> LoadedExtractors:
    """Load the extractors of a bundle without its parser.

    Args:
        bundle: a bundle.
        source: where weight files may come from.
        device: as for `load_networks`.
        precision: of the extractors.

    Returns:
        The extractors, in evaluation mode.

    Raises:
        SetupError: the device is unknown, or weights do not fit their network.
        WeightsError: files are missing or damaged.
    """
    devices = resolve_devices(device)
    paths, hashes = gather_files(replace(bundle, parser={}), source)
    return arrange_all(bundle, paths, hashes, devices, precision, trust=source.trust)


def plain_extractors(bundle: Bundle, *, source: WeightSource = ANYWHERE) -> dict[str, Extractor]:
    """Load the extractors of a bundle as plain networks, without folded batch norm.

    Args:
        bundle: a bundle.
        source: where weight files may come from.

    Returns:
        Name -> extractor, in evaluation mode, on the CPU.

    Raises:
        SetupError: weights do not fit their network.
        WeightsError: files are missing or damaged.
    """
    paths, _ = gather_files(replace(bundle, parser={}), source)
    try:
        return {name: load_extractor(bundle, name, paths, source.trust) for name in bundle.extractors}
    except ValueError as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error


def arrange_all(
    bundle: Bundle,
    paths: Mapping[str, Path],
    hashes: Mapping[str, str],
    devices: Sequence[torch.device],
    precision: ComputePrecision,
    *,
    trust: Sequence[str],
    outline: bool = False,
) -> LoadedExtractors:
    """Load the extractors of a bundle from its files.

    Args:
        bundle: a bundle.
        paths: of its files, by their names in it.
        hashes: of its files, by the names of the files.
        devices: of the extractors.
        precision: of the extractors.
        trust: packages whose parts it may name.
        outline: only describe them, for features that are already there: the networks have no parameters.

    Returns:
        The extractors, in evaluation mode.

    Raises:
        SetupError: weights do not fit their network, or it cannot be described.
    """
    precision = precision_of(bundle, precision)
    notes: list[str] = []
    try:
        if outline:
            outlines, ids = outline_extractors(bundle, paths, hashes, trust=trust)
            arranged = [outlines for _ in devices]
        else:
            arranged, ids = arrange_extractors(
                bundle, paths, hashes, devices, precision, trust=trust, tell=notes.append
            )
        loaded = _describe(bundle, arranged, ids, devices, precision)
    except ValueError as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error
    return replace(loaded, notes=tuple(dict.fromkeys(notes)), is_outline=outline)


def _describe(
    bundle: Bundle,
    arranged: Sequence[Mapping[str, Extractor]],
    ids: Mapping[str, str],
    devices: Sequence[torch.device],
    precision: ComputePrecision,
) -> LoadedExtractors:
    """Return extractors, by name on each device, with what they compute. Raises ValueError."""
    spec = feature_spec(
        bundle.profile,
        arranged[0],
        precision=precision.name,
        backend=precision.backend,
        calibration=calibration_of(bundle, ids),
    )
    networks: tuple[DeviceNetworks, ...] = tuple(
        (device, {extractor.stream: extractor for extractor in extractors.values()})
        for device, extractors in zip(devices, arranged, strict=True)
    )
    weight_ids: dict[Stream, str] = {extractor.stream: ids[name] for name, extractor in arranged[0].items()}
    return LoadedExtractors(networks, spec, weight_ids, precision)
