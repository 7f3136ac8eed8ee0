"""A training run on disk. The folder is a bundle: `avvp-parse --weights FOLDER` works from the first epoch on.

config.json         recipe and data, enough to go on
environment.json    versions, machine, threads
bundle.toml         the bundle: extractors and best.safetensors
state.safetensors   parameters, optimizer and log after the last whole epoch: what --resume reads
best.safetensors    the parser of the best epoch; last.safetensors of the last
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
from ...weights.manifest import BUNDLE_FILE, Bundle, list_files
from ...weights.source import WeightSource
from ...weights.toml import toml_string
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
    """How far a run has come; after each epoch all of it is in the state file."""

    epochs: int = 0  # whole epochs done
    best_score: float = float("-inf")
    best_epoch: int = 0
    data: str = ""  # fingerprint of the training clips
    log: list[dict[str, Any]] = field(default_factory=list)  # a record for each epoch
    scaler: dict[str, Any] = field(default_factory=dict)  # of half-precision gradients


def create_folder(root: Path) -> None:
    """Make the folder. Raises OutputError where it cannot be made or holds a run, or a bundle, already."""
    if (root / CONFIG_FILE).exists():
        raise OutputError(f"{escape(root)}: holds a run already; go on with --resume, or choose another folder")
    if found := [name for name in (STATE_FILE, BEST_FILE, LAST_FILE, LOG_FILE, BUNDLE_FILE) if (root / name).exists()]:
        raise OutputError(f"{escape(root)}: holds {', '.join(found)} already; choose another folder")
    try:
        str(root.resolve()).encode()
        root.mkdir(parents=True, exist_ok=True)
        check_writable(root)
    except UnicodeEncodeError:
        raise OutputError(f"{escape(root)}: a run needs a folder whose name is text in UTF-8") from None
    except OSError as error:
        raise OutputError(f"{escape(root)}: cannot be made: {error.strerror}") from error


def write_config(root: Path, config: Mapping[str, Any]) -> None:
    """What makes the folder a run: what it was started with, and where."""
    write_json(root / "environment.json", environment())
    write_json(root / CONFIG_FILE, {"format": _FORMAT_VERSION, **config})


def read_config(root: Path) -> dict[str, Any]:
    """What a run was started with. Raises SetupError where the folder holds no run."""
    path = root / CONFIG_FILE
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        if config.get("format") != _FORMAT_VERSION:
            raise ValueError(f"format {config.get('format')}, this program reads {_FORMAT_VERSION}")
    except (OSError, ValueError, AttributeError, RecursionError) as error:
        raise SetupError(f"{escape(root)}: not a run to go on with: {escape(error)}") from error
    return config


def write_json(path: Path, document: Mapping[str, Any]) -> None:
    """Whole or not at all. Raises OutputError."""
    write_atomic(path, (json.dumps(document, indent=2) + "\n").encode())


def environment() -> dict[str, Any]:
    """What a result may depend on and the configuration does not say."""
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
    """`bundle.toml`: the extractors that made the features, as far as `extractors` has them, and the best parser.

    Files that only the folder of `extractors` holds are copied, so that the run stands alone. Returns the names of
    extractors that it does not have: such a run can be scored, but is no help with videos.
    """
    files = {name: extractors.extractors.get(name, "") for name in spec.extractors}
    if extractors.root is not None:
        paths, _ = gather_files(replace(extractors, parser={}), replace(source, offline=True))
        for name, file in files.items():
            if file and file not in list_files():
                files[name] = _copy(paths[file], root, f"{name}{paths[file].suffix}")
    entries = ", ".join(f"{toml_string(name)} = {toml_string(file)}" for name, file in files.items())
    text = (
        f"description = {toml_string(f'trained by avvp train in {root.resolve().name}')}\n"
        f"profile = {toml_string(spec.profile)}\n"
        f"extractors = {{ {entries} }}\n"
        f'parser = {{ checkpoint = "{BEST_FILE}" }}\n'
    )
    write_atomic(root / BUNDLE_FILE, text.encode())
    return [name for name, file in files.items() if not file]


def _copy(source: Path, folder: Path, name: str) -> str:
    """The name of the copy, which is whole or not there."""
    with replacing(folder / name) as temporary:
        shutil.copyfile(source, temporary)
    return name


def write_parser(path: Path, parser: AVParser, spec: FeatureSpec, record: Mapping[str, Any]) -> None:
    """A checkpoint of the parser, whole or not at all."""
    write_atomic(path, dump_checkpoint(parser, spec.to_dict(), record))


def write_log(root: Path, progress: TrainingState) -> None:
    """`log.jsonl`, a line for each epoch."""
    write_atomic(root / LOG_FILE, "".join(json.dumps(record) + "\n" for record in progress.log).encode())


def save_state(root: Path, parser: nn.Module, optimizer: torch.optim.Optimizer, progress: TrainingState) -> None:
    """Everything that going on needs, in one file that is replaced at once. Raises OutputError."""
    tensors = {f"parser.{key}": tensor.detach().cpu().contiguous() for key, tensor in parser.state_dict().items()}
    for name, parameter in parser.named_parameters():
        for key, value in optimizer.state[parameter].items():
            tensors[f"optimizer.{name}.{key}"] = value.detach().cpu().contiguous()
    description = {"format": _FORMAT_VERSION, "tensors": len(tensors), "progress": vars(progress)}
    metadata = {_METADATA_KEY: json.dumps(description)}
    with replacing(root / STATE_FILE) as temporary:
        try:
            save_file(tensors, temporary, metadata=metadata)
        except SafetensorError as error:  # what it makes of a full disk
            raise OSError(str(error)) from error


def load_training_state(root: Path) -> TrainingState:
    """How far a run has come. Raises SetupError for a state that cannot be read."""
    return _read_state(root / STATE_FILE, tensors=False)[0]


def load_state(root: Path, parser: nn.Module, optimizer: torch.optim.Optimizer) -> TrainingState:
    """Put parser and optimizer back where the last whole epoch left them; a run that has none starts at 0.

    Raises SetupError for a state that does not fit.
    """
    path = root / STATE_FILE
    if not path.exists():
        return TrainingState()
    progress, tensors = _read_state(path, tensors=True)
    state = {key.removeprefix("parser."): tensor for key, tensor in tensors.items() if key.startswith("parser.")}
    try:
        parser.load_state_dict(state)
    except RuntimeError as error:
        raise SetupError(f"{escape(path)}: is of another parser: {escape(error)}") from error
    for name, parameter in parser.named_parameters():
        prefix = f"optimizer.{name}."
        own = {key.removeprefix(prefix): tensor for key, tensor in tensors.items() if key.startswith(prefix)}
        optimizer.state[parameter] = {key: tensor.to(parameter.device) for key, tensor in own.items()}
    return progress


def _read_state(path: Path, *, tensors: bool) -> tuple[TrainingState, dict[str, Tensor]]:
    try:
        with safe_open(path, framework="pt") as file:
            description = json.loads((file.metadata() or {})[_METADATA_KEY])
            names = list(file.keys())
            found = {name: file.get_tensor(name) for name in names} if tensors else {}
        if description["format"] != _FORMAT_VERSION:
            raise ValueError("of another version of this program")
        if description["tensors"] != len(names):
            raise ValueError(f"holds {len(names)} tensors of {description['tensors']}")
        progress = TrainingState(**description["progress"])
        if type(progress.epochs) is not int or len(progress.log) != progress.epochs:
            raise ValueError("its epochs and its log do not go together")
        return progress, found
    except (SafetensorError, OSError, KeyError, TypeError, ValueError) as error:
        raise SetupError(f"{escape(path)}: cannot be gone on with: {escape(error)}") from error
