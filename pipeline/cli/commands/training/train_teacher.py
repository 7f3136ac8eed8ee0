"""Command avvp train-teacher: train a temporal teacher, which makes pseudo labels with the whole clip as context."""

from __future__ import annotations

import contextlib
import shlex
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

import click

from .....weights.source import WeightSource
from ....errors import SetupError
from ....text import escape
from ...options.command import (
    ANY_PATH,
    EXISTING_FILE,
    EXISTING_PATH,
    CommandOptions,
    command,
    drop_defaults,
    exit_1_on_error,
    exit_2_on_error,
    given_flags,
    option,
)
from ...options.groups import DeviceOptions, MessageOptions, OfflineOptions, set_torch_threads
from .train import TRACKERS, SettingOptions, check_command

if TYPE_CHECKING:
    from torch import Tensor

    from ....training.setup import TrainingPlan
    from ....training.train_parser import RestoredRun, TrainingCallbacks
    from ...console import Console


@dataclass(frozen=True, kw_only=True)
class TeacherDataOptions(CommandOptions):
    """Data of a temporal teacher; None if not given."""

    heading: ClassVar[str] = "Data"
    annotations: Path | None = field(
        metadata=option(
            "--annotations",
            type=EXISTING_PATH,
            help="Labels per second, of train, too: a JSON file in the form of UnAV-100, or a folder in the form of LLP"
            " whose event tables also list the clips of train, or in AVE's.",
        )
    )
    features: Path | None = field(
        metadata=option(
            "--features",
            type=EXISTING_PATH,
            help="Features of CLAP and CLIP: what avvp pseudo-label --save-features or avvp extract --profile clip-clap"
            " wrote, or a packed store.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class ClassTextOptions(CommandOptions):
    """Where the text features of the classes come from."""

    heading: ClassVar[str] = "Classes"
    prompts: Path | None = field(
        metadata=option(
            "--prompts",
            type=EXISTING_FILE,
            show_default="sentences made of the names",
            help="TOML file with text prompts of the classes, as for avvp pseudo-label; its thresholds are not used.",
        )
    )
    clip_model: str | None = field(
        metadata=option(
            "--clip-model",
            metavar="NAME|FOLDER",
            show_default="openai/clip-vit-large-patch14",
            help="CLIP model that made the features; it encodes the prompts.",
        )
    )
    clap_model: str | None = field(
        metadata=option(
            "--clap-model",
            metavar="NAME|FOLDER|FILE.pt",
            show_default="LAION's 630k-fusion-best.pt",
            help="CLAP model that made the features; it encodes the prompts.",
        )
    )
    text_features: Path | None = field(
        metadata=option(
            "--text-features",
            type=EXISTING_FILE,
            help="File text_features.safetensors of an earlier run, in place of prompts and models.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class TeacherRecipeOptions(CommandOptions):
    """Settings of the network and of training."""

    heading: ClassVar[str] = "Recipe"
    recipe: str = field(
        metadata=option(
            "--recipe",
            default="uwav-teacher",
            metavar="NAME|FILE",
            help="Settings of the network and of training; see 'avvp recipes'.",
        )
    )
    changes: tuple[str, ...] = field(
        metadata=option(
            "--set",
            multiple=True,
            metavar="TABLE.KEY=VALUE",
            help="Change a setting of the recipe, e.g. model.layers=2; repeatable.",
        )
    )


@dataclass(frozen=True, kw_only=True)
class TrainTeacherOptions(
    TeacherDataOptions,
    ClassTextOptions,
    TeacherRecipeOptions,
    SettingOptions,
    DeviceOptions,
    OfflineOptions,
    MessageOptions,
):
    """Options of avvp train-teacher."""

    output: Path | None = field(metadata=option("-o", "--output", type=ANY_PATH, help="Folder of the run."))
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
    track: tuple[str, ...] = field(
        metadata=option(
            "--track",
            multiple=True,
            type=click.Choice(TRACKERS),
            help="Also log each epoch there; repeatable (needs the extra of that name).",
        )
    )


@command(
    TrainTeacherOptions,
    examples=(
        "avvp train-teacher --annotations unav100_annotations.json --features unav/ --check",
        "avvp train-teacher --annotations unav100_annotations.json --features unav/ -o runs/teacher",
        "avvp train-teacher -o runs/teacher --resume",
        "avvp pseudo-label clips/ --annotations llp/ --teacher runs/teacher --calibrate dense -o data/",
    ),
    notes="Exit status: 0 success; 1 training failed; 2 wrong usage, or the run cannot start; 130 interrupted.",
)
def train_teacher(options: TrainTeacherOptions) -> int:
    """Train a temporal teacher on clips with labels per second, as UWAV does.

    CLIP and CLAP judge each second by itself; the teacher reads their features of a whole clip. Its run makes pseudo
    labels of other classes with avvp pseudo-label --teacher. The epoch with the best audio-visual F of segments on the
    validation split is kept. A run can be stopped at any time and resumed with --resume.
    """
    if options.resume:
        options = drop_defaults(options, "epochs", "recipe")  # the run keeps them
    _check_usage(options)
    with contextlib.ExitStack() as lock:  # held from before the run's folder is touched until training ends
        with exit_2_on_error(debug=options.debug):
            from ....training.train_parser import train_epochs
            from ...console import Console

            console = Console(quiet=options.quiet)
            with console:
                started = _start(options, console, lock)
        if started is None:
            return 0
        with exit_1_on_error(debug=options.debug), console:
            try:
                state = train_epochs(*started)
            except KeyboardInterrupt:
                threads = f" --threads {options.threads}" if options.threads else ""
                folder = shlex.quote(str(options.output))
                console.info(f"stopped; resume with: avvp train-teacher -o {folder} --resume{threads}")
                raise
    console.info(f"best epoch {state.best_epoch} of {state.epochs}: {escape(options.output)}/best.safetensors")
    return 0


def _check_usage(options: TrainTeacherOptions) -> None:
    if options.output is None and not options.check:
        raise click.UsageError("name the folder of the run with -o")
    if options.resume:
        flags = given_flags(TeacherDataOptions, ClassTextOptions, TeacherRecipeOptions, SettingOptions)
        if options.check:
            flags.append("--check")
        if flags:
            raise click.UsageError(f"--resume uses what the run was started with; leave out {', '.join(flags)}")
        return
    paths = {"--annotations": options.annotations, "--features": options.features}
    if missing := [flag for flag, path in paths.items() if path is None]:
        raise click.UsageError(f"missing {' and '.join(missing)}")
    others = {"--prompts": options.prompts, "--clip-model": options.clip_model, "--clap-model": options.clap_model}
    if options.text_features is not None and (given := [flag for flag, value in others.items() if value is not None]):
        raise click.UsageError(f"--text-features is in place of prompts and models: leave out {', '.join(given)}")


def _start(
    options: TrainTeacherOptions, console: Console, lock: contextlib.ExitStack
) -> tuple[RestoredRun, TrainingCallbacks] | None:
    """Prepare a run, lock and write its folder. Returns None after --check."""
    from ....devices import resolve_device
    from ....training.run_folder import lock_run, note_other_environment, write_config
    from ....training.setup import check_data, open_data, prepare_job, start_run
    from ....training.trackers import check_trackers, start_trackers
    from ....training.train_parser import restore_run
    from ...started_run import choose_precision, print_data
    from ...training_progress import training_callbacks

    root = options.output or Path()
    if options.resume:
        lock.enter_context(lock_run(root))
    plan, is_longer = _make_plan(options)
    device = resolve_device(options.device)
    set_torch_threads(options.threads)
    data = open_data(plan, ("train", "val", "test") if options.check else None)
    print_data(data, console)
    if options.check:
        check_data(data, lambda split: console.count_progress(f"reading {split}"))
        console.info("all files are there and can be used")
        return None
    check_trackers(options.track)
    text = None if options.resume else _encode_classes(data.annotations.labels, options, console)
    plan, job = choose_precision(plan, prepare_job(plan, data, root, device=device, text=text), console)
    if not options.resume:
        lock.enter_context(start_run(job, plan, WeightSource(offline=options.offline)))
    elif note := note_other_environment(root):
        console.info(f"note: {note}")
    restored = restore_run(job, training_callbacks(job.recipe.training.epochs, console))
    if is_longer:
        write_config(root, plan.to_dict())
    config = {**job.recipe.to_dict(), "clips": len(job.clips), "classes": len(job.config.labels)}
    log_epoch = lock.enter_context(
        start_trackers(
            options.track, root, config, warn=lambda text: console.info(f"warning: {text}"), quiet=options.quiet
        )
    )
    return restored, training_callbacks(job.recipe.training.epochs, console, log_epoch=log_epoch)


def _make_plan(options: TrainTeacherOptions) -> tuple[TrainingPlan, bool]:
    """Return the plan, and whether it is a run's with another number of epochs than the run's folder has."""
    from ....training.recipe import load_recipe, with_epochs
    from ....training.run_folder import CONFIG_FILE, read_config
    from ....training.setup import TrainingPlan

    if not options.resume or options.output is None:
        recipe = load_recipe(options.recipe, [*options.changes, *options.shortcut_changes(options.epochs)])
        check_command(recipe, "train-teacher")
        assert options.annotations is not None  # of `_check_usage`
        assert options.features is not None
        return TrainingPlan(
            annotations=options.annotations.resolve(), features=options.features.resolve(), recipe=recipe
        ), False
    config = read_config(options.output)
    try:
        plan = TrainingPlan.from_dict(config)
    except SetupError as error:
        raise SetupError(f"{escape(options.output / CONFIG_FILE)}: {error}") from error
    check_command(plan.recipe, "train-teacher")
    if options.epochs is None or options.epochs == plan.recipe.training.epochs:
        return plan, False
    return replace(plan, recipe=with_epochs(plan.recipe, options.epochs)), True


def _encode_classes(labels: tuple[str, ...], options: TrainTeacherOptions, console: Console) -> Tensor:
    """Return the text features of the classes, (C, A + V)."""
    import torch

    from ....datasets.text_features import read_text_features

    if options.text_features is not None:
        return torch.cat(read_text_features(options.text_features, labels), dim=1)
    from ....pseudo_labeling.clap_teacher import CLAP_MODEL
    from ....pseudo_labeling.clip_teacher import CLIP_MODEL
    from ....pseudo_labeling.prompts import read_prompts
    from ....pseudo_labeling.text_features import encode_prompts, name_prompts

    prompts = name_prompts(labels)
    if options.prompts is not None:
        given = read_prompts(options.prompts)
        if unknown := [label for label in labels if label not in given.labels]:
            raise SetupError(f"{escape(options.prompts)}: no prompt for the class {escape(unknown[0])}")
        prompts = given.select(labels)
    console.busy("encoding the classes")
    texts = encode_prompts(
        prompts,
        clip=options.clip_model or CLIP_MODEL,
        clap=options.clap_model or CLAP_MODEL,
        offline=options.offline,
    )
    return torch.cat(texts, dim=1)
