"""Files of a training run. The folder is a bundle, so `avvp-parse --weights FOLDER` works after the first epoch.

config.json         recipe and paths of the data; read by --resume
environment.json    versions, machine, threads
bundle.toml         the bundle: extractors and best.safetensors
state.safetensors   parameters, optimizer and log after the last complete epoch; read by --resume
best.safetensors    parser of the best epoch
last.safetensors    parser of the last epoch
log.jsonl           a line for each epoch
tensorboard/, wandb/    logs of trackers, if they are asked for
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
from collections.abc import Iterator, Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ...weights.manifest import BUNDLE_FILE
from ...weights.messages import shown
from ...weights.safe_paths import UnsafePathError, inside
from ..errors import OutputError, SetupError
from ..files import check_writable, exclusive_lock, make_folder, write_atomic
from ..text import escape
from ..text_files import read_json

CONFIG_FILE = "config.json"
EXTRACTORS_CONFIG_FILE = "extractors.json"  # in its place where extractors are trained
ENVIRONMENT_FILE = "environment.json"
STATE_FILE = "state.safetensors"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
LOG_FILE = "log.jsonl"
TENSORBOARD_FOLDER = "tensorboard"
WANDB_FOLDER = "wandb"
_FOLDERS = (TENSORBOARD_FOLDER, WANDB_FOLDER)
_RESULT_FILES = (STATE_FILE, BEST_FILE, LAST_FILE, LOG_FILE, BUNDLE_FILE)
_FORMAT_VERSION = 1


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
    own = (*_RESULT_FILES, CONFIG_FILE, EXTRACTORS_CONFIG_FILE, ENVIRONMENT_FILE, *_FOLDERS)
    for name in (*own, *names):
        try:
            path = inside(root, name)
        except UnsafePathError as error:
            raise SetupError(f"{escape(root)}: {escape(error)}") from error
        if path.exists() and not (path.is_dir() if name in _FOLDERS else path.is_file()):
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


def write_environment(root: Path, processes: int = 1) -> None:
    """Write environment.json. Raises OutputError."""
    _write_json(root / ENVIRONMENT_FILE, {**environment(), "processes": processes})


def note_other_environment(root: Path, processes: int = 1) -> str:
    """Compare the numbers of threads and processes with those in environment.json.

    Sums are split between them, so another number may change the last bits of results; dropout differs with the number
    of processes.

    Args:
        root: folder of a run.
        processes: that resume the run.

    Returns:
        A note for the user; empty if a resumed run ends with the same bits.
    """
    now = torch.get_num_threads()
    try:
        recorded = read_json(root / ENVIRONMENT_FILE)
        threads = recorded.get("threads") if isinstance(recorded, dict) else None
        earlier = recorded.get("processes", 1) if isinstance(recorded, dict) else None
        if type(threads) is not int or type(earlier) is not int:
            raise ValueError("the number of threads is missing")
    except ValueError as error:
        return f"{ENVIRONMENT_FILE} cannot be read ({escape(error)}): with another number of threads, bits may differ"
    if earlier != processes:
        return (
            f"the run was started with {earlier} process{'es' if earlier != 1 else ''} and is resumed with {processes}:"
            " dropout and the last bits of the result differ from those of an uninterrupted run"
        )
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
