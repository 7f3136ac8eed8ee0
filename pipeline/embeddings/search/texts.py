"""Texts of a search as directions, by the text encoders of an open bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from ....weights.manifest import OPEN_BUNDLE, Bundle
from ....weights.messages import shown
from ....weights.source import ANYWHERE, WeightSource
from ...datasets.annotation_cells import label_name_error
from ...errors import SetupError
from ...inference.bundle import load_networks
from ...open_vocabulary.background import read_background
from ...open_vocabulary.network import OpenVocabulary
from ...open_vocabulary.vocabulary import OpenClass, Vocabulary, normalized
from ...text import shorten
from .query import MAX_TEXTS, SearchQuery


@dataclass(frozen=True)
class LoadedTexts:
    """A query, and whose embeddings it can be compared with.

    Attributes:
        query: not scaled.
        teachers: stream -> what identifies the parameters of its network.
        warnings: about the texts.
    """

    query: SearchQuery
    teachers: Mapping[str, str]
    warnings: tuple[str, ...]


def with_texts(bundle: Bundle, texts: Sequence[str], background: str | None = None) -> Bundle:
    """Return an open bundle that encodes texts, compared with a background.

    Args:
        bundle: an open bundle.
        texts: of the user; the same one twice counts once.
        background: TOML file of the background; None for the shipped one.

    Returns:
        The bundle.

    Raises:
        SetupError: the bundle has no text encoders, a text cannot be one, or the background cannot be read.
    """
    if not bundle.is_open:
        raise SetupError(
            f"bundle {shown(bundle.name)} has no text encoders; a search needs one that has, such as {OPEN_BUNDLE}"
        )
    unique = {normalized(text): text.strip() for text in reversed(texts)}
    for text in unique.values():
        if fault := label_name_error(text, commas=True):
            raise SetupError(f"{shorten(text)} cannot be searched for: {fault}")
    if not 0 < len(unique) <= MAX_TEXTS:
        raise SetupError(f"{len(unique)} texts; at least one, and at most {MAX_TEXTS} are searched for at once")
    entries, name = read_background(background)
    classes = tuple(OpenClass.named(text) for text in reversed(unique.values()))
    vocabulary = Vocabulary(classes, entries, background_name=name)
    return replace(bundle, classes=vocabulary.to_dict())


def load_texts(bundle: Bundle, source: WeightSource = ANYWHERE) -> LoadedTexts:
    """Encode the texts of a bundle; of its networks the text encoders alone are loaded.

    Args:
        bundle: of `with_texts`.
        source: where weight files may come from.

    Returns:
        The query.

    Raises:
        SetupError: the background is too small, or a file does not fit.
        WeightsError: files are missing or damaged.
    """
    loaded = load_networks(bundle, source=source, device="cpu", outline=True)
    if not isinstance(loaded.parser, OpenVocabulary):
        raise SetupError(f"bundle {shown(bundle.name)} has no text encoders")
    try:
        query = SearchQuery.of(loaded.parser.config.labels, loaded.parser.texts)
    except ValueError as error:
        raise SetupError(str(error)) from error
    return LoadedTexts(query, {**loaded.extractors.weight_ids}, loaded.parser.warnings)
