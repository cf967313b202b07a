"""Lagged values of each site, cached per batch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.carried import Before


def lagged(value: Tensor, history: int, before: Tensor | None = None) -> Tensor:
    """The last `history` values before each frame, side by side, newest first.

    Args:
        value: (..., T, D).
        history: number of lags n.
        before: the values before the first frame, newest first, (..., m, D); zeros if not given,
            and where a lag reaches further.

    Returns:
        (..., T, n D).

    >>> lagged(torch.tensor([[1.0], [2.0], [3.0]]), 2)
    tensor([[0., 0.],
            [1., 0.],
            [2., 1.]])
    """
    if history == 0:
        return value[..., :0]
    length = value.shape[-2]
    padded = F.pad(value, (0, 0, history, -1))
    if before is not None:
        padded = torch.cat([_oldest_first(before, history, value), value[..., :-1, :]], -2)
    lags = [padded[..., start : start + length, :] for start in reversed(range(history))]
    return padded if history == 1 else torch.cat(lags, -1)


def tail(value: Tensor, history: int, before: Tensor | None = None) -> Tensor:
    """The last `history` values of a path, newest first, (..., n, D); arguments as for `lagged`.

    >>> tail(torch.tensor([[1.0], [2.0], [3.0]]), 2).tolist()
    [[3.0], [2.0]]
    >>> tail(torch.tensor([[3.0]]), 3, torch.tensor([[2.0]])).tolist()
    [[3.0], [2.0], [0.0]]
    """
    if before is None:
        before = value[..., :0, :]
    padded = torch.cat([_oldest_first(before, history, value), value], -2)
    return padded[..., padded.shape[-2] - history :, :].flip(-2)


def _oldest_first(before: Tensor, history: int, value: Tensor) -> Tensor:
    """A window as the `history` frames before a path, (..., n, D)."""
    near = before[..., :history, :].flip(-2)
    near = F.pad(near, (0, 0, history - near.shape[-2], 0))
    return near.to(value.dtype).expand(*value.shape[:-2], -1, -1)


class Lags:
    """A cache of the lags of every site, shared by all programs on a batch.

    A model scores the path that its guide drew, given the same observations, so both need the same
    lags. The cache stores the newest value of every site, and none with gradients.

    Args:
        before: what lies before the first frame.

    >>> lags, z = Lags(), torch.ones(3, 2)
    >>> lags("z", z, 4) is lags("z", z, 4), lags("z", z.clone(), 4) is lags("z", z, 4)
    (True, False)
    """

    def __init__(self, before: Before | None = None) -> None:
        self.before = before or Before()
        self._newest: dict[str, tuple[Tensor, int, Tensor]] = {}

    def __call__(self, name: str, value: Tensor, history: int) -> Tensor:
        """The last `history` values before each frame, (..., T, n D); see `lagged`."""
        before = self.before.windows.get(name)
        if value.requires_grad:
            return lagged(value, history, before)
        kept = self._newest.get(name)
        if kept is None or kept[0] is not value or kept[1] != history:
            kept = self._newest[name] = value, history, lagged(value, history, before)
        return kept[2]
