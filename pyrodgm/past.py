"""What does a frame have before it? Shifted paths, moving windows, features side by side."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor


def lagged(value: Tensor, history: int) -> Tensor:
    """The last `history` values before each frame, side by side, newest first.

    Args:
        value: (..., T, D).
        history: number of lags n.

    Returns:
        (..., T, n D), zero where a lag reaches before the first frame.

    >>> lagged(torch.tensor([[1.0], [2.0], [3.0]]), 2)
    tensor([[0., 0.],
            [1., 0.],
            [2., 1.]])
    """
    *leading, length, dim = value.shape
    shifts = [
        torch.cat([value.new_zeros(*leading, lag, dim), value[..., : length - lag, :]], -2)
        for lag in range(1, min(history, length) + 1)
    ]
    shifts.extend(torch.zeros_like(value) for _ in range(history - len(shifts)))
    return shifts[0] if history == 1 else torch.cat(shifts, -1)


class ShiftedPast(dict[str, Tensor]):
    """The past of all frames at once, shifted on first use."""

    def __init__(self, values: Mapping[str, Tensor], history: int) -> None:
        super().__init__()
        self.values_by_name = values
        self.history = history

    def __missing__(self, name: str) -> Tensor:
        past = self[name] = lagged(self.values_by_name[name], self.history)
        return past


def join(*parts: Tensor) -> Tensor:
    """Features side by side, (..., sum of D), where leading dimensions broadcast.

    What `torch.cat` does not: in a step, draws may have particles in front that features lack.

    >>> join(torch.ones(5, 1, 2), torch.zeros(3, 4)).shape
    torch.Size([5, 3, 6])
    """
    leading = torch.broadcast_shapes(*(part.shape[:-1] for part in parts))
    return torch.cat([part.expand(*leading, part.shape[-1]) for part in parts], -1)


def push(window: Tensor, value: Tensor, dim: int) -> Tensor:
    """The window of past values after one more frame.

    Args:
        window: the last n values side by side, newest first, (..., n D).
        value: the newest value, (..., D).
        dim: its size D.
    """
    if window.shape[-1] == dim:
        return value
    return torch.cat([value, window[..., :-dim]], -1)
