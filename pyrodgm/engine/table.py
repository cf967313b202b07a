"""The frames of a path as rows of one table, in memory as the loop over frames has its draws."""

from __future__ import annotations

import torch
from torch import Tensor

from pyrodgm.engine.cells import Newest, Windows

ALIGNED = 128  # numbers; tensors begin at multiples of that in memory, or of a fraction of it


class FrameTable:
    """Values of all frames, in which the i-th value before a row is a fixed number of rows away.

    A product of the whole table with the weights of a lag therefore serves all frames at once.
    Strides and alignment of what lies before a frame are those of the loop (`StochasticCell.path`):
    with one lag it is the frame drawn before, in a tensor such as the noise, and with several a
    slice of `Windows`. Rows before the first frame are zero.

    Args:
        noise: of all frames, (T, *leading, J).
        lags: n, at least 1.

    Attributes:
        rows: the table, (R, J).
        drawn: the rows that are computed.
        distances: from a row to those of its past, the newest first.
    """

    def __init__(self, noise: Tensor, lags: int) -> None:
        length, *leading, dim = noise.shape
        self.lags, self.length, self.leading = lags, length, leading
        self.size = noise[0].numel() // dim
        if lags == 1:
            ahead = self.size * dim
            gap = -ahead % ALIGNED
            self.rows = noise.new_zeros(gap + ahead + noise.numel())[gap:].view(-1, dim)
            self.drawn = slice(self.size, len(self.rows))
            self.distances = [-self.size]
        else:
            self.windows = Windows(noise.new_zeros(*leading, lags, dim), length)
            self.windows.path.zero_()
            self.rows = self.windows.path.view(-1, dim)
            self.drawn = slice(0, len(self.rows) - lags)
            self.distances = list(range(1, lags + 1))

    def laid_out(self, value: Tensor, fill: Tensor) -> Tensor:
        """The rows of a value of all frames, (T, *leading, J).

        Args:
            value: of all frames.
            fill: what lies before the first frame, newest first, (*leading, n, J), or a scalar.
        """
        table = torch.empty_like(self.rows)
        if self.lags == 1:
            table[: self.size] = fill if fill.dim() == 0 else fill.flatten(0, -2)
            table[self.size :].view(value.shape).copy_(value)
        else:
            over_time = table.view_as(self.windows.path)
            over_time[..., self.length :, :] = fill
            over_time[..., : self.length, :] = value.movedim(0, -2).flip(-2)
        return table

    def own(self, t: int) -> Tensor:
        """What lies before frame t, (*leading, n J)."""
        if self.lags == 1:
            return self.rows[t * self.size : (t + 1) * self.size].view(*self.leading, -1)
        self.windows.place = self.length - t
        return self.windows.last()

    def before(self, t: int) -> Newest | Windows:
        """What lies before frame t, for a loop that draws it and all later frames."""
        if self.lags == 1:
            return Newest(self.own(t)[..., None, :])
        self.windows.place = self.length - t
        return self.windows

    def take_over(self, t: int, drawn: Newest | Windows) -> None:
        """Take frame t and all later ones from such a loop."""
        if isinstance(drawn, Newest) and drawn.frames:
            self.rows[(t + 1) * self.size :] = torch.stack(drawn.frames).flatten(0, -2)

    def rows_of(self, frames: Tensor) -> Tensor:
        """The rows of some frames, one frame after the other, (F N,)."""
        each = torch.arange(self.size, device=frames.device)
        if self.lags == 1:
            return ((frames[:, None] + 1) * self.size + each).flatten()
        return (each * (self.length + self.lags) + self.length - 1 - frames[:, None]).flatten()

    def frames_of(self, rows: Tensor) -> Tensor:
        """The frames that rows belong to."""
        if self.lags == 1:
            return rows // self.size - 1
        return self.length - 1 - rows % (self.length + self.lags)

    def past(self, rows: Tensor) -> Tensor:
        """What lies before some rows, (R', n J)."""
        parts = [self.rows.index_select(0, rows + distance) for distance in self.distances]
        return torch.cat(parts, -1) if len(parts) > 1 else parts[0]

    def after(self, rows: Tensor) -> Tensor:
        """The rows that have some rows in their past."""
        if self.lags == 1:
            after = rows + self.size
            return after[after < len(self.rows)]
        marks = torch.zeros(len(self.rows), dtype=torch.bool, device=rows.device)
        for distance in self.distances:
            marks[(rows - distance).clamp_(min=0)] = True
        marks.view(self.size, -1)[:, self.length :] = False
        return marks.nonzero()[:, 0]

    def path(self) -> Tensor:
        """All frames, (*leading, T, J)."""
        if self.lags > 1:
            return self.windows.values()
        frames = self.rows[self.size :].view(self.length, *self.leading, -1)
        return frames.movedim(0, -2).contiguous()
