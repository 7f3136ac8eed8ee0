"""Systems of audio-visual video parsing: those that Table 4 of the LEAP paper compares, and what came after.

Facts and figures only: which of them this program loads and trains, what the published programs do, their licences.
Importing it needs neither torch nor numpy.
"""

from __future__ import annotations

from dataclasses import dataclass

NO_LICENCE = "none stated"
NOT_KNOWN = "not known"
_Figures = tuple[float | None, ...]  # A, V, AV, Type, Event of segments, the same five of events
_NONE: _Figures = (None,) * 10


@dataclass(frozen=True, kw_only=True)
class System:
    """One published system.

    Attributes:
        name: as papers call it.
        venue: of its paper.
        year: of its paper.
        source: address of its program, or where it is described.
        licence: that the program's repository states.
        selection: what the published program chooses its epoch by, and on which split.
        needs: what training needs besides features of LLP's form and labels of the videos.
        family: of `load_published`; None if its files are not read.
        recipe: that trains it; None if there is none.
        changes: settings of the recipe to change, "table.key=value".
        variants: further recipes of the same system.
        tuning: thresholds that the published program chooses on validation, a method of `ParserEvaluator.tune`.
        figures: its ten F-scores on LLP's test split with the features of LLP, in percent; None where not known.
        clip_figures: the same with CLIP and CLAP as features.
        in_table4: whether Table 4 of the LEAP paper has a row of it.
        caveats: what a reader of its scores should know.
    """

    name: str
    venue: str
    year: int
    source: str
    licence: str
    selection: str
    needs: tuple[str, ...] = ()
    family: str | None = None
    recipe: str | None = None
    changes: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    tuning: str | None = None
    figures: _Figures = _NONE
    clip_figures: _Figures = _NONE
    in_table4: bool = False
    caveats: tuple[str, ...] = ()

    @property
    def selection_split(self) -> str:
        """Split by which the published program chooses its epoch: "val", "test", "none" (the last epoch) or "?"."""
        splits = {"validation": "val", "TEST": "test", "last epoch": "none"}
        return next((split for words, split in splits.items() if words in self.selection), "?")

    @property
    def status(self) -> str:
        """What can be done with it here: "trains", "loads" (and scores) or "paper's figures only"."""
        if self.recipe is not None:
            return "trains"
        return "loads" if self.family is not None else "paper's figures only"


def _totals(segment_type: float, segment_event: float, event_type: float, event_event: float) -> _Figures:
    """Return the figures of papers of which only these four are known here."""
    unknown = (None, None, None)
    return (*unknown, segment_type, segment_event, *unknown, event_type, event_event)


PSEUDO = "pseudo labels"
EMBEDDINGS = "label embeddings"
FRAMES = "frames"
SCORES = "scores beside pseudo labels"
CLIP_CLAP = "CLIP and CLAP features"
_TYPE_ON_VAL = "segment Type@AV on validation"
_HAN_SETTINGS = ("model.encoder=han", "model.heads=1", "model.dropout=0.1")
_BEFORE_LEAP = (
    System(
        name="HAN",
        venue="ECCV",
        year=2020,
        source="github.com/YapengTian/AVVP-ECCV20",
        licence="GPL-3.0 (README)",
        selection=_TYPE_ON_VAL,
        family="han",
        recipe="han",
        figures=(60.1, 52.9, 48.9, 54.0, 55.4, 51.3, 48.9, 43.0, 47.7, 48.0),
        in_table4=True,
    ),
    System(
        name="CVCMS",
        venue="NeurIPS",
        year=2021,
        source="github.com/GenjiB/CM-Co-Occurrence-AVVP",
        licence="CC BY-NC 4.0 (README)",
        selection="event Type@AV on TEST",
        family="cvcms",
        recipe="cvcms",
        figures=(59.2, 59.9, 53.4, 57.5, 58.1, 51.3, 55.5, 46.2, 51.0, 49.7),
        in_table4=True,
        caveats=(
            "Its validation loader reads the test split, by which training stops and the best epoch is chosen: if the"
            " printed scores are of this program, they are too high.",
        ),
    ),
    System(
        name="MA",
        venue="CVPR",
        year=2021,
        source="github.com/Yu-Wu/Modaily-Aware-Audio-Visual-Video-Parsing",
        licence=NO_LICENCE,
        selection="none: the last epoch",
        family="ma",
        recipe="ma",
        variants=("ma-fixed",),
        figures=(60.3, 60.0, 55.1, 58.9, 57.9, 53.6, 56.4, 49.0, 53.0, 50.6),
        in_table4=True,
        caveats=(
            "A defect of its program takes every label that is removed from the audio out of the video's target, too.",
            "Its printed segment-level Type@AV is 58.9; the mean of its A, V and AV is 58.5.",
            "Its partners of swapped clips are drawn without a seed, so that no two runs remove the same labels.",
        ),
    ),
    System(
        name="JoMoLD",
        venue="ECCV",
        year=2022,
        source="github.com/MCG-NJU/JoMoLD",
        licence=NO_LICENCE,
        selection="event-level audio F on validation",
        family="jomold",
        recipe="jomold",
        variants=("jomold-estimator",),
        figures=(61.3, 63.8, 57.2, 60.8, 59.9, 53.9, 59.9, 49.6, 54.5, 52.5),
        in_table4=True,
        caveats=(
            "The warm-up of its noise ratios never ramps: nothing is removed in the first epoch, all of it afterwards.",
            "Labels are removed batch by batch, so that the batch size matters.",
        ),
    ),
    System(
        name="BPS",
        venue="ICCV",
        year=2023,
        source="no program found",
        licence=NOT_KNOWN,
        selection=NOT_KNOWN,
        figures=(63.1, 63.5, 57.7, 61.4, 60.6, 54.1, 60.3, 51.5, 55.2, 52.3),
        in_table4=True,
    ),
    System(
        name="VALOR",
        venue="NeurIPS",
        year=2023,
        source="github.com/Franklin905/VALOR",
        licence="MIT",
        selection=NOT_KNOWN,
        needs=(PSEUDO,),
        family="valor",
        recipe="valor",
        variants=("valor-plus", "valor-plus-plus"),
        figures=(61.8, 65.9, 58.4, 62.0, 61.5, 55.4, 62.6, 52.2, 56.7, 54.2),
        clip_figures=_totals(66.2, 66.8, 60.4, 59.0),
        in_table4=True,
    ),
    System(
        name="HAN + LEAP",
        venue="ECCV",
        year=2024,
        source="github.com/jasongief/LEAP",
        licence=NO_LICENCE,
        selection=_TYPE_ON_VAL,
        needs=(PSEUDO, EMBEDDINGS),
        recipe="leap-published",
        changes=_HAN_SETTINGS,
        figures=(62.7, 65.6, 59.3, 62.5, 61.8, 56.4, 63.1, 54.1, 57.8, 55.0),
        in_table4=True,
    ),
    System(
        name="MM-Pyr",
        venue="ACM MM",
        year=2022,
        source="github.com/JustinYuu/MM_Pyramid",
        licence="MIT (README)",
        selection=_TYPE_ON_VAL,
        family="mmpyr",
        recipe="mmpyr",
        figures=(60.9, 54.4, 50.0, 55.1, 57.6, 52.7, 51.8, 44.4, 49.9, 50.5),
        in_table4=True,
        caveats=(
            "Its program calls the visual stream audio and the audio stream visual; the recipe does not.",
            "Its printed event-level Type@AV is 49.9; the mean of its A, V and AV is 49.6.",
        ),
    ),
    System(
        name="MGN",
        venue="NeurIPS",
        year=2022,
        source="github.com/stoneMo/MGN",
        licence=NO_LICENCE,
        selection=_TYPE_ON_VAL,
        family="mgn",
        recipe="mgn",
        figures=(60.8, 55.4, 50.4, 55.5, 57.2, 51.1, 52.4, 44.4, 49.3, 49.1),
        in_table4=True,
        caveats=(
            "One of its weights has the length of the clips, 10 seconds: shorter ones are padded, longer ones parsed in"
            " windows.",
            "It hardly localizes: the score of a second is that of its video times 1.04 to 1.23.",
        ),
    ),
    System(
        name="DHHN",
        venue="ACM MM",
        year=2022,
        source="github.com/anonyUsr22/DHHN",
        licence=NO_LICENCE,
        selection="mean audio F and mean visual F on validation, an epoch for each",
        family="dhhn",
        recipe="dhhn",
        variants=("dhhn-refined",),
        figures=(61.3, 58.3, 52.9, 57.5, 58.1, 54.0, 55.1, 47.3, 51.5, 51.5),
        in_table4=True,
        caveats=(
            "Two epochs are scored as one: the audio of the one, the visual predictions of the other.",
            "Its printed event-level Type@AV is 51.5; the mean of its A, V and AV is 52.1.",
            "Its refined labels have MA's defect; whether the printed scores are with them is not said.",
        ),
    ),
    System(
        name="CMPAE",
        venue="CVPR",
        year=2023,
        source="github.com/MengyuanChen21/CVPR2023-CMPAE",
        licence="MIT",
        selection="mean of the ten on validation",
        needs=(FRAMES,),
        family="cmpae",
        recipe="cmpae",
        tuning="visual-videos",
        figures=(64.2, 66.4, 59.2, 63.3, 62.8, 56.6, 63.7, 51.8, 57.4, 55.7),
        in_table4=True,
        caveats=(
            "Visual thresholds of the video are chosen per class, on validation, with the network of epoch 8.",
            "Each frame goes through the first layer alone; features that are averaged per second cannot be used.",
        ),
    ),
    System(
        name="MM-Pyr + LEAP",
        venue="ECCV",
        year=2024,
        source="github.com/jasongief/LEAP",
        licence=NO_LICENCE,
        selection=_TYPE_ON_VAL,
        needs=(PSEUDO, EMBEDDINGS),
        family="leap",
        recipe="leap-published",
        variants=("leap-paper",),
        figures=(64.8, 67.7, 61.8, 64.8, 63.6, 59.2, 64.9, 56.5, 60.2, 57.4),
        in_table4=True,
    ),
)
_AFTER = (
    System(
        name="LSLD",
        venue="NeurIPS",
        year=2023,
        source="github.com/fyyCS/LSLD",
        licence=NO_LICENCE,
        selection="event-level audio F on validation",
        needs=(CLIP_CLAP,),
        family="lsld",
        figures=_totals(63.1, 62.2, 57.6, 55.2),
        caveats=(
            "Its labels come from prompts of pairs of classes, which are not made here.",
            "Whether the figures are of LLP's features or of CLIP and CLAP was not checked.",
        ),
    ),
    System(
        name="CoLeaF",
        venue="ECCV",
        year=2024,
        source="github.com/faeghehsardari/coleaf",
        licence="CC BY-NC",
        selection=NOT_KNOWN,
        needs=(FRAMES,),
        family="coleaf",
        figures=_totals(62.6, 62.5, 57.9, 55.6),
        caveats=("Its anchor network is read, which is the one that is scored; the reference networks are not.",),
    ),
    System(
        name="PPL",
        venue="CVPR",
        year=2024,
        source="no program found",
        licence=NOT_KNOWN,
        selection=NOT_KNOWN,
        caveats=("No figures of it could be checked.",),
    ),
    System(
        name="MM-CSE",
        venue="AAAI",
        year=2025,
        source="github.com/PengchengZhao1001/MM-CSE",
        licence=NO_LICENCE,
        selection=NOT_KNOWN,
        caveats=("Not read here: class vectors for every second, trained on VALOR's labels. No figures were checked.",),
    ),
    System(
        name="NREP",
        venue="code",
        year=2023,
        source="a public program of 2023, evidential learning on VALOR's labels",
        licence=NO_LICENCE,
        selection=NOT_KNOWN,
        needs=(FRAMES,),
        caveats=("Not read here. No figures were checked.",),
    ),
    System(
        name="UWAV",
        venue="CVPR",
        year=2025,
        source="arxiv.org/abs/2505.09615",
        licence="MIT (README)",
        selection=NOT_KNOWN,
        needs=(PSEUDO, SCORES),
        family="uwav",
        recipe="uwav",
        variants=("uwav-clip",),
        figures=_totals(65.9, 63.9, 60.9, 57.4),
        clip_figures=_totals(68.9, 68.3, 63.9, 62.4),
        caveats=("Its labels are of a teacher with temporal context that was trained on UnAV-100.",),
    ),
    System(
        name="MUG",
        venue="ICCV",
        year=2025,
        source="github.com/WangLY136/MUG",
        licence=NOT_KNOWN,
        selection=NOT_KNOWN,
        caveats=("The repository holds a README only. No figures of it could be checked.",),
    ),
)
SYSTEMS = {system.name: system for system in (*_BEFORE_LEAP, *_AFTER)}


def system_of(recipe: str) -> System | None:
    """Return the system that a recipe trains.

    Args:
        recipe: name of a recipe.

    Returns:
        The system; None for recipes of no published system, and for files.
    """
    for system in SYSTEMS.values():
        if recipe in system.variants or (recipe == system.recipe and not system.changes):
            return system
    return None


def describe_system(system: System) -> str:
    """Return one line for the user of a recipe: where the system is from, its licence, and how its epoch is chosen."""
    licences = {NO_LICENCE: "no licence is stated", NOT_KNOWN: "its licence is not known"}
    licence = licences.get(system.licence, f"licence {system.licence}")
    chosen = "in a way that is not known" if system.selection == NOT_KNOWN else f"by {system.selection}"
    if system.selection_split == "none":
        chosen = "not at all: it takes the last one"
    return (
        f"{system.name}, {system.venue} {system.year} ({system.source}): {licence}; its program chooses the epoch"
        f" {chosen}."
    )
