"""`avvp train` and `avvp pack`: from features to a trained parser."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from ..precisions import TRAINING_PRECISIONS
from ..text import escape
from .options import (
    annotations_option,
    exit_1_on_error,
    exit_2_on_error,
    features_option,
    pseudo_labels_option,
    read_source,
    running_options,
    set_threads,
)

if TYPE_CHECKING:
    from ..training.setup import PlanData, TrainingPlan
    from ..training.train_parser import TrainingCallbacks
    from .console import Console

EpochLogger = Callable[[Mapping[str, Any]], None]  # writes an epoch's record somewhere else, too
_SHORTCUTS = ("epochs", "batch_size", "learning_rate", "seed", "precision")  # options that stand for training.NAME
_FIXED = ("annotations", "features", "pseudo_labels", "label_embeddings", "recipe", "extractors", "changes")


@click.command(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  avvp train --annotations llp/ --features feats/ --pseudo-labels valor/ --check
  avvp train --annotations llp/ --features feats/ --pseudo-labels valor/ -o runs/leap
  avvp train --annotations llp/ --features feats.packed --recipe han -o runs/han
  avvp train -o runs/leap --resume
  avvp-parse --weights runs/leap video.mp4

Exit status: 0 all well; 1 training broke off; 2 wrong usage or a run that cannot start; 130 interrupted.""",
)
@annotations_option
@features_option
@pseudo_labels_option
@click.option("-o", "--output", type=click.Path(path_type=Path), help="Folder of the run; it becomes a bundle.")
@click.option("--resume", is_flag=True, help="Go on with the run in --output; its data and recipe are known.")
@click.option("--check", is_flag=True, help="Read every file and list what is wrong; train nothing.")
@click.option("--recipe", default="leap-published", show_default=True, metavar="NAME|FILE", help="See 'avvp recipes'.")
@click.option(
    "--set", "changes", multiple=True, metavar="TABLE.KEY=VALUE", help="Change a recipe: --set model.leap_blocks=4."
)
@click.option("--epochs", type=click.IntRange(1), help="training.epochs; with --resume, train longer.")
@click.option("--batch-size", type=click.IntRange(1), help="training.batch_size.")
@click.option("--learning-rate", type=float, help="training.learning_rate.")
@click.option("--seed", type=click.IntRange(0), help="training.seed.")
@click.option("--precision", type=click.Choice(TRAINING_PRECISIONS), help="training.precision.")
@click.option(
    "--label-embeddings",
    metavar="SOURCE",
    help="For LEAP: a .pt, .npy or GloVe .txt file, one-hot, bert:MODEL, clip:MODEL; by default published GloVe.",
)
@click.option(
    "--extractors",
    metavar="NAME|FOLDER",
    help="Bundle whose extractors made the features, where they are not the published ones.",
)
@click.option("--tensorboard", is_flag=True, help="Also write TensorBoard logs (needs the extra [tensorboard]).")
@running_options
@click.pass_context
def train(context: click.Context, **options: Any) -> int:
    """Train a parser on extracted features; the best epoch on the validation split is kept.

    The folder of the run holds config, environment, log.jsonl, best and last weights, and is itself a bundle. It can
    be stopped at any time and continued with --resume.
    """
    _check_usage(context, options)
    with exit_2_on_error(debug=options["debug"]):
        from ..devices import resolve_device
        from ..training.run_folder import CONFIG_FILE, write_json
        from ..training.setup import check_data, check_resumable, open_data, prepare_job, start_run
        from .console import Console

        console = Console(quiet=options["quiet"], verbose=False)
        plan = _plan(options)
        device = resolve_device(options["device"])
        set_threads(options["threads"])
        with console:
            data = open_data(plan, ("train", "val", "test") if options["check"] else ("train", "val"))
            _show_data(data, console)
            root = options["output"] or Path()
            source = read_source(options)
            job = prepare_job(plan, data, root, device=device, source=source)
            if options["check"]:
                check_data(data, lambda split: console.count(f"reading {split}"))
                console.say("all files are there and can be used")
                return 0
            board = _tensorboard(root) if options["tensorboard"] else None
            if options["resume"]:
                check_resumable(job)
                write_json(root / CONFIG_FILE, plan.to_dict())  # --epochs may have changed it
            else:
                missing = start_run(job, plan, source)
                if missing:
                    console.say(
                        f"note: no bundle is known to have {', '.join(missing)}: the run can be scored, but not parse"
                        " videos; name the bundle that has them with --extractors"
                    )
            hooks = training_callbacks(job.recipe.training.epochs, console, board=board)
    with exit_1_on_error(debug=options["debug"]), console:
        from ..training.train_parser import train as run

        try:
            progress = run(job, hooks)
        except KeyboardInterrupt:
            threads = f" --threads {options['threads']}" if options["threads"] else ""
            console.say(f"stopped; go on with: avvp train -o {shlex.quote(str(root))} --resume{threads}")
            raise
    console.say(f"best epoch {progress.best_epoch} of {progress.epochs}: {escape(root)}/best.safetensors")
    return 0


def _check_usage(context: click.Context, options: Mapping[str, Any]) -> None:
    given = {name for name in options if context.get_parameter_source(name) == click.core.ParameterSource.COMMANDLINE}
    if options["output"] is None and not options["check"]:
        raise click.UsageError("name the folder of the run with -o")
    if options["resume"]:
        if clash := sorted(given & {*_FIXED, *_SHORTCUTS, "check"} - {"epochs"}):
            names = ", ".join(f"--{name.replace('_', '-')}" for name in clash).replace("--changes", "--set")
            raise click.UsageError(f"--resume goes on with what the run was started with; leave out {names}")
    elif missing := [name for name in ("annotations", "features") if options[name] is None]:
        raise click.UsageError(f"missing --{' and --'.join(missing)}")


def _plan(options: Mapping[str, Any]) -> TrainingPlan:
    from dataclasses import replace

    from ..training.run_folder import read_config
    from ..training.setup import TrainingPlan, with_epochs

    if options["resume"]:
        plan = TrainingPlan.from_dict(read_config(options["output"]))
        return plan if options["epochs"] is None else replace(plan, recipe=with_epochs(plan.recipe, options["epochs"]))
    changes = [*options["changes"]]
    changes += [f"training.{name}={options[name]}" for name in _SHORTCUTS if options[name] is not None]
    return training_plan(options, changes)


def training_plan(options: Mapping[str, Any], changes: Sequence[str]) -> TrainingPlan:
    """The data and the recipe that options name. Raises SetupError for a recipe that cannot be."""
    from ..training.recipe import load_recipe
    from ..training.setup import PUBLISHED_EMBEDDINGS, TrainingPlan

    return TrainingPlan(
        annotations=options["annotations"].resolve(),
        features=options["features"].resolve(),
        pseudo_labels=options["pseudo_labels"] and options["pseudo_labels"].resolve(),
        recipe=load_recipe(options["recipe"], changes),
        label_embeddings=_absolute(options["label_embeddings"]) or PUBLISHED_EMBEDDINGS,
        extractors=_absolute(options["extractors"]),
    )


def _absolute(name_or_path: str | None) -> str | None:
    """What names a file or folder, in full; any other name as it is."""
    try:
        return str(Path(name_or_path).resolve()) if name_or_path and Path(name_or_path).exists() else name_or_path
    except OSError:  # longer than a path may be
        return name_or_path


def _show_data(data: PlanData, console: Console) -> None:
    for note in data.annotations.notes:
        console.say(f"note: {note}")
    counts = ", ".join(f"{split} {len(clips)} clips" for split, clips in data.clips.items())
    spec = data.clips["train"].features.spec
    console.say(
        f"{counts}; {len(data.annotations.labels)} classes; {spec.profile} features of {', '.join(spec.extractors)}"
    )


def training_callbacks(
    epochs: int, console: Console, *, name: str = "", board: EpochLogger | None = None
) -> TrainingCallbacks:
    """A bar with the losses and the time left of the whole run, a line for each epoch, and TensorBoard."""
    from ..training.train_parser import TrainingCallbacks

    prefix = f"{name}: " if name else ""

    def step(epoch: int, done: int, total: int, losses: Mapping[str, float]) -> None:
        text = f"{prefix}epoch {epoch}/{epochs}  loss {losses['total']:.3f}"
        console.show(text, (epoch - 1) * total + done, epochs * total, f"{done}/{total}")

    def epoch(record: Mapping[str, Any]) -> None:
        console.say(prefix + _epoch_line(record, epochs))
        if board is not None:
            board(record)

    return TrainingCallbacks(step=step, epoch=epoch)


def _epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    scores = record["validation"]
    judged = ""
    if scores is not None:
        segment, event = scores["segment"]["type_av"], scores["event"]["type_av"]
        judged = f"  Type@AV segment {segment:.1f} event {event:.1f}  mean of ten {scores['mean']:.1f}"
    best = "  best" if record["best"] else ""
    losses = record["losses"]
    terms = ", ".join(f"{term} {value:.3f}" for term, value in losses.items() if term != "total")
    return f"epoch {record['epoch']}/{epochs}  loss {losses['total']:.3f} ({terms}){judged}{best}"


def _tensorboard(root: Path) -> EpochLogger:
    """A function that writes an epoch's record. Raises SetupError where TensorBoard is not installed."""
    from ..errors import SetupError

    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise SetupError("TensorBoard is not installed; pip install 'avvp[tensorboard]'") from error
    writer: SummaryWriter | None = None

    def write(record: Mapping[str, Any]) -> None:
        nonlocal writer
        writer = writer or SummaryWriter(str(root / "tensorboard"))
        number = record["epoch"]
        writer.add_scalar("learning_rate", record["learning_rate"], number)
        for name, value in record["losses"].items():
            writer.add_scalar(f"loss/{name}", value, number)
        for level in ("segment", "event") if record["validation"] else ():
            for name, value in record["validation"][level].items():
                writer.add_scalar(f"validation {level}/{name}", value, number)
        writer.flush()

    return write
