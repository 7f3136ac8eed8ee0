"""Progress of training: a bar per run, a line per epoch, errors of several processes."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from .durations import describe_duration

if TYPE_CHECKING:
    from ..reproduction.time_estimate import TimeEstimate
    from ..training.setup import TrainingPlan
    from ..training.stages.run_stages import StageCallbacks
    from ..training.train_parser import TrainingCallbacks
    from .console import Console

_LEAST_CHANGE = 60  # seconds of an estimate that are worth a line
EpochLogger = Callable[[Mapping[str, Any]], None]  # its argument is the epoch's record, as in log.jsonl


def training_callbacks(
    epochs: int, console: Console, *, name: str = "", log_epoch: EpochLogger | None = None
) -> TrainingCallbacks:
    """Make callbacks that show a bar with the losses and the time left, and print a line per epoch.

    Args:
        epochs: of the whole run.
        console: for the bar and the lines.
        name: of the run, before each line; empty for a single run.
        log_epoch: called after each epoch as well.

    Returns:
        The callbacks.
    """
    from ..training.train_parser import TrainingCallbacks

    prefix = f"{name}: " if name else ""

    def step(epoch: int, done: int, total: int, losses: Mapping[str, float]) -> None:
        text = f"{prefix}epoch {epoch}/{epochs}  loss {losses['total']:.3f}"
        console.move_bar(text, (epoch - 1) * total + done, epochs * total, f"{done}/{total}")

    def epoch(record: Mapping[str, Any]) -> None:
        console.info(prefix + _epoch_line(record, epochs))
        if log_epoch is not None:
            log_epoch(record)

    return TrainingCallbacks(step=step, epoch=epoch, check=console.count_progress(f"{prefix}comparing features"))


def stage_callbacks(console: Console) -> StageCallbacks:
    """Make the callbacks of the stages of a run: a bar and a line per epoch, each with the number of the stage.

    Args:
        console: for the bar and the lines.

    Returns:
        The callbacks.
    """
    from ..training.stages.run_stages import StageCallbacks

    return StageCallbacks(
        training=lambda title, recipe: training_callbacks(recipe.training.epochs, console, name=title),
        progress=console.count_progress,
        info=console.info,
    )


def table_callbacks(estimate: TimeEstimate, console: Console) -> Callable[[str, TrainingPlan, Path], TrainingCallbacks]:
    """Make the callbacks of all runs of a table: those of a run, and a line on the time that is left for all of them.

    The line is printed before each run, and after an epoch that changes the estimate by a fifth and by a minute.

    Args:
        estimate: of the table; it follows the epochs.
        console: for the bar and the lines.

    Returns:
        A function from name, plan and folder of a run to its callbacks.
    """
    said = 0.0  # when the table is finished, by the line that was printed last
    current: Path | None = None  # folder of the run that is trained

    def say() -> None:
        nonlocal said
        if estimate.seconds is not None:
            said = time.monotonic() + estimate.seconds
            steps = f", at the pace of {estimate.steps} steps that were measured" if estimate.epochs == 0 else ""
            runs = f"{estimate.runs} run{'' if estimate.runs == 1 else 's'}"
            console.info(f"about {describe_duration(estimate.seconds)} left for {runs}{steps}")

    def start(name: str, plan: TrainingPlan, root: Path) -> TrainingCallbacks:
        nonlocal current
        if current is not None and current != root:
            estimate.finish_run(current)
        current = root
        say()
        began = time.monotonic()

        def finish_epoch(_: Mapping[str, Any]) -> None:
            nonlocal began
            now = time.monotonic()
            estimate.finish_epoch(root, now - began)
            began = now
            if estimate.seconds and abs(now + estimate.seconds - said) > max(_LEAST_CHANGE, (said - now) / 5):
                say()

        return training_callbacks(plan.recipe.training.epochs, console, name=name, log_epoch=finish_epoch)

    return start


def _epoch_line(record: Mapping[str, Any], epochs: int) -> str:
    validation = record["validation"]
    scores = ""
    if validation is not None and "total" in validation:  # of an adapter
        averages = (f"{part} {found['average']:.1f}" for part, found in validation.items())
        scores = f"  mean of accuracy, segment and event: {', '.join(averages)}"
    elif validation is not None and "accuracy" in validation:
        parts = ("accuracy", "events", "background")
        scores = "  " + " ".join(f"{part} {validation[part]:.1f}" for part in parts if validation[part] is not None)
    elif validation is not None and "type_av" not in validation["segment"]:  # of a teacher
        segment, event = validation["segment"]["audio_visual"], validation["event"]["audio_visual"]
        scores = f"  audio-visual F segment {segment:.1f} event {event:.1f}"
    elif validation is not None:
        segment, event = validation["segment"]["type_av"], validation["event"]["type_av"]
        scores = f"  Type@AV segment {segment:.1f} event {event:.1f}  mean of ten {validation['mean']:.1f}"
    best = "  best" if record["best"] else ""
    losses = record["losses"]
    terms = ", ".join(f"{term} {value:.3f}" for term, value in losses.items() if term != "total")
    return f"epoch {record['epoch']}/{epochs}  loss {losses['total']:.3f} ({terms}){scores}{best}"


@contextlib.contextmanager
def report_errors_once() -> Iterator[None]:
    """Let one of several processes report an error that all of them have, and name the process of any other.

    Raises:
        click.exceptions.Exit: in place of an error that the first process reports.
    """
    from ..training.distributed import ReportedError, process_rank

    try:
        yield
    except click.ClickException as error:
        if isinstance(error.__cause__, ReportedError):
            raise click.exceptions.Exit(error.exit_code) from error
        if (rank := process_rank()) == 0:
            raise
        raise type(error)(f"process {rank}: {error.message}") from error.__cause__
