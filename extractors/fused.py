"""Fused extractors: batch norm folded into the convolutions, which also add the shortcut and apply ReLU.

Features equal those of the plain networks within rounding (1e-5 relative in float32). benchmarks/extraction.py
measures the speed.

On a CPU the convolutions are oneDNN's, called as PyTorch's own compiler calls them, with weights packed once for
batches of one size. On a GPU they are cuDNN's that add bias and shortcut and apply ReLU before they write: as steps of
their own, these read and write all maps again, and ResNet-152 takes twice the time. R(2+1)D's factored 3-d convolutions
run as 2-d ones: clips are stored as (N, T, H, W, C), of which (NT, H, W, C) and (N, T, HW, C) are views.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Iterator, Sequence
from threading import Lock
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights

from .base import Extractor
from .clap import CLAP, UnfusedCLAP
from .clip import CLIP
from .pe_av import PEAVAudio, PEAVVideo
from .r2plus1d import R2Plus1D, VideoBlock
from .resnet import BasicBlock, Bottleneck, ResNet
from .vgg19 import VGG19, flatten_maps, shrink_pictures
from .vggish import VGGish

_CHANNEL_BLOCK = 16  # float32 values in a vector register: channels between two convolutions are padded to a multiple
_packing_lock = Lock()


def fuse(
    extractor: Extractor,
    *,
    dtype: torch.dtype = torch.float32,
    onednn: bool | None = None,
    compiled: bool = False,
) -> Extractor:
    """Build a faster extractor that computes the same rows within rounding.

    Args:
        extractor: a plain `ResNet`, `R2Plus1D`, `VGGish`, `VGG19`, `CLIP`, `CLAP` or one of PE-AV; it is not changed.
        dtype: of weights and computation; rows stay float32.
        onednn: whether to call oneDNN directly. None: when the extractor is on a CPU, PyTorch has oneDNN and
            `compiled` is off.
        compiled: use torch.compile, which takes a minute at the first batch of each size.

    Returns:
        An extractor on the same device.

    Raises:
        ValueError: there is no fused form of this extractor.
    """
    if type(extractor) not in _FUSED_NETWORKS:
        known = ", ".join(extractor_type.__name__ for extractor_type in _FUSED_NETWORKS)
        raise ValueError(f"no fused form of {type(extractor).__name__}; known: {known}")
    device = next(extractor.parameters()).device
    use_onednn = device.type == "cpu" and not compiled and _has_onednn(dtype) if onednn is None else onednn
    body = _FUSED_NETWORKS[type(extractor)](extractor)
    for module in body.modules():
        if isinstance(module, FusedConv):
            module.onednn, module.cudnn = use_onednn, device.type == "cuda" and not compiled
    body.to(device, dtype).eval().requires_grad_(False)
    if not use_onednn:
        for module in body.modules():
            if isinstance(module, FusedConv):
                module.weight.data = module.weight.data.contiguous(memory_format=torch.channels_last)
    return FusedExtractor(extractor, torch.compile(body, dynamic=False) if compiled else body, dtype)


@contextlib.contextmanager
def without_onednn(network: nn.Module) -> Iterator[None]:
    """Convolve without oneDNN within the context: it would pack the weights, once and for all, for the input's size."""
    fast = [module for module in network.modules() if isinstance(module, FusedConv) and module.is_to_be_packed]
    for module in fast:
        module.onednn = False
    try:
        yield
    finally:
        for module in fast:
            module.onednn = True


def _has_onednn(dtype: torch.dtype) -> bool:
    """Return whether this PyTorch has oneDNN's operators, which are not public, and this CPU has them for `dtype`."""
    can_pack = hasattr(_operators(), "mkldnn_reorder_conv2d_weight")
    if not (torch.backends.mkldnn.is_available() and can_pack and hasattr(torch.ops.mkldnn, "_convolution_pointwise")):
        return False
    if dtype == torch.bfloat16:  # needs AVX-512 or newer; other CPUs convolve without oneDNN, slowly
        return torch.ops.mkldnn._is_mkldnn_bf16_supported()
    if dtype == torch.float16:
        return torch.ops.mkldnn._is_mkldnn_fp16_supported()
    return True


def _operators() -> Any:
    return cast("Any", torch._C)._nn


class FusedExtractor(Extractor):
    """What `fuse` builds; `network` is the type of the plain extractor."""

    def __init__(self, plain: Extractor, body: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__(plain.dim)
        self.network = type(plain)
        self.body = body
        self.dtype = dtype
        self.input_format = plain.input_format  # pyright: ignore[reportAttributeAccessIssue] - a ClassVar of the others
        self._prepare: Callable[[Tensor], Tensor] = type(plain).prepare.__get__(self)

    def prepare(self, reduced: Tensor) -> Tensor:
        prepared = self._prepare(reduced)
        return prepared if self.network.float32_inputs else prepared.to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).float()


class _Convolution(NamedTuple):
    """Parameters of a 2-d convolution, batch norm included."""

    weight: Tensor  # (C', C, H, W)
    bias: Tensor  # (C')
    padding: Sequence[int]
    stride: Sequence[int]


class FusedConv(nn.Module):
    """2-d convolution, addition of a shortcut, ReLU, in one call where possible; channels-last memory.

    Args:
        conv: the convolution. Its tensors are used, not copied.
    """

    def __init__(self, conv: _Convolution) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(conv.weight.detach()), nn.Parameter(conv.bias.detach())
        self.geometry = (list(conv.padding), list(conv.stride), [1, 1], 1)
        self.onednn = self.cudnn = False
        self._packed: Tensor | None = None

    @property
    def is_to_be_packed(self) -> bool:
        """Whether the next input decides how oneDNN packs the weights."""
        return self.onednn and self._packed is None

    def forward(self, x: Tensor, *, residual: Tensor | None = None, relu: bool = True) -> Tensor:
        """Convolve x (N, C, H, W).

        Args:
            x: in channels-last memory.
            residual: added before the ReLU, of the output's shape; it may be overwritten.
            relu: whether to apply ReLU.

        Returns:
            (N, C', H', W') in channels-last memory.
        """
        if self.cudnn and relu:
            try:
                return self._convolve_by_cudnn(x, residual)
            except torch.OutOfMemoryError:  # a RuntimeError, too
                raise
            except RuntimeError:
                self.cudnn = False  # it has none for this shape and type
        if not self.onednn:
            padding, stride, _, _ = self.geometry
            out = F.conv2d(x, self.weight, self.bias, stride, padding)
            out = out if residual is None else out.add_(residual)
            return out.relu_() if relu else out
        weight = self._pack(x) if self._packed is None else self._packed
        if residual is None:
            activation = "relu" if relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self.geometry, activation, [], "")
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, weight, self.bias, *self.geometry, "add", None, "relu" if relu else None, [], ""
        )

    def _convolve_by_cudnn(self, x: Tensor, residual: Tensor | None) -> Tensor:
        """Convolve, add and apply ReLU in one kernel. Raises RuntimeError if cuDNN has none."""
        padding, stride, dilation, groups = self.geometry
        if residual is None:
            return torch.cudnn_convolution_relu(x, self.weight, self.bias, stride, padding, dilation, groups)
        return torch.cudnn_convolution_add_relu(
            x, self.weight, residual, 1.0, self.bias, stride, padding, dilation, groups
        )

    def _pack(self, x: Tensor) -> Tensor:
        """Return the weights in the layout that oneDNN uses for inputs of this shape."""
        with _packing_lock:
            if self._packed is None:  # no other thread has packed them
                dense = self.weight.detach().contiguous().to_mkldnn(x.dtype)
                pack = _operators().mkldnn_reorder_conv2d_weight
                packed: Tensor = pack(dense, *self.geometry, list(x.shape))
                self._packed = packed
                self.weight.data = torch.empty(0)  # the packed copy replaces them in memory
            return self._packed


def _fold(conv: nn.Module, norm: nn.Module | None = None) -> _Convolution:
    """Fold batch norm into a 2-d convolution; 3-d kernels must span one frame or one pixel.

    Each copy of the parameters counts: at full size, most of a copy is the time in which memory is first touched.
    """
    plain, before = cast("Any", conv), cast("Any", norm)
    weight, bias = plain.weight.detach(), plain.bias
    if before is not None:
        with torch.no_grad():
            weight, bias = fuse_conv_bn_weights(
                weight, bias, before.running_mean, before.running_var, before.eps, before.weight, before.bias
            )
    if isinstance(conv, nn.Conv2d):
        return _Convolution(weight, bias, plain.padding, plain.stride)
    across_time = plain.kernel_size[0] > 1
    flat = weight.squeeze(-1) if across_time else weight.squeeze(2)
    axes = slice(0, 2) if across_time else slice(1, 3)
    return _Convolution(flat, bias, plain.padding[axes], plain.stride[axes])


class _FusedResNet(nn.Module):
    """Fused `ResNet`."""

    def __init__(self, plain: ResNet) -> None:
        super().__init__()
        self.stem = FusedConv(_fold(plain.conv1, plain.bn1))
        self.blocks = nn.ModuleList(
            _FusedResNetBlock(block)
            for index in range(plain.stages)
            for block in cast("nn.Sequential", plain.get_submodule(f"layer{index + 1}"))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return x.float().mean(dim=(2, 3))


class _FusedResNetBlock(nn.Module):
    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        assert isinstance(plain, BasicBlock | Bottleneck)
        pairs = [(plain.conv1, plain.bn1), (plain.conv2, plain.bn2)]
        if isinstance(plain, Bottleneck):
            pairs.append((plain.conv3, plain.bn3))
        self.convs = nn.ModuleList(FusedConv(_fold(*pair)) for pair in pairs)
        downsample: Any = plain.downsample  # convolution and norm
        self.shortcut = None if downsample is None else FusedConv(_fold(*downsample))

    def forward(self, x: Tensor) -> Tensor:
        residual = x if self.shortcut is None else self.shortcut(x, relu=False)
        *first, last = self.convs
        for conv in first:
            x = conv(x)
        return last(x, residual=residual)


class _FusedR2Plus1D(nn.Module):
    """Fused `R2Plus1D`; between the convolutions, clips are (N, T, H, W, C)."""

    def __init__(self, plain: R2Plus1D) -> None:
        super().__init__()
        space, space_norm, _, time, time_norm, _ = list(plain.stem)
        self.stem = _Factored(_fold(space, space_norm), _fold(time, time_norm))
        self.blocks = nn.ModuleList(
            _FusedR2Plus1DBlock(block)
            for index in range(plain.stages)
            for block in cast("nn.Sequential", plain.get_submodule(f"layer{index + 1}"))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.permute(0, 2, 3, 4, 1))
        for block in self.blocks:
            x = block(x)
        return x.float().mean(dim=(1, 2, 3))


class _FusedR2Plus1DBlock(nn.Module):
    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        assert isinstance(plain, VideoBlock)
        self.parts = nn.ModuleList()
        for part in (plain.conv1, plain.conv2):
            (space, norm, _, time), time_norm = cast("Any", part[0]), part[1]
            self.parts.append(_Factored(_fold(space, norm), _fold(time, time_norm)))
        self.shortcut, self.stride = None, 1
        if plain.downsample is not None:
            conv, norm = cast("Any", plain.downsample)
            self.shortcut, self.stride = FusedConv(_fold(conv, norm)), conv.stride[0]

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.parts
        residual = x if self.shortcut is None else _convolve_space(self.shortcut, x[:, :: self.stride], relu=False)
        return second(first(x), residual=residual)


class _Factored(nn.Module):
    """Convolution over space, then convolution over time."""

    def __init__(self, space: _Convolution, time: _Convolution) -> None:
        super().__init__()
        padding = -len(space.bias) % _CHANNEL_BLOCK  # channels of zeros: 230 channels are slower than 240
        if padding:
            weight = F.pad(space.weight.detach(), (0, 0) * 3 + (0, padding))
            space = space._replace(weight=weight, bias=F.pad(space.bias.detach(), (0, padding)))
            time = time._replace(weight=F.pad(time.weight.detach(), (0, 0) * 2 + (0, padding)))
        self.space, self.time = FusedConv(space), FusedConv(time)

    def forward(self, x: Tensor, *, residual: Tensor | None = None) -> Tensor:
        x = _convolve_space(self.space, x)
        height, width = x.shape[2:4]
        flat_residual = None if residual is None else residual.flatten(2, 3).permute(0, 3, 1, 2)
        out = self.time(x.flatten(2, 3).permute(0, 3, 1, 2), residual=flat_residual)
        return out.permute(0, 2, 3, 1).unflatten(2, (height, width))


def _convolve_space(conv: FusedConv, x: Tensor, *, relu: bool = True) -> Tensor:
    out = conv(x.flatten(0, 1).permute(0, 3, 1, 2), relu=relu)
    return out.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class _FusedVGGish(nn.Module):
    """Fused `VGGish`."""

    def __init__(self, plain: VGGish) -> None:
        super().__init__()
        layers = [layer for layer in plain.features if not isinstance(layer, nn.ReLU)]
        self.layers = nn.ModuleList(
            FusedConv(_fold(layer)) if isinstance(layer, nn.Conv2d) else layer for layer in layers
        )
        self.linears = nn.ModuleList(_copy(layer) for layer in plain.embeddings if isinstance(layer, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.linears:
            x = layer(x).relu_()
        return x


class _FusedVGG19(nn.Module):
    """Fused `VGG19`."""

    def __init__(self, plain: VGG19) -> None:
        super().__init__()
        layers = [layer for layer in plain.features if not isinstance(layer, nn.ReLU)]
        self.layers = nn.ModuleList(
            FusedConv(_fold(layer)) if isinstance(layer, nn.Conv2d) else layer for layer in layers
        )
        self.shrink, self.scale = plain.shrink, plain.scale

    def forward(self, x: Tensor) -> Tensor:
        x = shrink_pictures(x, self.shrink, self.scale)
        for layer in self.layers:
            x = layer(x)
        return flatten_maps(x.float())


def _copy(layer: nn.Linear) -> nn.Linear:
    copied = nn.Linear(layer.in_features, layer.out_features, device="meta")
    copied.weight, copied.bias = nn.Parameter(layer.weight.detach()), nn.Parameter(layer.bias.detach())
    return copied


_FUSED_NETWORKS: dict[type[Extractor], Callable[[Any], nn.Module]] = {
    ResNet: _FusedResNet,
    R2Plus1D: _FusedR2Plus1D,
    VGGish: _FusedVGGish,
    VGG19: _FusedVGG19,
    CLIP: CLIP.fold,
    CLAP: copy.deepcopy,  # its batch norms are not beside convolutions
    UnfusedCLAP: copy.deepcopy,
    PEAVAudio: PEAVAudio.fold,
    PEAVVideo: copy.deepcopy,
}
