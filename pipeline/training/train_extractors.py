"""Train small extractors to classify single seconds of audio and video."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from ...extractors.base import Extractor
from ...extractors.mel import LOG_OFFSET
from ...extractors.registry import EXTRACTORS
from ...extractors.vgg19 import POSITIONS, VGG19
from ...extractors.vggish import VGGish
from ...weights.manifest import BUNDLE_FILE, Bundle, format_bundle
from ..devices import FP32
from ..errors import TrainingError
from ..files import write_atomic
from ..memory import converting_out_of_memory
from ..text import escape
from .extractor_examples import Examples
from .extractor_state import ExtractorTraining, describe_training, restore_training
from .settings.extractor_settings import ExtractorTrainingConfig
from .state_file import write_state_file

_BATCH_SIZE = 64
_WARM_UP = 0.1  # share of the steps in which the learning rate grows
_MAX_GAIN_DB = 6.0  # of audio that is mixed into another example
_POSITIVE_WEIGHT = 3.0  # most classes are absent from most seconds


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

    def describe_memory(error: BaseException) -> TrainingError:
        return TrainingError(f"{name}: out of memory in a batch of {_BATCH_SIZE} examples ({escape(error)})")

    training = _start(name, examples, config, device)
    if state_file is not None and state_file.exists():
        restore_training(training, state_file, name, examples, config)
    count = min(config.per_epoch or len(examples.labels), len(examples.labels))
    for epoch in range(training.epochs, config.epochs):
        with converting_out_of_memory(describe_memory):
            total = _train_epoch(training, name, examples, config, epoch)
        training.epochs = epoch + 1
        if state_file is not None:
            content = {
                "epochs": training.epochs,
                "rng": training.rng.bit_generator.state,
                **describe_training(name, examples, config),
            }
            write_state_file(state_file, training.tensors(), content)
        on_epoch(epoch + 1, config.epochs, total / count)
    network = training.network
    if isinstance(network, VGGish | VGG19):
        _scale_to_unit(network, _load(network, examples, np.arange(min(count, _BATCH_SIZE)), device))
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def _start(
    name: str, examples: Examples, config: ExtractorTrainingConfig, device: torch.device | str
) -> ExtractorTraining:
    torch.manual_seed(config.seed)
    rng = np.random.default_rng(config.seed)
    FP32.prepare(torch.device(device))  # a GPU's convolutions would use TF32 otherwise
    network = EXTRACTORS[name]().to(device).train()
    if network.memory_format is torch.channels_last:  # 3-d convolutions train twice as fast in the default layout
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    _initialize(network)
    width = network.dim // POSITIONS if isinstance(network, VGG19) else network.dim
    head = nn.Linear(width, examples.labels.shape[1]).to(device)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, config.learning_rate, weight_decay=config.weight_decay)
    return ExtractorTraining(network, head, optimizer, rng)


def _train_epoch(
    training: ExtractorTraining, name: str, examples: Examples, config: ExtractorTrainingConfig, epoch: int
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
        loss = F.binary_cross_entropy_with_logits(
            head(_features(network, x)), labels.float(), pos_weight=positive_weights
        )
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


def _features(network: Extractor, x: Tensor) -> Tensor:
    """Return what is classified: the rows, or the mean over the positions of maps."""
    rows = network(x)
    return rows.unflatten(1, (POSITIONS, -1)).mean(dim=1) if isinstance(network, VGG19) else rows


def _scale_to_unit(network: VGGish | VGG19, x: Tensor) -> None:
    """Scale the features to a root mean square near 1.

    Without batch norm their scale is arbitrary, and parsers do not learn from values around 20. After the last layer
    come ReLU and pooling, so a factor on its parameters is a factor on the features; a power of two causes no rounding.
    """
    with torch.inference_mode():
        rms = float(network(x).square().mean().sqrt())
    layers = network.embeddings if isinstance(network, VGGish) else network.features
    last = [layer for layer in layers if isinstance(layer, nn.Linear | nn.Conv2d)][-1]
    with torch.no_grad():
        for parameter in last.parameters():
            parameter.mul_(2.0 ** -round(math.log2(max(rms, 1e-6))))


def _load(network: Extractor, examples: Examples, indices: np.ndarray, device: torch.device | str) -> Tensor:
    x = network.prepare(torch.from_numpy(np.ascontiguousarray(examples.inputs[indices])).to(device))
    return x.contiguous() if x.ndim == 5 else x


def _rate_factor(progress: float) -> float:
    """Return the factor of the learning rate after this share of the steps."""
    if progress < _WARM_UP:
        return progress / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))


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
