"""CLIP and CLAP by their names or folders, in the place of the networks of an open bundle."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from ...extractors.profiles import feature_spec
from ...extractors.sampling import Stream
from ..devices import ComputePrecision
from ..inference.bundle import LoadedBundle
from ..inference.decisions import decide_open
from ..inference.extractors import DeviceNetworks, LoadedExtractors
from ..open_vocabulary.network import OpenConfig, OpenVocabulary
from ..open_vocabulary.sentences import embed_vocabulary
from ..open_vocabulary.vocabulary import Vocabulary
from ..open_vocabulary.warnings import about_classes
from .prompts import MODALITY_KEYS, Prompts
from .teachers import load_teachers
from .threshold_scores import TEACHERS

_PROFILE = "clip-clap"
_STREAMS: dict[str, Stream] = {"audio": "audio", "visual": "visual_2d"}


@dataclass(frozen=True)
class _Encoded:
    """Sentences that a teacher has encoded when it was loaded, as a `TextEncoder`.

    Attributes:
        rows: sentence -> (D,), of length 1.
        dim: D.
        max_tokens: None: the teachers refuse sentences that they would not read to their end.
    """

    rows: Mapping[str, Tensor]
    dim: int
    max_tokens: int | None = None

    def encode(self, sentences: Sequence[str]) -> Tensor:
        return torch.stack([self.rows[sentence] for sentence in sentences])

    def count_tokens(self, sentences: Sequence[str]) -> list[int]:
        return [0] * len(sentences)


def load_named_teachers(
    vocabulary: Vocabulary, *, clip: str, clap: str, offline: bool, device: str, precision: ComputePrecision
) -> LoadedBundle:
    """Load CLIP and CLAP, and encode the sentences of a vocabulary.

    Args:
        vocabulary: classes, background and rule.
        clip: folder, or name on the Hugging Face hub.
        clap: the same, or LAION's own file with the suffix .pt.
        offline: use only files on this machine.
        device: a name that `resolve_devices` accepts.
        precision: of the models' parameters.

    Returns:
        What an open bundle of the same models is loaded as.

    Raises:
        SetupError: transformers or files are missing, or the teachers cannot be computed in this precision here.
    """
    sentences = {modality: _sentences(vocabulary, modality) for modality in MODALITY_KEYS}
    columns = {f"{modality}_prompts": texts for modality, texts in sentences.items()}
    unused = {f"{modality}_thresholds": () for modality in MODALITY_KEYS}
    prompts = Prompts(labels=(), **columns, **unused)
    teachers = load_teachers(prompts, clip=clip, clap=clap, offline=offline, device=device, precision=precision)
    networks: list[DeviceNetworks] = []
    texts: dict[str, Tensor] = {}
    scales: dict[str, float] = {}
    for target, of_device in teachers.networks:
        copied: Any = of_device  # `Teacher`s, in the place of extractors
        networks.append((target, {stream: copied[stream].extractor for stream in _STREAMS.values()}))
        texts = {modality: copied[stream].text_embeddings.float().cpu() for modality, stream in _STREAMS.items()}
        scales = {modality: float(copied[stream].scale) for modality, stream in _STREAMS.items()}
    encoders = {}
    for modality, rows in texts.items():
        encoders[modality] = _Encoded(dict(zip(sentences[modality], rows, strict=True)), rows.shape[1])
    by_name = {TEACHERS[modality].lower(): networks[0][1][stream] for modality, stream in _STREAMS.items()}
    spec = feature_spec(_PROFILE, by_name, precision=precision.name, backend=precision.backend)
    ids: dict[Stream, str] = {stream: teachers.hashes[TEACHERS[modality]] for modality, stream in _STREAMS.items()}
    config = OpenConfig(vocabulary, encoders["audio"].dim, encoders["visual"].dim)
    embedded = embed_vocabulary(vocabulary, encoders)
    weights = {modality: ids[stream] for modality, stream in _STREAMS.items()}
    warnings = about_classes(vocabulary, embedded, encoders, weights)
    network = OpenVocabulary(config, embedded, warnings, scales, weights)
    return LoadedBundle(
        name=_PROFILE,
        extractors=LoadedExtractors(tuple(networks), spec, ids, precision, teachers.notes),
        parser=network,
        hashes=teachers.hashes,
        untrained=False,
        decision=decide_open(network),
        notes=teachers.notes,
    )


def _sentences(vocabulary: Vocabulary, modality: str) -> tuple[str, ...]:
    """Return all sentences of a modality once; one that nobody needs where there are none, as teachers need one."""
    texts = dict.fromkeys(text for item in vocabulary.everything for text in item.sentences(modality))
    return tuple(texts) or ("other",)
