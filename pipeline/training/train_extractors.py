"""Train small extractors to classify single seconds of audio and video."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from ...extractors.base import Extractor
from ...extractors.mel import LOG_OFFSET
from ...extractors.registry import EXTRACTORS
from ...extractors.sampling import Stream
from ...extractors.vggish import VGGish
from ...weights.manifest import BUNDLE_FILE, Bundle, format_bundle
from ...weights.messages import shown
from ...weights.parameters import check_parameters
from ..errors import SetupError, TrainingError
from ..files import write_atomic
from ..memory import is_out_of_memory
from ..text import escape
from .extractor_examples import Examples
from .recipe import MAX_EPOCHS, MAX_SEED
from .state_file import read_state_content, read_state_file, write_state_file

_BATCH_SIZE = 64
_WARM_UP = 0.1  # share of the steps in which the learning rate grows
_MAX_GAIN_DB = 6.0  # of audio that is mixed into another example
_POSITIVE_WEIGHT = 3.0  # most classes are absent from most seconds


@dataclass(frozen=True)
class ExtractorTrainingConfig:
    """Settings of training an extractor.

    Raises:
        ValueError: the number of epochs or the seed is out of range.
    """

    epochs: int = 6
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    per_epoch: int | None = None  # examples per epoch, drawn anew for each; None for all
    mixed: float = 0.0  # share of the audio examples that another one is mixed into
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.epochs <= MAX_EPOCHS or not 0 <= self.seed <= MAX_SEED:
            raise ValueError(f"epochs must be from 1 to {MAX_EPOCHS}, the seed from 0 to {MAX_SEED}")


@dataclass(eq=False)
class _Training:
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


def train_extractor(
    name: str,
    examples: Examples,
    config: ExtractorTrainingConfig,
    *,
    device: torch.device | str = "cpu",
    on_epoch: Callable[[int, int, float], None] = lambda *_: None,
    state_file: Path | None = None,
) -> dict[str, Tensor]:
    """Train an extractor with a linear classifier on top, which is then removed.

    AdamW, a learning rate with linear warm-up and cosine decay, binary cross-entropy per class. The same seed gives the
    same parameters on the same machine, also if training was stopped and resumed.

    Args:
        name: key of `EXTRACTORS`.
        examples: of its stream.
        config: settings.
        device: for training.
        on_epoch: called after each epoch with its number (from 1), the number of epochs, and the mean loss.
        state_file: replaced after each epoch; training resumes from it if it exists and is of the same number of
            epochs, on which all learning rates depend. None for none.

    Returns:
        The parameters, on the CPU.

    Raises:
        TrainingError: the loss is NaN or infinite, or memory is exhausted.
        SetupError: the state cannot be used, see `check_state`.
        OutputError: the state cannot be written.
    """
    training = _start(name, examples, config, device)
    if state_file is not None and state_file.exists():
        _restore(training, state_file, name, examples, config)
    count = min(config.per_epoch or len(examples.labels), len(examples.labels))
    for epoch in range(training.epochs, config.epochs):
        try:
            total = _train_epoch(training, name, examples, config, epoch)
        except (MemoryError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            raise TrainingError(
                f"{name}: out of memory in a batch of {_BATCH_SIZE} examples ({escape(error)})"
            ) from error
        training.epochs = epoch + 1
        if state_file is not None:
            content = {
                "epochs": training.epochs,
                "rng": training.rng.bit_generator.state,
                **_describe(name, examples, config),
            }
            write_state_file(state_file, training.tensors(), content)
        on_epoch(epoch + 1, config.epochs, total / count)
    network = training.network
    if isinstance(network, VGGish):
        _scale_to_unit(network, _load(network, examples, np.arange(min(count, _BATCH_SIZE)), device))
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


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
    expected = _describe(name, examples, config)
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


def _describe(name: str, examples: Examples, config: ExtractorTrainingConfig) -> dict[str, Any]:
    return {"extractor": name, "settings": asdict(config), "examples": dict(examples.hashes)}


def _restore(
    training: _Training, state_file: Path, name: str, examples: Examples, config: ExtractorTrainingConfig
) -> None:
    """Restore the last complete epoch, unless it is of a run of another length. Raises SetupError."""
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


def _start(name: str, examples: Examples, config: ExtractorTrainingConfig, device: torch.device | str) -> _Training:
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    network = EXTRACTORS[name]().to(device).train()
    if network.memory_format is torch.channels_last:  # 3-d convolutions train twice as fast in the default layout
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    _initialize(network)
    head = nn.Linear(network.dim, examples.labels.shape[1]).to(device)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    return _Training(network, head, optimizer, rng)


def _train_epoch(
    training: _Training, name: str, examples: Examples, config: ExtractorTrainingConfig, epoch: int
) -> float:
    """Train one epoch, from 0; return the sum of the losses of its examples. No other randomness than `rng` is used."""
    network, head, optimizer, rng = training.network, training.head, training.optimizer, training.rng
    device = head.weight.device
    count = min(config.per_epoch or len(examples.labels), len(examples.labels))
    batches = math.ceil(count / _BATCH_SIZE)
    steps = config.epochs * batches
    positive_weights = torch.full((examples.labels.shape[1],), _POSITIVE_WEIGHT, device=device)
    order, total = rng.permutation(len(examples.labels))[:count], 0.0
    for batch in range(batches):
        indices = np.sort(order[batch * _BATCH_SIZE : (batch + 1) * _BATCH_SIZE])
        for group in optimizer.param_groups:
            group["lr"] = config.learning_rate * _rate_factor((epoch * batches + batch) / steps)
        x = _load(network, examples, indices, device)
        labels = torch.from_numpy(examples.labels[indices]).to(device)
        if config.mixed:
            x, labels = mix_examples(x, labels, config.mixed, rng)
        loss = F.binary_cross_entropy_with_logits(head(network(x)), labels.float(), pos_weight=positive_weights)
        if not torch.isfinite(loss):
            raise TrainingError(f"{name}: the loss of epoch {epoch + 1} is not finite; lower the learning rate")
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        optimizer.step()
        total += loss.item() * len(indices)
    return total


def _initialize(network: Extractor) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)


def mix_examples(x: Tensor, labels: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mix another example of the batch into some of the examples, up to 6 dB louder or softer.

    The power spectra are added, as those of uncorrelated signals are.

    Args:
        x: (N, 96, 64) log-mel.
        labels: (N, C) bool.
        share: of the examples that are mixed, in [0, 1].
        rng: draws the examples and their gains.

    Returns:
        The mixed log-mel, and the union of the labels.
    """
    count = len(x)
    other = torch.from_numpy(rng.permutation(count)).to(x.device)
    gain = 10 ** (rng.uniform(-_MAX_GAIN_DB, _MAX_GAIN_DB, count) / 20) * (rng.random(count) < share)
    gains = torch.from_numpy(gain).to(x)
    mel = x.exp() - LOG_OFFSET
    power = mel.square() + (gains[:, None, None] * mel[other]).square()
    return (power.sqrt() + LOG_OFFSET).log(), labels | (labels[other] & (gains > 0)[:, None])


def _scale_to_unit(network: VGGish, x: Tensor) -> None:
    """Scale the features to a root mean square near 1.

    Without batch norm their scale is arbitrary, and parsers do not learn from values around 20. The last layer ends in
    ReLU, so a factor on its parameters is a factor on the features; a power of two causes no rounding.
    """
    with torch.inference_mode():
        rms = float(network(x).square().mean().sqrt())
    last = [layer for layer in network.embeddings if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        for parameter in (last.weight, last.bias):
            parameter.mul_(2.0 ** -round(math.log2(max(rms, 1e-6))))


def _load(network: Extractor, examples: Examples, indices: np.ndarray, device: torch.device | str) -> Tensor:
    x = network.prepare(torch.from_numpy(np.ascontiguousarray(examples.inputs[indices])).to(device))
    return x.contiguous() if x.ndim == 5 else x


def _rate_factor(progress: float) -> float:
    """Return the factor of the learning rate after this share of the steps."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


# The demo bundle's extractors were trained with these; the number and the cost of examples differ between streams.
EXTRACTOR_CONFIGS: dict[Stream, ExtractorTrainingConfig] = {
    "audio": ExtractorTrainingConfig(epochs=15, learning_rate=1e-3, mixed=0.5),
    "visual_2d": ExtractorTrainingConfig(epochs=5, per_epoch=12_000),
    "visual_3d": ExtractorTrainingConfig(epochs=5, per_epoch=4_000),
}
SMALL: dict[Stream, str] = {"audio": "vggish_small", "visual_2d": "resnet_small", "visual_3d": "r2plus1d_small"}


def write_extractors(folder: Path, profile: str, states: Mapping[str, Mapping[str, Tensor]], description: str) -> None:
    """Write a bundle without a parser, for `avvp extract --weights FOLDER` and `avvp train --extractors FOLDER`.

    Args:
        folder: of the bundle.
        profile: that the examples were decoded under, a key of `PROFILES`.
        states: name of each extractor -> its parameters.
        description: one line about the bundle.

    Raises:
        OutputError: a file cannot be written.
    """
    for name, state in states.items():
        write_atomic(folder / f"{name}.safetensors", save(dict(state)))
    files = {name: f"{name}.safetensors" for name in states}
    bundle = Bundle(name=folder.resolve().name, description=description, profile=profile, extractors=files, parser={})
    write_atomic(folder / BUNDLE_FILE, format_bundle(bundle).encode())
