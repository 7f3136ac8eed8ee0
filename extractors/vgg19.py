"""VGG19 maps of single pictures, up to its last pooling; the layers and keys are those of torchvision's `vgg19`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..weights.vgg19 import check_caffe_weights
from .base import Extractor, constant
from .inputs import MAP_PICTURE

CAFFE_MEANS = (103.939, 116.779, 123.68)  # of blue, green and red, in levels of 0 to 255
_SIDE = 7  # rows and columns of the maps
POSITIONS = _SIDE**2


class VGG19(Extractor):
    """VGG network up to its last pooling: pictures (N, 3, 224, 224) -> maps (N, 7 x 7 x C), channels last, flattened.

    It has torchvision's key names (`features.0.weight`, ...). The published features were made by the parameters of
    Oxford's Caffe model, on which Keras' weights are based. Those that torchvision offers were trained anew, on RGB in
    [0, 1], and give other maps.

    Args:
        blocks: channels of the convolutions of each block; each block ends in a pooling that halves the maps.
        shrink: factor by which pictures are averaged before the first block.
        scale: of the levels of the pictures, after the means are subtracted.

    Source:
        Simonyan and Zisserman, ICLR 2015; `block5_pool` of keras.applications.vgg19.
    """

    input_format = MAP_PICTURE
    memory_format = torch.channels_last
    unused_prefixes = ("classifier.",)

    def __init__(self, blocks: Sequence[Sequence[int]], *, shrink: int = 1, scale: float = 1.0) -> None:
        super().__init__(dim=POSITIONS * blocks[-1][-1])
        self.shrink, self.scale = shrink, scale
        layers: list[nn.Module] = []
        channels = 3
        for block in blocks:
            for out in block:
                layers += [nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()]
                channels = out
            layers.append(nn.MaxPool2d(2, 2))
        self.features = nn.Sequential(*layers)

    def load_published(self, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Replace the parameters, as `Extractor.load_published` does, by others than torchvision's."""
        comparable = (key for key, value in state_dict.items() if value.is_floating_point() and not value.is_sparse)
        check_caffe_weights({key: state_dict[key] for key in comparable})
        return super().load_published(state_dict)

    def prepare(self, reduced: Tensor) -> Tensor:
        """Subtract the means of Caffe's model: RGB (N, 224, 224, 3) -> BGR (N, 3, 224, 224), channels-last."""
        means = constant(CAFFE_MEANS, reduced.device)
        return reduced.flip(-1).float().sub_(means).permute(0, 3, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        return flatten_maps(self.features(shrink_pictures(x, self.shrink, self.scale)))


def shrink_pictures(x: Tensor, factor: int, scale: float) -> Tensor:
    """Average squares of pixels and scale the result, for networks of less than full size; 1 and 1.0 do nothing."""
    if factor > 1:
        x = F.avg_pool2d(x, factor)
    return x if scale == 1.0 else x * scale


def flatten_maps(maps: Tensor) -> Tensor:
    """Flatten maps (N, C, H, W) to rows (N, H x W x C), channels last as in the published files."""
    return maps.permute(0, 2, 3, 1).flatten(1)


def vgg19() -> VGG19:
    """Build the published network: maps of 7 x 7 x 512, 25,088 values; 20,024,384 parameters."""
    return VGG19([(64,) * 2, (128,) * 2, (256,) * 4, (512,) * 4, (512,) * 4])


def vgg19_small() -> VGG19:
    """Build a network for generated clips: maps of 7 x 7 x 32, 1568 values."""
    return VGG19([(16,), (32,), (64,), (64, 32)], shrink=2, scale=1 / 64)


def vgg19_tiny() -> VGG19:
    """Build a network of a size for tests: maps of 7 x 7 x 8, 392 values."""
    return VGG19([(4,), (8,), (8,)], shrink=4, scale=1 / 64)
