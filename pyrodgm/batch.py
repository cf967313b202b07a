"""Batches: padded sequences, and the mask that separates data from padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from pyrodgm.lags import Lags


@dataclass(slots=True)  # not frozen: device wrappers rebuild it field by field
class Batch:
    """B sequences padded to a common length T. Independent rows are sequences with T = 1.

    Args:
        x: observations, (B, T, D), zero in padding, and the training mean where missing; real
            numbers are centred, see `pyrodgm.data.Sequences`.
        mask: True where a frame is data, (B, T).
        index: row of each sequence in its split, (B,); the key of per-row caches.
        seen: True where a feature was observed, (B, T, D), and False in padding; None if nothing is
            missing.
        conditions: inputs that are not modelled, (B, T, U), in the units of the data and in double
            precision; None if there are none.
        lags: lagged values, computed once for all programs on this batch.

    >>> batch = Batch.of(torch.ones(2, 3, 4))
    >>> batch.lengths.tolist(), batch.num_frames
    ([3, 3], 6)
    """

    x: Tensor
    mask: Tensor
    index: Tensor
    seen: Tensor | None = None
    conditions: Tensor | None = None
    lags: Lags = field(default_factory=Lags, repr=False, compare=False)

    @classmethod
    def of(cls, x: Tensor, conditions: Tensor | None = None) -> Batch:
        """A batch without padding from x (B, T, D) and, if any, conditions (B, T, U)."""
        mask = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device)
        index = torch.arange(x.shape[0], device=x.device)
        return cls(x, mask, index, conditions=conditions)

    @property
    def size(self) -> int:
        """Number of sequences B."""
        return self.x.shape[0]

    @property
    def length(self) -> int:
        """Padded length T."""
        return self.x.shape[1]

    @property
    def lengths(self) -> Tensor:
        """Frames that are data, per sequence, (B,)."""
        return self.mask.sum(1)

    @property
    def num_frames(self) -> int:
        """Frames that are data, over the whole batch."""
        return int(self.mask.sum())

    @property
    def observed(self) -> Tensor:
        """True where a feature of a frame was observed, (B, T, D), and False in padding."""
        return self.mask[..., None].expand_as(self.x) if self.seen is None else self.seen

    def to(self, device: torch.device) -> Batch:
        """The batch on another device."""
        return self._each(self.index.to(device), lambda part: part.to(device))

    def first(self, length: int) -> Batch:
        """The first frames of every sequence."""
        return self._each(self.index, lambda part: part[:, :length])

    def _each(self, index: Tensor, change: Callable[[Tensor], Tensor]) -> Batch:
        """A batch with changed parts over time, (B, T, ...)."""
        seen = None if self.seen is None else change(self.seen)
        conditions = None if self.conditions is None else change(self.conditions)
        return Batch(change(self.x), change(self.mask), index, seen, conditions)
