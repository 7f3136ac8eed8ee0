"""An extractor in training, and the state file that its training resumes from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from ...extractors.base import Extractor
from ...weights.messages import shown
from ...weights.parameters import check_parameters
from ..errors import SetupError
from ..text import escape
from .extractor_examples import Examples
from .settings.extractor_settings import ExtractorTrainingConfig
from .state_file import read_state_content, read_state_file


@dataclass(eq=False)
class ExtractorTraining:
    """An extractor in training."""

    network: Extractor
    head: nn.Linear  # classifier that is removed in the end
    optimizer: torch.optim.Optimizer
    rng: np.random.Generator  # order and mixing of the examples
    epochs: int = 0  # complete ones

    def tensors(self) -> dict[str, Tensor]:
        """Return all tensors that training changes, by name."""
        modules = {"network": self.network, "head": self.head}
        tensors = {f"{name}.{key}": value for name, part in modules.items() for key, value in part.state_dict().items()}
        for index, parameter in enumerate(self._parameters()):
            tensors |= {f"optimizer.{index}.{key}": value for key, value in self.optimizer.state[parameter].items()}
        return tensors

    def restore(self, tensors: Mapping[str, Tensor]) -> None:
        """Set what `tensors` returned. Raises ValueError if they are those of another network."""
        shapes = {
            f"{name}.{key}": tuple(value.shape)
            for name, part in (("network", self.network), ("head", self.head))
            for key, value in part.state_dict().items()
        }
        optimizer = {}
        for index, parameter in enumerate(self._parameters()):
            optimizer |= {f"optimizer.{index}.{key}": tuple(parameter.shape) for key in ("exp_avg", "exp_avg_sq")}
            optimizer[f"optimizer.{index}.step"] = ()
        check_parameters(tensors, {**shapes, **optimizer})
        for name, part in (("network", self.network), ("head", self.head)):
            part.load_state_dict({key: tensors[f"{name}.{key}"] for key in part.state_dict()})
        for index, parameter in enumerate(self._parameters()):
            self.optimizer.state[parameter] = {
                # In the memory layout of the parameter; the step stays where AdamW keeps it.
                **{
                    key: torch.empty_like(parameter, requires_grad=False).copy_(tensors[f"optimizer.{index}.{key}"])
                    for key in ("exp_avg", "exp_avg_sq")
                },
                "step": tensors[f"optimizer.{index}.step"].clone(),
            }

    def _parameters(self) -> list[nn.Parameter]:
        return [*self.network.parameters(), *self.head.parameters()]


def check_state(state_file: Path, name: str, examples: Examples, config: ExtractorTrainingConfig) -> bool:
    """Check whether training can be resumed from a state, before any extractor is trained.

    Args:
        state_file: of `train_extractor`; it may not exist.
        name: key of `EXTRACTORS`.
        examples: of its stream.
        config: settings.

    Returns:
        Whether there is a state, and its number of epochs is another one: training starts from the first epoch.

    Raises:
        SetupError: the state cannot be read, or the examples or settings are not those it was made with.
    """
    if not state_file.exists():
        return False
    content = read_state_content(state_file)
    expected = describe_training(name, examples, config)
    saved = content.get("settings")
    if content.get("extractor") != name or not isinstance(saved, dict):
        raise SetupError(f"{escape(state_file)}: not the state of training {name}")
    epochs = saved.get("epochs")
    if type(epochs) is not int or {**saved, "epochs": 0} != {**expected["settings"], "epochs": 0}:
        raise SetupError(f"{escape(state_file)}: the settings are not those this run was started with")
    hashes = content.get("examples")
    if not isinstance(hashes, dict):
        raise SetupError(f"{escape(state_file)}: has no hashes of the examples")
    if changed := [what for what, value in expected["examples"].items() if hashes.get(what) != value]:
        raise SetupError(
            f"{escape(state_file)}: the {' and the '.join(changed)} are not those this run was started with; restore"
            " them, or start a new run"
        )
    return epochs != config.epochs


def describe_training(name: str, examples: Examples, config: ExtractorTrainingConfig) -> dict[str, Any]:
    """Return what a state is of, JSON-ready."""
    return {"extractor": name, "settings": asdict(config), "examples": dict(examples.hashes)}


def restore_training(
    training: ExtractorTraining, state_file: Path, name: str, examples: Examples, config: ExtractorTrainingConfig
) -> None:
    """Restore the last complete epoch, unless it is of a run of another length.

    Args:
        training: just started; it is changed.
        state_file: of `train_extractor`.
        name: key of `EXTRACTORS`.
        examples: of its stream.
        config: settings.

    Raises:
        SetupError: the state cannot be used.
    """
    if check_state(state_file, name, examples, config):
        return
    content, tensors = read_state_file(state_file)
    try:
        if type(content.get("epochs")) is not int or not 1 <= content["epochs"] <= config.epochs:
            raise ValueError(f"its number of epochs is {shown(content.get('epochs'))}")
        training.restore(tensors)
        if not isinstance(content.get("rng"), dict):
            raise ValueError("the position of its random numbers is missing")
        training.rng.bit_generator.state = content["rng"]
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        raise SetupError(f"{escape(state_file)}: cannot be resumed from: {escape(error)}") from error
    training.epochs = content["epochs"]
