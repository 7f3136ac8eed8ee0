"""Command avvp train-extractors: train small feature extractors on densely labelled clips."""

from __future__ import annotations

import contextlib
import shlex
import tempfile
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from .....extractors.profiles import PROFILES
from ....errors import SetupError
from ....text import escape
from ...options.command import (
    ANY_PATH,
    EXISTING_FOLDER,
    argument,
    command,
    drop_defaults,
    exit_1_on_error,
    exit_2_on_error,
    given_flags,
    option,
)
from ...options.groups import AnnotationOptions, DecodeTimeoutOptions, DeviceOptions, MessageOptions, set_torch_threads

if TYPE_CHECKING:
    import torch

    from ....datasets.annotations import Annotations
    from ....training.extractor_run import ExtractorPlan
    from ...console import Console


_TRAINABLE = sorted(name for name, profile in PROFILES.items() if profile.inputs == "networks")


@dataclass(frozen=True, kw_only=True)
class TrainExtractorsOptions(AnnotationOptions, DecodeTimeoutOptions, DeviceOptions, MessageOptions):
    """Options of avvp train-extractors."""

    videos: Path | None = field(metadata=argument(type=EXISTING_FOLDER, required=False))
    output: Path = field(
        metadata=option("-o", "--output", type=ANY_PATH, required=True, help="Folder of the new bundle.")
    )
    resume: bool = field(
        metadata=option(
            "--resume",
            is_flag=True,
            help="Resume the run in --output. Name VIDEOS and --annotations again only if they have moved.",
        )
    )
    splits: tuple[str, ...] = field(
        metadata=option(
            "--split",
            multiple=True,
            type=click.Choice(["val", "test"]),
            show_default="val",
            help="Split to train on. Do not score on the same split.",
        )
    )
    profile: str = field(
        metadata=option("--profile", type=click.Choice(_TRAINABLE), default="clean", help="How to decode.")
    )
    epochs: int | None = field(
        metadata=option(
            "--epochs",
            type=click.IntRange(1),
            show_default="as the demo bundle was trained",
            help="Epochs per extractor. With --resume, another number trains from the first epoch.",
        )
    )
    seed: int = field(
        metadata=option(
            "--seed",
            type=click.IntRange(0),
            default=0,
            help="Random seed of the parameters and the order of examples.",
        )
    )
    workers: int | None = field(
        metadata=option(
            "--workers", type=click.IntRange(1), show_default="one per CPU core", help="Decoding processes."
        )
    )


@command(
    TrainExtractorsOptions,
    examples=(
        "avvp synth synth/ --clips 1500 --seed 101 --shares 0,0,100",
        "avvp train-extractors synth/videos --annotations synth/annotations -o extractors/ --split test",
        "avvp train-extractors -o extractors/ --resume",
        "avvp extract clips/ -o feats/ --weights extractors/",
    ),
    notes="Exit status: 0 success; 1 training failed; 2 wrong usage, or the run cannot start; 130 interrupted.",
)
def train_extractors(options: TrainExtractorsOptions) -> int:
    """Train small feature extractors on clips with dense labels.

    VIDEOS holds <id>.mp4 (or another suffix) for each clip of the annotations' val and test splits. vggish_small,
    resnet_small and r2plus1d_small learn to classify single seconds; under the profiles ave and ave-4 vggish_small and
    vgg19_small do. Their classifiers are then removed; the rest is a bundle of extractors.
    """
    if options.resume:
        options = drop_defaults(options, "annotations", "epochs")  # the run keeps them
    with contextlib.ExitStack() as lock:  # held from before the folder is touched until the bundle is complete
        with exit_2_on_error(debug=options.debug):
            from ....devices import resolve_device
            from ....training.extractor_run import remove_states, resume_extractors, save_plan, start_extractors
            from ....training.run_folder import note_other_environment
            from ...console import Console
            from ...options.user_annotations import read_user_annotations

            console = Console(quiet=options.quiet)
            if options.resume:
                if flags := [flag for flag in given_flags(TrainExtractorsOptions) if flag in _FIXED]:
                    raise click.UsageError(f"--resume uses what the run was started with; leave out {', '.join(flags)}")
                started, complete = lock.enter_context(resume_extractors(options.output))
                plan = _resumed_plan(started, options)
                if complete and plan.epochs == started.epochs:
                    remove_states(options.output)
                    console.info(f"{escape(options.output)}: already complete")
                    return 0
            else:
                plan = _new_plan(options)
            device = resolve_device(options.device)
            set_torch_threads(options.threads)
            annotations = read_user_annotations(plan.annotations, quiet=options.quiet)
            videos = _find_videos(plan.videos, quiet=options.quiet)
            if not options.resume:
                lock.enter_context(start_extractors(options.output, plan))
            elif note := note_other_environment(options.output):
                console.info(f"note: {note}")
        with exit_1_on_error(debug=options.debug), console:
            try:
                _train(videos, annotations, plan, options, console, device=device)
            except KeyboardInterrupt:
                folder = shlex.quote(str(options.output))
                console.info(f"stopped; resume with: avvp train-extractors -o {folder} --resume")
                raise
            save_plan(options.output, plan, complete=True)
            remove_states(options.output)
    folder = escape(options.output)
    console.info(f"{folder}: a bundle of extractors, for avvp extract --weights and avvp train --extractors")
    return 0


_FIXED = {"--split", "--profile", "--seed"}  # options that a resumed run keeps


def _new_plan(options: TrainExtractorsOptions) -> ExtractorPlan:
    from ....training.extractor_run import ExtractorPlan
    from ....training.settings.extractor_settings import EXTRACTOR_CONFIGS, small_networks

    if options.videos is None or options.annotations is None:
        missing = {"VIDEOS": options.videos, "--annotations: the folder with the labels": options.annotations}
        raise click.UsageError(f"missing {' and '.join(name for name, value in missing.items() if value is None)}")
    try:
        return ExtractorPlan(
            videos=options.videos.resolve(),
            annotations=options.annotations.resolve(),
            splits=tuple(dict.fromkeys(options.splits)) or ("val",),
            profile=options.profile,
            epochs={
                name: options.epochs or EXTRACTOR_CONFIGS[stream].epochs
                for stream, name in small_networks(options.profile).items()
            },
            seed=options.seed,
        )
    except ValueError as error:
        raise SetupError(str(error)) from error


def _resumed_plan(started: ExtractorPlan, options: TrainExtractorsOptions) -> ExtractorPlan:
    """Return the plan of a run with what the user names anew."""
    try:
        return replace(
            started,
            videos=started.videos if options.videos is None else options.videos.resolve(),
            annotations=started.annotations if options.annotations is None else options.annotations.resolve(),
            epochs=started.epochs if options.epochs is None else dict.fromkeys(started.epochs, options.epochs),
        )
    except ValueError as error:
        raise SetupError(str(error)) from error


def _find_videos(folder: Path, *, quiet: bool) -> dict[str, Path]:
    """Map clip ids to the videos of a folder. Raises SetupError for two videos of one clip."""
    from ....files import VIDEO_SUFFIXES, access_problem
    from ...options.inputs import collect_inputs

    if problem := access_problem(folder):
        raise SetupError(f"{escape(folder)}: the videos cannot be read: {problem}")
    files, problems = collect_inputs([str(folder)], suffixes=VIDEO_SUFFIXES, kind="videos", quiet=quiet)
    if problems:
        raise SetupError(problems[0])
    videos = {path.stem: path for path in files}
    if len(videos) < len(files):
        first = next(path for path in files if videos[path.stem] != path)
        raise SetupError(f"{escape(first)} and {escape(videos[first.stem])} belong to one clip; remove one of them")
    return videos


def _train(
    videos: dict[str, Path],
    annotations: Annotations,
    plan: ExtractorPlan,
    options: TrainExtractorsOptions,
    console: Console,
    *,
    device: torch.device,
) -> None:
    from ....decode.options import DecodeOptions
    from ....decode.process import available_cores
    from ....preprocess.worker_process import DecodeWorker
    from ....training.extractor_examples import decode_examples
    from ....training.extractor_run import EXAMPLES_PREFIX, check_states, save_plan, state_file
    from ....training.train_extractors import train_extractor, write_extractors

    root = options.output
    states = {}
    decoding = DecodeOptions(timeout=options.decode_timeout, debug=options.debug)
    with tempfile.TemporaryDirectory(dir=root, prefix=EXAMPLES_PREFIX) as folder:
        examples = decode_examples(
            videos,
            annotations,
            plan.splits,
            Path(folder),
            partial(DecodeWorker, plan.profile, decoding),
            workers=options.workers or available_cores(),
            streams=list(plan.networks),
            progress=console.count_progress("decoding"),
        )
        if options.resume:
            with exit_2_on_error(debug=options.debug):
                if anew := check_states(root, plan, examples):
                    console.info(
                        f"note: {', '.join(anew)}: trained from the first epoch, because every learning rate depends on"
                        " the number of epochs"
                    )
            save_plan(root, plan, complete=False)
        for stream, name in plan.networks.items():

            def on_epoch(epoch: int, epochs: int, loss: float, name: str = name) -> None:
                console.info(f"{name}: epoch {epoch}/{epochs}, loss {loss:.4f}")

            states[name] = train_extractor(
                name,
                examples[stream],
                plan.config(stream),
                device=device,
                on_epoch=on_epoch,
                state_file=state_file(root, name),
            )
        seconds = len(examples["audio"].labels)
    description = (
        f"small extractors trained by avvp train-extractors on {seconds} seconds of the {' and '.join(plan.splits)}"
        f" split of {plan.annotations.parent.name}"
    )
    write_extractors(root, plan.profile, states, description)
