"""Training small extractors, each with a linear classifier on top that is thrown away afterwards."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

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
from ...weights.manifest import BUNDLE_FILE
from ...weights.toml import toml_string
from ..errors import TrainingError
from ..files import write_atomic
from .extractor_examples import Examples

_BATCH = 64
_WARM_UP = 0.1  # share of the steps in which the rate grows
_GAIN_DB = 6.0  # of a sound that is laid over another
_POSITIVE_WEIGHT = 3.0  # most classes are absent from most seconds


@dataclass(frozen=True)
class ExtractorTrainingConfig:
    """How long and how fast an extractor learns."""

    epochs: int = 6
    learning_rate: float = 2e-3
    weight_decay: float = 1e-4
    per_epoch: int | None = None  # examples of an epoch, drawn anew for each; by default all
    mixed: float = 0.0  # share of the sounds over which another of the batch is laid
    seed: int = 0


def train_extractor(
    name: str,
    examples: Examples,
    schedule: ExtractorTrainingConfig,
    *,
    device: torch.device | str = "cpu",
    told: Callable[[int, int, float], None] = lambda *_: None,
) -> dict[str, Tensor]:
    """The parameters of an extractor that tells the classes of its examples apart, on the CPU.

    Adam with decoupled decay, a rate that grows and then falls as a cosine, binary cross-entropy by class. The same
    seed gives the same parameters on the same machine. told: called after each epoch with its number, their number
    and the mean loss.
    """
    torch.manual_seed(schedule.seed)
    rng = np.random.default_rng(schedule.seed)
    network = EXTRACTORS[name]().to(device).train()
    if network.memory_format is torch.channels_last:  # 3-d convolutions learn twice as fast in the default layout
        network.to(memory_format=torch.channels_last)  # pyright: ignore[reportCallIssue] - a gap in torch's stubs
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Conv3d | nn.Linear):
            nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    head = nn.Linear(network.dim, examples.labels.shape[1]).to(device)
    parameters = [*network.parameters(), *head.parameters()]
    optimizer = torch.optim.AdamW(parameters, schedule.learning_rate, weight_decay=schedule.weight_decay)
    count = min(schedule.per_epoch or len(examples.labels), len(examples.labels))
    steps, step = schedule.epochs * math.ceil(count / _BATCH), 0
    weight = torch.full((examples.labels.shape[1],), _POSITIVE_WEIGHT, device=device)
    for epoch in range(schedule.epochs):
        order, total = rng.permutation(len(examples.labels))[:count], 0.0
        for first in range(0, count, _BATCH):
            chosen = np.sort(order[first : first + _BATCH])
            for group in optimizer.param_groups:
                group["lr"] = schedule.learning_rate * _rate(step / steps)
            x = _load(network, examples, chosen, device)
            wanted = torch.from_numpy(examples.labels[chosen]).to(device)
            if schedule.mixed:
                x, wanted = mix_examples(x, wanted, schedule.mixed, rng)
            logits, wanted = head(network(x)), wanted.float()
            loss = F.binary_cross_entropy_with_logits(logits, wanted, pos_weight=weight)
            if not torch.isfinite(loss):
                raise TrainingError(f"{name}: the loss of epoch {epoch + 1} is no number; lower the learning rate")
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            total += loss.item() * len(chosen)
            step += 1
        told(epoch + 1, schedule.epochs, total / count)
    if isinstance(network, VGGish):
        _to_unit_scale(network, _load(network, examples, np.arange(min(count, _BATCH)), device))
    return {key: value.detach().cpu().contiguous() for key, value in network.state_dict().items()}


def mix_examples(x: Tensor, labels: Tensor, share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Log-mel examples (N, 96, 64), some with another one of them on top, and what is heard in them then, (N, C) bool.

    Sounds that have nothing to do with each other add their power. The second one is up to 6 dB louder or softer.
    """
    count = len(x)
    other = torch.from_numpy(rng.permutation(count)).to(x.device)
    gain = 10 ** (rng.uniform(-_GAIN_DB, _GAIN_DB, count) / 20) * (rng.random(count) < share)
    gains = torch.from_numpy(gain).to(x)
    mel = x.exp() - LOG_OFFSET
    together = mel.square() + (gains[:, None, None] * mel[other]).square()
    return (together.sqrt() + LOG_OFFSET).log(), labels | (labels[other] & (gains > 0)[:, None])


def _to_unit_scale(network: VGGish, x: Tensor) -> None:
    """Without batch norm, features come out at any scale, and parsers learn nothing from values around 20.

    The last layer ends in ReLU: a factor on its parameters is a factor on the features; a power of two rounds nothing.
    """
    with torch.inference_mode():
        size = float(network(x).square().mean().sqrt())
    last = [layer for layer in network.embeddings if isinstance(layer, nn.Linear)][-1]
    with torch.no_grad():
        for parameter in (last.weight, last.bias):
            parameter.mul_(2.0 ** -round(math.log2(max(size, 1e-6))))


def _load(network: Extractor, examples: Examples, chosen: np.ndarray, device: torch.device | str) -> Tensor:
    x = network.prepare(torch.from_numpy(np.ascontiguousarray(examples.inputs[chosen])).to(device))
    return x.contiguous() if x.ndim == 5 else x


def _rate(part: float) -> float:
    """Factor of the learning rate after this part of the steps."""
    if part < _WARM_UP:
        return part / _WARM_UP
    return 0.5 * (1 + math.cos(math.pi * (part - _WARM_UP) / (1 - _WARM_UP)))


# What the demo's extractors were trained with; a stream's examples differ in number and cost.
EXTRACTOR_CONFIGS: dict[Stream, ExtractorTrainingConfig] = {
    "audio": ExtractorTrainingConfig(epochs=15, learning_rate=1e-3, mixed=0.5),
    "visual_2d": ExtractorTrainingConfig(epochs=5, per_epoch=12_000),
    "visual_3d": ExtractorTrainingConfig(epochs=5, per_epoch=4_000),
}
SMALL: dict[Stream, str] = {"audio": "vggish_small", "visual_2d": "resnet_small", "visual_3d": "r2plus1d_small"}


def write_extractors(folder: Path, profile: str, states: Mapping[str, Mapping[str, Tensor]], description: str) -> None:
    """A bundle of extractors alone: `avvp extract --weights FOLDER`, `avvp train --extractors FOLDER`.

    states: name of each extractor -> its parameters. Raises OutputError.
    """
    for name, state in states.items():
        write_atomic(folder / f"{name}.safetensors", save(dict(state)))
    entries = ", ".join(f"{name} = {toml_string(f'{name}.safetensors')}" for name in states)
    text = (
        f"description = {toml_string(description)}\nprofile = {toml_string(profile)}\n"
        f"extractors = {{ {entries} }}\nparser = {{}}\n"
    )
    write_atomic(folder / BUNDLE_FILE, text.encode())
