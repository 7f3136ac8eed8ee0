"""The same networks arranged for speed: batch norm folded into the convolutions, shortcut and ReLU done by them too.

Features equal those of the plain networks within rounding (1e-5 relative in float32). What it gains is measured by
benchmarks/extraction.py.

On a CPU the convolutions are oneDNN's, called as PyTorch's own compiler calls them, with weights laid out once for the
batches that will come; elsewhere they are PyTorch's usual ones. R(2+1)D's factored 3-d convolutions run as 2-d ones:
clips lie in memory as (N, T, H, W, C), of which (NT, H, W, C) and (N, T, HW, C) are views.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_eval
from torchvision.models.resnet import BasicBlock as PictureBlock
from torchvision.models.resnet import Bottleneck
from torchvision.models.video.resnet import BasicBlock as ClipBlock

from .base import Extractor
from .r2plus1d import R2Plus1D
from .resnet import ResNet
from .vggish import VGGish

_CHANNEL_BLOCK = 16  # float32 values of a vector register: channels between two convolutions are filled up to it
_packing = Lock()


def fuse(
    extractor: Extractor,
    *,
    dtype: torch.dtype = torch.float32,
    onednn: bool | None = None,
    compiled: bool = False,
) -> Extractor:
    """A network that makes the same rows faster; the given one is left as it is.

    dtype: of weights and computation; rows stay float32. onednn: whether to call oneDNN directly; by default where
    the extractor is on a CPU and PyTorch has it. compiled: by torch.compile, which takes a minute at the first batch
    of a size. Raises ValueError for extractors that this is not written for.
    """
    if type(extractor) not in _BODIES:
        known = ", ".join(kind.__name__ for kind in _BODIES)
        raise ValueError(f"no fused form of {type(extractor).__name__}; known: {known}")
    device = next(extractor.parameters()).device
    chosen = device.type == "cpu" and not compiled and _has_onednn() if onednn is None else onednn
    body = _BODIES[type(extractor)](extractor)
    for module in body.modules():
        if isinstance(module, FusedConv):
            module.onednn = chosen
    body.to(device, dtype).eval().requires_grad_(False)
    return _FusedExtractor(extractor, torch.compile(body, dynamic=False) if compiled else body, dtype)


def _has_onednn() -> bool:
    """Whether this PyTorch has the operators; they are its compiler's, not part of its public interface."""
    packs = hasattr(_operators(), "mkldnn_reorder_conv2d_weight")
    return torch.backends.mkldnn.is_available() and packs and hasattr(torch.ops.mkldnn, "_convolution_pointwise")


def _operators() -> Any:
    return cast("Any", torch._C)._nn


class _FusedExtractor(Extractor):
    def __init__(self, plain: Extractor, body: Callable[[Tensor], Tensor], dtype: torch.dtype) -> None:
        super().__init__(plain.dim)
        self.body = body
        self.dtype = dtype
        self.input_format = plain.input_format  # pyright: ignore[reportAttributeAccessIssue] - a class's, elsewhere
        self._prepare: Callable[[Tensor], Tensor] = type(plain).prepare.__get__(self)

    def prepare(self, reduced: Tensor) -> Tensor:
        return self._prepare(reduced).to(self.dtype)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x).float()


class FusedConv(nn.Module):
    """A 2-d convolution, then the shortcut where one is given, then ReLU. (N, C, H, W) in channels-last memory."""

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        assert conv.bias is not None
        self.weight = nn.Parameter(conv.weight.detach().clone(memory_format=torch.channels_last))
        self.bias = nn.Parameter(conv.bias.detach().clone())
        self.places = (list(cast("Sequence[int]", conv.padding)), list(conv.stride), [1, 1], 1)
        self.onednn = False
        self._packed: Tensor | None = None

    def forward(self, x: Tensor, *, residual: Tensor | None = None, relu: bool = True) -> Tensor:
        """onto: a tensor of the output's shape that is added, and may be overwritten."""
        if not self.onednn:
            padding, stride, _, _ = self.places
            out = F.conv2d(x, self.weight, self.bias, stride, padding)
            out = out if residual is None else out.add_(residual)
            return out.relu_() if relu else out
        weight = self._pack(x) if self._packed is None else self._packed
        if residual is None:
            activation = "relu" if relu else "none"
            return torch.ops.mkldnn._convolution_pointwise(x, weight, self.bias, *self.places, activation, [], "")
        return torch.ops.mkldnn._convolution_pointwise_.binary(
            residual, x, weight, self.bias, *self.places, "add", None, "relu" if relu else None, [], ""
        )

    def _pack(self, x: Tensor) -> Tensor:
        """The weights in the layout that oneDNN wants for inputs of this shape."""
        with _packing:
            if self._packed is None:  # no other thread has been here
                dense = self.weight.detach().contiguous().to_mkldnn(x.dtype)
                pack = _operators().mkldnn_reorder_conv2d_weight
                packed: Tensor = pack(dense, *self.places, list(x.shape))
                self._packed = packed
                self.weight.data = torch.empty(0)  # or they would be in memory twice
            return self._packed


def _fold(conv: nn.Module, norm: nn.Module | None = None) -> nn.Conv2d:
    """One 2-d convolution with bias. A 3-d one must have a kernel of one frame or of one pixel."""
    folded: Any = conv if norm is None else fuse_conv_bn_eval(cast("Any", conv), cast("Any", norm))
    if isinstance(folded, nn.Conv2d):
        return folded
    across_time = folded.kernel_size[0] > 1
    weight = folded.weight.squeeze(-1) if across_time else folded.weight.squeeze(2)
    kept = slice(0, 2) if across_time else slice(1, 3)
    kernel, stride, padding = (tuple(values[kept]) for values in (folded.kernel_size, folded.stride, folded.padding))
    flat = nn.Conv2d(weight.shape[1], weight.shape[0], kernel, stride, padding, device=weight.device)
    flat.weight.data, flat.bias = weight.detach(), folded.bias
    return flat


class _PictureNet(nn.Module):
    """ResNet."""

    def __init__(self, plain: ResNet) -> None:
        super().__init__()
        self.stem = FusedConv(_fold(plain.conv1, plain.bn1))
        self.blocks = nn.ModuleList(
            _PictureBlock(block)
            for index in range(plain.stages)
            for block in cast("nn.Sequential", plain.get_submodule(f"layer{index + 1}"))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = F.max_pool2d(self.stem(x), 3, stride=2, padding=1)
        for block in self.blocks:
            x = block(x)
        return x.float().mean(dim=(2, 3))


class _PictureBlock(nn.Module):
    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        assert isinstance(plain, PictureBlock | Bottleneck)
        pairs = [(plain.conv1, plain.bn1), (plain.conv2, plain.bn2)]
        if isinstance(plain, Bottleneck):
            pairs.append((plain.conv3, plain.bn3))
        self.convs = nn.ModuleList(FusedConv(_fold(*pair)) for pair in pairs)
        downsample: Any = plain.downsample  # convolution and norm
        self.shortcut = None if downsample is None else FusedConv(_fold(*downsample))

    def forward(self, x: Tensor) -> Tensor:
        kept = x if self.shortcut is None else self.shortcut(x, relu=False)
        *first, last = self.convs
        for conv in first:
            x = conv(x)
        return last(x, residual=kept)


class _ClipNet(nn.Module):
    """R(2+1)D. Between the convolutions, clips are (N, T, H, W, C)."""

    def __init__(self, plain: R2Plus1D) -> None:
        super().__init__()
        space, space_norm, _, time, time_norm, _ = list(plain.stem)
        self.stem = _Factored(_fold(space, space_norm), _fold(time, time_norm))
        self.blocks = nn.ModuleList(
            _ClipBlock(block)
            for index in range(plain.stages)
            for block in cast("nn.Sequential", plain.get_submodule(f"layer{index + 1}"))
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x.permute(0, 2, 3, 4, 1))
        for block in self.blocks:
            x = block(x)
        return x.float().mean(dim=(1, 2, 3))


class _ClipBlock(nn.Module):
    def __init__(self, plain: nn.Module) -> None:
        super().__init__()
        assert isinstance(plain, ClipBlock)
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
        kept = x if self.shortcut is None else _over_space(self.shortcut, x[:, :: self.stride], relu=False)
        return second(first(x), residual=kept)


class _Factored(nn.Module):
    """A convolution over space, then one over time."""

    def __init__(self, space: nn.Conv2d, time: nn.Conv2d) -> None:
        super().__init__()
        missing = -space.out_channels % _CHANNEL_BLOCK  # more channels that are zero: 230 of them are slower than 240
        assert space.bias is not None
        space.weight.data = F.pad(space.weight.detach(), (0, 0) * 3 + (0, missing))
        space.bias.data = F.pad(space.bias.detach(), (0, missing))
        time.weight.data = F.pad(time.weight.detach(), (0, 0) * 2 + (0, missing))
        self.space, self.time = FusedConv(space), FusedConv(time)

    def forward(self, x: Tensor, *, residual: Tensor | None = None) -> Tensor:
        x = _over_space(self.space, x)
        height, width = x.shape[2:4]
        kept = None if residual is None else residual.flatten(2, 3).permute(0, 3, 1, 2)
        out = self.time(x.flatten(2, 3).permute(0, 3, 1, 2), residual=kept)
        return out.permute(0, 2, 3, 1).unflatten(2, (height, width))


def _over_space(conv: FusedConv, x: Tensor, *, relu: bool = True) -> Tensor:
    out = conv(x.flatten(0, 1).permute(0, 3, 1, 2), relu=relu)
    return out.permute(0, 2, 3, 1).unflatten(0, x.shape[:2])


class _SoundNet(nn.Module):
    """VGGish."""

    def __init__(self, plain: VGGish) -> None:
        super().__init__()
        layers = [layer for layer in plain.features if not isinstance(layer, nn.ReLU)]
        self.layers = nn.ModuleList(FusedConv(layer) if isinstance(layer, nn.Conv2d) else layer for layer in layers)
        self.linears = nn.ModuleList(_copy(layer) for layer in plain.embeddings if isinstance(layer, nn.Linear))

    def forward(self, x: Tensor) -> Tensor:
        x = x.unsqueeze(1)
        for layer in self.layers:
            x = layer(x)
        x = x.permute(0, 2, 3, 1).flatten(1)
        for layer in self.linears:
            x = layer(x).relu_()
        return x


def _copy(layer: nn.Linear) -> nn.Linear:
    copied = nn.Linear(layer.in_features, layer.out_features, device="meta")
    copied.weight, copied.bias = nn.Parameter(layer.weight.detach()), nn.Parameter(layer.bias.detach())
    return copied


_BODIES: dict[type[Extractor], Callable[[Any], nn.Module]] = {
    ResNet: _PictureNet,
    R2Plus1D: _ClipNet,
    VGGish: _SoundNet,
}
