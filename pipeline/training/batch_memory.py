"""Memory that a batch of training needs on a CPU, checked before a run starts.

Where a control group limits memory, as in containers, the system kills a process that exceeds it: there is no error
that could be handled then.
"""

from __future__ import annotations

import contextlib

import torch
from torch import Tensor, nn
from torch.autograd.graph import saved_tensors_hooks
from torch.nn.attention import SDPBackend, sdpa_kernel

from ...extractors.sampling import rows_per_segment
from ...models.config import ParserConfig
from ...models.localizers.config import LocalizerConfig
from ...models.localizers.localizer import meta_localizer
from ...models.open.adapter import AdapterConfig, meta_adapter
from ...models.parser import meta_parser
from ...models.teacher import TeacherConfig, meta_teacher
from ..errors import SetupError
from ..inference.networks import TrainedConfig, network_features
from ..memory import available_memory

_FLOAT = 4  # bytes
_COPIES = 4  # of the parameters: themselves, gradients, two moments
_BATCHES_AHEAD = 5  # of features that are read while one is trained on


def check_batch_memory(config: TrainedConfig, batch_size: int, clips: int) -> None:
    """Check that the memory that is left can hold a batch of the longest clips.

    What encoders and decoders of other packages need is not known: nothing is checked then.

    Args:
        config: of the network.
        batch_size: clips in a batch.
        clips: number of training clips.

    Raises:
        SetupError: it cannot; the message names what to lower.
    """
    if isinstance(config, ParserConfig) and config.has_other_parts:
        return
    available = available_memory()
    size = min(batch_size, clips)
    if available is None or _most_bytes(config, size) < available:
        return
    needed = batch_bytes(config, size)
    if needed > available:
        raise SetupError(
            f"a batch of {size} clips of up to {config.segments} seconds needs at least {needed / 1e9:.2g} GB of"
            f" memory, and {available / 1e9:.2g} GB are left: use a smaller --batch-size, or, for long clips,"
            " --set model.attention_dropout=0.0"
        )


def batch_bytes(config: TrainedConfig, batch_size: int) -> int:
    """Count the least memory that a training step needs on a CPU, without allocating it.

    Args:
        config: of the network; its clips have `segments` seconds.
        batch_size: clips in a batch.

    Returns:
        Bytes of parameters, optimizer, features and what the forward pass keeps for the backward pass.
    """
    kept: dict[int, torch.UntypedStorage] = {}

    def keep(tensor: Tensor) -> Tensor:
        storage = tensor.untyped_storage()
        kept[storage._cdata] = storage  # meta tensors have no address
        return tensor

    network = _meta_network(config)
    with torch.device("meta"):
        features = [torch.empty(batch_size, config.segments * rate, width) for rate, width in _streams(config)]
        # Dropout of attention needs the whole matrix of weights; without it, attention is fused.
        attention = sdpa_kernel(SDPBackend.MATH) if config.attention_dropout else contextlib.nullcontext()
        with attention, saved_tensors_hooks(keep, lambda tensor: tensor):
            network(*features)
    parameters = sum(parameter.numel() for parameter in network.parameters())
    for parameter in network.parameters():
        kept.pop(parameter.untyped_storage()._cdata, None)
    activations = sum(storage.nbytes() for storage in kept.values())
    return _FLOAT * _COPIES * parameters + activations


def _streams(config: TrainedConfig) -> list[tuple[int, int]]:
    """Return rows per second and width of each stream that a network reads."""
    frames = isinstance(config, ParserConfig) and config.needs_frames
    return [(rows_per_segment(stream) if frames else 1, width) for stream, width in network_features(config).items()]


def _meta_network(config: TrainedConfig) -> nn.Module:
    """Build a network without allocating its tensors."""
    if isinstance(config, TeacherConfig):
        return meta_teacher(config)
    if isinstance(config, AdapterConfig):
        return meta_adapter(config)
    return meta_localizer(config) if isinstance(config, LocalizerConfig) else meta_parser(config)


def _most_bytes(config: TrainedConfig, batch_size: int) -> int:
    """Return more than `batch_bytes` does, in no time."""
    parameters = 0  # beside those of layers
    features = _BATCHES_AHEAD * sum(rate * width for rate, width in _streams(config))
    if isinstance(config, LocalizerConfig):
        is_cmbs = config.system == "cmbs"
        layers = (8 + 4 * config.layers if is_cmbs else 6) + (2 * config.leap_blocks if config.decoder == "leap" else 0)
        widths = (config.hidden_dim, config.attention_dim, config.visual_dim, config.audio_dim)
        width = max(*widths, config.feedforward_dim if is_cmbs else 0, config.leap_feedforward_dim)
        heads = max(config.heads, config.interaction_heads, config.leap_heads)
        maps = config.positions * (24 * config.visual_dim + 12 * config.attention_dim + 8 * config.positions)
    elif isinstance(config, TeacherConfig):
        layers, heads, maps = 2 * (config.layers + 2), config.heads, 0
        width = max(2 * config.hidden_dim, config.feedforward_dim, config.audio_dim, config.visual_dim)
    elif isinstance(config, AdapterConfig):
        layers, heads, maps = 2 * config.layers, config.heads, 8 * len(config.embedding_labels)
        width = max(config.attention_dim, config.feedforward_dim, config.audio_dim, config.visual_dim)
    else:
        layers = 3 * config.levels + 2 if config.encoder == "mmpyr" else 4 * config.layers
        layers *= 2 if config.cross_share < 1 else 1  # with and without cross-attention
        layers += {"leap": 2 * config.leap_blocks, "evidence": 3, "classwise": 2}.get(config.decoder, 0)
        width, heads, maps = max(config.hidden_dim, config.feedforward_dim), config.heads, 0
        if config.stem == "mlp":
            width = max(width, config.stem_hidden_dim)
        if config.decoder == "classwise":
            classes = len(config.labels)
            maps = 2 * classes * (40 * config.class_dim + 8 * classes)
            parameters = 2 * config.hidden_dim * classes * config.class_dim
    per_second = layers * (40 * width + 4 * heads * config.segments) + features + maps
    return _FLOAT * (batch_size * config.segments * per_second + _COPIES * (layers * 12 * width**2 + parameters))
