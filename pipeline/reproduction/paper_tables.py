"""Tables of the LEAP paper (ECCV 2024): their runs as changes to a recipe, and their scores on the test split.

Scores on LLP are F-scores in percent. A row is A, V, AV, Type, Event at the segment level, the same five at the event
level and, where known, the mean of the ten. Scores on AVE (Table 5) are the accuracy of seconds in percent.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .systems import SYSTEMS

_TABLE1: dict[str, tuple[float, ...]] = {
    "1 block": (63.6, 67.2, 60.6, 63.8, 62.8, 57.5, 64.6, 55.1, 59.1, 56.0, 61.0),
    "2 blocks, GloVe": (63.7, 67.0, 61.3, 64.0, 62.8, 58.2, 63.9, 56.2, 59.5, 56.6, 61.3),
    "4 blocks": (63.8, 67.1, 60.8, 63.9, 62.8, 58.4, 64.7, 55.8, 59.7, 56.7, 61.4),
    "2 blocks, BERT": (63.4, 66.7, 60.2, 63.4, 62.7, 58.1, 63.5, 55.5, 59.0, 56.2, 60.9),
    "2 blocks, CLIP": (64.4, 66.6, 60.3, 63.8, 63.5, 58.1, 63.7, 54.9, 58.9, 56.4, 61.1),
}

# Table 2 prints no means; those of LEAP are in Table 8.
_TABLE2: dict[str, tuple[float, ...]] = {
    "HAN + MMIL": (61.5, 65.5, 58.8, 61.9, 60.6, 55.2, 61.7, 52.3, 56.4, 53.5),
    "HAN + LEAP": (62.7, 65.6, 59.3, 62.5, 61.8, 56.4, 63.1, 54.1, 57.8, 55.0, 59.8),
    "MM-Pyr + MMIL": (61.0, 66.3, 59.3, 62.2, 60.6, 54.5, 63.0, 53.9, 57.1, 53.0),
    "MM-Pyr + LEAP": (64.8, 67.7, 61.8, 64.8, 63.6, 59.2, 64.9, 56.5, 60.2, 57.4, 62.1),
}

# Event level only: A, V, AV, Type, Event and the mean of the five.
_TABLE3_NON_OVERLAPPING: dict[str, tuple[float, ...]] = {
    "HAN + MMIL": (66.7, 69.6, 57.1, 64.5, 56.6, 62.9),
    "HAN + LEAP": (68.6, 71.9, 58.7, 66.4, 57.6, 64.6),
    "MM-Pyr + MMIL": (66.5, 72.8, 58.6, 66.0, 56.4, 64.1),
    "MM-Pyr + LEAP": (72.1, 73.0, 60.9, 68.7, 60.6, 67.1),
}

_TABLE3_OVERLAPPING: dict[str, tuple[float, ...]] = {
    "HAN + MMIL": (49.7, 44.1, 46.5, 46.8, 47.5, 46.9),
    "HAN + LEAP": (50.6, 44.4, 48.7, 47.9, 48.5, 48.0),
    "MM-Pyr + MMIL": (49.7, 45.7, 49.4, 48.3, 47.3, 48.1),
    "MM-Pyr + LEAP": (52.4, 46.2, 50.7, 49.7, 50.0, 49.8),
}

_TABLE6: dict[str, tuple[float, ...]] = {
    "lambda 0.5": (64.8, 67.8, 61.2, 64.6, 63.7, 58.9, 64.7, 55.6, 59.7, 57.1, 61.8),
    "lambda 1.0": (64.8, 67.7, 61.8, 64.8, 63.6, 59.2, 64.9, 56.5, 60.2, 57.4, 62.1),
    "lambda 2.0": (64.4, 66.7, 60.5, 63.9, 63.5, 59.0, 63.8, 56.0, 59.6, 57.3, 61.5),
}

_TABLE7: dict[str, tuple[float, ...]] = {
    "first block": (63.4, 67.1, 60.4, 63.6, 62.8, 57.3, 63.5, 55.0, 58.6, 55.7, 60.7),
    "last block": (63.7, 67.0, 61.3, 64.0, 62.8, 58.2, 63.9, 56.2, 59.5, 56.6, 61.3),
    "average block": (63.3, 66.7, 60.5, 63.5, 62.6, 57.4, 63.9, 55.1, 58.8, 56.1, 60.8),
}

_TABLE8: dict[str, tuple[float, ...]] = {
    "HAN, learned queries": (62.4, 65.3, 58.7, 62.1, 61.2, 56.3, 62.5, 53.4, 57.4, 54.5, 59.4),
    "HAN, label embeddings": (62.7, 65.6, 59.3, 62.5, 61.8, 56.4, 63.1, 54.1, 57.8, 55.0, 59.8),
    "MM-Pyr, learned queries": (64.3, 67.4, 61.5, 64.4, 63.4, 58.6, 64.5, 56.7, 59.9, 56.8, 61.8),
    "MM-Pyr, label embeddings": (64.8, 67.7, 61.8, 64.8, 63.6, 59.2, 64.9, 56.5, 60.2, 57.4, 62.1),
}

# MM-Pyr, event level: A and V of each class, and their means over all classes.
_FIGURE3_MMIL: dict[str, tuple[float, ...]] = {
    "Speech": (32.8, 0.0),
    "Car": (61.8, 58.0),
    "Cheering": (26.5, 26.4),
    "Dog": (40.7, 70.8),
    "Cat": (18.8, 49.2),
    "Frying_(food)": (85.3, 83.0),
    "Basketball_bounce": (24.5, 23.7),
    "Fire_alarm": (57.5, 50.0),
    "Chainsaw": (73.6, 73.8),
    "Cello": (64.6, 68.3),
    "Banjo": (57.1, 65.5),
    "Singing": (46.5, 40.6),
    "Chicken_rooster": (47.5, 83.1),
    "Violin_fiddle": (69.0, 69.5),
    "Vacuum_cleaner": (81.7, 80.7),
    "Baby_laughter": (33.7, 36.3),
    "Accordion": (72.7, 75.4),
    "Lawn_mower": (59.1, 72.2),
    "Motorcycle": (72.9, 69.3),
    "Helicopter": (80.8, 70.7),
    "Acoustic_guitar": (36.2, 42.4),
    "Telephone_bell_ringing": (27.3, 0.0),
    "Baby_cry_infant_cry": (44.9, 40.8),
    "Blender": (89.5, 88.0),
    "Clapping": (14.3, 16.4),
    "mean": (52.8, 54.2),
}

_FIGURE3_LEAP: dict[str, tuple[float, ...]] = {
    "Speech": (41.7, 0.0),
    "Car": (67.5, 68.6),
    "Cheering": (26.9, 23.5),
    "Dog": (47.5, 71.1),
    "Cat": (21.1, 48.8),
    "Frying_(food)": (80.8, 84.4),
    "Basketball_bounce": (25.3, 22.4),
    "Fire_alarm": (62.1, 47.6),
    "Chainsaw": (74.7, 72.2),
    "Cello": (69.0, 65.5),
    "Banjo": (65.8, 73.3),
    "Singing": (51.0, 41.0),
    "Chicken_rooster": (49.1, 84.4),
    "Violin_fiddle": (66.8, 68.2),
    "Vacuum_cleaner": (81.4, 87.0),
    "Baby_laughter": (28.6, 26.3),
    "Accordion": (78.6, 77.6),
    "Lawn_mower": (58.3, 74.7),
    "Motorcycle": (74.3, 68.8),
    "Helicopter": (83.8, 71.4),
    "Acoustic_guitar": (40.2, 44.4),
    "Telephone_bell_ringing": (41.7, 50.0),
    "Baby_cry_infant_cry": (48.9, 47.3),
    "Blender": (87.0, 86.1),
    "Clapping": (14.7, 17.3),
    "mean": (55.5, 56.9),
}

_HAN = ("model.encoder=han", "model.heads=1", "model.dropout=0.1")
_NO_SIMILARITY = ("objective.similarity_weight=0.0",)
_MMIL = ("model.decoder=mmil", *_NO_SIMILARITY)  # the same pseudo labels; the similarity loss belongs to LEAP


@dataclass(frozen=True)
class PaperRun:
    """One run of a table.

    Attributes:
        name: row of the table.
        changes: settings of the recipe to change, "table.key=value".
        paper: the paper's ten scores and, if printed, their mean; empty for Table 3 and Fig. 3.
        paper_parts: the paper's event-level scores of a subset of clips (Table 3) or of a class (Fig. 3), by its name.
        embeddings: "bert" or "clip" for other label embeddings than the plan's.
        recipe: of the run; None for the one that the user names.
        supervision: "full" or "weak" where the table can be made with either.
        tuning: thresholds to choose on the validation split, a method of `ParserEvaluator.tune`; None: the recipe's.
        trained: False for a row of which only the paper's scores are printed.
    """

    name: str
    changes: tuple[str, ...] = ()
    paper: tuple[float, ...] = ()
    paper_parts: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    embeddings: str | None = None
    recipe: str | None = None
    supervision: str | None = None
    tuning: str | None = None
    trained: bool = True


@dataclass(frozen=True)
class PaperTable:
    """One table or figure of the paper."""

    title: str
    runs: tuple[PaperRun, ...]
    # What a row is: "runs", "subsets" of a run's clips (Table 3), "systems" of the registry (Table 4), "localization"
    # (Table 5) or "classes" of a run (Fig. 3).
    rows: str = "runs"
    notes: tuple[str, ...] = ()  # for the reader of the scores


# Accuracy on AVE's test split, of the systems' own classifiers (DCH) and of LEAP in their place.
_TABLE5: dict[str, tuple[float, float]] = {"AVE": (68.2, 68.8), "PSP": (74.3, 76.6), "CMBS": (74.5, 77.9)}
_TABLE5_NOTES = (
    "The paper does not say which supervision its row has, nor which split chose the epoch.",
    "The systems' own papers state, of their classifiers: AVE 72.7, PSP 77.8, CMBS 79.3 with full supervision; AVE"
    " 66.7, PSP 73.5, CMBS 74.2 with weak supervision.",
)


def _localizers() -> tuple[PaperRun, ...]:
    return tuple(
        PaperRun(
            f"{system} + {decoder}, {supervision}",
            paper=(accuracy,),
            recipe="-".join([system.lower(), *(["weak"] if supervision == "weak" else []), *form]),
            supervision=supervision,
        )
        for supervision in ("full", "weak")
        for system, accuracies in _TABLE5.items()
        for decoder, form, accuracy in zip(("DCH", "LEAP"), ((), ("leap",)), accuracies, strict=True)
    )


def _systems() -> tuple[PaperRun, ...]:
    return tuple(
        PaperRun(
            system.name,
            system.changes,
            tuple(score for score in system.figures if score is not None),
            recipe=system.recipe,
            tuning=system.tuning,
            trained=system.recipe is not None,
        )
        for system in SYSTEMS.values()
        if system.in_table4
    )


def _subsets(name: str) -> dict[str, tuple[float, ...]]:
    return {"overlapping": _TABLE3_OVERLAPPING[name], "non_overlapping": _TABLE3_NON_OVERLAPPING[name]}


_ENCODERS_AND_DECODERS = {
    "HAN + MMIL": (*_HAN, *_MMIL),
    "HAN + LEAP": _HAN,
    "MM-Pyr + MMIL": _MMIL,
    "MM-Pyr + LEAP": (),
}
PAPER_TABLES = {
    "table1": PaperTable(
        "Number of LEAP blocks, and kind of label embeddings (without the similarity loss)",
        (
            PaperRun("1 block", (*_NO_SIMILARITY, "model.leap_blocks=1"), _TABLE1["1 block"]),
            PaperRun("2 blocks, GloVe", _NO_SIMILARITY, _TABLE1["2 blocks, GloVe"]),
            PaperRun("4 blocks", (*_NO_SIMILARITY, "model.leap_blocks=4"), _TABLE1["4 blocks"]),
            PaperRun("2 blocks, BERT", _NO_SIMILARITY, _TABLE1["2 blocks, BERT"], embeddings="bert"),
            PaperRun("2 blocks, CLIP", _NO_SIMILARITY, _TABLE1["2 blocks, CLIP"], embeddings="clip"),
        ),
    ),
    "table2": PaperTable(
        "Decoders: MMIL and LEAP on two encoders",
        tuple(PaperRun(name, changes, _TABLE2[name]) for name, changes in _ENCODERS_AND_DECODERS.items()),
    ),
    "table3": PaperTable(
        "Clips with and without overlapping events",
        tuple(PaperRun(name, changes, paper_parts=_subsets(name)) for name, changes in _ENCODERS_AND_DECODERS.items()),
        rows="subsets",
    ),
    "table4": PaperTable(
        "Other systems",
        _systems(),
        rows="systems",
        notes=("The paper prints what the papers of the systems state; each was trained and selected in its own way.",),
    ),
    "table5": PaperTable(
        "Event localization on AVE: the systems' own classifiers and LEAP",
        _localizers(),
        rows="localization",
        notes=_TABLE5_NOTES,
    ),
    "table6": PaperTable(
        "Weight of the similarity loss (lambda)",
        tuple(
            PaperRun(name, changes, _TABLE6[name])
            for name, changes in (
                ("lambda 0.5", ("objective.similarity_weight=0.5",)),
                ("lambda 1.0", ()),
                ("lambda 2.0", ("objective.similarity_weight=2.0",)),
            )
        ),
    ),
    "table7": PaperTable(
        "LEAP block that predicts (without the similarity loss)",
        tuple(
            PaperRun(name, (*_NO_SIMILARITY, *changes), _TABLE7[name])
            for name, changes in (
                ("first block", ("model.leap_prediction=first",)),
                ("last block", ()),
                ("average block", ("model.leap_prediction=average",)),
            )
        ),
    ),
    "table8": PaperTable(
        "Learnable queries in place of label embeddings",
        tuple(
            PaperRun(name, changes, _TABLE8[name])
            for name, changes in (
                ("HAN, learned queries", (*_HAN, "model.label_queries=learned")),
                ("HAN, label embeddings", _HAN),
                ("MM-Pyr, learned queries", ("model.label_queries=learned",)),
                ("MM-Pyr, label embeddings", ()),
            )
        ),
    ),
    "fig3": PaperTable(
        "Event level by class",
        (
            PaperRun("MM-Pyr + MMIL", _MMIL, paper_parts=_FIGURE3_MMIL),
            PaperRun("MM-Pyr + LEAP", paper_parts=_FIGURE3_LEAP),
        ),
        rows="classes",
    ),
}
