"""R(2+1)D features of one-second clips; the full-size network is torchvision's R(2+1)D-18."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from .base import Extractor, normalize
from .inputs import FRAME_CLIP

KINETICS_MEAN = (0.43216, 0.394666, 0.37645)
KINETICS_STD = (0.22803, 0.22145, 0.216989)


def _factored(channels: int, planes: int, between: int, stride: int) -> nn.Sequential:
    """Build a 3 x 3 x 3 convolution as one over space and one over time, with `between` channels between them."""
    return nn.Sequential(
        nn.Conv3d(channels, between, (1, 3, 3), stride=(1, stride, stride), padding=(0, 1, 1), bias=False),
        nn.BatchNorm3d(between),
        nn.ReLU(),
        nn.Conv3d(between, planes, (3, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0), bias=False),
    )


class VideoBlock(nn.Module):
    """Two factored convolutions beside a shortcut, under torchvision's key names.

    They have as many parameters as the 3 x 3 x 3 convolution that `channels` and `planes` would give.

    Args:
        channels: of the input.
        planes: channels of the output.
        stride: of the first convolution, over space and time.
        downsample: makes the input fit the output; None if it does.
    """

    def __init__(self, channels: int, planes: int, stride: int = 1, downsample: nn.Sequential | None = None) -> None:
        super().__init__()
        between = 27 * channels * planes // (9 * channels + 3 * planes)
        self.conv1 = nn.Sequential(_factored(channels, planes, between, stride), nn.BatchNorm3d(planes), nn.ReLU())
        self.conv2 = nn.Sequential(_factored(planes, planes, between, 1), nn.BatchNorm3d(planes))
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        return torch.relu(self.conv2(self.conv1(x)) + shortcut)


class R2Plus1D(Extractor):
    """R(2+1)D residual network up to its average pooling, (N, 3, 8, 112, 112) -> (N, dim).

    It has torchvision's key names; the published file (KINETICS400_V1, `r2plus1d_18-91a641e6.pth`) loads unchanged
    except for its classifier.

    Args:
        layers: number of blocks in each of the four stages.
        width: channels of the first stage; dim is 8 times that.
        stem_width: channels between the two convolutions of the stem.

    Source:
        Tran et al., CVPR 2018; torchvision.models.video.r2plus1d_18.
    """

    input_format = FRAME_CLIP
    memory_format = torch.channels_last_3d
    unused_prefixes = ("fc.",)

    def __init__(self, layers: Sequence[int], width: int, stem_width: int) -> None:
        super().__init__(dim=8 * width)
        self.stem = nn.Sequential(
            nn.Conv3d(3, stem_width, (1, 7, 7), stride=(1, 2, 2), padding=(0, 3, 3), bias=False),
            nn.BatchNorm3d(stem_width),
            nn.ReLU(),
            nn.Conv3d(stem_width, width, (3, 1, 1), padding=(1, 0, 0), bias=False),
            nn.BatchNorm3d(width),
            nn.ReLU(),
        )
        channels = width
        for index, depth in enumerate(layers):
            planes = width * 2**index
            self.add_module(f"layer{index + 1}", self._stage(channels, planes, depth, 1 if index == 0 else 2))
            channels = planes
        self.stages = len(layers)

    @staticmethod
    def _stage(channels: int, planes: int, depth: int, stride: int) -> nn.Sequential:
        shortcut = None
        if stride != 1:
            convolution = nn.Conv3d(channels, planes, 1, stride=stride, bias=False)
            shortcut = nn.Sequential(convolution, nn.BatchNorm3d(planes))
        first = VideoBlock(channels, planes, stride, shortcut)
        return nn.Sequential(first, *(VideoBlock(planes, planes) for _ in range(depth - 1)))

    def prepare(self, reduced: Tensor) -> Tensor:
        """Standardise by Kinetics mean and deviation: (N, 8, 112, 112, 3) -> (N, 3, 8, 112, 112), channels-last."""
        return normalize(reduced, KINETICS_MEAN, KINETICS_STD).permute(0, 4, 1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        for index in range(self.stages):
            x = self.get_submodule(f"layer{index + 1}")(x)
        return x.mean(dim=(2, 3, 4))


def r2plus1d_18() -> R2Plus1D:
    """Build R(2+1)D-18: 512 values per second; 31.3 million parameters without the classifier."""
    return R2Plus1D((2, 2, 2, 2), width=64, stem_width=45)


def r2plus1d_small() -> R2Plus1D:
    """Build the network of the demo weights, for generated clips: 64 values per second."""
    return R2Plus1D((1, 1, 1, 1), width=8, stem_width=8)


def r2plus1d_tiny() -> R2Plus1D:
    """Build a network of a size for tests: 64 values per second."""
    return R2Plus1D((1, 1, 1, 1), width=8, stem_width=6)
