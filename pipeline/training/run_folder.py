"""Files of a training run. The folder is a bundle, so `avvp-parse --weights FOLDER` works after the first epoch.

config.json         recipe and paths of the data; read by --resume
environment.json    versions, machine, threads
bundle.toml         the bundle: extractors and best.safetensors
state.safetensors   parameters, optimizer and log after the last complete epoch; read by --resume
best.safetensors    parser of the best epoch
last.safetensors    parser of the last epoch
log.jsonl           a line for each epoch
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...extractors.profiles import FeatureSpec
from ...models.checkpoint import dump_checkpoint
from ...models.parser import AVParser
from ...weights.manifest import BUNDLE_FILE
from ...weights.messages import first_line, shown
from ...weights.parameters import check_parameters
from ...weights.safe_paths import UnsafePathError, inside
from ..errors import OutputError, SetupError
from ..files import check_writable, exclusive_lock, make_folder, write_atomic
from ..text import escape
from ..text_files import read_json
from .recipe import MAX_EPOCHS
from .state_file import read_state_content, read_state_file, write_state_file

CONFIG_FILE = "config.json"
EXTRACTORS_CONFIG_FILE = "extractors.json"  # in its place where extractors are trained
ENVIRONMENT_FILE = "environment.json"
STATE_FILE = "state.safetensors"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
_RESULT_FILES = (STATE_FILE, BEST_FILE, LAST_FILE, LOG_FILE, BUNDLE_FILE)
_FORMAT_VERSION = 1
_ADAM_KEYS = {"step", "exp_avg", "exp_avg_sq"}
_SCALER_KEYS = {"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}


@dataclass
class TrainingState:
    """Progress of a run, saved in the state file after each epoch."""

    epochs: int = 0  # complete epochs
    best_score: float = float("-inf")  # of the best epoch
    best_epoch: int = 0  # from 1; 0 before the first is complete
    data: dict[str, str] = field(default_factory=dict)  # see `fingerprints.hash_data`
    recipe: str = ""  # see `fingerprints.hash_recipe`
    log: list[dict[str, Any]] = field(default_factory=list)  # a record for each epoch
    scaler: dict[str, Any] = field(default_factory=dict)  # state of the GradScaler, for fp16

    @classmethod
    def from_content(cls, content: Mapping[str, Any]) -> TrainingState:
        """Rebuild from the content of a state file.

        Args:
            content: name of each field -> value.

        Returns:
            The state.

        Raises:
            ValueError: a field is missing, unknown, or of another type than `save_state` writes.
        """
        try:
            state = cls(**content)
        except TypeError as error:
            raise ValueError(f"not the progress of a training run: {first_line(error)}") from error
        if type(state.epochs) is not int or not 1 <= state.epochs <= MAX_EPOCHS:
            raise ValueError(f"its number of epochs is {shown(state.epochs)}")
        if not isinstance(state.log, list) or not all(isinstance(record, dict) for record in state.log):
            raise ValueError("its log is not a list of records")
        if len(state.log) != state.epochs:
            raise ValueError("the number of epochs differs from the length of the log")
        if type(state.best_epoch) is not int or not 1 <= state.best_epoch <= state.epochs:
            raise ValueError(f"its best epoch is {shown(state.best_epoch)}")
        if not _is_finite(state.best_score):
            raise ValueError(f"its best score is {shown(state.best_score)}")
        if not isinstance(state.data, dict) or not isinstance(state.recipe, str):
            raise ValueError("its fingerprints of data and recipe are missing")
        scaler = state.scaler
        if not isinstance(scaler, dict) or not all(_is_finite(value) and value >= 0 for value in scaler.values()):
            raise ValueError("its scale of gradients is not a table of numbers")
        if scaler and set(scaler) != _SCALER_KEYS:
            raise ValueError("its scale of gradients has other entries than this version of torch")
        return state


def _is_finite(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(value)  # pyright: ignore[reportArgumentType] - checked


@contextlib.contextmanager
def lock_new_folder(root: Path, names: Sequence[str] = ()) -> Iterator[None]:
    """Create the folder of a new run and lock it; nothing in it is changed before it is locked.

    Args:
        root: a new folder, or an existing one without a run or a bundle.
        names: of further files that the run will write.

    Raises:
        OutputError: the folder cannot be created or written to, or holds a run, a bundle or one of the files.
        SetupError: another process uses it, or a file in it is not what a run could write.
    """
    _refuse_used(root, names)  # before a folder is created
    try:
        str(root.resolve()).encode()
    except UnicodeEncodeError:
        raise OutputError(f"{escape(root)}: the name of a run's folder must be valid UTF-8") from None
    except (OSError, RuntimeError, ValueError) as error:  # a link to itself, a NUL
        raise OutputError(f"{escape(root)}: cannot be created: {escape(error)}") from error
    make_folder(root)
    with exclusive_lock(root):
        _refuse_used(root, names)
        check_files(root, names)
        check_writable(root)
        yield


@contextlib.contextmanager
def lock_run(root: Path, config: str = CONFIG_FILE, names: Sequence[str] = ()) -> Iterator[None]:
    """Lock the folder of a run that is resumed; nothing in it is changed before it is locked.

    Args:
        root: folder of a run.
        config: name of its configuration.
        names: of further files that the run writes.

    Raises:
        SetupError: it does not hold a run, another process uses it, or a file in it is not what a run could write.
    """
    if not _exists(root / config):
        raise SetupError(f"{escape(root)}: not a run that can be resumed: it holds no {config}")
    with exclusive_lock(root):
        check_files(root, names)
        yield


def check_files(root: Path, names: Sequence[str] = ()) -> None:
    """Check that writing the files of a run leads to files in its folder.

    Args:
        root: the folder.
        names: of further files.

    Raises:
        SetupError: a name is a link that leads out of the folder, or not a regular file.
    """
    own = (*_RESULT_FILES, CONFIG_FILE, EXTRACTORS_CONFIG_FILE, ENVIRONMENT_FILE, TENSORBOARD_FOLDER)
    for name in (*own, *names):
        try:
            path = inside(root, name)
        except UnsafePathError as error:
            raise SetupError(f"{escape(root)}: {escape(error)}") from error
        if path.exists() and not (path.is_dir() if name == TENSORBOARD_FOLDER else path.is_file()):
            raise SetupError(f"{escape(path)}: not something that a run has written; remove it")


def _refuse_used(root: Path, names: Sequence[str]) -> None:
    if _exists(root / CONFIG_FILE):
        raise OutputError(f"{escape(root)}: already holds a run; resume it with --resume, or choose another folder")
    if existing := _existing(root, _RESULT_FILES):
        raise OutputError(f"{escape(root)}: already holds {existing}; choose another folder")
    if _exists(root / EXTRACTORS_CONFIG_FILE):
        raise OutputError(f"{escape(root)}: already holds a run of avvp train-extractors; resume it with --resume")
    if existing := _existing(root, names):
        raise OutputError(f"{escape(root)}: already holds {existing}; choose another folder")


def _existing(root: Path, names: Sequence[str]) -> str:
    return ", ".join(name for name in names if _exists(root / name))


def _exists(path: Path) -> bool:
    """Return whether a name is taken, by a broken link too; False for one that the system rejects."""
    try:
        return os.path.lexists(path)
    except ValueError:
        return False


def write_config(root: Path, config: Mapping[str, Any], name: str = CONFIG_FILE) -> None:
    """Write the configuration, which makes the folder a run.

    Args:
        root: folder of the run, locked.
        config: JSON-ready plan of the run.
        name: of the file.

    Raises:
        OutputError: the file cannot be written.
    """
    _write_json(root / name, {"format": _FORMAT_VERSION, **config})


def read_config(root: Path, name: str = CONFIG_FILE) -> dict[str, Any]:
    """Read the configuration of a run.

    Args:
        root: folder of a run.
        name: of the file.

    Returns:
        The plan that the run was started with, without the number of its format.

    Raises:
        SetupError: the folder does not hold a run.
    """
    try:
        config = read_json(root / name)
        if not isinstance(config, dict):
            raise ValueError(f"{name} is {shown(config)}, expected a table")
        # Resuming used to write this file without its format.
        if (number := config.pop("format", _FORMAT_VERSION)) != _FORMAT_VERSION:
            raise ValueError(f"{name} has format {shown(number)}, this program reads {_FORMAT_VERSION}")
    except ValueError as error:
        raise SetupError(f"{escape(root)}: not a run that can be resumed: {escape(error)}") from error
    return config


def write_environment(root: Path) -> None:
    """Write environment.json. Raises OutputError."""
    _write_json(root / ENVIRONMENT_FILE, environment())


def note_other_environment(root: Path) -> str:
    """Compare the number of threads with that in environment.json.

    Sums are split between threads, so another number of them may change the last bits of results.

    Args:
        root: folder of a run.

    Returns:
        A note for the user; empty if a resumed run ends with the same bits.
    """
    now = torch.get_num_threads()
    try:
        recorded = read_json(root / ENVIRONMENT_FILE)
        threads = recorded.get("threads") if isinstance(recorded, dict) else None
        if type(threads) is not int:
            raise ValueError("it has no number of threads")
    except ValueError as error:
        return f"{ENVIRONMENT_FILE} cannot be read ({escape(error)}): with another number of threads, bits may differ"
    if threads == now:
        return ""
    return (
        f"the run was started with {threads} threads and is resumed with {now}: the last bits of the result may differ"
        f" from those of an uninterrupted run; --threads {threads} keeps them"
    )


def _write_json(path: Path, document: Mapping[str, Any]) -> None:
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())


def environment() -> dict[str, Any]:
    """Return versions and hardware, which results may depend on."""
    return {
        "avvp": version("avvp"),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": np.__version__,
        "platform": platform.platform(),
        "cpus": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
    }


def write_parser(path: Path, parser: AVParser, spec: FeatureSpec, record: Mapping[str, Any]) -> None:
    """Write a checkpoint of a parser atomically.

    Args:
        path: the file.
        parser: the parser.
        spec: of the features it was trained on.
        record: JSON-ready facts of its training.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(path, dump_checkpoint(parser, spec.to_dict(), record))


def write_log(root: Path, state: TrainingState) -> None:
    """Write log.jsonl, a line for each epoch. Raises OutputError."""
    write_atomic(root / LOG_FILE, "".join(json.dumps(record) + "\n" for record in state.log).encode())


def save_state(
    root: Path,
    parser: nn.Module,
    optimizer: torch.optim.Optimizer,
    state: TrainingState,
    clips: Mapping[str, Tensor] | None = None,
) -> None:
    """Write everything that resuming needs to the state file, which is replaced atomically.

    Args:
        root: folder of the run.
        parser: in training.
        optimizer: of the parser's parameters.
        state: progress of the run.
        clips: name of a set of clips -> hashes of their features, (N, 16) uint8.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {f"parser.{key}": tensor for key, tensor in parser.state_dict().items()}
    for name, parameter in parser.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{key}"] = value
    tensors |= {f"clips.{name}": hashes for name, hashes in (clips or {}).items()}
    write_state_file(root / STATE_FILE, tensors, vars(state))


def load_training_state(root: Path) -> TrainingState:
    """Read the progress of a run. Raises SetupError if the state file cannot be read."""
    return _parse_state(root, read_state_content(root / STATE_FILE))


def load_state(
    root: Path, parser: nn.Module, optimizer: torch.optim.Optimizer
) -> tuple[TrainingState, dict[str, Tensor]]:
    """Restore parser and optimizer as they were after the last complete epoch.

    Args:
        root: folder of the run.
        parser: its parameters are replaced.
        optimizer: its state is replaced.

    Returns:
        The progress of the run, and the hashes of features that `save_state` was given. Without a state file, those of
        a new run, and nothing is replaced.

    Raises:
        SetupError: the state file cannot be read, or does not fit the parser.
    """
    path = root / STATE_FILE
    if not path.exists():
        return TrainingState(), {}
    content, tensors = read_state_file(path)
    state = _parse_state(root, content)
    parts: dict[str, dict[str, Tensor]] = {"parser": {}, "optimizer": {}, "clips": {}}
    for key, tensor in tensors.items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = tensor
    try:
        shapes = {key: tuple(tensor.shape) for key, tensor in parser.state_dict().items()}
        check_parameters(parts["parser"], shapes)
        _check_optimizer(parser, parts["optimizer"])
    except ValueError as error:
        raise SetupError(f"{escape(path)}: belongs to another parser: {escape(error)}") from error
    parser.load_state_dict(parts["parser"])
    for name, parameter in parser.named_parameters():
        found = {key: parts["optimizer"].get(f"{name}.{key}") for key in _ADAM_KEYS}
        optimizer.state[parameter] = {
            key: tensor.to(parameter.device) for key, tensor in found.items() if tensor is not None
        }
    return state, parts["clips"]


def _check_optimizer(parser: nn.Module, tensors: Mapping[str, Tensor]) -> None:
    """Check that each parameter has all state of Adam, or none because it had no gradient. Raises ValueError."""
    expected: dict[str, tuple[int, ...]] = {}
    for name, parameter in parser.named_parameters():
        shapes = {f"{name}.{key}": () if key == "step" else tuple(parameter.shape) for key in _ADAM_KEYS}
        expected |= shapes if shapes.keys() & tensors.keys() else {}
    if wrong := sorted(tensors.keys() ^ expected.keys()):
        raise ValueError(f"its optimizer has other tensors: {shown(wrong[0])}")
    for name, shape in expected.items():
        if tuple(tensors[name].shape) != shape or tensors[name].dtype is not torch.float32:
            raise ValueError(f"{shown(name)} of its optimizer has another shape or type")


def _parse_state(root: Path, content: Mapping[str, Any]) -> TrainingState:
    try:
        return TrainingState.from_content(content)
    except ValueError as error:
        raise SetupError(f"{escape(root / STATE_FILE)}: cannot be resumed from: {escape(error)}") from error
