"""What training does differently for video parsing ("avvp"), event localization ("avel"), teachers and adapters."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ...extractors.profiles import FeatureSpec
from ...extractors.sampling import AVE_STREAMS, CLIP_CLAP_STREAMS, LLP_STREAMS, Stream
from ...models.config import ParserConfig
from ...models.localizers.config import LocalizerConfig
from ...models.localizers.localizer import build_localizer, localizer_shapes
from ...models.localizers.losses import LocalizationObjective, localization_terms
from ...models.loss_parts import load_loss, try_loss
from ...models.losses import OWN_LOSSES, Objective
from ...models.open.adapter import AdapterConfig, AdapterObjective, TemporalAdapter, adapter_loss, adapter_shapes
from ...models.parser import build_parser, parser_shapes
from ...models.teacher import (
    TeacherConfig,
    TeacherObjective,
    TemporalTeacher,
    teacher_loss,
    teacher_shapes,
)
from ...weights.parts import Part
from ..datasets.annotations import Annotations
from ..datasets.clips import SplitDataset, load_clips, load_event_clips
from ..datasets.dense_clips import load_dense_clips
from ..errors import SetupError
from ..evaluation.adapter import score_adapter
from ..evaluation.evaluate import score_clips
from ..evaluation.localization import score_event_clips
from ..evaluation.teacher import score_teacher
from ..features.npy_folders import FeatureSource
from ..inference.decisions import Decision
from ..inference.networks import TrainedConfig, TrainedNetwork
from ..inference.predict import predict_clips
from ..inference.thresholds import Thresholds
from ..metrics import Scores
from ..text import escape
from .batches.mixup import MIXED_DECODERS
from .recipe import Recipe

Loss = Callable[[Any, Any], dict[str, Tensor]]  # output and targets of a batch -> weighted terms
Mean = Literal["seconds", "pairs"]  # what a term is a mean over


class ValidationScores(NamedTuple):
    """Scores of an epoch on the validation clips."""

    best_by: float  # the best epoch has the highest
    document: dict[str, Any]  # JSON-ready, as in log.jsonl
    ten: Scores | None = None  # of parsers, by which `TrainingConfig.select` chooses instead


@dataclass(frozen=True)
class Task:
    """Functions of a task, which the one training loop calls.

    Attributes:
        streams: features that its networks read; each of the tuples is possible.
        score_name: of the score by which the best epoch is chosen.
        load_clips: annotations, split, features, folder of pseudo labels or None, recipe -> clips with the targets that
            the recipe needs. Raises DatasetError.
        make_config: recipe, classes, specification of the features, seconds of the longest clip, width of the label
            embeddings or None -> configuration. Raises ValueError.
        shapes: configuration, trusted packages -> shapes of the parameters. Raises ValueError if they are too large.
        build: recipe, configuration, label embeddings -> network in training mode. Raises ValueError.
        load_loss: recipe, configuration -> loss, and the part if it is of another package. Raises ValueError.
        means: configuration -> terms of the loss that are means over seconds or pairs of seconds; others over clips.
        check: recipe, configuration, training clips. Raises SetupError if they do not fit.
        score: network, clips, device, decision (None of networks that have none) -> scores.
        fit: configuration, training clips -> configuration with what follows from the clips.
    """

    streams: tuple[tuple[Stream, ...], ...]
    score_name: str
    load_clips: Callable[[Annotations, str, FeatureSource, Path | None, Recipe], SplitDataset]
    make_config: Callable[[Recipe, Sequence[str], FeatureSpec, int, int | None], TrainedConfig]
    shapes: Callable[[Any, Sequence[str]], dict[str, tuple[int, ...]]]
    build: Callable[[Recipe, Any, Tensor | None], TrainedNetwork]
    load_loss: Callable[[Recipe, Any], tuple[Loss, Part | None]]
    means: Callable[[TrainedConfig], Mapping[str, Mean]]
    check: Callable[[Recipe, Any, SplitDataset], None]
    score: Callable[[TrainedNetwork, SplitDataset, torch.device, Decision | None], ValidationScores]
    fit: Callable[[Any, SplitDataset], TrainedConfig] = lambda config, _: config


def task_of(recipe: Recipe) -> Task:
    """Return the task of a recipe."""
    return TASKS[recipe.task]


def network_config(
    recipe: Recipe, labels: Sequence[str], spec: FeatureSpec, segments: int, width: int | None
) -> TrainedConfig:
    """Make the configuration of a recipe's network for a data set.

    Args:
        recipe: of its task.
        labels: C class names.
        spec: of the features; its streams are of the task.
        segments: T, seconds of the longest clip.
        width: W of the label embeddings; None for the default.

    Returns:
        The configuration.

    Raises:
        SetupError: settings of the recipe contradict each other or do not fit the features, a part of another package
            is not trusted or cannot be built, or the network would be larger than a network may be.
    """
    task = task_of(recipe)
    try:
        config = task.make_config(recipe, labels, spec, segments, width)
        task.shapes(config, recipe.trust)  # refuses what is too large, before it is allocated
    except (TypeError, ValueError) as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error
    return config


def _embedding_width(width: int | None) -> dict[str, int]:
    return {} if width is None else {"label_embedding_dim": width}


# Video parsing: classes heard and classes seen, from pseudo labels or labels of the video.


def _load_parsing_clips(
    annotations: Annotations, split: str, features: FeatureSource, pseudo_labels: Path | None, recipe: Recipe
) -> SplitDataset:
    assert isinstance(recipe.objective, Objective)
    used = pseudo_labels if split == "train" and recipe.objective.needs_segment_labels else None
    is_soft = used is not None and recipe.objective.segment_targets == "soft"
    temperature = recipe.objective.soft_temperature if is_soft else None
    return load_clips(annotations, split, features, pseudo_labels=used, soft_temperature=temperature)


def _parser_config(
    recipe: Recipe, labels: Sequence[str], spec: FeatureSpec, segments: int, width: int | None
) -> ParserConfig:
    dims: dict[str, int] = {"visual_3d": 0, **dict(zip(spec.streams, spec.dims, strict=True))}
    sizes = {f"{stream}_dim": dims[stream] for stream in LLP_STREAMS}
    return ParserConfig(labels=tuple(labels), segments=segments, **sizes, **_embedding_width(width), **recipe.model)


def _load_parsing_loss(recipe: Recipe, config: ParserConfig) -> tuple[Loss, Part | None]:
    assert isinstance(recipe.objective, Objective)
    loss, part = load_loss(recipe.objective, recipe.trust)
    if part is not None:
        try_loss(loss, recipe.objective, config)
    return loss, part


# Terms of the loss that only some decoders have the outputs of.
_DECODERS_OF_TERMS = {
    "mutual_weight": ("evidence",), "across_weight": ("mmil", "classwise"), "token_weight": ("groups",),
    "mixup_alpha": MIXED_DECODERS,
}  # fmt: skip


def _check_parsing(recipe: Recipe, config: ParserConfig, clips: SplitDataset) -> None:
    objective = recipe.objective
    assert isinstance(objective, Objective)
    if objective.needs_segment_labels and clips.labels is None:
        raise SetupError(
            f"recipe {recipe.name} needs segment-level pseudo labels: set --pseudo-labels to their folder, or"
            " choose a recipe for weak labels (han, mmpyr)"
        )
    for setting, decoders in _DECODERS_OF_TERMS.items():
        if getattr(objective, setting) and config.decoder not in decoders:
            raise SetupError(
                f"recipe {escape(recipe.name)}: objective.{setting} is for the decoder {' or '.join(decoders)}, not for"
                f" {escape(config.decoder)}"
            )
    if objective.loss in OWN_LOSSES and bool(objective.guide_weight) != config.guides:
        raise SetupError(
            f"recipe {escape(recipe.name)}: model.guides and a positive objective.guide_weight need each other"
        )
    rates = (recipe.training.audio_guide_rate, recipe.training.visual_guide_rate)
    if not config.guides and rates != (1.0, 1.0):
        raise SetupError(
            f"recipe {escape(recipe.name)}: training.audio_guide_rate and visual_guide_rate are for model.guides = true"
        )
    if config.modality_networks:
        raise SetupError(
            f"recipe {escape(recipe.name)}: model.modality_networks is what a training can end with: train one network"
            ' and join the best epoch of each modality with training.select = "each_modality"'
        )
    other_weights = (objective.audio_weight, objective.visual_weight, objective.audio_segment_weight,
              objective.visual_segment_weight, objective.similarity_weight)  # fmt: skip
    if config.decoder == "leap" and objective.union == "published" and not any(other_weights):
        raise SetupError(
            "LEAP's published union has no gradient, and every other loss has weight 0: set union = 'soft'"
        )


_MEANS_OF_PARSING: dict[str, Mean] = {
    **dict.fromkeys(
        ("audio_segment", "visual_segment", "audio_segment_mixup", "visual_segment_mixup", "alignment"), "seconds"
    ),
    "similarity": "pairs",
}


def _score_parsing(
    parser: Any, clips: SplitDataset, device: torch.device, decision: Decision | None
) -> ValidationScores:
    scores = score_clips(parser, clips, device, decision)
    return ValidationScores(scores.segment.type_av, scores.to_dict(), scores)


# Event localization: one class that is heard and seen, or background, in each second.


def _load_event_clips(
    annotations: Annotations, split: str, features: FeatureSource, pseudo_labels: Path | None, recipe: Recipe
) -> SplitDataset:
    if pseudo_labels is not None:
        raise SetupError(f"recipe {escape(recipe.name)} needs no pseudo labels: leave out --pseudo-labels")
    with_noisy = split == "train" and recipe.training.noisy_clips
    return load_event_clips(annotations, split, features, with_noisy=with_noisy)


def _localizer_config(
    recipe: Recipe, labels: Sequence[str], spec: FeatureSpec, segments: int, width: int | None
) -> LocalizerConfig:
    audio, visual = (dict(zip(spec.streams, spec.dims, strict=True))[stream] for stream in AVE_STREAMS)
    positions = recipe.model.get("positions", LocalizerConfig.positions)
    if positions < 1 or visual % positions:
        raise ValueError(
            f"the feature maps have {visual} values, which are not {positions} positions: set model.positions"
        )
    return LocalizerConfig(
        labels=tuple(labels), segments=segments, audio_dim=audio, visual_dim=visual // positions,
        **_embedding_width(width), **recipe.model,
    )  # fmt: skip


def _load_event_loss(recipe: Recipe, config: LocalizerConfig) -> tuple[Loss, Part | None]:  # noqa: ARG001
    assert isinstance(recipe.objective, LocalizationObjective)
    return partial(localization_terms, objective=recipe.objective), None


def _check_localization(recipe: Recipe, config: LocalizerConfig, clips: SplitDataset) -> None:  # noqa: ARG001
    assert isinstance(recipe.objective, LocalizationObjective)
    try:
        recipe.objective.check(config)
    except ValueError as error:
        raise SetupError(f"recipe {escape(recipe.name)}: {error}") from error


def _means_of_localization(config: TrainedConfig) -> dict[str, Mean]:
    """Weak supervision has losses of clips alone."""
    of_seconds = ("multilabel_soft_margin", "cross_entropy", "avps", "event_bce", "gate_bce")
    is_full = isinstance(config, LocalizerConfig) and config.supervision == "full"
    return {**(dict.fromkeys(of_seconds, "seconds") if is_full else {}), "similarity": "pairs"}


def _score_localization(
    localizer: Any, clips: SplitDataset, device: torch.device, decision: Decision | None
) -> ValidationScores:
    assert decision is not None
    labels = decision(predict_clips(localizer, clips, device), Thresholds.uniform(localizer.config.labels))
    scores = score_event_clips(labels, clips)
    return ValidationScores(scores.accuracy, scores.to_dict())


# Temporal teachers: classes that are heard and seen in each second, from labels per second of all splits.


def _load_teacher_clips(
    annotations: Annotations, split: str, features: FeatureSource, pseudo_labels: Path | None, recipe: Recipe
) -> SplitDataset:
    if pseudo_labels is not None:
        raise SetupError(f"recipe {escape(recipe.name)} needs no pseudo labels: leave out --pseudo-labels")
    return load_dense_clips(annotations, split, features)


def _teacher_config(
    recipe: Recipe, labels: Sequence[str], spec: FeatureSpec, segments: int, width: int | None
) -> TeacherConfig:
    audio, visual = spec.dims
    if width not in {None, audio + visual}:
        raise ValueError(f"the text features have {width} values, the features of CLAP and CLIP {audio} + {visual}")
    return TeacherConfig(labels=tuple(labels), segments=segments, audio_dim=audio, visual_dim=visual, **recipe.model)


def _load_teacher_loss(recipe: Recipe, config: TeacherConfig) -> tuple[Loss, Part | None]:  # noqa: ARG001
    objective = recipe.objective
    assert isinstance(objective, TeacherObjective)

    def loss(output: Any, targets: Any) -> dict[str, Tensor]:
        return {"event": teacher_loss(output, targets.audio_segments * targets.visual_segments, objective)}

    return loss, None


def _check_teacher(recipe: Recipe, config: TeacherConfig, clips: SplitDataset) -> None:  # noqa: ARG001
    labels = clips.segment_labels
    if not (labels.audio & labels.visual).any():
        raise SetupError("no class is heard and seen in the same second of a training clip: there is nothing to learn")


def _score_teacher(
    teacher: Any, clips: SplitDataset, device: torch.device, decision: Decision | None
) -> ValidationScores:
    assert decision is None  # a teacher decides nothing
    scores = score_teacher(teacher, clips, device)
    return ValidationScores(scores.segment, scores.to_dict())


# Temporal adapters: one class a second, or "other"; classes that no training clip has are only scored.
def _adapter_config(
    recipe: Recipe, labels: Sequence[str], spec: FeatureSpec, segments: int, width: int | None
) -> AdapterConfig:
    audio, visual = spec.dims
    if width not in {None, audio + visual}:
        raise ValueError(f"sentences have embeddings of {width} values, the features {audio} + {visual}")
    return AdapterConfig(labels=tuple(labels), segments=segments, audio_dim=audio, visual_dim=visual, **recipe.model)


def _load_adapter_loss(recipe: Recipe, config: AdapterConfig) -> tuple[Loss, Part | None]:
    objective = recipe.objective
    assert isinstance(objective, AdapterObjective)
    return lambda output, targets: {"event": adapter_loss(output, targets.segments, config, objective)}, None


def _score_adapter(adapter: Any, clips: SplitDataset, device: torch.device, _: Decision | None) -> ValidationScores:
    document = score_adapter(adapter, clips, device)
    return ValidationScores(document["total"]["average"], document)


def _with_trained_classes(config: AdapterConfig, clips: SplitDataset) -> AdapterConfig:
    found = np.unique(clips.event_targets.segments).tolist()
    trained = tuple(label for index, label in enumerate(config.labels) if index in found)
    if not trained:
        raise SetupError("no class is heard and seen in the same second of a training clip: there is nothing to learn")
    return replace(config, trained=trained)


TASKS = {
    "avvp": Task(
        streams=(LLP_STREAMS, CLIP_CLAP_STREAMS),
        score_name="Type@AV of segments",
        load_clips=_load_parsing_clips,
        make_config=_parser_config,
        shapes=parser_shapes,
        build=lambda recipe, config, embeddings: build_parser(config, embeddings, trust=recipe.trust),
        load_loss=_load_parsing_loss,
        means=lambda _: _MEANS_OF_PARSING,
        check=_check_parsing,
        score=_score_parsing,
    ),
    "avel": Task(
        streams=(AVE_STREAMS,),
        score_name="accuracy",
        load_clips=_load_event_clips,
        make_config=_localizer_config,
        shapes=lambda config, _: localizer_shapes(config),
        build=lambda _, config, embeddings: build_localizer(config, embeddings),
        load_loss=_load_event_loss,
        means=_means_of_localization,
        check=_check_localization,
        score=_score_localization,
    ),
    "teacher": Task(
        streams=(CLIP_CLAP_STREAMS,),
        score_name="F of audio-visual segments",
        load_clips=_load_teacher_clips,
        make_config=_teacher_config,
        shapes=lambda config, _: teacher_shapes(config),
        build=lambda _, config, text: TemporalTeacher(config, text),
        load_loss=_load_teacher_loss,
        means=lambda _: {"event": "seconds"},
        check=_check_teacher,
        score=_score_teacher,
    ),
    "open": Task(
        streams=(CLIP_CLAP_STREAMS,),
        score_name="mean of accuracy, segments and events",
        load_clips=_load_event_clips,
        make_config=_adapter_config,
        shapes=lambda config, _: adapter_shapes(config),
        build=lambda _, config, text: TemporalAdapter(config, text),
        load_loss=_load_adapter_loss,
        means=lambda _: {"event": "seconds"},
        check=lambda *_: None,
        score=_score_adapter,
        fit=_with_trained_classes,
    ),
}
