"""Inputs of linear predictors: the frames before each frame, with missing values filled."""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import Sequences
from pyrodgm.data.loader import evaluation_batches

FRAMES_AT_ONCE = 10_000
NUMBERS_AT_ONCE = 10_000_000  # frames x inputs: bounds memory, not results


def carried(batch: Batch) -> Tensor:
    """Observations where missing values repeat the last observed value, (B, T, D).

    Before its first observed value a feature has the training mean.
    """
    if batch.seen is None:
        return batch.x
    t = torch.arange(batch.length, device=batch.x.device)[:, None].expand_as(batch.seen)
    last = torch.where(batch.seen, t, -1).cummax(1).values
    return torch.where(last >= 0, batch.x.gather(1, last.clamp(min=0)), batch.x)


def lags(x: Tensor, order: int) -> Tensor:
    """The last n frames before each, newest first; the first frame is repeated before the start.

    Args:
        x: (B, T, D).
        order: n.

    Returns:
        (B, T, n D); for the first frame this is the frame itself.

    >>> lags(torch.tensor([[[1.0], [2.0], [3.0]]]), 2).tolist()
    [[[1.0, 1.0], [1.0, 1.0], [2.0, 1.0]]]
    """
    frames = torch.arange(x.shape[1], device=x.device)
    return torch.cat([x[:, (frames - lag).clamp(min=0)] for lag in range(1, order + 1)], -1)


def pairs(
    sequences: Sequences, order: int, centre: Tensor
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """Blocks of frames from the second on and the n frames before each, centred.

    Args:
        sequences: frames of dimension D.
        order: n.
        centre: (D,).

    Yields:
        Inputs (F, n D); frames (F, D), zero where missing; and the mask of observed values, (F, D).
    """
    frames = min(FRAMES_AT_ONCE, max(1, NUMBERS_AT_ONCE // (order * len(centre))))
    for rows in evaluation_batches(sequences.lengths, frames):
        batch = sequences.batch(rows)
        counts = batch.mask.clone()
        counts[:, 0] = False
        u = lags(carried(batch) - centre.to(batch.x), order)[counts]
        seen = torch.ones_like(batch.x) if batch.seen is None else batch.seen.to(batch.x)
        yield u, ((batch.x - centre.to(batch.x)) * seen)[counts], seen[counts]
