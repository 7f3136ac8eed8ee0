"""From the name of a bundle to networks that are ready to run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...extractors.base import Extractor
from ...extractors.fused import fuse
from ...extractors.profiles import FeatureSpec, feature_spec
from ...extractors.registry import EXTRACTORS, build_extractor, extractor_shapes
from ...extractors.sampling import STREAMS, Stream
from ...models.checkpoint import load_checkpoint, read_description
from ...models.config import ParserConfig
from ...models.labels import LABEL_SETS, stack_label_embeddings
from ...models.parser import AVParser, build_parser
from ...models.published import load_published
from ...weights.load import gather_files, read_state_dict
from ...weights.locate import bundle_paths
from ...weights.manifest import Bundle, load_bundle
from ...weights.source import ANYWHERE, WeightSource
from ...weights.untrained import untrained_state
from ..devices import FP32, ComputePrecision, resolve_device, resolve_devices
from ..errors import FeatureMismatchError, SetupError
from ..text import escape

UNTRAINED_WARNING = "UNTRAINED weights: the parameters are random and these events mean nothing"


DeviceNetworks = tuple[torch.device, Mapping[Stream, Extractor]]


@dataclass(frozen=True)
class LoadedExtractors:
    """Extractors of a bundle, and what a result must say of where they came from."""

    name: str
    description: str
    networks: tuple[DeviceNetworks, ...]  # on each device the same
    spec: FeatureSpec
    made_with: Mapping[Stream, str]  # tells the weights of an extractor apart
    hashes: Mapping[str, str]  # file name -> sha256
    untrained: bool
    precision: ComputePrecision

    @property
    def device(self) -> torch.device:
        """The first, which is also the parser's."""
        return self.networks[0][0]

    @property
    def extractors(self) -> Mapping[str, Extractor]:
        """By name, on the first device."""
        by_stream = self.networks[0][1]
        return {name: by_stream[stream] for name, stream in zip(self.spec.extractors, STREAMS, strict=True)}


@dataclass(frozen=True)
class LoadedBundle(LoadedExtractors):
    """Extractors and the parser that reads their features."""

    parser: AVParser


@dataclass(frozen=True)
class LoadedParser:
    """A parser on its device, and the features it was trained on."""

    name: str
    parser: AVParser
    spec: FeatureSpec
    device: torch.device


def known_labels(bundle: Bundle, folder: Path | None = None) -> tuple[str, ...] | None:
    """The classes of a bundle's parser, read without loading it; None where its file is not there yet."""
    if bundle.labels is not None:
        return LABEL_SETS.get(bundle.labels)
    paths, _ = bundle_paths(bundle, folder)
    path = paths.get(bundle.parser.get("checkpoint", ""))
    try:
        return None if path is None else read_description(path).config.labels
    except ValueError as error:
        raise SetupError(f"bundle {bundle.name!r}: {error}") from error


def load_networks(
    bundle: Bundle | str,
    *,
    source: WeightSource = ANYWHERE,
    device: str = "auto",
    precision: ComputePrecision = FP32,
) -> LoadedBundle:
    """The networks of a bundle (or of the one of that name or folder), in eval mode on the device.

    device: one, or several GPUs, each of which gets the extractors (``cuda:0,cuda:1``). precision: of the extractors;
    the parser's is float32. Raises SetupError for an unknown device or weights that do not fit, FeatureMismatchError
    where the parser was trained on other features than the bundle's extractors make, WeightsError for files missing or
    damaged.
    """
    if isinstance(bundle, str):
        bundle = load_bundle(bundle)
    devices = resolve_devices(device)
    paths, hashes = gather_files(bundle, source)
    extractors = _load_extractors(bundle, paths, hashes, devices, precision)
    try:
        parser, trained_on = _load_parser(bundle, extractors.spec, paths)
    except ValueError as error:
        raise SetupError(f"bundle {bundle.name!r}: {error}") from error
    _check_features(bundle, extractors.spec, parser, trained_on)
    return LoadedBundle(**vars(extractors), parser=parser.to(extractors.device))


def load_extractors(
    bundle: Bundle,
    *,
    source: WeightSource = ANYWHERE,
    device: str = "auto",
    precision: ComputePrecision = FP32,
) -> LoadedExtractors:
    """The extractors of a bundle without its parser, for features alone. Raises as `load_networks`."""
    devices = resolve_devices(device)
    paths, hashes = gather_files(replace(bundle, parser={}), source)
    return _load_extractors(bundle, paths, hashes, devices, precision)


def _load_extractors(
    bundle: Bundle,
    paths: Mapping[str, Path],
    hashes: Mapping[str, str],
    devices: Sequence[torch.device],
    precision: ComputePrecision,
) -> LoadedExtractors:
    for device in devices:
        precision.prepare(device)
    try:
        plain = {name: _load_extractor(name, file, bundle.seed, paths) for name, file in bundle.extractors.items()}
        spec = feature_spec(bundle.profile, plain)
    except ValueError as error:
        raise SetupError(f"bundle {bundle.name!r}: {error}") from error
    seeded = f"untrained, seed {bundle.seed}"
    made_with: dict[Stream, str] = {
        extractor.stream: hashes[paths[bundle.extractors[name]].name] if bundle.seed is None else seeded
        for name, extractor in plain.items()
    }
    networks: tuple[DeviceNetworks, ...] = tuple(
        (device, {extractor.stream: _arrange(extractor.to(device), precision) for extractor in plain.values()})
        for device in devices
    )
    return LoadedExtractors(
        name=bundle.name,
        description=bundle.description,
        networks=networks,
        spec=spec,
        made_with=made_with,
        hashes=hashes,
        untrained=bundle.seed is not None,
        precision=precision,
    )


def _arrange(extractor: Extractor, precision: ComputePrecision) -> Extractor:
    return fuse(extractor, dtype=precision.dtype, compiled=precision.compiled)


def load_parser(
    bundle: Bundle | str,
    *,
    source: WeightSource = ANYWHERE,
    device: str = "auto",
) -> LoadedParser:
    """The parser of a bundle without its extractors, for features that are there already. Raises as `load_networks`."""
    chosen = resolve_device(device)
    if isinstance(bundle, str):
        bundle = load_bundle(bundle)
    parser_alone = replace(bundle, extractors={})
    paths, _ = gather_files(parser_alone, source)
    try:
        with torch.device("meta"):
            extractors = {name: EXTRACTORS[name]() for name in bundle.extractors if name in EXTRACTORS}
        known = len(extractors) == len(bundle.extractors)
        made = feature_spec(bundle.profile, extractors) if known else None
        parser, trained_on = _load_parser(bundle, made, paths)
    except ValueError as error:
        raise SetupError(f"bundle {bundle.name!r}: {error}") from error
    spec = trained_on or made
    if spec is None:
        raise SetupError(f"bundle {bundle.name!r}: it does not say what features its parser was trained on")
    return LoadedParser(bundle.name, parser.to(chosen), spec, chosen)


def check_features(loaded: LoadedParser, spec: FeatureSpec, where: object) -> None:
    """Raises FeatureMismatchError, naming both, unless features of this specification are what the parser reads."""
    if differences := loaded.spec.differences(spec):
        raise FeatureMismatchError(
            f"the parser of {loaded.name!r} was trained on other features than {escape(where)} holds"
            f" (parser / features): {'; '.join(differences)}"
        )


def _load_extractor(name: str, file: str, seed: int | None, paths: Mapping[str, Path]) -> Extractor:
    if seed is not None:
        return build_extractor(name, untrained_state(extractor_shapes(name), seed))
    if not file:
        raise ValueError(f"extractor {name} has no file")
    try:
        return build_extractor(name, read_state_dict(paths[file]))
    except ValueError as error:
        raise ValueError(f"{paths[file]}: {error}") from error


def _load_parser(
    bundle: Bundle, spec: FeatureSpec | None, paths: Mapping[str, Path]
) -> tuple[AVParser, FeatureSpec | None]:
    """The parser, and the features it was trained on where its file says so."""
    entry = bundle.parser
    if "checkpoint" in entry:
        checkpoint = load_checkpoint(paths[entry["checkpoint"]])
        return checkpoint.parser, FeatureSpec.from_dict(checkpoint.feature_spec)
    if bundle.labels not in LABEL_SETS:
        raise ValueError(f"unknown label set {bundle.labels!r}; known: {', '.join(LABEL_SETS)}")
    labels = LABEL_SETS[bundle.labels]
    if bundle.seed is not None and spec is not None:
        return _untrained_parser(labels, spec, bundle.seed), None
    if not {"family", "file"} <= set(entry):
        raise ValueError("its parser needs either `checkpoint` or `family` and `file` (for leap, `label_embeddings`)")
    given = entry.get("label_embeddings")
    embeddings = stack_label_embeddings(read_state_dict(paths[given]), labels) if given else None
    state = read_state_dict(paths[entry["file"]])
    return load_published(state, family=entry["family"], label_embeddings=embeddings, labels=labels), None


def _untrained_parser(labels: tuple[str, ...], spec: FeatureSpec, seed: int) -> AVParser:
    audio, visual_2d, visual_3d = spec.dims
    config = ParserConfig(labels=labels, audio_dim=audio, visual_2d_dim=visual_2d, visual_3d_dim=visual_3d)
    with torch.device("meta"):
        parser = build_parser(config, torch.empty(len(labels), config.label_embedding_dim))
    shapes = {key: tuple(tensor.shape) for key, tensor in parser.state_dict().items()}
    parser.load_state_dict(untrained_state(shapes, seed), assign=True)
    return parser.eval()


def _check_features(bundle: Bundle, spec: FeatureSpec, parser: AVParser, trained_on: FeatureSpec | None) -> None:
    if trained_on is not None and (differences := trained_on.differences(spec)):
        raise FeatureMismatchError(
            f"bundle {bundle.name!r}: the parser was trained on other features than these extractors make"
            f" (parser / extractors): {'; '.join(differences)}"
        )
    config = parser.config
    expected = (config.audio_dim, config.visual_2d_dim, config.visual_3d_dim)
    if expected != spec.dims:
        raise FeatureMismatchError(f"bundle {bundle.name!r}: the parser reads widths {expected}, not {spec.dims}")
