"""Read the parser or localizer of a bundle from its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import AVE_STREAMS, LLP_STREAMS
from ...models.config import ParserConfig
from ...models.files.checkpoint import load_checkpoint
from ...models.files.published import load_published
from ...models.labels import LABEL_SETS, stack_label_embeddings
from ...models.localizers.config import SYSTEMS, LocalizerConfig
from ...models.localizers.localizer import EventLocalizer, localizer_shapes, restore_localizer
from ...models.parser import AVParser, meta_parser, parser_shapes
from ...weights.load import read_state_dict
from ...weights.manifest import Bundle
from ...weights.messages import shown
from ...weights.untrained import untrained_state
from .networks import Network


def read_network(
    bundle: Bundle, spec: FeatureSpec | None, paths: Mapping[str, Path], trust: Sequence[str]
) -> tuple[Network, FeatureSpec | None]:
    """Read the parser or localizer of a bundle.

    Args:
        bundle: its `parser` names a checkpoint, or a published file with its family; or the bundle has a seed.
        spec: of the features that its extractors compute, for random parameters; None if it is not known.
        paths: file name -> where it is.
        trust: packages that "module:Name" may name, see `load_part`.

    Returns:
        The network in evaluation mode on the CPU, and the specification of the features that it was trained on, None if
        its file has none.

    Raises:
        ValueError: a file or an entry of the bundle does not fit.
        WeightsError: a file cannot be read.
    """
    network, trained_on = _read(bundle, spec, paths, trust)
    if decision := bundle.parser.get("decision"):
        config = network.config
        options = config.decision_options if decision == config.decision else {}
        if isinstance(network, EventLocalizer):  # its readout depends on the decision
            changed = replace(network.config, decision=decision, decision_options=options)
            unused = network.unused_keys
            network = restore_localizer(changed, network.state_dict())
            network.unused_keys = unused
        else:
            network.config = replace(network.config, decision=decision, decision_options=options)
    return network, trained_on


def _read(
    bundle: Bundle, spec: FeatureSpec | None, paths: Mapping[str, Path], trust: Sequence[str]
) -> tuple[Network, FeatureSpec | None]:
    bundle.check_has_parser()
    entry = bundle.parser
    if entry.get("checkpoint"):
        checkpoint = load_checkpoint(paths[entry["checkpoint"]], trust)
        return checkpoint.parser, FeatureSpec.from_dict(checkpoint.feature_spec)
    if bundle.labels not in LABEL_SETS:
        raise ValueError(f"unknown label set {shown(bundle.labels)}; known: {', '.join(LABEL_SETS)}")
    labels = LABEL_SETS[bundle.labels]
    if bundle.seed is not None and spec is not None:
        return _untrained(entry, labels, spec, bundle.seed), None
    if not entry.get("family") or not entry.get("file"):
        raise ValueError("its parser needs either `checkpoint` or `family` and `file` (for leap, `label_embeddings`)")
    embeddings_file = entry.get("label_embeddings")
    embeddings = None
    if embeddings_file:
        vectors, ordered = read_state_dict(paths[embeddings_file]), paths[embeddings_file].suffix != ".safetensors"
        embeddings = stack_label_embeddings(vectors, labels, ordered=ordered)
    network = load_published(
        read_state_dict(paths[entry["file"]], rounded=entry["family"] in SYSTEMS),  # CMBS and CPSP are saved in float64
        family=entry["family"],
        supervision=entry.get("supervision"),
        label_embeddings=embeddings,
        labels=labels,
    )
    return network, None


def _untrained(entry: Mapping[str, str], labels: tuple[str, ...], spec: FeatureSpec, seed: int) -> Network:
    """Return a network with random parameters: a localizer where the bundle's family is one of its systems."""
    if entry.get("family") in SYSTEMS:
        return _untrained_localizer(entry, labels, spec, seed)
    return _untrained_parser(labels, spec, seed)


def _untrained_localizer(
    entry: Mapping[str, str], labels: tuple[str, ...], spec: FeatureSpec, seed: int
) -> EventLocalizer:
    supervision = entry.get("supervision", "full")
    config = LocalizerConfig(labels=labels, system=entry["family"], supervision=supervision)
    if spec.streams == AVE_STREAMS:  # else the features do not fit, as `check_network_features` says
        audio, visual_map = spec.dims
        config = replace(config, audio_dim=audio, visual_dim=max(1, visual_map // config.positions))
    return restore_localizer(config, untrained_state(localizer_shapes(config), seed))


def _untrained_parser(labels: tuple[str, ...], spec: FeatureSpec, seed: int) -> AVParser:
    config = ParserConfig(labels=labels)
    if set(spec.streams) <= set(LLP_STREAMS):  # else the features do not fit, as `check_network_features` says
        dims = {"visual_3d": 0} | dict(zip(spec.streams, spec.dims, strict=True))
        config = replace(config, **{f"{stream}_dim": dims[stream] for stream in LLP_STREAMS})
    parser = meta_parser(config)
    parser.load_state_dict(untrained_state(parser_shapes(config), seed), assign=True)
    return parser.eval()
