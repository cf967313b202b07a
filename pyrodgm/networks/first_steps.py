"""Separate parameters for the first frames of a sequence."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class FirstSteps(nn.Module):
    """Separate biases for each of the first n frames, whose past is incomplete, and for the rest.

    Args:
        dim: size of the bias, D.
        history: number of first frames n with separate biases.
        init: initial value, (D,); zeros if not given.

    >>> FirstSteps(3, 2)(torch.arange(5)).shape
    torch.Size([5, 3])
    """

    def __init__(self, dim: int, history: int, init: Tensor | None = None) -> None:
        super().__init__()
        self.history = history
        start = torch.zeros(dim) if init is None else init
        self.bias = nn.Parameter(start.repeat(history + 1, 1))

    def forward(self, t: Tensor) -> Tensor:
        """The biases of frames t, counted from zero, (D,) or (T, D)."""
        place = t.clamp(max=self.history)
        if t.dim():
            return self.bias[place]
        return self.bias.index_select(0, place).squeeze(0)  # [place] would read it from the device
