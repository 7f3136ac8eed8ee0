"""Progress of a training run, and the files of its folder that change with each epoch."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...extractors.profiles import FeatureSpec
from ...models.files.checkpoint import dump_checkpoint, load_checkpoint
from ...models.parser import AVParser, NetworkPair, join_networks
from ...weights.messages import first_line, shown
from ...weights.parameters import check_parameters
from ..errors import SetupError
from ..evaluation.selection import EACH_MODALITY, is_better
from ..files import write_atomic
from ..inference.networks import TrainedNetwork
from ..text import escape
from .run_folder import BEST_FILE, LOG_FILE, STATE_FILE
from .settings.training_config import MAX_EPOCHS, TrainingConfig
from .state_file import read_state_content, read_state_file, write_state_file

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
    # With select = "each_modality": score and epoch of the best network of each modality.
    best_scores: dict[str, float] = field(default_factory=dict)
    best_epochs: dict[str, int] = field(default_factory=dict)

    def is_finished(self, config: TrainingConfig) -> bool:
        """Return whether all epochs are complete, or none of the last `patience` ones was the best."""
        waited = self.epochs - self.best_epoch
        return self.epochs >= config.epochs or (0 < config.patience <= waited and self.epochs > 0)

    def choose(self, scores: Mapping[str, float], select: str) -> list[str]:
        """Count the epoch that was trained, and compare it with the best ones so far.

        Args:
            scores: of `selection_scores`.
            select: setting of the recipe.

        Returns:
            Names of the scores by which it is the best.
        """
        self.epochs += 1
        if select != EACH_MODALITY:
            better = [name for name, score in scores.items() if is_better(score, self.best_score, select)]
            self.best_score = scores[better[0]] if better else self.best_score
        else:
            lowest = float("-inf")
            better = [n for n, score in scores.items() if is_better(score, self.best_scores.get(n, lowest), select)]
            self.best_scores |= {name: scores[name] for name in better}
            self.best_epochs |= dict.fromkeys(better, self.epochs)
            self.best_score = sum(self.best_scores.values()) / len(self.best_scores)
        self.best_epoch = self.epochs if better else self.best_epoch
        return better

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
        _check_best_of(state)
        scaler = state.scaler
        if not isinstance(scaler, dict) or not all(_is_finite(value) and value >= 0 for value in scaler.values()):
            raise ValueError("its scale of gradients is not a table of numbers")
        if scaler and set(scaler) != _SCALER_KEYS:
            raise ValueError("its scale of gradients has other entries than this version of torch")
        return state


def _check_best_of(state: TrainingState) -> None:
    """Raise ValueError unless the best networks of the modalities are complete, or there are none."""
    tables = state.best_scores, state.best_epochs
    if not all(isinstance(table, dict) and set(table) in ({"audio", "visual"}, set()) for table in tables):
        raise ValueError("its best epochs of the modalities are not tables")
    if set(state.best_scores) != set(state.best_epochs) or not all(map(_is_finite, state.best_scores.values())):
        raise ValueError("its best scores of the modalities are not numbers")
    if not all(type(epoch) is int and 1 <= epoch <= state.epochs for epoch in state.best_epochs.values()):
        raise ValueError("its best epochs of the modalities are not those of the run")


def _is_finite(value: object) -> bool:
    return type(value) in {int, float} and math.isfinite(value)  # pyright: ignore[reportArgumentType] - checked


def write_parser(path: Path, parser: TrainedNetwork, spec: FeatureSpec, record: Mapping[str, Any]) -> None:
    """Write a checkpoint of a parser or a localizer atomically.

    Args:
        path: the file.
        parser: the parser.
        spec: of the features it was trained on.
        record: JSON-ready facts of its training.

    Raises:
        OutputError: the file cannot be written.
    """
    write_atomic(path, dump_checkpoint(parser, spec.to_dict(), record))


def join_best(root: Path, parser: TrainedNetwork, better: Sequence[str], *, trust: Iterable[str] = ()) -> AVParser:
    """Join the best networks of both modalities to one parser.

    Args:
        root: folder of the run, whose best.safetensors holds the best ones so far.
        parser: of the last epoch.
        better: "audio", "visual" or both: what it is the best for.
        trust: packages whose parts the parser may have.

    Returns:
        The parser, in evaluation mode on the CPU.

    Raises:
        SetupError: the best ones so far cannot be read.
    """
    assert isinstance(parser, AVParser)
    networks = {"audio": parser, "visual": parser}
    if len(better) < len(networks):
        try:
            pair = load_checkpoint(root / BEST_FILE, trust).parser
        except ValueError as error:
            raise SetupError(escape(error)) from error
        if not isinstance(pair, NetworkPair):
            raise SetupError(f"{escape(root / BEST_FILE)}: not the best networks of both modalities")
        kept = {"audio": pair.audio_network, "visual": pair.visual_network}
        networks |= {name: network for name, network in kept.items() if name not in better}
    return join_networks(networks["audio"], networks["visual"], trust=trust)


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
