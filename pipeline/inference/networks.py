"""The networks that read features: parsers, and localizers of one audio-visual event a clip."""

from __future__ import annotations

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import AVE_STREAMS, LLP_STREAMS, Stream
from ...models.config import ParserConfig
from ...models.localizers.config import LocalizerConfig
from ...models.localizers.localizer import EventLocalizer
from ...models.localizers.output import LocalizerOutput
from ...models.open.adapter import AdapterConfig, TemporalAdapter
from ...models.parser import AVParser, ParserOutput
from ...models.teacher import TeacherConfig, TemporalTeacher
from ...weights.messages import shown
from ..errors import FeatureMismatchError
from ..open_vocabulary.network import OpenConfig, OpenVocabulary

Network = AVParser | EventLocalizer
NetworkConfig = ParserConfig | LocalizerConfig
# An open vocabulary stands in the place of a parser in a bundle; it is not trained, and computes in NumPy.
BundleNetwork = Network | OpenVocabulary
BundleConfig = NetworkConfig | OpenConfig
NetworkOutput = ParserOutput | LocalizerOutput
# What the training loop trains: a temporal teacher only makes pseudo labels, it decides nothing; a temporal adapter
# computes the embeddings that an open vocabulary decides from.
TrainedNetwork = Network | TemporalTeacher | TemporalAdapter
TrainedConfig = NetworkConfig | TeacherConfig | AdapterConfig


def is_localizer(config: BundleConfig) -> bool:
    """Return whether a network is a localizer: timelines have audio-visual events only, and one class a second."""
    return isinstance(config, LocalizerConfig)


def network_features(config: TrainedConfig | OpenConfig) -> dict[Stream, int]:
    """Return the streams that a network reads and their widths, in the order of its arguments."""
    if isinstance(config, LocalizerConfig):
        widths = (config.audio_dim, config.positions * config.visual_dim)
        return dict(zip(AVE_STREAMS, widths, strict=True))
    if isinstance(config, TeacherConfig | AdapterConfig | OpenConfig):
        return {"audio": config.audio_dim, "visual_2d": config.visual_dim}
    return {stream: config.stream_dims[stream] for stream in LLP_STREAMS if stream in config.stream_dims}


def describe_network(config: BundleConfig) -> str:
    """Describe an architecture in a few words."""
    if isinstance(config, OpenConfig):
        return f"open vocabulary, rule {config.vocabulary.rule.name}: {len(config.labels)} classes by their names"
    if isinstance(config, LocalizerConfig):
        kind = f"localizer {config.system}, {config.supervision} supervision, {config.decoder}"
    else:
        kind = f"parser {config.encoder}, {config.decoder}"
    return f"{kind}: {len(config.labels)} classes, windows of {config.segments} s"


def check_network_features(config: NetworkConfig, spec: FeatureSpec, bundle: str) -> None:
    """Check that a network reads features of this specification.

    Args:
        config: of the network.
        spec: of the features.
        bundle: name of the network's bundle, for the message.

    Raises:
        FeatureMismatchError: it reads other streams, or other widths; the message names both.
    """
    expected = network_features(config)
    found = dict(zip(spec.streams, spec.dims, strict=True))
    if list(expected.items()) == list(found.items()):
        return
    kind = "localizer" if isinstance(config, LocalizerConfig) else "parser"
    if list(expected) == list(found):
        raise FeatureMismatchError(
            f"bundle {shown(bundle)}: the {kind} reads widths {tuple(expected.values())}, not {spec.dims}"
        )
    raise FeatureMismatchError(
        f"bundle {shown(bundle)}: the {kind} reads {_listed(expected)}, but the features of profile"
        f" {shown(spec.profile)} have {_listed(found)}"
    )


def _listed(widths: dict[Stream, int]) -> str:
    return ", ".join(f"{stream} ({width})" for stream, width in widths.items())
