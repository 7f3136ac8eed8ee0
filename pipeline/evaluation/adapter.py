"""Score a temporal adapter on a split: one class a second, over trained and other classes, as OV-AVEL does."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from ...models.open.adapter import TemporalAdapter
from ..datasets.clips import SplitDataset
from ..datasets.loader import iterate_batches
from ..inference.open_network import adapt_features
from ..inference.output_tables import to_finite_array
from ..metrics import open_vocabulary_scores
from ..open_vocabulary.published import open_probabilities
from .ov_avel import PARTS

_BATCH_SIZE = 64
_MAX_BATCH_SEGMENTS = 7200  # seconds in a batch: bounds the memory


def predict_classes(adapter: TemporalAdapter, clips: SplitDataset, device: torch.device) -> list[NDArray[np.int64]]:
    """Find the class of each second of N clips.

    Args:
        adapter: on `device`; it is set to evaluation mode.
        clips: clips up to the adapter's window are computed in batches, longer ones in windows.
        device: where the features are moved to.

    Returns:
        (T,) for each clip, indices in `AdapterConfig.embedding_labels`: C, "other", where no class is heard and seen.

    Raises:
        DatasetError: features cannot be read.
        SetupError: the embeddings are not finite.
    """
    adapter.eval()
    found: list[NDArray[np.int64]] = [np.zeros(0, np.int64)] * len(clips)
    short = np.flatnonzero(clips.lengths <= adapter.config.segments)
    order = short[np.argsort(clips.lengths[short], kind="stable")]  # batches of similar lengths need less padding
    most = max(1, min(_BATCH_SIZE, _MAX_BATCH_SEGMENTS // int(clips.lengths[short].max(initial=1))))
    done = 0
    for host_batch in iterate_batches(clips, order, most):
        batch = host_batch.to(device)
        with torch.inference_mode():
            classes = to_finite_array(adapter(*batch.features, lengths=batch.lengths).probabilities()).argmax(axis=-1)
        for row, index in zip(classes, order[done : done + len(classes)], strict=True):
            found[index] = row[: clips.lengths[index]]
        done += len(classes)
    texts = {"audio": adapter.audio_text.cpu().numpy(), "visual": adapter.visual_text.cpu().numpy()}
    for index in np.flatnonzero(clips.lengths > adapter.config.segments):
        streams = dict(zip(texts, clips.streams(int(index)), strict=True))
        rows = adapt_features(adapter, streams, device)
        found[index] = open_probabilities(*(rows[name] @ text.T for name, text in texts.items())).argmax(axis=-1)
    return found


def score_adapter(adapter: TemporalAdapter, clips: SplitDataset, device: torch.device) -> dict[str, Any]:
    """Score an adapter on a split.

    Args:
        adapter: on `device`; it is set to evaluation mode.
        clips: with the targets of event localization.
        device: where the features are moved to.

    Returns:
        JSON-ready: accuracy, segment, event and their mean in percent, of all clips ("total") and, as far as there are
        any, of those whose class was trained, or that have no event ("seen"), and of the others ("unseen").

    Raises:
        DatasetError: features cannot be read.
        SetupError: the embeddings are not finite.

    Source:
        OV-AVEL (CVPR 2025): each score of every clip first, then the mean over clips.
    """
    config, truth = adapter.config, clips.event_targets
    trained = set(config.trained_columns)
    parts: dict[str, list[tuple[float, ...]]] = {part: [] for part in PARTS}
    for index, predicted in enumerate(predict_classes(adapter, clips, device)):
        annotated = truth.segments[index, : len(predicted)]
        scores = open_vocabulary_scores(predicted[None], annotated[None], len(config.labels))
        row = (scores.accuracy, scores.segment, scores.event, scores.mean)
        is_seen = int(truth.video[index].argmax()) in trained
        for part in ("seen" if is_seen else "unseen", "total"):
            parts[part].append(row)
    names = ("accuracy", "segment", "event", "average")
    means = {part: 100 * np.mean(rows, axis=0) for part, rows in parts.items() if rows}
    return {part: dict(zip(names, values.tolist(), strict=True)) for part, values in means.items()}
