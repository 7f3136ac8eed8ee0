"""Labels of classes by their names: features of CLIP and CLAP, and the rule of an open vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..batch.storage import Storage
from ..datasets.soft_labels import MISSING_STREAMS
from ..errors import SetupError
from ..features.npy_files import parse_array
from ..features.npy_folders import folder_name
from ..inference.bundle import LoadedBundle
from ..open_vocabulary.network import OpenVocabulary
from ..open_vocabulary.similarities import OpenProbabilities
from ..text import escape
from ..timeline import SegmentLabels
from .open_prompts import to_logits
from .record import DECIDED_BY, OPEN_VOCABULARY, mark_unfinished, read_record, write_record
from .score_files import save_table
from .threshold_scores import TEACHERS, LabelingConfig, ScoredClips, has_stream
from .write_labels import summarize, write_labels

_ADVICE = "run again on its video with --verify to recompute it"


def make_open_labels(
    storage: Storage,
    config: LabelingConfig,
    loaded: LoadedBundle,
    extracted: ScoredClips,
    provenance: Mapping[str, Any],
) -> str:
    """Make the labels of all clips that have features: compute scores, decide by the rule, write files and record.

    Args:
        storage: of the run; it has the features.
        config: weak labels, and what is written beside the labels.
        loaded: an open bundle, or its equal.
        extracted: clips with features of both teachers.
        provenance: for the record: program, teachers, hashes, precision.

    Returns:
        A line for the user.

    Raises:
        SetupError: features are missing or damaged.
        OutputError: a file cannot be written.
    """
    network = loaded.parser
    assert isinstance(network, OpenVocabulary)
    if record := read_record(storage):  # the scores change before the labels do
        write_record(storage, {**record, OPEN_VOCABULARY: record.get(OPEN_VOCABULARY, {})})
        mark_unfinished(storage, {}, ())
    labels: dict[str, SegmentLabels] = {}
    for name, media in extracted.items():
        if config.weak is not None and name not in config.weak:
            continue
        has = {modality: has_stream(modality, media) for modality in TEACHERS}
        probabilities, active = _decide(loaded, _read_features(storage, loaded, name), has)
        allowed = np.ones(len(network.config.labels), bool) if config.weak is None else config.weak[name]
        labels[name] = SegmentLabels(
            **{modality: active.of(modality) & allowed & has[modality] for modality in TEACHERS}
        )
        for modality, teacher in TEACHERS.items():
            scores = to_logits(getattr(probabilities, modality))
            storage.store(f"{teacher}/scores/{name}.npy", partial(save_table, scores))
    missing = {m: [name for name in labels if not has_stream(m, extracted[name])] for m in TEACHERS}
    config = replace(config, notes=(*config.notes, *warnings_of(loaded)))
    about = {
        **provenance,
        MISSING_STREAMS: missing,
        OPEN_VOCABULARY: network.describe(loaded.thresholds.of_segments()),
        DECIDED_BY: loaded.thresholds.to_dict(),
    }
    written = write_labels(storage, config, config.prompts, labels, about)
    for name in written.removed:
        for teacher in TEACHERS.values():
            storage.remove(f"{teacher}/scores/{name}.npy")
    return "; ".join(summarize(config, extracted, labels, written, "features"))


def warnings_of(loaded: LoadedBundle) -> tuple[str, ...]:
    """Return what users of the labels should know about the classes and the thresholds."""
    network = loaded.parser
    assert isinstance(network, OpenVocabulary)
    return network.warnings_with(loaded.thresholds.of_segments())


def _decide(
    loaded: LoadedBundle, streams: list[NDArray[np.float32]], has: Mapping[str, bool]
) -> tuple[OpenProbabilities, SegmentLabels]:
    """Return scores and decisions of a clip."""
    network = loaded.parser
    assert isinstance(network, OpenVocabulary)
    probabilities = network.without_streams(network.predict(streams), audio=has["audio"], visual=has["visual"])
    return probabilities, loaded.decision(probabilities, loaded.thresholds)


def _read_features(storage: Storage, loaded: LoadedBundle, name: str) -> list[NDArray[np.float32]]:
    """Read the features of a clip, (T, D) each, in the order of the network's streams. Raises SetupError."""
    spec, tables = loaded.extractors.spec, []
    for extractor, dim in zip(spec.extractors, spec.dims, strict=True):
        path = f"{folder_name(extractor)}/{name}.npy"
        try:
            table = parse_array(storage.read(path) or b"")
            if table.dtype.kind != "f" or table.ndim != 2 or table.shape[1] != dim or not np.isfinite(table).all():
                raise ValueError("not the features of a clip")
            if tables and len(table) != len(tables[0]):
                raise ValueError("another number of seconds")
        except ValueError as error:
            where = escape(f"{storage.where}/{path}")
            raise SetupError(f"{where}: missing or damaged; {_ADVICE}") from error
        tables.append(table.astype(np.float32, copy=False))
    return tables
