"""LSTM in both directions of time, for padded batches that can be exported."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class BidirectionalLSTM(nn.Module):
    """One-layer LSTM in both directions, (B, T, D) -> (B, T, 2H).

    The backward direction reads each sequence reversed from its last real segment, so that padding follows the real
    segments in both directions and never reaches them.

    Args:
        dim: D.
        hidden: H, width of each direction.
    """

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.onward = nn.LSTM(dim, hidden, batch_first=True)
        self.reverse = nn.LSTM(dim, hidden, batch_first=True)

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Encode x (B, T, D); valid (B, T) bool is True on real segments, None when there is no padding."""
        onward, _ = self.onward(x)
        if valid is None:
            reverse = self.reverse(x.flip(1))[0].flip(1)
        else:
            index = torch.arange(x.shape[1], device=x.device)
            last = valid.sum(dim=1, keepdim=True) - 1
            order = torch.where(valid, last - index, index).unsqueeze(-1)
            # `take_along_dim` would fix the size of the batch in exported programs.
            reverse, _ = self.reverse(x.gather(1, order.expand(-1, -1, x.shape[-1])))
            reverse = reverse.gather(1, order.expand(-1, -1, reverse.shape[-1]))
        return torch.cat([onward, reverse], dim=-1)
