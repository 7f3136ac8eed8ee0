"""Base class of feature extractors: a frozen network together with its preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ..weights.messages import shown_name
from ..weights.parameters import check_parameters
from ..weights.parts import Part
from .inputs import InputFormat
from .sampling import Stream

_on_gpu: dict[tuple[tuple[float, ...], torch.device], Tensor] = {}  # constants by values and device


class Extractor(nn.Module):
    """Feature extractor: a network in eval mode without gradients.

    Decoded media becomes rows of features in three steps, each where it is cheapest: `input_format.reduce` makes
    compact arrays (NumPy, in the decode worker process), `prepare` makes the network's input (on its device),
    `forward` computes rows (N, dim). `preprocess` combines the first two.

    Args:
        dim: width of a row.

    Attributes:
        input_format: the input that the network takes.
        memory_format: the layout that its convolutions are fastest in.
        float32_inputs: whether what `prepare` makes stays float32 where the network has another precision.
        unused_prefixes: of keys in the published file that features do not need, such as the classifier's.
        part: what it was built by, if that is of another package.
    """

    input_format: ClassVar[InputFormat]
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    float32_inputs: ClassVar[bool] = False
    unused_prefixes: ClassVar[tuple[str, ...]] = ()
    part: Part | None = None

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @property
    def stream(self) -> Stream:
        """Stream of the FeatureSet that the rows belong to."""
        return self.input_format.stream

    def prepare(self, reduced: Tensor) -> Tensor:
        """Convert reduced inputs to the network's input.

        Args:
            reduced: (N, *input_format.shape), of `input_format.dtype`, on any device.

        Returns:
            N inputs of `forward`, float, on the same device.
        """
        return reduced

    def preprocess(self, media: NDArray[np.generic]) -> Tensor:
        """Convert decoded media to the network's input, on the CPU.

        Args:
            media: frames or waveform, see `InputFormat`.

        Returns:
            N inputs of `forward`, float.
        """
        return self.prepare(torch.from_numpy(self.input_format.reduce(media)))

    def expect_callers(self, count: int) -> None:
        """Arrange for several threads that call `forward` at the same time, where that makes a difference.

        Args:
            count: of the threads; each computes with `torch.get_num_threads()` cores.
        """

    def largest_layer(self) -> int | None:
        """Return the bytes that the largest operation on one input reads and writes, without its parameters.

        Returns:
            None where PyTorch computes the operations, which can be measured.
        """
        return None

    def load_published(self, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Replace the parameters by the tensors of a published file.

        Args:
            state_dict: tensors under the published keys; they are kept, not copied.

        Returns:
            The keys that features do not need.

        Raises:
            ValueError: keys are missing or unknown, or tensors have the wrong shape (the message names the first
                three), another type than float32, or values that cannot be parameters, see `check_parameters`.
        """
        unused = tuple(key for key in state_dict if key.startswith(self.unused_prefixes or ("\0",)))
        expected = self.state_dict()
        loaded = {key: tensor for key, tensor in state_dict.items() if key not in unused}
        # Old files lack this counter; eval mode never reads it.
        missing = {key for key in expected.keys() - loaded.keys() if not key.endswith("num_batches_tracked")}
        misshapen = [key for key in expected.keys() & loaded.keys() if expected[key].shape != loaded[key].shape]
        problems = _name_keys("missing", missing) + _name_keys("unknown", loaded.keys() - expected.keys())
        problems += _name_keys("of another shape", misshapen)
        if problems:
            raise ValueError(f"the weights do not fit {type(self).__name__}: {'; '.join(problems)}")
        counters = {key: torch.zeros((), dtype=torch.long) for key in expected.keys() - loaded.keys()}
        try:
            check_parameters(loaded | counters, {key: tensor.shape for key, tensor in expected.items()})
        except ValueError as error:
            raise ValueError(f"the weights do not fit {type(self).__name__}: {error}") from error
        self.load_state_dict(loaded | counters, assign=True)
        return unused


def normalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """Scale images to [0, 1] and standardise their channels: ``(x / 255 - mean) / std``.

    Args:
        images: (..., 3) uint8 RGB.
        mean: of each channel, in [0, 1].
        std: of each channel.

    Returns:
        float32 of the same shape.
    """
    average, deviation = (constant(tuple(values), images.device) for values in (mean, std))
    return images.float().div_(255).sub_(average).div_(deviation)


def constant(values: tuple[float, ...], device: torch.device) -> Tensor:
    """Return a tensor of constants; on a GPU always the same one, since copying it there would wait for the GPU.

    Args:
        values: its elements.
        device: where it is.

    Returns:
        (N,) float32, not to be changed.
    """
    if device.type != "cuda":
        return torch.tensor(values, device=device)
    if (values, device) not in _on_gpu:
        with torch.inference_mode(mode=False):  # usable outside of it, too
            _on_gpu[values, device] = torch.tensor(values, device=device)
    return _on_gpu[values, device]


def _name_keys(problem: str, keys: Iterable[str]) -> list[str]:
    names = sorted(keys)
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{problem}: {', '.join(map(shown_name, names[:3]))}{more}"]
