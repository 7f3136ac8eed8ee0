"""Score a temporal teacher: F-scores of the events that are heard and seen."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch

from ...models.teacher import TemporalTeacher
from ..datasets.clips import SplitDataset
from ..inference.teacher import detect_events
from ..metrics import score


@dataclass(frozen=True)
class TeacherScores:
    """F-scores of audio-visual events, in percent, see `metrics`."""

    segment: float
    event: float

    def to_dict(self) -> dict[str, dict[str, float]]:
        """Return a JSON-ready mapping, with the names of `metrics.Scores`."""
        return {level: {"audio_visual": value} for level, value in asdict(self).items()}


def score_teacher(teacher: TemporalTeacher, clips: SplitDataset, device: torch.device) -> TeacherScores:
    """Score a teacher on a split with dense labels.

    Args:
        teacher: on `device`; it is set to evaluation mode.
        clips: with annotated labels of both modalities.
        device: where the features are moved to.

    Returns:
        The scores.

    Raises:
        DatasetError: features cannot be read.
        SetupError: the logits are not finite.

    Source:
        UWAV's program, which chooses the best epoch by the score of segments.
    """
    truth = clips.segment_labels.audio & clips.segment_labels.visual
    found = detect_events(teacher, clips, device)
    scores = score(found, found, truth, truth)
    return TeacherScores(scores.segment.audio_visual, scores.event.audio_visual)
