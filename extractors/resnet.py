"""ResNet features of single frames; the full-size network is torchvision's ResNet-152."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torchvision.models.resnet import BasicBlock, Bottleneck

from .base import Extractor, normalize
from .inputs import FRAME

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class ResNet(Extractor):
    """Residual network up to its average pooling, (F, 3, 224, 224) -> (F, dim).

    Built from torchvision's blocks under torchvision's key names, so that any depth and width is possible and the
    published file (IMAGENET1K_V1, `resnet152-394f9c45.pth`) loads unchanged except for its classifier.

    Args:
        block: torchvision's `BasicBlock` or `Bottleneck`.
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
            shortcut = nn.Sequential(nn.Conv2d(channels, out, 1, stride=stride, bias=False), nn.BatchNorm2d(out))
        first = block(channels, planes, stride, shortcut)
        return nn.Sequential(first, *(block(out, planes) for _ in range(depth - 1))), out

    def prepare(self, reduced: Tensor) -> Tensor:
        """Standardise by ImageNet mean and deviation: (F, 224, 224, 3) -> (F, 3, 224, 224), channels-last."""
        return normalize(reduced, IMAGENET_MEAN, IMAGENET_STD).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.relu(self.bn1(self.conv1(x)))
        x = nn.functional.max_pool2d(x, 3, stride=2, padding=1)
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
