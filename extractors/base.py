"""What every feature extractor is: a frozen network that owns its preprocessing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import ClassVar, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

Stream = Literal["audio", "visual_2d", "visual_3d"]
STREAMS: tuple[Stream, ...] = ("audio", "visual_2d", "visual_3d")

FRAMES_PER_SEGMENT = 8  # sampled pictures a second; also the length of an R(2+1)D clip
SAMPLE_RATE = 16_000  # samples of sound a second


class Extractor(nn.Module):
    """A network in eval mode without gradients.

    `stream` says which part of a FeatureSet it fills, `dim` the width of its rows. `preprocess` turns decoded media
    into the network's input (on the CPU), `forward` turns that into rows:

    - visual_2d: frames (F, H, W, 3) uint8 RGB -> (F, dim)
    - visual_3d: frames (8N, H, W, 3) uint8 RGB -> (N, dim)
    - audio: seconds of mono sound (N, 16000) float in [-1, 1] -> (N, dim)
    """

    stream: ClassVar[Stream]
    memory_format: ClassVar[torch.memory_format] = torch.contiguous_format
    unused_prefixes: ClassVar[tuple[str, ...]] = ()  # parts of the published file that features do not need

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = dim

    def preprocess(self, media: NDArray[np.generic]) -> Tensor:
        raise NotImplementedError

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


def _name_keys(what: str, keys: Iterable[str]) -> list[str]:
    names = sorted(keys)
    if not names:
        return []
    more = f" and {len(names) - 3} more" if len(names) > 3 else ""
    return [f"{what}: {', '.join(names[:3])}{more}"]
