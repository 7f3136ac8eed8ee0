"""Log the epochs of a run to TensorBoard, trackio or Weights & Biases. What fails there never ends the training."""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import io
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from ...weights.messages import first_line
from ..errors import SetupError
from .run_folder import ENVIRONMENT_FILE, TENSORBOARD_FOLDER

PROJECT = "avvp"
_ID_DIGITS = 12


class Tracker(Protocol):
    """A place where the values of a run are collected and shown."""

    def log(self, step: int, values: Mapping[str, float]) -> None:
        """Log the values of an epoch, from 1."""

    def finish(self) -> None:
        """Write what is left, at the end of the run or where it stops."""


class _TensorBoard:
    """Event files in the folder of the run."""

    def __init__(self, root: Path, config: Mapping[str, Any], *, quiet: bool) -> None:
        del quiet  # it prints nothing
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(root / TENSORBOARD_FOLDER))
        self._writer.add_text("recipe", f"```json\n{json.dumps(config, indent=1)}\n```")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            self._writer.add_scalar(name, value, step)
        self._writer.flush()

    def finish(self) -> None:
        self._writer.close()


class _Trackio:
    """A project of trackio: on this machine, unless TRACKIO_SPACE_ID or TRACKIO_SERVER_URL name another place."""

    def __init__(self, root: Path, config: Mapping[str, Any], *, quiet: bool) -> None:
        import trackio  # pyright: ignore[reportMissingImports] - of an extra

        self._quiet = quiet
        name = f"{root.resolve().name}-{run_id(root)}"
        with self._off_stdout():
            self._run = trackio.init(project=PROJECT, name=name, config=dict(config), resume="allow")

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        with self._off_stdout():
            self._run.finish()

    def _off_stdout(self) -> contextlib.redirect_stdout[Any]:
        return contextlib.redirect_stdout(io.StringIO() if self._quiet else sys.stderr)


class _Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it in the folder of the run."""

    def __init__(self, root: Path, config: Mapping[str, Any], *, quiet: bool) -> None:
        import wandb  # pyright: ignore[reportMissingImports] - of an extra

        settings = wandb.Settings(console="off", silent=quiet)  # off: it would take the terminal from the progress bar
        name = root.resolve().name
        self._run = wandb.init(
            project=PROJECT,
            name=name,
            id=f"{PROJECT}-{run_id(root)}",
            resume="allow",
            dir=str(root),
            config=dict(config),
            settings=settings,
        )

    def log(self, step: int, values: Mapping[str, float]) -> None:
        self._run.log(dict(values), step=step)

    def finish(self) -> None:
        self._run.finish()


# Name, which is that of the extra -> class, and the module that it needs.
TRACKERS: dict[str, tuple[Callable[..., Tracker], str]] = {
    "tensorboard": (_TensorBoard, "torch.utils.tensorboard"),
    "trackio": (_Trackio, "trackio"),
    "wandb": (_Wandb, "wandb"),
}


def run_id(root: Path) -> str:
    """Return what identifies a run: a resumed one has it again, a copy or a new run in the folder has another.

    Args:
        root: folder of the run.
    """
    path = root / ENVIRONMENT_FILE
    started = path.stat().st_mtime_ns if path.exists() else 0
    return hashlib.sha256(f"{root.resolve()}\0{started}".encode(errors="surrogateescape")).hexdigest()[:_ID_DIGITS]


def check_trackers(names: Sequence[str]) -> None:
    """Import what trackers need, before a run starts.

    Args:
        names: keys of `TRACKERS`.

    Raises:
        SetupError: a package is not installed.
    """
    for name in names:
        try:
            importlib.import_module(TRACKERS[name][1])
        except ImportError as error:
            raise SetupError(f"{name} is not installed; pip install 'avvp[{name}]'") from error


@contextlib.contextmanager
def start_trackers(
    names: Sequence[str], root: Path, config: Mapping[str, Any], *, warn: Callable[[str], None], quiet: bool = False
) -> Iterator[Callable[[Mapping[str, Any]], None]]:
    """Start trackers, and finish them at the end of the block, however it ends.

    Args:
        names: keys of `TRACKERS`, checked by `check_trackers`; each is started once.
        root: folder of the run.
        config: settings of the run; no names of files.
        warn: called once for a tracker that fails; it is not used any more.
        quiet: let them print nothing.

    Yields:
        A function to call with the record of each epoch, as in log.jsonl.
    """
    running: dict[str, Tracker] = {}

    def attempt(name: str, action: Callable[[], object]) -> None:
        try:
            action()
        except Exception as error:  # of a package that talks to a server, perhaps: whatever it is, training goes on
            running.pop(name, None)
            warn(f"{name} failed ({type(error).__name__}: {first_line(error)}); training goes on without it")

    def start(name: str) -> None:
        running[name] = TRACKERS[name][0](root, config, quiet=quiet)

    def log(record: Mapping[str, Any]) -> None:
        values = epoch_values(record)
        for name, tracker in list(running.items()):
            attempt(name, lambda tracker=tracker: tracker.log(record["epoch"], values))

    for name in dict.fromkeys(names):
        attempt(name, lambda name=name: start(name))
    try:
        yield log
    finally:
        for name, tracker in list(running.items()):
            attempt(name, tracker.finish)


def epoch_values(record: Mapping[str, Any]) -> dict[str, float]:
    """Name the values of an epoch: learning rate, losses, and scores on the validation clips.

    Args:
        record: of the epoch, as in log.jsonl.

    Returns:
        "learning_rate", "loss/TERM", and of parsers and adapters "validation LEVEL/NAME", of localizers
        "validation/NAME" -> value; scores that are not defined are absent.
    """
    values = {"learning_rate": record["learning_rate"]}
    values |= {f"loss/{name}": value for name, value in record["losses"].items()}
    validation = record["validation"] or {}
    names = ("segment", "event", "seen", "unseen", "total")  # of parsers and teachers, and of adapters
    levels = {f" {name}": validation[name] for name in names if name in validation} or {"": validation}
    for level, scores in levels.items():
        values |= {f"validation{level}/{name}": value for name, value in scores.items() if value is not None}
    return values
