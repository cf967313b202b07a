"""Lagged values of each site, cached per batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
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
    if history == 0:
        return value[..., :0]
    length = value.shape[-2]
    padded = F.pad(value, (0, 0, history, -1))
    lags = [padded[..., start : start + length, :] for start in reversed(range(history))]
    return padded if history == 1 else torch.cat(lags, -1)


class Lags:
    """A cache of the lags of every site, shared by all programs on a batch.

    A model scores the path that its guide drew, given the same observations, so both need the same
    lags. The cache stores the newest value of every site, and none with gradients.

    >>> lags, z = Lags(), torch.ones(3, 2)
    >>> lags("z", z, 4) is lags("z", z, 4), lags("z", z.clone(), 4) is lags("z", z, 4)
    (True, False)
    """

    def __init__(self) -> None:
        self._newest: dict[str, tuple[Tensor, int, Tensor]] = {}

    def __call__(self, name: str, value: Tensor, history: int) -> Tensor:
        """The last `history` values before each frame, (..., T, n D); see `lagged`."""
        if value.requires_grad:
            return lagged(value, history)
        kept = self._newest.get(name)
        if kept is None or kept[0] is not value or kept[1] != history:
            kept = self._newest[name] = value, history, lagged(value, history)
        return kept[2]
