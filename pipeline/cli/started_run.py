"""A run of avvp train: its precision; its stages and the training of its own network, once its folder is locked."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .options.command import exit_1_on_error, exit_2_on_error

if TYPE_CHECKING:
    from torch import Tensor

    from ...weights.source import WeightSource
    from ..training.setup import PlanData, TrainingPlan
    from ..training.stages.run_stages import StageRuns
    from ..training.train_parser import RestoredRun, TrainingCallbacks, TrainingJob
    from ..training.training_state import TrainingState
    from .console import Console


@dataclass(frozen=True, eq=False)
class StartedRun:
    """A run that can be trained.

    Attributes:
        stages: of the run.
        restored: its own network; None if stages come first.
        callbacks: for the progress of its own training.
        trust: packages whose parts its recipe may name.
    """

    stages: StageRuns
    restored: RestoredRun | None
    callbacks: TrainingCallbacks
    trust: tuple[str, ...]

    def train(self, console: Console, lock: contextlib.ExitStack, *, debug: bool) -> TrainingState:
        """Run the stages that are not done, and train the run's own network.

        Args:
            console: for the progress of stages.
            lock: holds the locks of the folders of stages.
            debug: print tracebacks.

        Returns:
            The state of the finished run.

        Raises:
            click.ClickException: a stage cannot be started (exit status 2), or training failed (exit status 1).
        """
        from ..training.train_parser import restore_run, train_epochs
        from .training_progress import stage_callbacks

        callbacks = stage_callbacks(console)
        for index in range(len(self.stages.earlier)):
            with exit_2_on_error(debug=debug):
                opened = self.stages.open(index, lock, callbacks)
            with exit_1_on_error(debug=debug):
                self.stages.run(opened, callbacks)
        with exit_2_on_error(debug=debug):
            restored = self.restored or restore_run(self.stages.last_job(), self.callbacks)
        with exit_1_on_error(debug=debug):
            return train_epochs(restored, self.callbacks)


def choose_precision(
    plan: TrainingPlan, job: TrainingJob, console: Console, *, only_checks: bool = False
) -> tuple[TrainingPlan, TrainingJob]:
    """Return the plan and its job with a precision that is chosen, and tell which; only checks need none."""
    from ..training.measured_precision import settle_precision

    if only_checks:
        return plan, job
    plan, job, choice = settle_precision(plan, job)
    if choice:
        console.info(choice)
    return plan, job


def encode_classes(plan: TrainingPlan, data: PlanData, source: WeightSource, console: Console) -> Tensor:
    """Encode the classes of a temporal adapter by the text encoders of the bundle that made its features.

    Args:
        plan: of the adapter.
        data: of the plan.
        source: of the bundle's weight files.
        console: for the progress.

    Returns:
        Embeddings of the sentences of all classes and of "other", (C + 1, A + V).

    Raises:
        SetupError: the bundle has no text encoders, or a file does not fit.
        WeightsError: files are missing or damaged.
    """
    from ...models.open.adapter import OTHER
    from ...weights.remote.bundles import load_bundle
    from ..inference.open_network import encode_labels
    from ..training.setup import extractors_of

    console.busy("encoding the classes")
    bundle = load_bundle(extractors_of(plan, data.clips["train"].features.spec), source)
    return encode_labels(bundle, (*data.annotations.labels, OTHER), source)


def print_data(data: PlanData, console: Console) -> None:
    """Print notes on the annotations, and how many clips and classes there are."""
    from ..datasets.localization import describe_targets

    for note in (*data.annotations.notices, *data.annotations.notes):
        console.info(f"note: {note}")
    for split, clips in data.clips.items():
        for note in () if clips.events is None else describe_targets(clips.events, clips.filenames):
            console.info(f"note: {split}: {note}")
    counts = ", ".join(f"{split} {len(clips)} clips" for split, clips in data.clips.items())
    spec = data.clips["train"].features.spec
    computed = "" if spec.precision == "fp32" else f" in {spec.precision} by {spec.backend}"
    names = ", ".join(spec.extractors)
    console.info(f"{counts}; {len(data.annotations.labels)} classes; {spec.profile} features of {names}{computed}")
