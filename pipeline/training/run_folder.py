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

import json
import os
import platform
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from ...extractors.profiles import FeatureSpec
from ...models.checkpoint import dump_checkpoint
from ...models.parser import AVParser
from ...weights.load import gather_files
from ...weights.manifest import BUNDLE_FILE, Bundle, format_bundle, list_files
from ...weights.source import WeightSource
from ..errors import OutputError, SetupError
from ..files import check_writable, replacing, write_atomic
from ..text import escape

CONFIG_FILE = "config.json"
STATE_FILE = "state.safetensors"
BEST_FILE = "best.safetensors"
LAST_FILE = "last.safetensors"
LOG_FILE = "log.jsonl"
_FORMAT_VERSION = 1
_METADATA_KEY = "avvp"


@dataclass
class TrainingState:
    """Progress of a run, saved in the state file after each epoch."""

    epochs: int = 0  # complete epochs
    best_score: float = float("-inf")  # of the best epoch
    best_epoch: int = 0  # from 1; 0 before the first is complete
    data: str = ""  # fingerprint of the training and validation clips
    log: list[dict[str, Any]] = field(default_factory=list)  # a record for each epoch
    scaler: dict[str, Any] = field(default_factory=dict)  # state of the GradScaler, for fp16


def create_folder(root: Path) -> None:
    """Create the folder of a run, with its parents.

    Args:
        root: a new folder, or an existing one without a run or a bundle.

    Raises:
        OutputError: the folder cannot be created or written to, or holds a run or a bundle.
    """
    if (root / CONFIG_FILE).exists():
        raise OutputError(f"{escape(root)}: already holds a run; resume it with --resume, or choose another folder")
    files = (STATE_FILE, BEST_FILE, LAST_FILE, LOG_FILE, BUNDLE_FILE)
    if existing := [name for name in files if (root / name).exists()]:
        raise OutputError(f"{escape(root)}: already holds {', '.join(existing)}; choose another folder")
    try:
        str(root.resolve()).encode()
        root.mkdir(parents=True, exist_ok=True)
        check_writable(root)
    except UnicodeEncodeError:
        raise OutputError(f"{escape(root)}: the name of a run's folder must be valid UTF-8") from None
    except OSError as error:
        raise OutputError(f"{escape(root)}: cannot be created: {error.strerror}") from error


def write_config(root: Path, config: Mapping[str, Any]) -> None:
    """Write config.json, which makes the folder a run, and environment.json.

    Args:
        root: folder of the run.
        config: JSON-ready plan of the run.

    Raises:
        OutputError: a file cannot be written.
    """
    write_json(root / "environment.json", environment())
    write_json(root / CONFIG_FILE, {"format": _FORMAT_VERSION, **config})


def read_config(root: Path) -> dict[str, Any]:
    """Read config.json.

    Args:
        root: folder of a run.

    Returns:
        The plan that the run was started with.

    Raises:
        SetupError: the folder does not hold a run.
    """
    path = root / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("format") != _FORMAT_VERSION:
            raise ValueError(f"format {config.get('format')}, this program reads {_FORMAT_VERSION}")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise SetupError(f"{escape(root)}: not a run that can be resumed: {escape(error)}") from error
    return config


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Write a JSON file atomically. Raises OutputError."""
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


def write_bundle(root: Path, spec: FeatureSpec, extractors: Bundle, source: WeightSource) -> list[str]:
    """Write bundle.toml with the extractors of the features and the parser of the best epoch.

    Args:
        root: folder of the run.
        spec: of the features.
        extractors: bundle of their extractors; files that only its folder holds are copied to the run.
        source: where its weight files may come from.

    Returns:
        Names of extractors that the bundle lacks: without them the run can be scored, but cannot parse videos.

    Raises:
        OutputError: a file cannot be written.
        WeightsError: a weight file is missing or damaged.
    """
    files = {name: extractors.extractors.get(name, "") for name in spec.extractors}
    if extractors.root is not None:
        paths, _ = gather_files(replace(extractors, parser={}), replace(source, offline=True))
        for name, file in files.items():
            if file and file not in list_files():
                files[name] = _copy(paths[file], root, f"{name}{paths[file].suffix}")
    name = root.resolve().name
    bundle = Bundle(
        name=name,
        description=f"trained by avvp train in {name}",
        profile=spec.profile,
        extractors=files,
        parser={"checkpoint": BEST_FILE},
    )
    write_atomic(root / BUNDLE_FILE, format_bundle(bundle).encode())
    return [name for name, file in files.items() if not file]


def _copy(source: Path, folder: Path, name: str) -> str:
    """Copy a file atomically; return the name of the copy."""
    with replacing(folder / name) as temporary:
        shutil.copyfile(source, temporary)
    return name


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


def save_state(root: Path, parser: nn.Module, optimizer: torch.optim.Optimizer, state: TrainingState) -> None:
    """Write everything that resuming needs to the state file, which is replaced atomically.

    Args:
        root: folder of the run.
        parser: in training.
        optimizer: of the parser's parameters.
        state: progress of the run.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors = {f"parser.{key}": tensor.detach().cpu().contiguous() for key, tensor in parser.state_dict().items()}
    for name, parameter in parser.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{key}"] = value.detach().cpu().contiguous()
    description = {"format": _FORMAT_VERSION, "tensors": len(tensors), "progress": vars(state)}
    metadata = {_METADATA_KEY: json.dumps(description)}
    with replacing(root / STATE_FILE) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # raised when the disk is full
            raise OSError(str(error)) from error


def load_training_state(root: Path) -> TrainingState:
    """Read the progress of a run. Raises SetupError if the state file cannot be read."""
    return _read_state(root / STATE_FILE, tensors=False)[0]


def load_state(root: Path, parser: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Restore parser and optimizer as they were after the last complete epoch.

    Args:
        root: folder of the run.
        parser: its parameters are replaced.
        optimizer: its state is replaced.

    Returns:
        The progress of the run; without a state file, that of a new run, and nothing is replaced.

    Raises:
        SetupError: the state file cannot be read, or does not fit the parser.
    """
    path = root / STATE_FILE
    if not path.exists():
        return TrainingState()
    state, tensors = _read_state(path, tensors=True)
    parameters = {key.removeprefix("parser."): tensor for key, tensor in tensors.items() if key.startswith("parser.")}
    try:
        parser.load_state_dict(parameters)
    except RuntimeError as error:
        raise SetupError(f"{escape(path)}: belongs to another parser: {escape(error)}") from error
    for name, parameter in parser.named_parameters():
        prefix = f"optimizer.{name}."
        values = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        optimizer.state[parameter] = {key: tensor.to(parameter.device) for key, tensor in values.items()}
    return state


def _read_state(path: Path, *, tensors: bool) -> tuple[TrainingState, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})[_METADATA_KEY])
            names = list(file.keys())
            loaded = {name: file.get_tensor(name) for name in names} if tensors else {}
        if description["format"] != _FORMAT_VERSION:
            raise ValueError("written by another version of this program")
        if description["tensors"] != len(names):
            raise ValueError(f"holds {len(names)} tensors of {description['tensors']}")
        state = TrainingState(**description["progress"])
        if type(state.epochs) is not int or len(state.log) != state.epochs:
            raise ValueError("the number of epochs differs from the length of the log")
        return state, loaded
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise SetupError(f"{escape(path)}: cannot be resumed from: {escape(error)}") from error
