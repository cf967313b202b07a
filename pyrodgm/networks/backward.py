"""Recurrences that run from the end of a sequence to its start."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.cells import Cell


def backward_outputs(cell: Cell, inputs: Tensor, batch: Batch) -> Tensor:
    r"""The outputs of a recurrence over every sequence from its last frame to its first, (B, T, H).

    .. math:: b_t = f(b_{t+1}, v_t), \qquad b_{T+1} = 0

    Args:
        cell: the recurrence f.
        inputs: v, (B, T, E).
        batch: that the inputs belong to; the frames of padding come last in both directions.
    """
    order = reversal(batch)
    return along(cell.outputs(along(inputs, order)), order)


def reversal(batch: Batch) -> Tensor:
    """Frame numbers of every sequence from its end to its start, (B, T); padding stays last.

    The permutation is its own inverse.

    >>> mask = torch.tensor([[True, True, True, False], [True, False, False, False]])
    >>> reversal(Batch(torch.zeros(2, 4, 1), mask, torch.arange(2))).tolist()
    [[2, 1, 0, 3], [0, 1, 2, 3]]
    """
    frame = torch.arange(batch.length, device=batch.x.device)
    turned = batch.lengths[:, None] - 1 - frame
    return torch.where(turned >= 0, turned, frame)


def along(frames: Tensor, order: Tensor) -> Tensor:
    """Frames (B, T, E) in another order, (B, T)."""
    return frames.gather(1, order[..., None].expand(-1, -1, frames.shape[-1]))
