"""Command avvp train: train a parser or a localizer on extracted features."""

from __future__ import annotations

import contextlib
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .....weights.manifest import list_bundles
from ....errors import SetupError
from ....precisions import AUTO, TRAINING_PRECISIONS
from ....text import escape
from ...options.command import (
    ANY_PATH,
    EXISTING_FOLDER,
    CommandOptions,
    command,
    drop_defaults,
    exit_1_on_error,
    exit_2_on_error,
    given_flags,
    is_given,
    option,
)
from ...options.groups import AnnotationOptions, FeatureOptions, RunningOptions, set_torch_threads

TRACKERS = ("tensorboard", "trackio", "wandb")

if TYPE_CHECKING:
    from .....extractors.profiles import FeatureSpec
    from ....training.distributed import Ranks
    from ....training.recipe import Recipe
    from ....training.setup import TrainingPlan
    from ...console import Console
    from ...started_run import StartedRun


@dataclass(frozen=True, kw_only=True)
class TrainingDataOptions(CommandOptions):
    """Data of a training run besides annotations and features; None if not given."""

    heading: ClassVar[str] = "Data"
    pseudo_labels: Path | None = field(
        metadata=option(
            "--pseudo-labels",
            type=EXISTING_FOLDER,
            help="Folder with CLIP/segment_pseudo_labels/ and CLAP/segment_pseudo_labels/, for recipes that use them.",
        )
    )
    extractors: str | None = field(
        metadata=option(
            "--extractors",
            metavar="NAME|FOLDER",
            show_default="the published ones",
            help="Bundle of the extractors that made the features.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class PlanOptions(AnnotationOptions, FeatureOptions, TrainingDataOptions):
    """What to train on what: the fields of a `TrainingPlan`."""

    heading: ClassVar[str] = "Recipe"
    recipe: str = field(
        metadata=option(
            "--recipe",
            default="leap-published",
            metavar="NAME|FILE",
            help="Settings of the network and of training; see 'avvp recipes'.",
        )
    )
    changes: tuple[str, ...] = field(
        metadata=option(
            "--set",
            multiple=True,
            metavar="TABLE.KEY=VALUE",
            help="Change a setting of the recipe, e.g. model.leap_blocks=4; repeatable.",
        )
    )
    label_embeddings: str | None = field(
        metadata=option(
            "--label-embeddings",
            metavar="SOURCE",
            show_default="published GloVe",
            help="For LEAP: a .pt, .npy or GloVe .txt file, one-hot, bert:MODEL or clip:MODEL.",
        )
    )

    def data_folders(self) -> tuple[Path, Path]:
        """Return --annotations and --features. Raises click.UsageError if one is missing."""
        if self.annotations is None or self.features is None:
            paths = {"--annotations": self.annotations, "--features": self.features}
            missing = [flag for flag, path in paths.items() if path is None]
            raise click.UsageError(f"missing {' and '.join(missing)}")
        return self.annotations, self.features

    def training_plan(self, changes: Sequence[str]) -> TrainingPlan:
        """Build the plan, with absolute paths.

        Args:
            changes: settings of the recipe to change, "TABLE.KEY=VALUE".

        Returns:
            The plan.

        Raises:
            click.UsageError: --annotations or --features is missing.
            SetupError: the recipe is unknown, or a setting is invalid.
        """
        from ....training.recipe import load_recipe
        from ....training.setup import PUBLISHED_EMBEDDINGS, TrainingPlan

        annotations, features = self.data_folders()
        return TrainingPlan(
            annotations=annotations.resolve(),
            features=features.resolve(),
            pseudo_labels=None if self.pseudo_labels is None else self.pseudo_labels.resolve(),
            recipe=load_recipe(self.recipe, changes),
            label_embeddings=_absolute(self.label_embeddings) or PUBLISHED_EMBEDDINGS,
            extractors=_absolute(self.extractors),
        )


def _absolute(name_or_path: str | None) -> str | None:
    """Return the absolute path of an existing file or folder, any other name unchanged."""
    try:
        return str(Path(name_or_path).resolve()) if name_or_path and Path(name_or_path).exists() else name_or_path
    except OSError:  # longer than a path may be
        return name_or_path


@dataclass(frozen=True, kw_only=True)
class SettingOptions(CommandOptions):
    """Shortcuts for --set training.KEY=VALUE; None keeps the recipe's setting."""

    heading: ClassVar[str] = "Shortcuts for --set"
    batch_size: int | None = field(metadata=option("--batch-size", type=click.IntRange(1), help="training.batch_size."))
    learning_rate: float | None = field(metadata=option("--learning-rate", type=float, help="training.learning_rate."))
    seed: int | None = field(metadata=option("--seed", type=click.IntRange(0), help="training.seed."))
    precision: str | None = field(
        metadata=option("--precision", type=click.Choice([*TRAINING_PRECISIONS, AUTO]), help="training.precision.")
    )

    def shortcut_changes(self, epochs: int | None) -> list[str]:
        """Return the shortcuts that were given, and the number of epochs, as "TABLE.KEY=VALUE"."""
        shortcuts = {
            "epochs": epochs,
            "batch_size": self.batch_size,
            "learning_rate": self.learning_rate,
            "seed": self.seed,
            "precision": self.precision,
        }
        return [f"training.{key}={value}" for key, value in shortcuts.items() if value is not None]


@dataclass(frozen=True, kw_only=True)
class TrainOptions(PlanOptions, SettingOptions, RunningOptions):
    """Options of avvp train."""

    output: Path | None = field(
        metadata=option("-o", "--output", type=ANY_PATH, help="Folder of the run; it can be used as a bundle.")
    )
    resume: bool = field(
        metadata=option(
            "--resume", is_flag=True, help="Resume the run in --output, with the data and recipe it was started with."
        )
    )
    check: bool = field(
        metadata=option("--check", is_flag=True, help="Read all data and list what is wrong; train nothing.")
    )
    epochs: int | None = field(
        metadata=option(
            "--epochs",
            type=click.IntRange(1),
            help="training.epochs; with --resume, the new number of epochs in total.",
        )
    )
    tensorboard: bool = field(metadata=option("--tensorboard", is_flag=True, help="The same as --track tensorboard."))
    track: tuple[str, ...] = field(
        metadata=option(
            "--track",
            multiple=True,
            type=click.Choice(TRACKERS),
            help="Also log each epoch there; repeatable (needs the extra of that name).",
        )
    )

    def trackers(self) -> tuple[str, ...]:
        """Return the names of the trackers."""
        return (*self.track, *(["tensorboard"] if self.tensorboard else []))

    def all_changes(self) -> list[str]:
        """Return --set and its shortcuts as "TABLE.KEY=VALUE"."""
        return [*self.changes, *self.shortcut_changes(self.epochs)]


@command(
    TrainOptions,
    examples=(
        "avvp train --annotations llp/ --features feats/ --pseudo-labels valor/ --check",
        "avvp train --annotations llp/ --features feats/ --pseudo-labels valor/ -o runs/leap",
        "avvp train --annotations llp/ --features feats.packed --recipe han -o runs/han",
        "avvp train --annotations AVE/ --features ave.packed --recipe psp -o runs/psp",
        "avvp train --annotations OV-AVEBench/ --features clip-clap.packed --recipe ov-avel -o runs/open",
        "avvp train -o runs/leap --resume",
        "avvp-parse --weights runs/leap video.mp4",
    ),
    notes="Exit status: 0 success; 1 training failed; 2 wrong usage, or the run cannot start; 130 interrupted.",
)
def train(options: TrainOptions) -> int:
    """Train a parser or a localizer on extracted features.

    The epoch with the best scores on the validation split is kept. The folder of the run holds config, environment,
    log.jsonl, best and last weights, and can be used as a bundle. A run can be stopped at any time and resumed with
    --resume.
    """
    if options.resume:
        options = drop_defaults(options, "epochs")  # the run keeps its number
    _check_usage(options)
    with contextlib.ExitStack() as lock:  # held from before the run's folder is touched until training ends
        with exit_2_on_error(debug=options.debug):
            from ....training.distributed import join_processes
            from ...console import Console
            from ...training_progress import report_errors_once

            lock.enter_context(report_errors_once())
        with exit_2_on_error(debug=options.debug):
            ranks, device = join_processes(options.device)
            console = Console(quiet=options.quiet or not ranks.is_first)
            with ranks.together(SetupError), console:
                started = _start(options, ranks, device, console, lock)
        if started is None:
            return 0
        with console:
            try:
                state = started.train(console, lock, debug=options.debug)
                with exit_1_on_error(debug=options.debug):
                    ranks.leave()
            except KeyboardInterrupt:
                console.info(f"stopped; resume with: {_resume_command(options, ranks, started.trust)}")
                raise
    console.info(f"best epoch {state.best_epoch} of {state.epochs}: {escape(options.output)}/best.safetensors")
    return 0


def _start(
    options: TrainOptions, ranks: Ranks, device: str, console: Console, lock: contextlib.ExitStack
) -> StartedRun | None:
    """Prepare a run; the first of several processes locks and writes its folder. Returns None after --check."""
    from ....devices import resolve_device
    from ....training.run_folder import lock_run, note_other_environment, write_config
    from ....training.setup import check_data, complete_bundle, extractors_of, open_data, prepare_job, start_run
    from ....training.stages.run_stages import StageRuns
    from ....training.trackers import check_trackers, start_trackers
    from ....training.train_parser import restore_run
    from ...started_run import StartedRun, choose_precision, encode_classes, print_data
    from ...training_progress import training_callbacks

    root = options.output or Path()
    if options.resume and ranks.is_first:
        lock.enter_context(lock_run(root))
    plan, is_longer = _make_plan(options)
    resolved = resolve_device(device)
    set_torch_threads(options.threads)
    data = open_data(plan, ("train", "val", "test") if options.check else None)
    print_data(data, console)
    source = options.source()
    text = None if options.resume or plan.recipe.task != "open" else encode_classes(plan, data, source, console)
    job = prepare_job(plan, data, root, device=resolved, source=source, ranks=ranks, text=text)
    plan, job = choose_precision(plan, job, console, only_checks=options.check)
    stages = StageRuns(job, plan, data, source)
    if stages.earlier:
        kinds = (f"{number}. {stage.name} ({stage.kind})" for number, stage in enumerate(plan.recipe.stages, 1))
        console.info(f"{len(plan.recipe.stages)} stages: {', '.join(kinds)}")
    stages.check()
    if options.check:
        check_data(data, lambda split: console.count_progress(f"reading {split}"))
        console.info("all files are there and can be used")
        return None
    trust, epochs = plan.recipe.trust, plan.recipe.training.epochs
    if not ranks.is_first:
        return StartedRun(stages, restore_run(stages.last_job()), training_callbacks(epochs, console), trust)
    if ranks.count > 1:
        console.info(f"{ranks.count} processes, each with a part of every batch of {job.recipe.training.batch_size}")
    check_trackers(options.trackers())
    if options.resume:
        if note := note_other_environment(root, ranks.count):
            console.info(f"note: {note}")
    elif missing := lock.enter_context(start_run(job, plan, source)):
        names, spec = ", ".join(map(escape, missing)), job.clips.features.spec
        console.info(
            f"note: {extractors_of(plan, spec)} has no {names}: the run can be scored, but cannot parse videos; name"
            f" the bundle that extracted the features{_similar_bundle(spec)} with --extractors"
        )
    restored = None
    if not stages.earlier:
        restored = restore_run(stages.last_job(), training_callbacks(epochs, console))
    if options.resume:
        complete_bundle(job, plan, source)
    if is_longer:
        write_config(root, plan.to_dict())
    config = {**job.recipe.describe(), "clips": len(job.clips), "classes": len(job.config.labels)}
    log_epoch = lock.enter_context(
        start_trackers(
            options.trackers(),
            root,
            config,
            warn=lambda text: console.info(f"warning: {text}"),
            quiet=options.quiet,
        )
    )
    name = stages.title(len(stages.earlier)) if stages.earlier else ""
    return StartedRun(stages, restored, training_callbacks(epochs, console, name=name, log_epoch=log_epoch), trust)


def _similar_bundle(spec: FeatureSpec) -> str:
    """Return " (such as NAME)" for a bundle that has extractors of these names: only the user knows their weights."""
    fitting = (
        name
        for name, bundle in list_bundles().items()
        if bundle.profile == spec.profile and bundle.seed is None and bundle.extractors.keys() >= {*spec.extractors}
    )
    name = next(fitting, None)
    return "" if name is None else f" (such as {name})"


def _resume_command(options: TrainOptions, ranks: Ranks, trust: Sequence[str]) -> str:
    """Return the command line that resumes a run that is stopped, whose recipe may name parts of these packages."""
    program = f"torchrun --nproc-per-node {ranks.count} -m avvp" if ranks.count > 1 else "avvp"
    threads = f" --threads {options.threads}" if options.threads else ""
    parts = "".join(f" --trust-parts {name}" for name in dict.fromkeys(trust))
    return f"{program} train -o {shlex.quote(str(options.output))} --resume{threads}{parts}"


def _check_usage(options: TrainOptions) -> None:
    if options.output is None and not options.check:
        raise click.UsageError("name the folder of the run with -o")
    if options.resume:
        flags = given_flags(AnnotationOptions, FeatureOptions, TrainingDataOptions, PlanOptions, SettingOptions)
        if options.check:
            flags.append("--check")
        if flags:
            raise click.UsageError(f"--resume uses what the run was started with; leave out {', '.join(flags)}")
    else:
        options.data_folders()


def _make_plan(options: TrainOptions) -> tuple[TrainingPlan, bool]:
    """Return the plan, and whether it is a run's with another number of epochs than the run's folder has."""
    from ....training.recipe import with_epochs
    from ....training.run_folder import CONFIG_FILE, read_config
    from ....training.setup import TrainingPlan

    if not options.resume or options.output is None:
        plan = options.training_plan(options.all_changes())
        check_command(plan.recipe, "train")
        if plan.recipe.task == "open" and is_given("label_embeddings"):
            raise click.UsageError(
                f"recipe {escape(plan.recipe.name)} takes the sentences of its classes: leave out --label-embeddings"
            )
        return plan, False
    config = read_config(options.output)
    try:
        plan = TrainingPlan.from_dict(config, options.source().trust)
    except SetupError as error:
        raise SetupError(f"{escape(options.output / CONFIG_FILE)}: {error}") from error
    check_command(plan.recipe, "train")
    if options.epochs is None or options.epochs == plan.recipe.training.epochs:
        return plan, False
    return replace(plan, recipe=with_epochs(plan.recipe, options.epochs)), True


def check_command(recipe: Recipe, command: str) -> None:
    """Check that a command trains the networks of a recipe: "train" or "train-teacher".

    Raises:
        SetupError: another command does.
    """
    expected = "train-teacher" if recipe.task == "teacher" else "train"
    if command != expected:
        raise SetupError(f"recipe {escape(recipe.name)} is for avvp {expected}, not for avvp {command}")
