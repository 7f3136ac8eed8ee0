"""Scores that choose the best epoch of a run."""

from __future__ import annotations

from dataclasses import asdict

from ..metrics import LEVELS, SCORE_NAMES, Scores

DEFAULT_SELECTION = "segment.type_av"  # LEAP, MGN, VALOR
EACH_MODALITY = "each_modality"
SELECTIONS = (
    *(f"{level}.{name}" for level in LEVELS for name in SCORE_NAMES),
    "mean",
    "last",
    EACH_MODALITY,
)


def selection_scores(scores: Scores, select: str, epoch: int) -> dict[str, float]:
    """Compute the scores by which an epoch is compared with the best one so far.

    Args:
        scores: of the epoch on the clips that choose.
        select: one of `SELECTIONS`: a score, such as "event.audio"; "mean", that of the ten scores; "last", the number
            of the epoch; "each_modality", one for the sound and one for the picture.
        epoch: from 0.

    Returns:
        "best" -> score in percent; or "audio" and "visual" -> the mean of the F-scores of that modality on both levels,
        which choose a network each.

    Raises:
        ValueError: the choice is unknown.

    Source:
        The published programs: segment.type_av of LEAP, event.audio of JoMoLD, mean of CMPAE, event.type_av of CVCMS,
        last of MA, each_modality of DHHN.
    """
    if select not in SELECTIONS:
        raise ValueError(f"select is {select!r}, not one of {', '.join(SELECTIONS)}")
    if select == "last":
        return {"best": float(epoch)}
    if select == "mean":
        return {"best": scores.mean}
    levels = {level: asdict(getattr(scores, level)) for level in LEVELS}
    if select == EACH_MODALITY:
        return {name: sum(levels[level][name] for level in LEVELS) / 2 for name in ("audio", "visual")}
    level, _, name = select.partition(".")
    return {"best": levels[level][name]}


def is_better(score: float, best: float, select: str) -> bool:
    """Return whether a later epoch replaces the best one: of equals the later, with each_modality the earlier.

    Source:
        The published programs: only DHHN's asks for a higher score.
    """
    return score > best if select == EACH_MODALITY else score >= best
