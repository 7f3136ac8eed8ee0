"""ResNet features of single frames; the full-size network is torchvision's ResNet-152.

The blocks are written here because the import of torchvision's takes as long as that of torch;
`pipeline/inference/torchvision_check.py` compares the networks with torchvision's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .base import Extractor, normalize
from .inputs import FRAME

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, under torchvision's key names.

    Args:
        channels: of the input.
        planes: channels of the output.
        stride: of the first convolution.
        downsample: makes the input fit the output; None if it does.
    """

    expansion: ClassVar[int] = 1  # channels of the output per plane

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, planes, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        return torch.relu(self.bn2(self.conv2(x)) + shortcut)


class Bottleneck(nn.Module):
    """A 3 x 3 convolution between two of 1 x 1, beside a shortcut, under torchvision's key names.

    The 3 x 3 convolution has the stride, as in torchvision; in the paper it is the first.

    Args:
        channels: of the input.
        planes: channels of the 3 x 3 convolution.
        stride: of the 3 x 3 convolution.
        downsample: makes the input fit the output; None if it does.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Module | None = None) -> None:
        super().__init__()
        out = planes * self.expansion
        self.conv1 = nn.Conv2d(channels, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = torch.relu(self.bn1(self.conv1(x)))
        x = torch.relu(self.bn2(self.conv2(x)))
        return torch.relu(self.bn3(self.conv3(x)) + shortcut)


class Downsample(nn.Sequential):
    """A 1 x 1 convolution and its norm, on the pixels that the stride selects.

    PyTorch 2.15 writes out of bounds in the backward pass of a 1 x 1 convolution of 8 channels-last channels with a
    stride of 2 (oneDNN, on a CPU); selecting the pixels first avoids it.
    """

    def forward(self, input: Tensor) -> Tensor:
        conv, norm = self
        assert isinstance(conv, nn.Conv2d)
        return norm(F.conv2d(F.avg_pool2d(input, 1, conv.stride[0]), conv.weight))


class ResNet(Extractor):
    """Residual network up to its average pooling, (F, 3, 224, 224) -> (F, dim).

    It has torchvision's key names, so that the published file (IMAGENET1K_V1, `resnet152-394f9c45.pth`) loads unchanged
    except for its classifier.

    Args:
        block: `BasicBlock` or `Bottleneck`.
        layers: number of blocks in each of the four stages.
        width: channels of the stem; dim is 8 times that and the block's expansion.

    Source:
        He et al., CVPR 2016; torchvision.models.resnet152.
    """

    input_format = FRAME
    memory_format = torch.channels_last
    unused_prefixes = ("fc.",)

    def __init__(self, block: type[BasicBlock | Bottleneck], layers: Sequence[int], width: int) -> None:
        super().__init__(dim=8 * width * block.expansion)
        self.conv1 = nn.Conv2d(3, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        channels = width
        for index, depth in enumerate(layers):
            planes = width * 2**index
            stage, channels = self._stage(block, channels, planes, depth, stride=1 if index == 0 else 2)
            self.add_module(f"layer{index + 1}", stage)
        self.stages = len(layers)

    @staticmethod
    def _stage(
        block: type[BasicBlock | Bottleneck], channels: int, planes: int, depth: int, stride: int
    ) -> tuple[nn.Sequential, int]:
        out = planes * block.expansion
        shortcut = None
        if stride != 1 or channels != out:
            shortcut = Downsample(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
        first = block(channels, planes, stride, shortcut)
        return nn.Sequential(first, *(block(out, planes) for _ in range(depth - 1))), out

    def prepare(self, reduced: Tensor) -> Tensor:
        """Standardise by ImageNet mean and deviation: (F, 224, 224, 3) -> (F, 3, 224, 224), channels-last."""
        return normalize(reduced, IMAGENET_MEAN, IMAGENET_STD).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = F.max_pool2d(x, 3, stride=2, padding=1)
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x.mean(dim=(2, 3))


def resnet152() -> ResNet:
    """Build ResNet-152: 2048 values per frame; 58.1 million parameters without the classifier."""
    return ResNet(Bottleneck, (3, 8, 36, 3), width=64)


def resnet_small() -> ResNet:
    """Build the network of the demo weights, for generated clips: 128 values per frame."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=16)


def resnet_tiny() -> ResNet:
    """Build a network of a size for tests: 64 values per frame."""
    return ResNet(BasicBlock, (1, 1, 1, 1), width=8)
