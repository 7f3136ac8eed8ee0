"""From what a person names (folders, a recipe) to a training job whose data are all there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...models.labels import LLP_LABELS
from ...weights.errors import WeightsError
from ...weights.load import gather_files
from ...weights.manifest import DEFAULT_BUNDLE, Bundle, load_bundle
from ...weights.source import ANYWHERE, WeightSource
from ..datasets.annotations import Annotations, read_annotations
from ..datasets.clips import SplitDataset, check_values, load_clips
from ..datasets.label_embeddings import load_label_embeddings
from ..errors import DatasetError, SetupError
from ..features.packed_store import open_features
from ..text import escape
from .recipe import Recipe, make_recipe
from .run_folder import STATE_FILE, create_folder, load_training_state, write_bundle, write_config
from .train_parser import TrainingJob, check_job

PUBLISHED_EMBEDDINGS = "published"  # the GloVe vectors that the authors of LEAP publish for LLP
_EMBEDDINGS_FILE = "llp_glove"


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What a person asks for. Paths are absolute, so that a run can be continued from anywhere."""

    annotations: Path
    features: Path
    recipe: Recipe
    pseudo_labels: Path | None = None
    label_embeddings: str = PUBLISHED_EMBEDDINGS  # or a source of `load_label_embeddings`
    extractors: str | None = None  # the bundle whose extractors made the features; None: perhaps the published ones

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready mapping; `from_dict` reverses it."""
        paths = {name: None if value is None else str(value) for name, value in vars(self).items() if name != "recipe"}
        return {**paths, "recipe": self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any]) -> TrainingPlan:
        """Raises SetupError for a mapping that `to_dict` did not make."""
        try:
            given = {key: value for key, value in mapping.items() if key not in {"recipe", "format"}}
            for name in ("annotations", "features", "pseudo_labels"):
                given[name] = None if given[name] is None else Path(given[name])
            return cls(recipe=make_recipe(mapping["recipe"]), **given)
        except (KeyError, TypeError, AttributeError) as error:
            raise SetupError(f"not the configuration of a run: {error}") from error


@dataclass(frozen=True, eq=False)
class PlanData:
    """The data of a plan, checked: every file is there and has the right shape."""

    annotations: Annotations
    clips: dict[str, SplitDataset]  # split -> clips


def with_epochs(recipe: Recipe, epochs: int) -> Recipe:
    """The same recipe for another number of epochs. Raises SetupError where those so far would have been others."""
    if recipe.training.schedule != "step" and epochs != recipe.training.epochs:
        raise SetupError(f"a {recipe.training.schedule} schedule depends on the number of epochs; start a new run")
    return replace(recipe, training=replace(recipe.training, epochs=epochs))


def open_data(plan: TrainingPlan, splits: tuple[str, ...] = ("train", "val")) -> PlanData:
    """Read annotations and labels, and look at every feature file. A split other than train may be absent.

    Raises DatasetError listing what is wrong in all of them.
    """
    annotations = read_annotations(plan.annotations)
    features = open_features(plan.features)
    clips: dict[str, SplitDataset] = {}
    problems: list[str] = []
    for split in splits:
        if split != "train" and split not in annotations.splits:
            continue
        wanted = plan.pseudo_labels if split == "train" and plan.recipe.objective.needs_segment_labels else None
        try:
            clips[split] = load_clips(annotations, split, features, pseudo_labels=wanted)
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        raise DatasetError("\n".join(problems))
    return PlanData(annotations, clips)


def check_data(data: PlanData, progress: Callable[[str], Callable[[int, int], None]]) -> None:
    """Read every value of every feature file. Raises DatasetError listing those that cannot be used."""
    problems = [line for split, clips in data.clips.items() for line in check_values(clips, progress(split))]
    if problems:
        raise DatasetError.listing("some features cannot be used", problems)


def prepare_job(
    plan: TrainingPlan,
    data: PlanData,
    root: Path,
    *,
    device: torch.device,
    source: WeightSource = ANYWHERE,
) -> TrainingJob:
    """The parser's configuration, label embeddings among it, and everything `train` needs; writes nothing."""
    labels, clips = data.annotations.labels, data.clips["train"]
    recipe, spec = plan.recipe, clips.features.spec
    segments = int(clips.lengths.max())
    config = recipe.parser_config(labels, spec.dims, segments, None)
    embeddings = None
    if config.needs_label_embeddings:
        embeddings = _embeddings(plan, labels, source)
        config = recipe.parser_config(labels, spec.dims, segments, embeddings.shape[1])
    job = TrainingJob(recipe, config, embeddings, clips, data.clips.get("val"), root, device)
    check_job(job)
    return job


def check_resumable(job: TrainingJob) -> None:
    """Raises SetupError where a run cannot be gone on with, or has more epochs than are asked for."""
    if not (job.root / STATE_FILE).exists():
        return  # stopped in its first epoch
    done = load_training_state(job.root).epochs
    if done > job.recipe.training.epochs:
        raise SetupError(f"{escape(job.root)}: has {done} epochs already, more than {job.recipe.training.epochs}")


def start_run(job: TrainingJob, plan: TrainingPlan, source: WeightSource = ANYWHERE) -> list[str]:
    """Make the folder of a new run: configuration, environment, bundle.

    Returns the extractors that made the features and that no bundle is known to have. Raises OutputError; SetupError
    where a bundle was named that does not have them.
    """
    spec = job.clips.features.spec
    extractors = load_bundle(plan.extractors or DEFAULT_BUNDLE)
    missing = [name for name in spec.extractors if name not in extractors.extractors]
    if missing and plan.extractors is not None:
        raise SetupError(f"bundle {extractors.name!r} has no {', '.join(missing)}, which made these features")
    create_folder(job.root)
    write_bundle(job.root, spec, extractors, source)
    write_config(job.root, plan.to_dict())
    return missing


def _embeddings(plan: TrainingPlan, labels: tuple[str, ...], source: WeightSource) -> Tensor:
    if plan.label_embeddings != PUBLISHED_EMBEDDINGS:
        return load_label_embeddings(plan.label_embeddings, labels, offline=source.offline)
    if labels != LLP_LABELS:
        raise SetupError(
            "the published label embeddings are for the classes of LLP; for others give --label-embeddings a file,"
            " bert:MODEL or clip:MODEL, or learn queries with --set model.label_queries=learned"
        )
    bundle = Bundle(
        name="label embeddings",
        description="",
        profile="llp",
        extractors={},
        parser={"label_embeddings": _EMBEDDINGS_FILE},
    )
    try:
        paths, _ = gather_files(bundle, source)
    except WeightsError as error:
        raise WeightsError(f"{error}\nor give other vectors with --label-embeddings") from error
    return load_label_embeddings(str(paths[_EMBEDDINGS_FILE]), labels)
