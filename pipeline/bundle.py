"""From the name of a bundle to networks that are ready to run."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from ..extractors.base import Extractor
from ..extractors.profiles import FeatureSpec, feature_spec
from ..extractors.registry import build_extractor, extractor_shapes
from ..models.checkpoint import load_checkpoint, read_description
from ..models.config import ParserConfig
from ..models.labels import LABEL_SETS, stack_label_embeddings
from ..models.parser import AVParser, build_parser
from ..models.published import load_published
from ..weights.errors import WeightsError
from ..weights.fetch import Progress, fetch_file
from ..weights.manifest import Bundle, list_files, load_bundle
from ..weights.store import bundle_paths, missing_message, sha256_of, verify_file
from ..weights.untrained import untrained_state
from .errors import FeatureMismatchError, SetupError

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


def gather_files(
    bundle: Bundle, *, weights_dir: Path | None = None, offline: bool = False, progress: Progress | None = None
) -> tuple[dict[str, Path], dict[str, str]]:
    """Paths and sha256 of the bundle's files, downloaded where they are missing and verified.

    Raises WeightsError: offline, it lists what is missing, where it can be had and where to put it.
    """
    paths, missing = bundle_paths(bundle, weights_dir)
    if missing and offline:
        raise WeightsError(missing_message(missing, weights_dir))
    known, hashes = list_files(), {}
    for key, path in paths.items():
        in_bundle = bundle.root is not None and path.parent == bundle.root
        hashes[path.name] = sha256_of(path) if in_bundle or key not in known else verify_file(known[key], path)
    for file in missing:
        try:
            paths[file.key], hashes[file.name] = fetch_file(file, weights_dir, progress=progress)
        except WeightsError as error:
            raise WeightsError(f"{error}\n{missing_message(missing, weights_dir)}") from error
    return paths, hashes


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
    for module in (*extractors.values(), parser):
        module.to(chosen)
    if chosen.type == "cuda":  # or convolutions round to ten bits, and results would not be the CPU's
        torch.backends.cudnn.allow_tf32 = False
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


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Tensors of a .safetensors, .pt or .pth file. Nothing is unpickled but tensors. Raises WeightsError."""
    try:
        is_ours = path.suffix == ".safetensors"
        content = load_file(path) if is_ours else torch.load(path, map_location="cpu", weights_only=True)
    except (SafetensorError, pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError) as error:
        reason = str(error).split("\n", 1)[0] or type(error).__name__
        raise WeightsError(f"{path}: damaged, or not a weight file: {reason}") from error
    if not isinstance(content, dict) or not all(
        isinstance(key, str) and isinstance(value, Tensor) for key, value in content.items()
    ):
        raise WeightsError(f"{path}: holds something other than a plain dictionary of tensors")
    return {key: _to_float32(path, key, value) for key, value in content.items()}


def _to_float32(path: Path, key: str, value: Tensor) -> Tensor:
    """Files in half precision are widened; NaN and infinity are damage, found here and not in the first result."""
    if not value.is_floating_point():
        return value
    if not bool(torch.isfinite(value).all()):
        raise WeightsError(f"{path}: {key} holds values that are not finite")
    return value.float()


def _load_extractor(name: str, file: str, seed: int | None, paths: Mapping[str, Path]) -> Extractor:
    if seed is not None:
        return build_extractor(name, untrained_state(extractor_shapes(name), seed))
    if not file:
        raise ValueError(f"extractor {name} has no file")
    try:
        return build_extractor(name, read_state_dict(paths[file]))
    except ValueError as error:
        raise ValueError(f"{paths[file]}: {error}") from error


def _load_parser(bundle: Bundle, spec: FeatureSpec, paths: Mapping[str, Path]) -> tuple[AVParser, FeatureSpec | None]:
    """The parser, and the features it was trained on where its file says so."""
    entry = bundle.parser
    if "checkpoint" in entry:
        checkpoint = load_checkpoint(paths[entry["checkpoint"]])
        return checkpoint.parser, FeatureSpec.from_dict(checkpoint.feature_spec)
    if bundle.labels not in LABEL_SETS:
        raise ValueError(f"unknown label set {bundle.labels!r}; known: {', '.join(LABEL_SETS)}")
    labels = LABEL_SETS[bundle.labels]
    if bundle.seed is not None:
        return _untrained_parser(labels, spec, bundle.seed), None
    if not {"family", "file", "label_embeddings"} <= set(entry):
        raise ValueError("its parser needs either `checkpoint` or `family`, `file` and `label_embeddings`")
    embeddings = stack_label_embeddings(read_state_dict(paths[entry["label_embeddings"]]), labels)
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
