"""Sequences of unequal length, stored end to end, and their padded batches."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.checks import check_finite, check_held_out, check_lengths, check_table
from pyrodgm.data.conditions import as_conditions
from pyrodgm.errors import DataError

TINY = float(np.finfo(np.float32).tiny)


class Sequences:
    """N sequences of unequal length, stored end to end.

    Single and double precision are kept, bytes and booleans take a byte, other integers become
    double. Batches are of torch's default type, usually single precision. Real numbers are centred
    before the conversion: numbers far from zero would lose their variation. Single precision
    represents 5,411,000 m with a resolution of half a metre.

    Args:
        x: all frames of all sequences, (sum of lengths, D), NaN where a feature is missing.
        lengths: frames per sequence, (N,).
        fill: values used where a feature is missing, (D,); `Splits.of` gives the training means.
            Zeros if not given.
        centre: numbers subtracted from x in batches, (D,); `Splits.of` gives the training means of
            real numbers. None subtracts nothing.
        held_out: further counts of the same frames, (sum of lengths, D). They are for evaluation:
            `batch` leaves them out, so models and guides never receive them. All zeros are the
            same as None.
        conditions: inputs of the same frames that are not modelled, (sum of lengths, U); held in
            double precision.
        labels: classes of the same frames, (sum of lengths,) words, for evaluation alone; `batch`
            leaves them out.
        name: of the frames, for error messages.

    Raises:
        DataError: frames are not a table of finite numbers, lengths do not add up to them, or
            conditions are missing.

    >>> split = Sequences(np.ones((5, 2), np.uint8), np.array([2, 3]))
    >>> split.batch([0, 1]).mask.tolist()
    [[True, True, False], [True, True, True]]
    """

    def __init__(
        self,
        x: np.ndarray,
        lengths: np.ndarray,
        *,
        fill: np.ndarray | None = None,
        centre: np.ndarray | None = None,
        held_out: np.ndarray | None = None,
        conditions: np.ndarray | None = None,
        labels: np.ndarray | None = None,
        name: str = "x",
    ) -> None:
        x, lengths = np.asarray(x), np.asarray(lengths)
        check_table(name, x)
        check_lengths(name, lengths, x)
        check_finite(name, x, lengths)
        if held_out is not None:
            check_held_out(name, np.asarray(held_out), x)
        self.x = torch.from_numpy(_stored(x))
        self.lengths = lengths.astype(np.int64)
        self.starts = _starts(self.lengths)
        self.fill = np.zeros(x.shape[1]) if fill is None else fill
        self.centre = centre
        self.scale: Tensor | None = None
        holds = held_out is not None and bool(np.any(held_out))
        self.held_out = torch.from_numpy(np.array(held_out, np.float32)) if holds else None
        self.labels = labels
        self.conditions = None
        if conditions is not None:
            self.conditions = as_conditions(f"'{name}_conditions'", conditions, len(x))
        # A minimum is NaN where any of its numbers is, and needs no memory.
        self.has_missing = bool(self.x.min().isnan())

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def num_frames(self) -> int:
        """Frames over all sequences."""
        return int(self.lengths.sum())

    def sequence(self, row: int) -> Tensor:
        """One sequence, (its length, D), as it is stored."""
        return self.x[self.starts[row] : self.starts[row] + self.lengths[row]]

    def batch(self, rows: Sequence[int] | np.ndarray) -> Batch:
        """The given rows, centred, as a padded batch of torch's default dtype."""
        index = np.asarray(rows, dtype=np.int64)
        lengths = self.lengths[index]
        frames, mask = self._frames(index)
        x, seen = self.observations(frames), None
        if self.has_missing:
            seen = mask[..., None] & ~self.x[frames].isnan()
        if lengths.min() < lengths.max():
            x = x.masked_fill_(~mask[..., None], 0)
        given = None if self.conditions is None else self.conditions[frames]
        return Batch(x, mask, torch.from_numpy(index), seen, given, lengths)

    def observations(self, frames: Tensor) -> Tensor:
        """Frames by their numbers, (..., D), as in batches: centred, and filled where missing."""
        x = self.centred(self.x[frames])
        if not self.has_missing:
            return x
        return x.where(~x.isnan(), self.centred(torch.from_numpy(self.fill)))

    def centred(self, x: Tensor) -> Tensor:
        """Numbers of the data, (..., D), as in batches: centred, then in torch's default dtype."""
        if self.centre is not None:
            x = x - torch.from_numpy(self.centre)
        x = x.to(torch.get_default_dtype())
        return x if self.scale is None else x / self.scale

    def uncentred(self, x: Tensor) -> Tensor:
        """The inverse of `centred`, (..., D); in double precision where there is a centre."""
        x = x if self.scale is None else x * self.scale
        return x if self.centre is None else x.double() + torch.from_numpy(self.centre).to(x.device)

    def held_out_batch(self, rows: Sequence[int] | np.ndarray) -> Tensor:
        """Held-out counts of the given rows, (B, T, D), with frames as in `batch`, zero in padding.

        Raises:
            DataError: nothing is held out.
        """
        if self.held_out is None:
            raise DataError("nothing is held out of these sequences; see '<split>_held_out'")
        frames, mask = self._frames(np.asarray(rows, dtype=np.int64))
        x = self.held_out[frames].to(torch.get_default_dtype())
        return x.masked_fill_(~mask[..., None], 0)

    def select(self, rows: Sequence[int] | np.ndarray) -> Sequences:
        """The given rows, in the given order, as sequences of their own."""
        parts = [np.arange(self.starts[row], self.starts[row] + self.lengths[row]) for row in rows]
        return self._taken(np.concatenate(parts), self.lengths[np.asarray(rows, dtype=np.int64)])

    def single(self, places: np.ndarray) -> Sequences:
        """The frames at some places, each as a sequence of its own."""
        return self._taken(places, np.ones(len(places), np.int64))

    def _taken(self, places: np.ndarray, lengths: np.ndarray) -> Sequences:
        """Sequences of the frames at some places."""
        frames = torch.from_numpy(places)
        held_out = None if self.held_out is None else self.held_out[frames]
        chosen = self._with(x=self.x[frames], lengths=lengths, starts=_starts(lengths))
        chosen.has_missing = self.has_missing and bool(chosen.x.min().isnan())
        chosen.held_out = held_out if held_out is not None and bool(held_out.any()) else None
        if self.labels is not None:
            chosen.labels = self.labels[places]
        if self.conditions is not None:
            chosen.conditions = self.conditions[frames]
        return chosen

    def first(self, length: int) -> Sequences:
        """The first frames of every sequence, as sequences of their own."""
        lengths = np.minimum(self.lengths, length)
        parts = [np.arange(a, a + n) for a, n in zip(self.starts, lengths, strict=True)]
        return self._taken(np.concatenate(parts), lengths)

    def placed(self, fill: np.ndarray, centre: np.ndarray | None) -> Sequences:
        """The same sequences with another fill for missing values and another centre."""
        return self._with(fill=fill, centre=centre)

    def scaled(self, scale: Tensor) -> Sequences:
        """The same sequences with values in batches divided by a scale, (D,); see `centred`."""
        return self._with(scale=scale)

    def conditioned(self, conditions: Tensor) -> Sequences:
        """The same sequences with other conditions, (sum of lengths, U)."""
        return self._with(conditions=conditions)

    def narrowed(self, dtype: torch.dtype) -> Sequences:
        """The same sequences in a smaller type, which must hold their values."""
        return self._with(x=self.x.to(dtype))

    def _with(self, **changes: object) -> Sequences:
        """A copy with some attributes changed, without repeating the checks."""
        other = copy(self)
        vars(other).update(changes)
        return other

    def _frames(self, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        """Indices of the frames in a padded batch, and its mask, both (B, T)."""
        time = np.arange(self.lengths[rows].max())
        frames = np.minimum(self.starts[rows, None] + time, self.num_frames - 1)
        return torch.from_numpy(frames), torch.from_numpy(time < self.lengths[rows, None])


def _starts(lengths: np.ndarray) -> np.ndarray:
    """The first frame of every sequence, (N,)."""
    return np.concatenate([[0], np.cumsum(lengths)])[:-1]


def _stored(x: np.ndarray) -> np.ndarray:
    """Checked numbers in the smallest of three types that holds them."""
    if x.dtype.kind == "b" or x.dtype == np.uint8:
        return np.ascontiguousarray(x, np.uint8)
    single = x.dtype.kind == "f" and x.dtype.itemsize <= np.dtype(np.float32).itemsize
    x = np.ascontiguousarray(x, np.float32 if single else np.float64)
    # Many processors are ten times slower with numbers this close to zero than with zero.
    subnormal = (np.abs(x) < TINY) & (x != 0)
    return np.where(subnormal, 0, x) if subnormal.any() else x
