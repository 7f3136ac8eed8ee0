"""Run a temporal teacher on features: one clip of any length, or all clips of a split."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from ...models.teacher import TemporalTeacher
from ..datasets.clips import SplitDataset
from ..datasets.loader import iterate_batches
from .predict import average_windows, to_finite_array

_THRESHOLD = 0.5  # of the probability that a class is heard and seen
_BATCH_SIZE = 64
_MAX_BATCH_SEGMENTS = 7200  # seconds in a batch: bounds the memory


def score_modality(
    teacher: TemporalTeacher, modality: str, features: NDArray[np.floating], device: torch.device
) -> NDArray[np.float32]:
    """Score the seconds of a clip, with the whole clip as context.

    A clip that is longer than the longest one of training is scored in windows of that length, which overlap by half;
    the logits of each second are averaged over the windows that contain it.

    Args:
        teacher: in evaluation mode, on `device`.
        modality: "audio" or "visual".
        features: (T, A or V), of CLAP or CLIP.
        device: where the features are moved to.

    Returns:
        (T, C) logits.

    Raises:
        SetupError: the logits are not finite.
    """

    def score(windows: torch.Tensor) -> NDArray[np.float32]:
        return to_finite_array(teacher.score(modality, windows)[:, None])

    return average_windows(score, [features], teacher.config.segments, device)[0]


def detect_events(teacher: TemporalTeacher, clips: SplitDataset, device: torch.device) -> NDArray[np.bool_]:
    """Decide for every second of a split which classes are heard and seen.

    Args:
        teacher: on `device`; it is set to evaluation mode.
        clips: clips up to the teacher's window are scored in batches, longer ones by `score_modality`.
        device: where the features are moved to.

    Returns:
        (N, T, C), T the length of the longest clip: where the product of both modalities' probabilities is 0.5 or more.

    Raises:
        DatasetError: features cannot be read.
        SetupError: the logits are not finite.

    Source:
        UWAV's program.
    """
    teacher.eval()
    events = np.zeros((len(clips), int(clips.lengths.max()), len(teacher.config.labels)), bool)
    short = np.flatnonzero(clips.lengths <= teacher.config.segments)
    order = short[np.argsort(clips.lengths[short], kind="stable")]  # batches of similar lengths need less padding
    most = max(1, min(_BATCH_SIZE, _MAX_BATCH_SEGMENTS // int(clips.lengths[short].max(initial=1))))
    done = 0
    for host_batch in iterate_batches(clips, order, most):
        batch = host_batch.to(device)
        with torch.inference_mode():
            output = teacher(*batch.features, lengths=batch.lengths)
            probs = to_finite_array(output.event_probs)
        if output.valid is not None:
            probs *= output.valid.cpu().numpy()[..., None]
        events[order[done : done + len(probs)], : probs.shape[1]] = probs >= _THRESHOLD
        done += len(probs)
    for index in np.flatnonzero(clips.lengths > teacher.config.segments):
        rows = clips.features.read(clips.ids[index]).astype(np.float32)
        streams = np.split(rows, [teacher.config.audio_dim], axis=1)
        audio, visual = (
            torch.from_numpy(score_modality(teacher, modality, stream, device)).sigmoid().numpy()
            for modality, stream in zip(("audio", "visual"), streams, strict=True)
        )
        events[index, : len(rows)] = audio * visual >= _THRESHOLD
    return events
