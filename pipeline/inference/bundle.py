"""Load the networks of a bundle onto devices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from ...extractors.profiles import FeatureSpec, feature_spec
from ...extractors.registry import EXTRACTORS, meta_extractor
from ...models.files.checkpoint import read_description
from ...models.labels import LABEL_SETS
from ...weights.locate import bundle_paths
from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.parts import Part, part_names
from ...weights.remote.bundles import load_bundle
from ...weights.remote.gather import gather_files
from ...weights.source import ANYWHERE, WeightSource
from ..descriptions import describe
from ..devices import FP32, ComputePrecision, resolve_device, resolve_devices
from ..errors import FeatureMismatchError, SetupError
from ..open_vocabulary.network import OpenVocabulary
from ..open_vocabulary.vocabulary import Vocabulary
from ..precisions import OPENVINO
from ..text import escape
from .compiled_network import CompiledNetwork, compile_network
from .decisions import Decision, decide_by_thresholds, decide_open, load_decision
from .extractors import DeviceNetworks, LoadedExtractors, arrange_all
from .networks import BundleNetwork, Network, NetworkConfig, check_network_features, describe_network
from .open_network import load_open_network, vocabulary_of
from .other_profile import add_warning, approximation_warning
from .read_network import read_network
from .thresholds import Thresholds, read_thresholds

UNTRAINED_WARNING = "UNTRAINED weights: the parameters are random and these events mean nothing"


@dataclass(frozen=True, repr=False)
class LoadedBundle:
    """Extractors, the parser of their features, and the facts that a result's provenance names."""

    name: str
    extractors: LoadedExtractors
    parser: BundleNetwork  # or the localizer, on the extractors' first device; or an open vocabulary
    hashes: Mapping[str, str]  # file name -> sha256, of all files of the bundle
    untrained: bool  # True if the parameters are random
    warning: str | None = None  # what users of its results have to know
    decision: Decision = decide_by_thresholds
    parts: tuple[Part, ...] = ()  # of other packages: extractors, encoder, decoder, decision
    own_thresholds: Thresholds | None = None  # of a file of the bundle
    compiled_parser: CompiledNetwork | None = None  # of `compile_parser`
    notes: tuple[str, ...] = ()  # of what computes the networks, for the user; results do not depend on it

    def __repr__(self) -> str:
        config, spec = self.parser.config, self.extractors.spec
        lines = [
            f"device {self.device}, precision {self.extractors.precision}",
            f"features {', '.join(spec.extractors)}, profile {spec.profile}",
            describe_network(config),
        ]
        warnings = [*filter(None, [self.warning]), *self.notes]
        return describe(f"LoadedBundle {escape(self.name)}", lines, warnings=warnings)

    @property
    def thresholds(self) -> Thresholds:
        """Those that decide where the user gives none: of the bundle, else of the parser's configuration."""
        return self.own_thresholds or Thresholds.published(self.parser.config)

    @property
    def trained_parser(self) -> Network:
        """The parser or localizer. Raises SetupError for an open bundle, which has none."""
        if isinstance(self.parser, OpenVocabulary):
            raise SetupError(_no_parser(self.name))
        return self.parser

    @property
    def predictor(self) -> BundleNetwork | CompiledNetwork:
        """What computes probabilities: the compiled parser if there is one, else the parser."""
        return self.compiled_parser or self.parser

    def compile_parser(self, callers: int = 1) -> LoadedBundle:
        """Compile the parser for many videos, where the backend is OpenVINO and can convert it.

        It takes a second, and several at the first time, when the parser is converted: too long for one short clip.

        Args:
            callers: threads that will call it at the same time.

        Returns:
            The bundle with it. Where PyTorch computes the parser, without; its notes say why if that was to be avoided.
        """
        if self.extractors.precision.backend != OPENVINO or isinstance(self.parser, OpenVocabulary):
            return self
        rows, notes, compiled = self.extractors.spec.frames_per_segment, [*self.notes], None
        try:
            compiled = compile_network(self.parser, rows, callers=callers, tell=notes.append)
        except SetupError as error:
            notes.append(f"PyTorch computes the parser, in the same precision: {error}")
        return replace(self, compiled_parser=compiled, notes=tuple(dict.fromkeys(notes)))

    @property
    def networks(self) -> tuple[DeviceNetworks, ...]:
        """Extractors of each device."""
        return self.extractors.networks

    @property
    def device(self) -> torch.device:
        """Device of the parser."""
        return self.extractors.device


@dataclass(frozen=True)
class LoadedParser:
    """A parser without extractors."""

    name: str  # of its bundle
    parser: Network  # or the localizer
    spec: FeatureSpec  # of the features that it was trained on
    device: torch.device
    decision: Decision = decide_by_thresholds
    own_thresholds: Thresholds | None = None  # of a file of the bundle

    @property
    def thresholds(self) -> Thresholds:
        """Those that decide where the user gives none: of the bundle, else of the parser's configuration."""
        return self.own_thresholds or Thresholds.published(self.parser.config)


def known_labels(bundle: Bundle, folder: Path | None = None) -> tuple[str, ...] | None:
    """Read the classes of a bundle's parser without loading it.

    Args:
        bundle: a bundle.
        folder: searched first for its files, see `bundle_paths`.

    Returns:
        C class names; None if the parser's file has not been downloaded yet.

    Raises:
        SetupError: the parser's file is not a checkpoint.
        WeightsError: a file of the bundle is not known.
    """
    if bundle.classes is not None:
        return Vocabulary.from_dict(bundle.classes).labels
    if bundle.labels is not None:
        return LABEL_SETS.get(bundle.labels)
    paths, _ = bundle_paths(bundle, folder)
    if bundle.is_open:
        return vocabulary_of(bundle, paths).labels if bundle.parser.get("classes", "") in paths else None
    path = paths.get(bundle.parser.get("checkpoint", ""))
    try:
        return None if path is None else read_description(path).config.labels
    except ValueError as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error


def load_networks(
    bundle: Bundle | str,
    *,
    source: WeightSource = ANYWHERE,
    device: str = "auto",
    precision: ComputePrecision = FP32,
    outline: bool = False,
) -> LoadedBundle:
    """Load all networks of a bundle, in evaluation mode.

    Args:
        bundle: a bundle, or its name or folder.
        source: where weight files may come from.
        device: `auto`, `cpu`, `cuda`, `cuda:N`, or several GPUs (`cuda:0,cuda:1`), each of which gets the extractors.
        precision: of the extractors; the parser computes in float32.
        outline: leave out the parameters of the extractors, which then compute nothing: for features that are kept.

    Returns:
        The networks.

    Raises:
        SetupError: the device is unknown, or weights do not fit their network.
        FeatureMismatchError: the parser was trained on other features than the bundle's extractors compute.
        WeightsError: files are missing or damaged.
    """
    if isinstance(bundle, str):
        bundle = load_bundle(bundle, source)
    try:
        bundle.check_worth_loading()
    except ValueError as error:
        raise SetupError(str(error)) from error
    devices = resolve_devices(device)
    paths, hashes = gather_files(bundle, source)
    extractors = arrange_all(bundle, paths, hashes, devices, precision, trust=source.trust, outline=outline)
    try:
        if bundle.is_open:
            return _with_open_network(bundle, extractors, paths, hashes, source.trust)
        parser, trained_on = read_network(bundle, extractors.spec, paths, source.trust)
        decision, decision_part = load_decision(parser.config, source.trust)
        own_thresholds = _read_own_thresholds(bundle, parser.config, paths)
    except (ValueError, SetupError) as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error
    _check_fit(bundle, extractors.spec, parser, trained_on)
    if trained_on is not None and trained_on.approximated_by(extractors.spec.profile):
        bundle = add_warning(bundle, approximation_warning(trained_on.profile, extractors.spec.profile))
    parts = [*(extractor.part for extractor in extractors.by_name.values()), *parser.parts, decision_part]
    return LoadedBundle(
        name=bundle.name,
        extractors=extractors,
        parser=parser.to(extractors.device),
        hashes=hashes,
        untrained=bundle.seed is not None,
        warning=bundle.warning,
        decision=decision,
        parts=tuple(part for part in parts if part is not None),
        own_thresholds=own_thresholds,
        notes=extractors.notes,
    )


def _with_open_network(
    bundle: Bundle,
    extractors: LoadedExtractors,
    paths: Mapping[str, Path],
    hashes: Mapping[str, str],
    trust: Sequence[str],
) -> LoadedBundle:
    """Return an open bundle with its classes encoded. Raises SetupError, ValueError."""
    weight_ids = extractors.weight_ids
    network = load_open_network(bundle, paths, extractors.by_name, extractors.spec, trust, weight_ids=weight_ids)
    return LoadedBundle(
        name=bundle.name,
        extractors=extractors,
        parser=network,
        hashes=hashes,
        untrained=bundle.seed is not None,
        warning=bundle.warning,
        decision=decide_open(network),
        parts=tuple(extractor.part for extractor in extractors.by_name.values() if extractor.part is not None),
        notes=extractors.notes,
    )


def with_other_classes(loaded: LoadedBundle, bundle: Bundle, source: WeightSource) -> LoadedBundle:
    """Return an open bundle's networks, loaded, for other classes.

    Args:
        loaded: the networks.
        bundle: theirs, with the other classes.
        source: of its files, which are on disk.

    Returns:
        The same extractors with the other classes.

    Raises:
        SetupError: a file does not fit.
        WeightsError: a file cannot be read.
    """
    paths, _ = bundle_paths(bundle, source.folder)
    extractors = loaded.extractors
    try:
        network = load_open_network(
            bundle, paths, extractors.by_name, extractors.spec, source.trust, weight_ids=extractors.weight_ids
        )
    except ValueError as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error
    return replace(loaded, parser=network, decision=decide_open(network))


def load_parser(
    bundle: Bundle | str,
    *,
    source: WeightSource = ANYWHERE,
    device: str = "auto",
) -> LoadedParser:
    """Load the parser of a bundle without its extractors, for features that are already extracted.

    Args:
        bundle: a bundle, or its name or folder.
        source: where weight files may come from.
        device: `auto`, `cpu`, `cuda` or `cuda:N`.

    Returns:
        The parser in evaluation mode, with the specification of the features it was trained on.

    Raises:
        SetupError: the device is unknown, the weights do not fit, or the features are not known.
        WeightsError: files are missing or damaged.
    """
    resolved = resolve_device(device)
    FP32.prepare(resolved)  # a GPU's LSTMs would use TF32 otherwise
    if isinstance(bundle, str):
        bundle = load_bundle(bundle, source)
    if bundle.is_open:
        raise SetupError(_no_parser(bundle.name))
    paths, _ = gather_files(bundle.without_extractors(), source)
    try:
        known = part_names("extractor", EXTRACTORS)
        extractors = {
            name: meta_extractor(name, reference=bundle.parts.get(name), trust=source.trust)
            for name in bundle.extractors
            if name in known or name in bundle.parts
        }
        all_known = len(extractors) == len(bundle.extractors)
        computed = feature_spec(bundle.profile, extractors) if all_known else None
        parser, trained_on = read_network(bundle, computed, paths, source.trust)
        decision, _ = load_decision(parser.config, source.trust)
        own_thresholds = _read_own_thresholds(bundle, parser.config, paths)
    except (ValueError, SetupError) as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error
    spec = trained_on or computed
    if spec is None:
        raise SetupError(f"bundle {shown(bundle.name)}: it does not name the features that its parser was trained on")
    check_network_features(parser.config, spec, bundle.name)
    return LoadedParser(bundle.name, parser.to(resolved), spec, resolved, decision, own_thresholds)


def check_features(loaded: LoadedParser, spec: FeatureSpec, where: object) -> tuple[str, ...]:
    """Check that a parser can read features of this specification.

    Args:
        loaded: the parser.
        spec: of the features.
        where: folder or file of the features, for the message.

    Returns:
        Warnings: that the features only approximate those that the parser was trained on.

    Raises:
        FeatureMismatchError: the parser was trained on other features; the message lists the differences.
    """
    if differences := loaded.spec.differences(spec):
        raise FeatureMismatchError(
            f"the parser of {shown(loaded.name)} was trained on other features than {escape(where)} holds"
            f" (parser / features): {'; '.join(differences)}"
        )
    if not loaded.spec.approximated_by(spec.profile):
        return ()
    return (approximation_warning(loaded.spec.profile, spec.profile),)


def _no_parser(name: str) -> str:
    return f"bundle {shown(name)} finds classes by their names: it has no parser for this"


def _read_own_thresholds(bundle: Bundle, config: NetworkConfig, paths: Mapping[str, Path]) -> Thresholds | None:
    """Read the file of thresholds that a bundle has; classes that it does not name keep those of the configuration."""
    file = bundle.parser.get("thresholds")
    return Thresholds.published(config).changed(read_thresholds(paths[file])) if file else None


def _check_fit(bundle: Bundle, spec: FeatureSpec, network: Network, trained_on: FeatureSpec | None) -> None:
    if trained_on is not None and (differences := trained_on.differences(spec)):
        raise FeatureMismatchError(
            f"bundle {shown(bundle.name)}: the parser was trained on other features than these extractors compute"
            f" (parser / extractors): {'; '.join(differences)}"
        )
    check_network_features(network.config, spec, bundle.name)
