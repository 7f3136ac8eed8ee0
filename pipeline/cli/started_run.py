"""A run of avvp train: its precision; its stages and the training of its own network, once its folder is locked."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .options.command import exit_1_on_error, exit_2_on_error

if TYPE_CHECKING:
    from ..training.setup import TrainingPlan
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
