"""The text encoders of an open bundle, and what they make of the classes: the network in the place of a parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from ...extractors.base import Extractor
from ...extractors.profiles import FeatureSpec
from ...extractors.registry import meta_extractor
from ...extractors.sampling import Stream
from ...extractors.texts.base import TextEncoder
from ...extractors.texts.parts import PartTextEncoder
from ...extractors.texts.registry import build_text_encoder, is_of_text, untrained_text_encoder
from ...models.files.checkpoint import load_adapter
from ...models.open.adapter import TemporalAdapter
from ...weights.load import read_state_dict
from ...weights.manifest import OPEN_BUNDLE, Bundle
from ...weights.messages import shown
from ...weights.remote.gather import gather_files
from ...weights.source import WeightSource
from ..errors import SetupError
from ..files import hash_file
from ..open_vocabulary.network import OpenConfig, OpenVocabulary
from ..open_vocabulary.open_bundle import read_classes
from ..open_vocabulary.sentences import embed_vocabulary
from ..open_vocabulary.text_memory import RememberedTexts, text_key
from ..open_vocabulary.vocabulary import OpenClass, Vocabulary
from ..open_vocabulary.warnings import about_classes
from ..timeline import SINGLE_MODALITIES
from .arranged_extractors import load_extractor
from .output_tables import to_finite_array
from .predict import average_windows

_LOGIT_SCALES = ("logit_scale", "logit_scale_a")  # natural logarithms: CLIP's, and CLAP's for sounds
_UNTRAINED_SCALE = 1 / 0.07  # that the training of both begins with
_MAX_SCALE = 1_000.0
_MODALITIES = {"audio": "audio", "visual_2d": "visual"}  # stream -> modality


def vocabulary_of(bundle: Bundle, paths: Mapping[str, Path]) -> Vocabulary:
    """Return what an open bundle looks for. Raises SetupError if the user named no classes, and it has none."""
    if bundle.classes is not None:
        return Vocabulary.from_dict(bundle.classes)
    if file := bundle.parser.get("classes"):
        return read_classes(bundle, f"@{paths[file]}")
    raise SetupError(f'--weights {bundle.name} finds the classes that you name: --classes "dog barking, applause"')


def load_open_network(
    bundle: Bundle,
    paths: Mapping[str, Path],
    extractors: Mapping[str, Extractor],
    spec: FeatureSpec,
    trust: Sequence[str],
    *,
    weight_ids: Mapping[Stream, str] = MappingProxyType({}),
) -> OpenVocabulary:
    """Encode the classes of an open bundle.

    Args:
        bundle: an open bundle, with the user's classes.
        paths: of its files.
        extractors: by name, for their streams.
        spec: of their features.
        trust: packages whose parts it may name.
        weight_ids: of its extractors; calibrated thresholds are compared with them, and sentences are kept under them.

    Returns:
        The network.

    Raises:
        SetupError: there are no classes.
        ValueError: a file does not fit.
    """
    vocabulary = vocabulary_of(bundle, paths)
    names = {_modality_of(name, extractors[name].stream): name for name in bundle.texts}
    weights = {_MODALITIES[stream]: digest for stream, digest in weight_ids.items()}
    encoders = {
        modality: load_text_encoder(bundle, name, paths, trust, weights=weights.get(modality, ""))
        for modality, name in names.items()
    }
    dims = dict(zip(spec.streams, spec.dims, strict=True))
    config = OpenConfig(vocabulary, dims["audio"], dims["visual_2d"])
    texts = embed_vocabulary(vocabulary, encoders)
    warnings = about_classes(vocabulary, texts, encoders, weights)
    scales = {}
    if vocabulary.scale == "logits":
        scales = {modality: _logit_scale(bundle, name, paths, encoders[modality]) for modality, name in names.items()}
    adapt = None
    if bundle.is_adapted:
        adapter, trained_on, _ = load_adapter(paths[bundle.parser["checkpoint"]])
        if differences := FeatureSpec.from_dict(trained_on).differences(spec):
            raise ValueError(
                f"its adapter was trained on other features (adapter / extractors): {'; '.join(differences)}"
            )
        adapt = partial(adapt_features, adapter, device="cpu")
    return OpenVocabulary(config, texts, warnings, scales, weights, adapt=adapt)


def load_bundle_adapter(bundle: Bundle, source: WeightSource) -> TemporalAdapter:
    """Load the temporal adapter of an open bundle alone.

    Args:
        bundle: whose `is_adapted` is true.
        source: where weight files may come from.

    Returns:
        The adapter in evaluation mode, on the CPU.

    Raises:
        SetupError: its file does not fit.
        WeightsError: its file is missing or damaged.
    """
    paths, _ = gather_files(bundle.without_extractors(), source)
    try:
        return load_adapter(paths[bundle.parser["checkpoint"]]).adapter
    except ValueError as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error


def adapt_features(
    adapter: TemporalAdapter, features: Mapping[str, NDArray[np.floating]], device: torch.device | str
) -> dict[str, NDArray[np.float32]]:
    """Compute the embeddings of a video by a temporal adapter.

    A video that is longer than the longest clip of training is computed in windows of that length, which overlap by
    half; the embeddings of each second are averaged over the windows that contain it.

    Args:
        adapter: in evaluation mode, on `device`.
        features: modality -> (T, D) of the extractors.
        device: where the features are moved to.

    Returns:
        Modality -> (T, D).

    Raises:
        SetupError: the embeddings are not finite.
    """

    def compute(modality: str, windows: torch.Tensor) -> NDArray[np.float32]:
        return to_finite_array(adapter.adapt(modality, windows)[:, None])

    window, target = adapter.config.segments, torch.device(device)
    return {
        modality: average_windows(partial(compute, modality), [rows.astype(np.float32)], window, target)[0]
        for modality, rows in features.items()
    }


def encode_labels(bundle: Bundle, labels: Sequence[str], source: WeightSource) -> torch.Tensor:
    """Encode the usual sentences of classes by the text encoders of an open bundle.

    Args:
        bundle: an open bundle.
        labels: N class names.
        source: where its weight files may come from.

    Returns:
        (N, A + V) float32: the embeddings of the sentences for sounds and, after them, of those for pictures.

    Raises:
        SetupError: the bundle has no text encoders, or a file does not fit.
        WeightsError: files are missing or damaged.
    """
    if not bundle.is_open:
        raise SetupError(f"bundle {shown(bundle.name)} has no text encoders; name an open one, such as {OPEN_BUNDLE}")
    paths, _ = gather_files(bundle, source)
    vocabulary = Vocabulary(tuple(map(OpenClass.named, labels)))
    encoders = {}
    try:
        for name in bundle.texts:
            stream = meta_extractor(name, reference=bundle.parts.get(name), trust=source.trust).stream
            encoders[_modality_of(name, stream)] = load_text_encoder(bundle, name, paths, source.trust)
        tables = embed_vocabulary(vocabulary, encoders)
    except ValueError as error:
        raise SetupError(f"bundle {shown(bundle.name)}: {error}") from error
    return torch.from_numpy(np.concatenate([tables[modality] for modality in SINGLE_MODALITIES], axis=1))


def _modality_of(name: str, stream: Stream) -> str:
    """Return the modality of an extractor. Raises ValueError for a stream that is not compared with sentences."""
    if stream not in _MODALITIES:
        raise ValueError(
            f"extractor {name} is of the stream {stream}; sentences are compared with {' and '.join(_MODALITIES)} alone"
        )
    return _MODALITIES[stream]


def load_text_encoder(
    bundle: Bundle, name: str, paths: Mapping[str, Path], trust: Sequence[str], *, weights: str = ""
) -> TextEncoder:
    """Load the text encoder of an extractor of an open bundle.

    Args:
        bundle: an open bundle.
        name: of the extractor; one of another package encodes sentences itself, see `PartTextEncoder`.
        paths: of the bundle's files.
        trust: packages whose parts it may name.
        weights: identifies its parameters, so that it is only loaded for sentences that are new, see `RememberedTexts`;
            empty to load it now.

    Returns:
        The encoder, on the CPU.

    Raises:
        ValueError: there is none, or a file does not fit.
    """
    if name in bundle.parts:
        return PartTextEncoder(load_extractor(bundle, name, paths, trust))
    load = partial(_load_own_encoder, bundle, name, paths)
    if not weights:
        return load()
    tokens = hash_file(paths[bundle.texts[name]]) if bundle.seed is None else ""
    return RememberedTexts(text_key(name, weights, tokens, version("avvp"), version("transformers")), load)


def _load_own_encoder(bundle: Bundle, name: str, paths: Mapping[str, Path]) -> TextEncoder:
    if bundle.seed is not None:
        return untrained_text_encoder(name, bundle.seed)
    state = read_state_dict(paths[bundle.extractors[name]], keep=partial(is_of_text, name))
    return build_text_encoder(name, state, paths[bundle.texts[name]])


def _logit_scale(bundle: Bundle, name: str, paths: Mapping[str, Path], encoder: TextEncoder) -> float:
    """Return what cosines of an extractor are multiplied with to be logits. Raises ValueError."""
    if isinstance(encoder, PartTextEncoder):
        own = encoder.logit_scale
        if not isinstance(own, int | float) or not 0 < own <= _MAX_SCALE:
            raise ValueError(
                f"thresholds are of logits, and extractor {name} has no number `logit_scale` up to {_MAX_SCALE:,g}"
            )
        return float(own)
    if bundle.seed is not None:
        return _UNTRAINED_SCALE
    found = read_state_dict(paths[bundle.extractors[name]], keep=_is_logit_scale)
    values = [tensor.exp().item() for tensor in found.values() if tensor.numel() == 1]
    if len(values) != 1 or not 0 < values[0] <= _MAX_SCALE:
        raise ValueError(f"thresholds are of logits, and the file of {name} has no scale of its logits")
    return values[0]


def _is_logit_scale(key: str) -> bool:
    return key.removeprefix("module.") in _LOGIT_SCALES
