"""Batches: padded sequences, and the mask that separates data from padding."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
import torch
from torch import Tensor

from pyrodgm.carried import Before, Ends
from pyrodgm.lags import Lags, tail


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
        host_lengths: frames of every sequence, (B,), where they are known without reading the mask,
            which may be on a GPU; None together with another mask.
        before: what lies before the first frame, where the sequences have begun earlier.
        ends: collects where features and recurrences over the observations end; None where that is
            not wanted.
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
    host_lengths: np.ndarray | None = field(default=None, repr=False, compare=False)
    before: Before = field(default_factory=Before, repr=False, compare=False)
    ends: Ends | None = field(default=None, repr=False, compare=False)
    lags: Lags = field(default_factory=Lags, repr=False, compare=False)

    def __post_init__(self) -> None:
        if self.lags.before is not self.before and self.before.frames:
            self.lags = Lags(self.before)

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
        known = self.host_lengths
        return int(self.mask.sum()) if known is None else int(known.sum())

    @property
    def shortest(self) -> int:
        """Number of first frames in which no sequence has ended."""
        known = self.host_lengths
        return int(self.lengths.min()) if known is None else int(known.min())

    @property
    def frames(self) -> Tensor:
        """The number of every frame in its sequence, from zero, (T,)."""
        first = self.before.frames
        return torch.arange(first, first + self.length, device=self.x.device)

    @property
    def observed(self) -> Tensor:
        """True where a feature of a frame was observed, (B, T, D), and False in padding."""
        return self.mask[..., None].expand_as(self.x) if self.seen is None else self.seen

    def lagged(self, name: str, value: Tensor, history: int) -> Tensor:
        """The last n values before each frame of features of the observations, (B, T, n F).

        Args:
            name: of the features, which identifies them in the chunk before; "x" for the
                observations themselves.
            value: of all frames, (B, T, F).
            history: number of lags n.
        """
        if self.ends is not None:
            self.ends.windows[name] = tail(value, history, self.before.windows.get(name))
        return self.lags(name, value, history)

    def to(self, device: torch.device) -> Batch:
        """The batch on another device, or itself if it is there.

        A copy from the CPU to a GPU is made from pinned memory, so that the host does not wait for
        it. Torch does not use that memory for anything else before the copy is done.
        """
        if device == self.x.device:
            return self

        def moved(part: Tensor) -> Tensor:
            if device.type == "cuda" and part.device.type == "cpu":
                return part.pin_memory().to(device, non_blocking=True)
            return part.to(device)

        there = self._each(moved(self.index), self.host_lengths, moved)
        return replace(there, before=self.before.to(device)) if self.before.frames else there

    def first(self, length: int) -> Batch:
        """The first frames of every sequence."""
        known = None if self.host_lengths is None else np.minimum(self.host_lengths, length)
        return self._each(self.index, known, lambda part: part[:, :length])

    def repeated(self, copies: int) -> Batch:
        """Several copies of all sequences, one after the other, (copies B, T, ...)."""
        known = None if self.host_lengths is None else np.tile(self.host_lengths, copies)
        index = self.index.repeat(copies)
        whole = self._each(index, known, lambda part: part.repeat(copies, *(1,) * (part.dim() - 1)))
        return replace(whole, before=self.before.repeated(copies)) if self.before.frames else whole

    def without(self, number: int) -> Batch:
        """The sequences but the first ones; their values are not copied."""
        known = None if self.host_lengths is None else self.host_lengths[number:]
        rest = self._each(self.index[number:], known, lambda part: part[number:])
        if not self.before.frames:
            return rest
        return replace(rest, before=self.before.rows(torch.arange(number, self.size)))

    def chunk(self, first: int, last: int) -> Batch:
        """Frames `first` to `last` - 1 of the sequences that have any of them."""
        lengths = (self.lengths if self.host_lengths is None else self.host_lengths) - first
        kept = torch.as_tensor(lengths > 0).nonzero()[:, 0].to(self.x.device)
        known = None
        if self.host_lengths is not None:
            known = np.minimum(self.host_lengths[self.host_lengths > first] - first, last - first)
        return self._each(self.index[kept], known, lambda part: part[kept, first:last])

    def _each(
        self, index: Tensor, host_lengths: np.ndarray | None, change: Callable[[Tensor], Tensor]
    ) -> Batch:
        """A batch with changed parts over time, (B, T, ...)."""
        seen = None if self.seen is None else change(self.seen)
        conditions = None if self.conditions is None else change(self.conditions)
        return Batch(change(self.x), change(self.mask), index, seen, conditions, host_lengths)
