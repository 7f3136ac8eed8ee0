"""Files of a generated data set for audio-visual video parsing, in LLP's form.

FOLDER/annotations/     as `annotations` describes: video labels of train, segment labels of val and test
FOLDER/pseudo_labels/   of train, in VALOR's format: the ground truth with errors, within each video's labels
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...models.labels import LLP_LABELS
from ..datasets.pseudo_labels import write_pseudo_labels
from ..datasets.write_annotations import write_annotations
from .clip_plan import ClipPlan

ANNOTATIONS, PSEUDO_LABELS = "annotations", "pseudo_labels"
_CLASSES = len(LLP_LABELS)
_ERROR_SEED = 3  # appended to a clip's seed; `dataset` has 0, `render` 1 and 2
_MISS_RATE = _FALSE_ALARM_RATE = 0.1


def write_parsing_labels(folder: Path, plans: Mapping[str, Sequence[ClipPlan]]) -> None:
    """Write annotations of all splits, and pseudo labels of train.

    Args:
        folder: of the data set.
        plans: split name -> clips.

    Raises:
        OutputError: a file cannot be written.
    """
    clips = {
        split: {f"{plan.name}_0_{plan.length}": plan.segment_labels(_CLASSES) for plan in split_plans}
        for split, split_plans in plans.items()
    }
    write_annotations(folder / ANNOTATIONS, LLP_LABELS, clips)
    for plan in plans.get("train", ()):
        for modality, labels in corrupt_labels(plan, _CLASSES).items():
            write_pseudo_labels(folder / PSEUDO_LABELS, modality, plan.name, labels)


def corrupt_labels(plan: ClipPlan, classes: int) -> dict[str, NDArray[np.bool_]]:
    """Simulate the pseudo labels of a teacher that is wrong in one second of ten.

    Args:
        plan: the clip.
        classes: C.

    Returns:
        "audio" and "visual" -> (T, C) bool; only classes that occur in the clip are ever True.
    """
    rng = np.random.default_rng([*plan.seed, _ERROR_SEED])
    truth = plan.segment_labels(classes)
    video_labels = (truth.audio | truth.visual).any(axis=0)
    return {
        modality: (labels & (rng.random(labels.shape) >= _MISS_RATE))
        | (video_labels & (rng.random(labels.shape) < _FALSE_ALARM_RATE))
        for modality, labels in zip(("audio", "visual"), truth, strict=True)
    }
