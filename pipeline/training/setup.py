"""Build a training job from paths and a recipe; check the data first."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...extractors.profiles import PROFILES, FeatureSpec
from ...models.config import FRAME_STEMS
from ...models.labels import LLP_LABELS
from ...models.localizers.config import BACKGROUND, LocalizerConfig
from ...models.losses import Objective
from ...models.open.adapter import AdapterConfig
from ...models.teacher import TeacherConfig
from ...weights.errors import WeightsError
from ...weights.manifest import BUNDLE_FILE, DEFAULT_BUNDLE, OPEN_BUNDLE, Bundle
from ...weights.messages import shown
from ...weights.remote.bundles import load_bundle
from ...weights.remote.gather import gather_files
from ...weights.source import ANYWHERE, WeightSource
from ..datasets.annotations import Annotations, read_annotations
from ..datasets.clips import SplitDataset, check_values
from ..datasets.label_embeddings import load_label_embeddings
from ..datasets.text_features import TEXT_FILE, read_text_features, write_text_features
from ..errors import DatasetError, FeatureMismatchError, SetupError
from ..features.npy_folders import FeatureSource
from ..features.packed_store import open_features
from ..files import access_problem
from ..inference.networks import TrainedConfig
from ..text import escape
from .batch_memory import check_batch_memory
from .batches.build import rows_per_clip
from .distributed import ALONE, Ranks
from .recipe import Recipe, make_recipe
from .recipe_parts import embedding_labels
from .run_bundle import write_bundle
from .run_folder import CONFIG_FILE, lock_new_folder, write_config, write_environment
from .tasks import network_config, task_of
from .train_parser import TrainingJob, check_job

PUBLISHED_EMBEDDINGS = "published"  # GloVe vectors that the authors of LEAP publish for LLP
_EMBEDDINGS_FILE = "llp_glove"
VALIDATION = "val"
SELECTIONS = (VALIDATION, "test")


@dataclass(frozen=True, kw_only=True)
class TrainingPlan:
    """What to train on what. Paths are absolute, so that a run can be resumed from any folder."""

    annotations: Path
    features: Path
    recipe: Recipe
    pseudo_labels: Path | None = None
    label_embeddings: str = PUBLISHED_EMBEDDINGS  # or a source of `load_label_embeddings`
    extractors: str | None = None  # bundle of the features' extractors; None: the default bundle, as far as it has them
    select: str = VALIDATION  # split that chooses the best epoch; "test" only where a published program does so

    def to_dict(self) -> dict[str, Any]:
        """Return a JSON-ready mapping; `from_dict` reverses it."""
        paths = {name: None if value is None else str(value) for name, value in vars(self).items() if name != "recipe"}
        if self.select == VALIDATION:
            del paths["select"]
        return {**paths, "recipe": self.recipe.to_dict()}

    @classmethod
    def from_dict(cls, mapping: Mapping[str, Any], trust: tuple[str, ...] = ()) -> TrainingPlan:
        """Make a plan from the mapping of `to_dict`.

        Args:
            mapping: from the folder of a run, which may be a stranger's.
            trust: packages whose parts its recipe may name by "module:Name".

        Returns:
            The plan.

        Raises:
            SetupError: it is another mapping.
        """
        known = {"annotations", "features", "pseudo_labels", "label_embeddings", "extractors", "recipe"}
        optional = {"pseudo_labels", "extractors"}
        select = mapping.get("select", VALIDATION)
        mapping = {name: value for name, value in mapping.items() if name != "select"}
        try:
            if select not in SELECTIONS:
                raise ValueError(f"select is {shown(select)}, not one of {', '.join(SELECTIONS)}")
            if wrong := sorted(known ^ set(mapping)):
                raise ValueError(f"{shown(wrong[0])} is missing or unknown")
            for name in known - {"recipe"}:
                value = mapping[name]
                if not isinstance(value, str) and not (value is None and name in optional):
                    raise ValueError(f"{name} is {shown(value)}, expected text")
                if value is not None and ("\0" in value or not value):
                    raise ValueError(f"{name} is {shown(value)}, not a name")
            if not isinstance(mapping["recipe"], Mapping):
                raise ValueError(f"recipe is {shown(mapping['recipe'])}, expected a table")
        except ValueError as error:
            raise SetupError(f"not the configuration of a training run: {error}") from error
        pseudo_labels = mapping["pseudo_labels"]
        return cls(
            annotations=Path(mapping["annotations"]),
            features=Path(mapping["features"]),
            recipe=make_recipe(mapping["recipe"], trust),
            pseudo_labels=None if pseudo_labels is None else Path(pseudo_labels),
            label_embeddings=mapping["label_embeddings"],
            extractors=mapping["extractors"],
            select=select,
        )

    @property
    def splits(self) -> tuple[str, ...]:
        """The splits that training reads."""
        return ("train", self.select)


@dataclass(frozen=True, eq=False)
class PlanData:
    """Data of a plan, whose files exist and have the right shapes."""

    annotations: Annotations
    clips: dict[str, SplitDataset]  # split -> clips


def open_data(plan: TrainingPlan, splits: tuple[str, ...] | None = None) -> PlanData:
    """Read annotations and labels, and check that all features exist.

    Args:
        plan: with the paths.
        splits: to open, by default those of the plan; those other than train may be absent.

    Returns:
        The data.

    Raises:
        DatasetError: files are missing or invalid; the message lists all of them.
        FeatureMismatchError: the features are not those that networks of the recipe read.
    """
    paths = {"annotations": plan.annotations, "features": plan.features, "pseudo labels": plan.pseudo_labels}
    for what, path in paths.items():
        if path is not None and (problem := access_problem(path)):
            raise DatasetError(f"{escape(path)}: the {what} cannot be read: {problem}")
    features = open_features(plan.features, frames=_needs_frames(plan.recipe))
    _check_streams(plan, features)
    annotations = read_annotations(plan.annotations)
    task = task_of(plan.recipe)
    clips: dict[str, SplitDataset] = {}
    problems: list[str] = []
    for split in splits or plan.splits:
        if split != "train" and split not in annotations.splits:
            continue
        try:
            clips[split] = task.load_clips(annotations, split, features, plan.pseudo_labels, plan.recipe)
        except DatasetError as error:
            problems.append(str(error))
    if problems:
        raise DatasetError("\n".join(problems))
    return PlanData(annotations, clips)


def data_needs(recipe: Recipe) -> tuple[object, ...]:
    """Return what decides how `open_data` reads clips: recipes with equal needs can share the data of one plan."""
    labels: tuple[object, ...] = ()
    if isinstance(recipe.objective, Objective) and recipe.objective.needs_segment_labels:
        is_soft = recipe.objective.segment_targets == "soft"
        labels = "segments", recipe.objective.soft_temperature if is_soft else None
    return recipe.task, recipe.training.noisy_clips, _needs_frames(recipe), labels


def _needs_frames(recipe: Recipe) -> bool:
    """Return whether networks of a recipe read each frame of a second, not their mean."""
    return recipe.task == "avvp" and recipe.model.get("stem") in FRAME_STEMS


def _check_streams(plan: TrainingPlan, features: FeatureSource) -> None:
    """Raise FeatureMismatchError unless the features have the streams that networks of the recipe read."""
    expected, spec = task_of(plan.recipe).streams, features.spec
    if spec.streams in expected:
        return
    profiles = ", ".join(name for name, profile in PROFILES.items() if profile.streams in expected)
    read = " or ".join(map(", ".join, expected))
    raise FeatureMismatchError(
        f"recipe {escape(plan.recipe.name)} reads the streams {read} (profiles {profiles}), but"
        f" {escape(plan.features)} holds {', '.join(spec.streams)} of profile {escape(spec.profile)}: choose other"
        " features or another recipe (avvp recipes)"
    )


def check_data(data: PlanData, progress: Callable[[str], Callable[[int, int], None]]) -> None:
    """Read all values of all features.

    Args:
        data: of `open_data`.
        progress: called with a split; returns a callback for the number of clips done and the total.

    Raises:
        DatasetError: features are damaged; the message lists all of them.
    """
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
    ranks: Ranks = ALONE,
    text: Tensor | None = None,
) -> TrainingJob:
    """Configure the network and load its label embeddings; write nothing.

    Args:
        plan: what to train.
        data: of `open_data`.
        root: folder of the run.
        device: for training.
        source: of the published label embeddings.
        ranks: the processes that train together.
        text: (C, A + V), text features of the classes of a teacher or an adapter; None reads those in the folder.

    Returns:
        A job for `train`.

    Raises:
        SetupError: the recipe does not fit the data, the device or its memory, or label embeddings cannot be loaded.
        WeightsError: the published label embeddings are missing.
    """
    labels, clips = data.annotations.labels, data.clips["train"]
    recipe, spec = plan.recipe, clips.features.spec
    segments = int(clips.lengths.max())
    config = network_config(recipe, labels, spec, segments, None)
    embeddings = None
    if config.needs_label_embeddings:
        if not isinstance(config, TeacherConfig | AdapterConfig):
            embeddings = _embeddings(plan, config, source)
        elif text is None:
            embeddings = torch.cat(read_text_features(root / TEXT_FILE, embedding_labels(config)), dim=1)
        else:
            embeddings = text
        config = network_config(recipe, labels, spec, segments, embeddings.shape[1])
    config = task_of(recipe).fit(config, clips)
    job = TrainingJob(recipe, config, embeddings, clips, data.clips.get(plan.select), root, device, ranks)
    check_job(job)
    if device.type == "cpu":
        rows = rows_per_clip(recipe.objective)
        check_batch_memory(config, rows * recipe.training.batch_size, rows * len(clips))
    return job


def default_extractors(spec: FeatureSpec) -> str:
    """Return the bundle of the published extractors of features: that of their profile, else LLP's."""
    return PROFILES[spec.profile].bundle if spec.profile in PROFILES else DEFAULT_BUNDLE


def extractors_of(plan: TrainingPlan, spec: FeatureSpec) -> str:
    """Return the bundle of a plan's extractors: the one that it names, else the published one of the features."""
    return plan.extractors or (OPEN_BUNDLE if plan.recipe.task == "open" else default_extractors(spec))


@contextlib.contextmanager
def start_run(job: TrainingJob, plan: TrainingPlan, source: WeightSource = ANYWHERE) -> Iterator[list[str]]:
    """Create and lock the folder of a new run, with configuration, environment and bundle (or text features).

    Args:
        job: of `prepare_job`.
        plan: of the job.
        source: of the extractors' weight files.

    Yields:
        Names of extractors of the features that no known bundle has; the run cannot parse videos without them.

    Raises:
        OutputError: the folder cannot be created, or holds a run or a bundle.
        SetupError: the plan's bundle lacks extractors of the features, or another process uses the folder.
    """
    spec = job.clips.features.spec
    if isinstance(job.config, TeacherConfig):  # it parses nothing, so its folder is no bundle
        with lock_new_folder(job.root, [TEXT_FILE]):
            _write_text(job)
            write_environment(job.root, job.ranks.count)
            write_config(job.root, plan.to_dict())
            yield []
        return
    extractors = load_bundle(extractors_of(plan, spec), source)
    missing = [name for name in spec.extractors if name not in extractors.extractors]
    if missing and plan.extractors is not None:
        raise SetupError(
            f"bundle {escape(extractors.name)!r} lacks {', '.join(map(escape, missing))}, which these features were"
            " extracted with"
        )
    is_adapter = isinstance(job.config, AdapterConfig)
    with lock_new_folder(job.root, [TEXT_FILE] if is_adapter else []):
        try:
            if is_adapter:
                _write_text(job)
            write_environment(job.root, job.ranks.count)
            write_config(job.root, plan.to_dict())  # from here on a killed run can be resumed
            write_bundle(job.root, spec, extractors, source, job.config.labels if is_adapter else ())
        except BaseException:
            (job.root / CONFIG_FILE).unlink(missing_ok=True)
            raise
        yield missing


def complete_bundle(job: TrainingJob, plan: TrainingPlan, source: WeightSource = ANYWHERE) -> None:
    """Write the bundle of a run that was killed before it had one.

    Args:
        job: of `prepare_job`; the caller holds the lock of its folder.
        plan: of the job.
        source: of the extractors' weight files.

    Raises:
        OutputError: a file cannot be written.
    """
    if not isinstance(job.config, TeacherConfig) and not (job.root / BUNDLE_FILE).exists():
        spec = job.clips.features.spec
        labels = job.config.labels if isinstance(job.config, AdapterConfig) else ()
        write_bundle(job.root, spec, load_bundle(extractors_of(plan, spec), source), source, labels)


def _write_text(job: TrainingJob) -> None:
    """Write the text features of a teacher's or an adapter's classes. Raises OutputError."""
    config, embeddings = job.config, job.label_embeddings
    assert isinstance(config, TeacherConfig | AdapterConfig) and embeddings is not None
    audio, visual = embeddings.split([config.audio_dim, config.visual_dim], dim=1)
    write_text_features(job.root / TEXT_FILE, embedding_labels(config), audio, visual)


def _load_embeddings(file: str, config: TrainedConfig, labels: tuple[str, ...], source: WeightSource) -> Tensor:
    """Load label embeddings; one file may serve localizers that embed the background, and those that do not."""
    try:
        return load_label_embeddings(file, labels, offline=source.offline)
    except SetupError:
        if not isinstance(config, LocalizerConfig) or BACKGROUND in labels or not Path(file).is_file():
            raise
        with contextlib.suppress(SetupError):
            return load_label_embeddings(file, (*labels, BACKGROUND))[: len(labels)]
        raise


def _embeddings(plan: TrainingPlan, config: TrainedConfig, source: WeightSource) -> Tensor:
    labels = embedding_labels(config)
    if plan.label_embeddings != PUBLISHED_EMBEDDINGS:
        try:
            return _load_embeddings(plan.label_embeddings, config, labels, source)
        except SetupError as error:
            if labels == config.labels:
                raise
            raise SetupError(
                f"{error}\n{len(labels)} vectors are needed: of the {len(config.labels)} classes and, last, of"
                f" {labels[-1]!r}, which can be learned instead: --set model.background_query=learned"
            ) from error
    if labels != LLP_LABELS:
        raise SetupError(
            "the published label embeddings are for the classes of LLP; for other classes set --label-embeddings to a"
            " file (such as GloVe's vectors of words, .txt), bert:MODEL or clip:MODEL, or learn queries with --set"
            " model.label_queries=learned"
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
        raise WeightsError(f"{error}\nor choose other vectors with --label-embeddings") from error
    return load_label_embeddings(str(paths[_EMBEDDINGS_FILE]), labels)
