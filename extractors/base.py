"""What every feature extractor is: a frozen network that owns its preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from .inputs import InputFormat
from .sampling import Stream


class Extractor(nn.Module):
    """A network in eval mode without gradients.

    Three steps lead from decoded media to rows of features, each where it costs least: `input_format.reduce` to
    compact arrays (NumPy, in whatever process decodes), `prepare` to what the network computes with (on its device),
    `forward` to rows (N, dim). `preprocess` is the first two in one.
    """

    input_format: ClassVar[InputFormat]
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    unused_prefixes: ClassVar[tuple[str, ...]] = ()  # parts of the published file that features do not need

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    @property
    def stream(self) -> Stream:
        """The part of a FeatureSet that it fills."""
        return self.input_format.stream

    def prepare(self, reduced: Tensor) -> Tensor:
        """Reduced inputs (N, *input_format.shape) -> the network's input, on the device that they are on."""
        return reduced

    def preprocess(self, media: NDArray[np.generic]) -> Tensor:
        """Decoded media, as `input_format` takes it -> the network's input, on the CPU."""
        return self.prepare(torch.from_numpy(self.input_format.reduce(media)))

    def load_published(self, state_dict: Mapping[str, Tensor]) -> tuple[str, ...]:
        """Take the published file's tensors under their own key names; returns the keys that are not needed.

        Raises ValueError naming keys that are missing, foreign or of another shape.
        """
        unused = tuple(key for key in state_dict if key.startswith(self.unused_prefixes or ("\0",)))
        own = self.state_dict()
        given = {key: tensor for key, tensor in state_dict.items() if key not in unused}
        # Old files lack this counter; evaluation never reads it.
        missing = {key for key in own.keys() - given.keys() if not key.endswith("num_batches_tracked")}
        misshapen = [key for key in own.keys() & given.keys() if own[key].shape != given[key].shape]
        problems = _name_keys("missing", missing) + _name_keys("unknown", given.keys() - own.keys())
        problems += _name_keys("of another shape", misshapen)
        if problems:
            raise ValueError(f"the weights do not fit {type(self).__name__}: {'; '.join(problems)}")
        counters = {key: torch.zeros((), dtype=torch.long) for key in own.keys() - given.keys()}
        self.load_state_dict(given | counters, assign=True)
        return unused


def normalize(pictures: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """(..., S, S, 3) uint8 -> float32 of the same shape, ``(x / 255 - mean) / std``."""
    average, deviation = (torch.tensor(values, device=pictures.device) for values in (mean, std))
    return pictures.float().div_(255).sub_(average).div_(deviation)


def _name_keys(what: str, keys: Iterable[str]) -> list[str]:
    names = sorted(keys)
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what}: {', '.join(names[:3])}{more}"]
