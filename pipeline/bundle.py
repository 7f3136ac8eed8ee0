"""From the name of a bundle to networks that are ready to run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ..extractors.base import Extractor
from ..extractors.fused import fuse
from ..extractors.profiles import FeatureSpec, feature_spec
from ..extractors.rates import Stream
from ..extractors.registry import EXTRACTORS, build_extractor, extractor_shapes
from ..models.checkpoint import load_checkpoint, read_description
from ..models.config import ParserConfig
from ..models.labels import LABEL_SETS, stack_label_embeddings
from ..models.parser import AVParser, build_parser
from ..models.published import load_published
from ..weights.fetch import Progress
from ..weights.manifest import Bundle, load_bundle
from ..weights.store import bundle_paths
from ..weights.untrained import untrained_state
from .errors import FeatureMismatchError, SetupError, printable
from .weight_files import gather_files, read_state_dict

UNTRAINED_WARNING = "UNTRAINED weights: the parameters are random and these events mean nothing"


@dataclass(frozen=True)
class LoadedBundle:
    """Networks on their device, and what a result must say of where they came from."""

    name: str
    description: str
    extractors: Mapping[str, Extractor]  # name -> extractor, one of each stream
    parser: AVParser
    spec: FeatureSpec
    hashes: Mapping[str, str]  # file name -> sha256
    untrained: bool
    device: torch.device


@dataclass(frozen=True)
class LoadedExtractors:
    """Extractors on their device, by stream; `made_with` tells their weights apart."""

    extractors: Mapping[Stream, Extractor]
    spec: FeatureSpec
    made_with: Mapping[Stream, str]
    device: torch.device


@dataclass(frozen=True)
class LoadedParser:
    """A parser on its device, and the features it was trained on."""

    name: str
    parser: AVParser
    spec: FeatureSpec
    device: torch.device


def resolve_device(name: str) -> torch.device:
    """``auto``, ``cpu``, ``cuda`` or ``cuda:N``. Raises SetupError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise SetupError(f"unknown device {name!r}; use auto, cpu, cuda or cuda:N") from error
    if device.type not in {"cpu", "cuda"} or (device.type == "cpu" and device.index):
        raise SetupError(f"device {name!r} is not supported; use auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (not torch.cuda.is_available() or (device.index or 0) >= torch.cuda.device_count()):
        raise SetupError(f"device {name!r} is not on this machine ({torch.cuda.device_count()} CUDA devices found)")
    return device


def known_labels(bundle: Bundle, weights_dir: Path | None = None) -> tuple[str, ...] | None:
    """The classes of a bundle's parser, read without loading it; None where its file is not there yet."""
    if bundle.labels is not None:
        return LABEL_SETS.get(bundle.labels)
    paths, _ = bundle_paths(bundle, weights_dir)
    path = paths.get(bundle.parser.get("checkpoint", ""))
    try:
        return None if path is None else read_description(path).config.labels
    except ValueError as error:
        raise SetupError(f"bundle {bundle.name!r}: {error}") from error


def load_networks(
    bundle: Bundle | str,
    *,
    weights_dir: Path | None = None,
    offline: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> LoadedBundle:
    """The networks of a bundle (or of the one of that name or folder), in eval mode on the device.

    Raises SetupError for an unknown device or weights that do not fit, FeatureMismatchError where the parser was
    trained on other features than the bundle's extractors make, WeightsError for files missing or damaged.
    """
    chosen = resolve_device(device)
    if isinstance(bundle, str):
        bundle = load_bundle(bundle)
    paths, hashes = gather_files(bundle, weights_dir=weights_dir, offline=offline, progress=progress)
    try:
        extractors = {name: _load_extractor(name, file, bundle.seed, paths) for name, file in bundle.extractors.items()}
        spec = feature_spec(bundle.profile, extractors)
        parser, trained_on = _load_parser(bundle, spec, paths)
    except ValueError as error:
        raise SetupError(f"bundle {bundle.name!r}: {error}") from error
    _check_features(bundle, spec, parser, trained_on)
    extractors = {name: fuse(extractor.to(chosen)) for name, extractor in extractors.items()}
    parser.to(chosen)
    _round_as_told(chosen)
    return LoadedBundle(
        name=bundle.name,
        description=bundle.description,
        extractors=extractors,
        parser=parser,
        spec=spec,
        hashes=hashes,
        untrained=bundle.seed is not None,
        device=chosen,
    )


def load_extractors(
    bundle: Bundle,
    *,
    weights_dir: Path | None = None,
    offline: bool = False,
    device: torch.device,
    dtype: torch.dtype = torch.float32,
    progress: Progress | None = None,
) -> LoadedExtractors:
    """The extractors of a bundle without its parser, for features alone. Raises as `load_networks`."""
    paths, hashes = gather_files(
        replace(bundle, parser={}), weights_dir=weights_dir, offline=offline, progress=progress
    )
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
    extractors: dict[Stream, Extractor] = {
        extractor.stream: fuse(extractor.to(device), dtype=dtype) for extractor in plain.values()
    }
    _round_as_told(device)
    return LoadedExtractors(extractors, spec, made_with, device)


def _round_as_told(device: torch.device) -> None:
    if device.type == "cuda":  # or convolutions round to ten bits, and results would not be the CPU's
        torch.backends.cudnn.allow_tf32 = False


def load_parser(
    bundle: Bundle | str,
    *,
    weights_dir: Path | None = None,
    offline: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> LoadedParser:
    """The parser of a bundle without its extractors, for features that are there already. Raises as `load_networks`."""
    chosen = resolve_device(device)
    if isinstance(bundle, str):
        bundle = load_bundle(bundle)
    parser_alone = replace(bundle, extractors={})
    paths, _ = gather_files(parser_alone, weights_dir=weights_dir, offline=offline, progress=progress)
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
            f"the parser of {loaded.name!r} was trained on other features than {printable(where)} holds"
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
