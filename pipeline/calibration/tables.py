"""Format calibrations as tables."""

from __future__ import annotations

from ..evaluation.tables import SCORE_HEADER, Table, score_cells
from ..open_vocabulary.vocabulary import MODALITY_KEYS
from ..text import escape
from .calibrate import Calibration
from .choose import MIN_SECONDS

_WORDS = {"own": "own", "shared": "shared", "unchanged": "unchanged", "off": "-"}


def calibration_tables(calibration: Calibration) -> list[Table]:
    """Make a table of scores before and after, and one of the thresholds.

    Args:
        calibration: to show.

    Returns:
        The two tables.
    """
    rows = (
        ("before", *score_cells(calibration.before)),
        ("after, on clips left out", *score_cells(calibration.held_out)),
        ("after, on the same clips", *score_cells(calibration.fitted)),
    )
    notes = (
        "F-scores in percent, segment level then event level. Left out: each fifth of the videos is scored with"
        " thresholds that the others choose; this is what to expect of other clips.",
        *calibration.notes,
    )
    scores = Table(f"thresholds by {calibration.clips} clips", ("thresholds", *SCORE_HEADER), rows, notes)
    header = ["class"]
    for key in MODALITY_KEYS.values():
        header += [f"{key} s", f"{key} threshold", "chosen"]
    table = tuple(
        (escape(item.label), *(cell for modality in MODALITY_KEYS for cell in _cells(calibration, modality, index)))
        for index, item in enumerate(calibration.vocabulary.classes)
    )
    about = (
        f"own: by the class's seconds, {MIN_SECONDS} or more; shared: one offset of all other thresholds, on the scale"
        " of their logits.",
    )
    return [scores, Table("thresholds of classes", tuple(header), table, about)]


def _cells(calibration: Calibration, modality: str, index: int) -> tuple[str, str, str]:
    kind = calibration.kind(modality, index)
    if kind == "off":
        return "-", "-", "-"
    threshold = calibration.vocabulary.thresholds(modality)[index]
    return str(int(calibration.choices[modality].seconds[index])), f"{threshold:.4f}", _WORDS[kind]
