"""VGGish features of one-second waveforms."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from .base import Extractor
from .inputs import LOG_MEL
from .mel import EXAMPLE_FRAMES, MEL_BANDS

_POOLINGS = 4  # each halves both axes of the (96, 64) input


class VGGish(Extractor):
    """VGGish with its final ReLU, without PCA and quantisation: log-mel examples (N, 96, 64) -> (N, dim).

    Keys are those of the published PyTorch port (`vggish-10086976.pth`); 72,141,184 parameters at full size.

    Args:
        channels: of the four convolutional stages.
        hidden: width of the two hidden linear layers.
        dim: width of the output.

    Source:
        Hershey et al., ICASSP 2017; github.com/harritaylor/torchvggish.
    """

    input_format = LOG_MEL

    def __init__(self, channels: Sequence[int], hidden: int, dim: int) -> None:
        super().__init__(dim)
        first, second, third, fourth = channels
        self.features = nn.Sequential(
            *_convolution(1, first),
            nn.MaxPool2d(2, 2),
            *_convolution(first, second),
            nn.MaxPool2d(2, 2),
            *_convolution(second, third),
            *_convolution(third, third),
            nn.MaxPool2d(2, 2),
            *_convolution(third, fourth),
            *_convolution(fourth, fourth),
            nn.MaxPool2d(2, 2),
        )
        flat = fourth * (EXAMPLE_FRAMES >> _POOLINGS) * (MEL_BANDS >> _POOLINGS)
        self.embeddings = nn.Sequential(
            nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, dim), nn.ReLU()
        )

    def forward(self, x: Tensor) -> Tensor:
        maps = self.features(x.unsqueeze(1))
        return self.embeddings(maps.permute(0, 2, 3, 1).flatten(1))  # flattened in NHWC order, as in TensorFlow


def _convolution(channels: int, out: int) -> tuple[nn.Module, nn.Module]:
    return nn.Conv2d(channels, out, 3, padding=1), nn.ReLU()


def vggish() -> VGGish:
    """Build the published network: 128 values per second."""
    return VGGish((64, 128, 256, 512), hidden=4096, dim=128)


def vggish_small() -> VGGish:
    """Build the network of the demo weights, for generated clips: 128 values per second."""
    return VGGish((16, 32, 64, 64), hidden=256, dim=128)


def vggish_tiny() -> VGGish:
    """Build a network of a size for tests: 16 values per second."""
    return VGGish((4, 8, 8, 16), hidden=32, dim=16)
