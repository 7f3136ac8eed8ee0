"""The text encoders of an open bundle, and what they make of the classes: the network in the place of a parser."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path

from ...extractors.base import Extractor
from ...extractors.profiles import FeatureSpec
from ...extractors.texts.base import TextEncoder
from ...extractors.texts.registry import build_text_encoder, is_of_text, untrained_text_encoder
from ...weights.load import read_state_dict
from ...weights.manifest import Bundle
from ..errors import SetupError
from ..open_vocabulary.classes import read_vocabulary
from ..open_vocabulary.network import OpenConfig, OpenVocabulary
from ..open_vocabulary.sentences import embed_vocabulary
from ..open_vocabulary.vocabulary import Vocabulary
from .arranged_extractors import load_extractor

_MODALITIES = {"audio": "audio", "visual_2d": "visual"}  # stream -> modality


def vocabulary_of(bundle: Bundle, paths: Mapping[str, Path]) -> Vocabulary:
    """Return what an open bundle looks for. Raises SetupError if the user named no classes, and it has none."""
    if bundle.classes is not None:
        return Vocabulary.from_dict(bundle.classes)
    if file := bundle.parser.get("classes"):
        return read_vocabulary(f"@{paths[file]}")
    raise SetupError(f'--weights {bundle.name} finds the classes that you name: --classes "dog barking, applause"')


def load_open_network(
    bundle: Bundle,
    paths: Mapping[str, Path],
    extractors: Mapping[str, Extractor],
    spec: FeatureSpec,
    trust: Sequence[str],
) -> OpenVocabulary:
    """Encode the classes of an open bundle.

    Args:
        bundle: an open bundle, with the user's classes.
        paths: of its files.
        extractors: by name, for their streams.
        spec: of their features.
        trust: packages whose parts it may name.

    Returns:
        The network.

    Raises:
        SetupError: there are no classes.
        ValueError: a file does not fit.
    """
    vocabulary = vocabulary_of(bundle, paths)
    encoders = {
        _MODALITIES[extractors[name].stream]: load_text_encoder(bundle, name, paths, trust) for name in bundle.texts
    }
    dims = dict(zip(spec.streams, spec.dims, strict=True))
    config = OpenConfig(vocabulary, dims["audio"], dims["visual_2d"])
    return OpenVocabulary(config, embed_vocabulary(vocabulary, encoders))


def load_text_encoder(bundle: Bundle, name: str, paths: Mapping[str, Path], trust: Sequence[str]) -> TextEncoder:
    """Load the text encoder of an extractor of an open bundle.

    Args:
        bundle: an open bundle.
        name: of the extractor; one of another package encodes sentences itself, see `TextEncoder`.
        paths: of the bundle's files.
        trust: packages whose parts it may name.

    Returns:
        The encoder, on the CPU.

    Raises:
        ValueError: there is none, or a file does not fit.
    """
    if name in bundle.parts:
        extractor = load_extractor(bundle, name, paths, trust)
        if not hasattr(extractor, "encode"):
            raise ValueError(f"extractor {name} has no function `encode` for sentences")
        return extractor  # pyright: ignore[reportReturnType] - it has what a text encoder needs
    if bundle.seed is not None:
        return untrained_text_encoder(name, bundle.seed)
    state = read_state_dict(paths[bundle.extractors[name]], keep=partial(is_of_text, name))
    return build_text_encoder(name, state, paths[bundle.texts[name]])
