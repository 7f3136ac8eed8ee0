"""Train a parser or a localizer on extracted features."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.amp.grad_scaler import GradScaler

from ...models.config import ParserConfig
from ...models.denoising import NoiseRatios
from ...models.losses import Objective
from ..datasets.clips import SplitDataset
from ..datasets.loader import epoch_seed, load_batches, shuffled
from ..devices import ComputePrecision
from ..errors import SetupError, TrainingError
from ..evaluation.selection import EACH_MODALITY, selection_scores
from ..files import exclusive_lock
from ..inference.networks import TrainedConfig, TrainedNetwork
from ..memory import converting_out_of_memory, name_option_when_out_of_memory
from ..precisions import AUTO
from ..text import escape, first_few
from .batches.denoise import drop_labels
from .batches.hooks import step_context
from .distributed import ALONE, BatchShare, Ranks, check_processes, copy_parameters
from .fingerprints import ADVICE, HashedFeatures, check_features, gather_hashes, hash_data, hash_recipe
from .recipe import Recipe
from .recipe_parts import RecipeParts, build_recipe_network, check_parts, load_parts, loss_of_epoch
from .run_folder import BEST_FILE, LAST_FILE
from .step import StepRecorder, make_optimizer, set_learning_rate, training_step
from .tasks import ValidationScores, task_of
from .training_state import TrainingState, join_best, load_state, save_state, write_log, write_parser

__all__ = [
    "RestoredRun",
    "TrainingCallbacks",
    "TrainingJob",
    "check_job",
    "make_optimizer",
    "restore_run",
    "train",
    "train_epochs",
    "training_step",
]


@dataclass(frozen=True)
class TrainingCallbacks:
    """Callbacks that report the progress of training.

    Attributes:
        step: called after each batch with the epoch (from 1), the clips done in it, their total, and the mean of each
            loss term so far.
        epoch: called after each epoch with its record, as in log.jsonl.
        check: called with the number of clips whose features were compared with those of earlier epochs, and the total.
    """

    step: Callable[[int, int, int, Mapping[str, float]], None] = lambda *_: None
    epoch: Callable[[Mapping[str, Any]], None] = lambda _: None
    check: Callable[[int, int], None] = lambda *_: None


@dataclass(frozen=True)
class TrainingJob:
    """What to train on what."""

    recipe: Recipe
    config: TrainedConfig
    label_embeddings: Tensor | None  # (C, W), see `build_recipe_network`; None if the network needs none
    clips: SplitDataset  # training clips
    validation: SplitDataset | None  # clips that choose the best epoch
    root: Path  # folder of the run, see `run_folder`
    device: torch.device
    ranks: Ranks = ALONE  # the processes that train together
    noise: NoiseRatios | None = None  # (C,) each, of labels that are removed in each batch


@dataclass(frozen=True, eq=False)
class RestoredRun:
    """A run after its last complete epoch, or before its first."""

    job: TrainingJob
    parser: TrainedNetwork  # or another network
    optimizer: torch.optim.Optimizer
    scaler: GradScaler
    state: TrainingState
    parts: RecipeParts
    recorder: StepRecorder = field(default_factory=StepRecorder)


def train(job: TrainingJob, callbacks: TrainingCallbacks | None = None) -> TrainingState:
    """Lock the folder of a run and train from its last complete epoch to the last epoch of the recipe.

    The best epoch has the highest score on the validation clips: of parsers the one that the recipe selects by, of
    localizers the accuracy; of equal ones, the later. Without validation clips it is the last. On a CPU, a run that was
    stopped and resumed ends with the same parameters, bit for bit, as one that was not: the order of the clips and the
    dropout of an epoch depend on the seed and its number only.

    Args:
        job: of `prepare_job`; the folder of the run exists.
        callbacks: for the progress.

    Returns:
        The state of the finished run, as saved in its folder.

    Raises:
        TrainingError: the loss or the parameters are not finite, or memory is exhausted. The last complete epoch stays
            saved.
        SetupError: the data or the saved state do not fit the recipe, or another process trains in the folder.
        OutputError: a file cannot be written.

    Source:
        The choice of the best epoch: the published program of LEAP.
    """
    with exclusive_lock(job.root):
        return train_epochs(restore_run(job, callbacks), callbacks)


def restore_run(job: TrainingJob, callbacks: TrainingCallbacks | None = None) -> RestoredRun:
    """Build the network and restore the last complete epoch of a run.

    Args:
        job: of `prepare_job`; the caller holds the lock of its folder.
        callbacks: for the progress.

    Returns:
        What `train_epochs` continues.

    Raises:
        SetupError: the saved state cannot be used, has more epochs than the recipe, or the data or settings are not
            those that the run was started with; the message names them. Or the device does not compute in the recipe's
            precision.
        DatasetError: features cannot be read.
    """
    check_job(job)
    config = job.recipe.training
    if config.precision == AUTO:
        raise SetupError('training.precision is "auto": call settle_precision before training')
    ComputePrecision(config.precision).prepare(job.device)  # a GPU's LSTM would use TF32 otherwise
    clips = replace(job.clips, features=HashedFeatures(job.clips.features))
    validation = job.validation
    if validation is not None:
        validation = replace(validation, features=HashedFeatures(validation.features))
    job = replace(job, clips=clips, validation=validation)
    parts = _with_removal(load_parts(job.recipe, job.config), job)
    torch.manual_seed(config.seed)
    with name_option_when_out_of_memory("network (--set model.hidden_dim)"):
        parser = build_recipe_network(job.recipe, job.config, job.label_embeddings).to(job.device)
        optimizer = make_optimizer(config, parser)
        scaler = GradScaler(job.device.type, enabled=config.precision == "fp16")
        state, hashes = load_state(job.root, parser, optimizer)
    data = hash_data(job.config.labels, clips, validation, job.label_embeddings, job.noise)
    recipe = hash_recipe(job.recipe)
    if state.epochs:
        _check_settings(job, state, data, recipe)
    if state.epochs and job.ranks.is_first:
        sets = [one for one in (clips, validation) if one is not None]
        check_features(job.root, sets, hashes, (callbacks or TrainingCallbacks()).check)
    state.data, state.recipe = data, recipe
    if state.scaler:
        scaler.load_state_dict(state.scaler)
    return RestoredRun(job, parser, optimizer, scaler, state, parts)


def check_denoising(job: TrainingJob) -> None:
    """Check that a job has the removed labels or noise ratios that its recipe asks for. Raises SetupError if not."""
    config = job.recipe.training
    if config.denoise == "labels" and job.clips.modality_labels is None:
        raise SetupError(
            f'recipe {escape(job.recipe.name)}: denoise = "labels" needs removed labels: a stage of kind "relabel", or'
            " training.removed_labels, a file"
        )
    if config.denoise == "batches" and job.noise is None:
        raise SetupError(
            f'recipe {escape(job.recipe.name)}: denoise = "batches" needs noise ratios: a stage of kind "estimate", or'
            " training.noise_ratios, a file"
        )


def _with_removal(parts: RecipeParts, job: TrainingJob) -> RecipeParts:
    """Add the removal of labels in each batch, if the recipe asks for it. Raises SetupError if it cannot."""
    check_denoising(job)
    config, objective = job.recipe.training, job.recipe.objective
    if config.denoise != "batches" or job.noise is None or not isinstance(objective, Objective):
        return parts
    relabel = drop_labels(job.noise, config.denoise_warmup, objective)
    return parts._replace(hooks=replace(parts.hooks, relabel=relabel))


def _check_settings(job: TrainingJob, state: TrainingState, data: Mapping[str, str], recipe: str) -> None:
    """Compare what a run is resumed with to what it was started with. Raises SetupError naming what has changed."""
    missing = [what for what in state.data if what not in data]  # validation clips; anything in files of strangers
    if changed := [*(what for what in data if state.data.get(what) != data[what]), *missing[:2]]:
        names = " and the ".join(escape(what[:100]) for what in changed)
        raise SetupError(f"{escape(job.root)}: the {names} are not those this run was started with; {ADVICE}")
    if recipe != state.recipe:
        raise SetupError(
            f"{escape(job.root)}: the settings of the recipe are not those this run was started with; {ADVICE}"
        )
    if state.epochs > job.recipe.training.epochs:
        raise SetupError(
            f"{escape(job.root)}: already has {state.epochs} epochs, more than {job.recipe.training.epochs}"
        )


def train_epochs(run: RestoredRun, callbacks: TrainingCallbacks | None = None) -> TrainingState:
    """Train the remaining epochs of a run.

    Args:
        run: of `restore_run`; the caller holds the lock of its folder.
        callbacks: for the progress.

    Returns:
        The state of the finished run.

    Raises:
        TrainingError: see `train`.
        OutputError: a file cannot be written.
    """
    callbacks = callbacks or TrainingCallbacks()
    job, state = run.job, run.state
    copy_parameters(job.ranks, run.parser)
    while not state.is_finished(job.recipe.training):
        epoch = state.epochs
        with converting_out_of_memory(lambda error: TrainingError(_describe_memory(job, state, error))):
            record = _train_epoch(run, epoch, callbacks)
        with job.ranks.together(TrainingError):
            _finish_epoch(run, epoch, record)
        if job.ranks.is_first:
            callbacks.epoch(record)
    return state


def _finish_epoch(run: RestoredRun, epoch: int, record: dict[str, Any]) -> None:
    """Score and save an epoch, from 0, in the first process. Raises TrainingError, OutputError."""
    job, state = run.job, run.state
    gather_hashes(job.clips, job.ranks.gather)
    if job.ranks.is_first:
        scores = None
        with converting_out_of_memory(lambda error: TrainingError(_describe_memory(job, state, error))):
            if job.validation is not None:
                scores = task_of(job.recipe).score(run.parser, job.validation, job.device, run.parts.decision)
        better = state.choose(_selected_by(job.recipe.training.select, scores, epoch), job.recipe.training.select)
        state.scaler = run.scaler.state_dict()
        record |= {"validation": None if scores is None else scores.document, "best": bool(better)}
        if job.recipe.training.select == EACH_MODALITY:
            record["best_of"] = better
        state.log.append(record)
        _save(run)
    state.epochs = epoch + 1
    state.best_epoch = job.ranks.send_to_all(state.best_epoch)  # which says, with patience, when training ends


def _selected_by(select: str, scores: ValidationScores | None, epoch: int) -> dict[str, float]:
    """Return the scores of an epoch, from 0, by which it may be the best; its number where there are none."""
    if scores is None:
        return dict.fromkeys(("audio", "visual") if select == EACH_MODALITY else ("best",), float(epoch))
    return {"best": scores.best_by} if scores.ten is None else selection_scores(scores.ten, select, epoch)


def _train_epoch(run: RestoredRun, epoch: int, callbacks: TrainingCallbacks) -> dict[str, Any]:
    """Train one epoch, from 0. Returns its record without scores. Raises TrainingError."""
    job, parser, config = run.job, run.parser, run.job.recipe.training
    started = time.monotonic()
    torch.manual_seed(epoch_seed(config.seed, epoch) + job.ranks.seed_offset)
    set_learning_rate(run.optimizer, config.rate(epoch))
    parser.train()
    means = _RunningMeans()
    order = shuffled(len(job.clips), config.seed, epoch)
    seed = epoch_seed(config.seed, epoch)
    chunks = [order[first : first + config.batch_size] for first in range(0, len(order), config.batch_size)]
    own = [job.ranks.share(chunk) for chunk in chunks]  # the whole batch if there is one process
    batches = load_batches(job.clips, [part for part in own if len(part)], pin=job.device.type == "cuda")
    terms: dict[str, float] = {}
    term_means = task_of(job.recipe).means(job.config)
    loss = loss_of_epoch(job.recipe, run.parts.loss, epoch)
    for step, (chunk, part) in enumerate(zip(chunks, own, strict=True)):
        batch = next(batches).to(job.device) if len(part) else None
        lengths = job.clips.lengths[chunk]
        share = BatchShare(job.ranks, lengths, terms, term_means) if job.ranks.count > 1 else None
        terms = run.recorder.step(
            parser, batch, job.recipe, run.optimizer, run.scaler, loss=loss, share=share,
            hooks=run.parts.hooks, context=step_context(seed, epoch, step, len(chunks)),
        )  # fmt: skip
        if not math.isfinite(sum(terms.values())):
            names = [job.clips.filenames[index] for index in chunk]
            raise job.ranks.in_common(TrainingError(_describe_bad_loss(job, run.state, means.clips, names, terms)))
        means.add(terms, len(chunk))
        callbacks.step(epoch + 1, means.clips, len(job.clips), means.values())
    seconds = time.monotonic() - started
    if not all(bool(parameter.isfinite().all()) for parameter in parser.parameters()):
        problem = "its last update left parameters that are not finite"
        raise job.ranks.in_common(TrainingError(_describe_divergence(job, run.state, problem)))
    return {
        "epoch": epoch + 1,
        "learning_rate": config.rate(epoch),
        "seconds": round(seconds, 3),
        "clips_per_second": round(len(job.clips) / seconds, 1),
        "losses": means.values(),
    }


class _RunningMeans:
    """Mean of each loss term over the clips of an epoch so far."""

    def __init__(self) -> None:
        self.clips = 0
        self._sums: dict[str, float] = {}

    def add(self, terms: Mapping[str, float], clips: int) -> None:
        self.clips += clips
        for name, value in {**terms, "total": sum(terms.values())}.items():
            self._sums[name] = self._sums.get(name, 0.0) + value * clips

    def values(self) -> dict[str, float]:
        return {name: value / self.clips for name, value in self._sums.items()}


def _save(run: RestoredRun) -> None:
    """Write the files of an epoch, the state last: a run resumed from the previous state writes the others again."""
    job, state = run.job, run.state
    spec, latest = job.clips.features.spec, state.log[-1]
    record = {"recipe": job.recipe.describe(), **{key: latest[key] for key in ("epoch", "losses", "validation")}}
    if job.validation is not None and job.validation.split != "val":
        record["selected_on"] = job.validation.split  # not a split to report scores of
    if run.parts.others:
        record["parts"] = [part.to_dict() for part in run.parts.others]
    if latest.get("best_of"):
        pair = join_best(job.root, run.parser, latest["best_of"], trust=job.recipe.trust)
        write_parser(job.root / BEST_FILE, pair, spec, {**record, "epochs_of": dict(state.best_epochs)})
    elif latest["best"]:
        write_parser(job.root / BEST_FILE, run.parser, spec, record)
    write_parser(job.root / LAST_FILE, run.parser, spec, record)
    write_log(job.root, state)
    hashes: dict[str, Tensor] = {}
    for clips in (job.clips, job.validation):
        if clips is not None:
            assert isinstance(clips.features, HashedFeatures)  # of `restore_run`
            hashes[clips.split] = clips.features.digests(clips.ids)
    save_state(job.root, run.parser, run.optimizer, state, hashes)


def check_job(job: TrainingJob) -> None:
    """Check that a recipe can be trained on its data and device. Raises SetupError if not."""
    check_processes(job.ranks, job.recipe.training.batch_size, len(job.clips))
    objective = job.recipe.objective
    if job.ranks.count > 1 and isinstance(objective, Objective) and objective.across_weight:
        raise SetupError(
            "objective.across_weight compares all clips of a batch: train in one process, without torchrun"
        )
    if job.ranks.count > 1 and isinstance(job.config, ParserConfig) and job.config.scales > 1:
        raise SetupError("model.scales normalizes by all clips of a batch: train in one process, without torchrun")
    task_of(job.recipe).check(job.recipe, job.config, job.clips)
    if job.recipe.training.denoise == "batches":
        if not isinstance(job.config, ParserConfig) or job.config.encoder != "han":
            raise SetupError('denoise = "batches" compares passes without cross-attention, which the encoder han has')
        if job.ranks.count > 1:
            raise SetupError(
                'denoise = "batches" compares all clips of a batch: train in one process, without torchrun'
            )
    if job.recipe.training.precision == "fp16" and job.device.type == "cpu":
        raise SetupError("fp16 needs a GPU; on a CPU use bf16 or fp32")
    check_parts(job.recipe, job.config, job.label_embeddings)


def _describe_bad_loss(
    job: TrainingJob, state: TrainingState, clips: int, batch: Sequence[str], terms: Mapping[str, float]
) -> str:
    bad = ", ".join(name for name, value in terms.items() if not math.isfinite(value)) or "total"
    names = first_few(batch)
    return _describe_divergence(
        job, state, f"the loss is not finite (term {bad}) after {clips} clips, in the batch of {names}"
    )


def _describe_divergence(job: TrainingJob, state: TrainingState, problem: str) -> str:
    saved = _describe_saved(job, state)
    return f"epoch {state.epochs + 1}: {problem}; {saved}. A smaller learning rate, clip_norm or fp32 may help"


def _describe_memory(job: TrainingJob, state: TrainingState, error: BaseException) -> str:
    clips = min(job.recipe.training.batch_size, len(job.clips))
    reason = escape(str(error).split("\n", 1)[0]) or "no memory is left"
    return (
        f"epoch {state.epochs + 1}: out of memory in a batch of {clips} clips of up to {int(job.clips.lengths.max())}"
        f" seconds; {_describe_saved(job, state)}. Start a new run with a smaller --batch-size ({reason})"
    )


def _describe_saved(job: TrainingJob, state: TrainingState) -> str:
    last = escape(job.root / LAST_FILE)
    return f"{last} is of epoch {state.epochs}" if state.epochs else "nothing was saved"
