r"""Paths of binary units drawn in parallel sweeps over time, equal to those of the loop bit by bit.

With its noise fixed, a path of bits is a deterministic recurrence,

.. math:: z_t = [\varepsilon_t < d_t + W z_{t-n:t-1}].

A sweep applies it to all frames of any path at once. After s sweeps the first s frames are right,
whatever the path was at first, and a path that a sweep does not change is right everywhere. Bits
rarely depend on distant ones, so that ten to twenty sweeps are enough in practice, of which all but
the first few touch only the frames that have something new before them.

Floating-point sums depend on their order. It differs between the matrix products of a sweep and
those of the loop, and within one library of matrix products even with the number of rows, with
strides and with the alignment of memory. A bit can differ only where the noise is closer to the
log-odds than rounding can move either. Frames with such a bit are computed again by the loop's own
step, on a past of the same shape, strides and alignment. Every frame of the path that is returned
is then what the loop makes of the frames before it. This rests on three properties of a matrix
product: equal operands in the same layout give equal results; a row of the result does not depend
on the values of other rows; and a sum of m terms is rounded by at most (m - 1) u times the sum of
their magnitudes, with u the unit roundoff, as it is in any order of summation. Products of reduced
precision do not have the last, and there the loop draws the path.

Reference: Song et al., Accelerating feedforward computation via parallel nonlinear equation
solving, 2021, for Jacobi iterations of recurrences.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.sampler import SiteSampler
from pyrodgm.engine.table import FrameTable

LEAST_FRAMES = 250  # of a path that is drawn in sweeps
MOST_BITS = {"cpu": 400, "cuda": 10**8}  # of a frame on a CPU, of all frames on CUDA
LEAST_SWEEPS, MOST_SWEEPS = 12, 64  # for short and long paths, before the loop takes over
MOST_TABLES = 8  # rows that all sweeps together may compute, in multiples of a path's
DENSE = 0.4  # share of rows above which a sweep computes all of them
DECLINE = 0.7  # share of bits that such a sweep changes, of those that the one before it changed


def sweeps_pay(own: nn.Linear, drive: Tensor, sampler: SiteSampler) -> bool:
    """Whether a path is drawn faster in sweeps than by the loop, and as exactly.

    A frame of the loop costs what it costs to start its operations, unless there are many bits in
    it, and sweeps compute every frame three to five times. On a CPU they win where K B J is at most
    400, on CUDA until memory is short; both from some 250 frames on (docs/benchmarks.md).

    Args:
        own: the weights of the site's own past.
        drive: of all frames, (..., T, J).
        sampler: of the site.
    """
    if type(drive) is not Tensor or sampler.length < LEAST_FRAMES:
        return False
    bits = sampler.leading.numel() * drive.shape[-1]
    bits *= 1 if drive.device.type == "cpu" else sampler.length
    return bits <= MOST_BITS.get(drive.device.type, 0) and _full_precision(own, drive, sampler)


def _full_precision(own: nn.Linear, drive: Tensor, sampler: SiteSampler) -> bool:
    """Whether all numbers are of one type, whose products are rounded as little as it allows."""
    types = {own.weight.dtype, drive.dtype, sampler.dtype or drive.dtype}
    backends = [each.matmul for each in (torch.backends.cuda, torch.backends.mkldnn)]
    full = all(backend.fp32_precision in ("none", "ieee") for backend in backends)
    reduced = torch.is_autocast_enabled(drive.device.type) or not full
    return types in ({torch.float32}, {torch.float64}) and not reduced


class Sweeps:
    r"""The drawing of one path of binary units whose distributions have log-odds d + W z, `logits`.

    Args:
        cell: of these units.
        own: W, (J, n J), without bias.
        drive: d, (..., T, J).
        sampler: of the site.
        start: the values before the first frame, newest first, (*leading, n, J); zeros if not
            given.

    Attributes:
        sweeps: how many there were.
        computed: rows that they computed.
        checked: frames that were computed again by the loop's step.
        looped: frames that the loop drew in the end.
    """

    def __init__(
        self,
        cell: StochasticCell,
        own: nn.Linear,
        drive: Tensor,
        sampler: SiteSampler,
        start: Tensor | None = None,
    ) -> None:
        self.cell, self.weight, self.sampler = cell, own.weight, sampler
        self.drive = sampler.frames(drive)
        self.lags = own.in_features // own.out_features
        zeros = drive.new_zeros(*sampler.leading, own.in_features)
        noise = sampler.noise(cell.distribution(self.drive[0], zeros))
        assert noise is not None
        self.noise = noise.unbind(0)
        self.table = table = FrameTable(noise, self.lags)
        over_time = sampler.as_drawn(drive).movedim(-2, 0)
        shared = (None,) * (noise.dim() - over_time.dim())  # by all particles
        # Limits of W z, for a one; those before the first frame keep its values as they are.
        fill = noise.new_full((), torch.inf)
        fill = fill if start is None else torch.where(start > 0, -torch.inf, fill)
        self.limits = table.laid_out(noise - over_time[:, *shared], fill)
        self.sums = torch.zeros_like(self.limits)
        self.largest_drive = drive.abs().amax()
        self.sweeps = self.computed = self.checked = self.looped = 0
        self._changes = table.rows.numel()  # bits that the last sweep of all rows changed
        self._declines = True  # in number
        torch.lt(self.limits, 0, out=table.rows)

    def path(self) -> Tensor:
        """The path, (*leading, T, J)."""
        length, right = self.table.length, 0
        new = self._sweep_all()
        while len(new) or right < length:
            if not len(new):
                new, right = self._check(right, length)
            elif not self._goes_on():
                self._loop(right, int(self.table.frames_of(new).min()))
                break
            else:
                dense = right == 0 and len(new) > DENSE * len(self.sums)
                new = self._sweep_all() if dense else self._sweep(new)
        return self.table.path()

    def _goes_on(self) -> bool:
        """Whether sweeps may still be faster than the loop."""
        most = min(max(LEAST_SWEEPS, self.table.length // 16), MOST_SWEEPS)
        few = self.computed <= MOST_TABLES * len(self.sums)
        return self._declines and few and self.sweeps < most

    def _loop(self, right: int, first: int) -> None:
        """Draw the frames that are not right yet; those before `first` have nothing new."""
        right = self._check(right, first)[1]
        before = self.table.before(right)
        self.cell.draw_frames(self.drive, before, self.sampler, right)
        self.table.take_over(right, before)
        self.looped = self.table.length - right

    def _step(self, t: int) -> Tensor:
        """What the loop makes of frame t, without writing over its noise."""
        logits = self.cell.distribution(self.drive[t], self.table.own(t)).logits
        return torch.lt(self.noise[t], logits, out=torch.empty_like(self.noise[t]))

    def _sweep_all(self) -> Tensor:
        """Compute all rows; the rows that then have something new before them."""
        rows, drawn = self.table.rows, self.table.drawn
        sums = self.sums[drawn]
        for lag, block in enumerate(self.weight.T.chunk(self.lags)):
            distance = self.table.distances[lag]
            past = rows[drawn.start + distance : drawn.stop + distance]
            sums.addmm_(past, block, beta=min(lag, 1))
        bits = torch.gt(self.sums, self.limits, out=torch.empty_like(rows))
        changes = (bits != rows).sum(-1)
        rows.copy_(bits)
        self.sweeps, self.computed = self.sweeps + 1, self.computed + len(rows)
        before, self._changes = self._changes, int(changes.sum())
        self._declines = self._changes <= DECLINE * before
        return self.table.after(changes.nonzero()[:, 0])

    def _sweep(self, rows: Tensor) -> Tensor:
        """Compute some rows; the rows that then have something new before them."""
        sums = self.table.past(rows) @ self.weight.T
        self.sums.index_copy_(0, rows, sums)
        limits = self.limits.index_select(0, rows)
        self.sweeps, self.computed = self.sweeps + 1, self.computed + len(rows)
        return self._changed(rows, torch.gt(sums, limits, out=limits))

    def _changed(self, rows: Tensor, bits: Tensor) -> Tensor:
        """Write bits into rows; the rows that then have something new before them."""
        new = (bits != self.table.rows.index_select(0, rows)).sum(-1).nonzero()[:, 0]
        rows = rows.index_select(0, new)
        self.table.rows.index_copy_(0, rows, bits.index_select(0, new))
        return self.table.after(rows)

    def _check(self, right: int, until: int) -> tuple[Tensor, int]:
        """Let the loop's step decide where rounding might.

        Args:
            right: frames known to be right.
            until: the frames before this one have nothing new before them.

        Returns:
            The rows that then have something new before them, and how many frames are right.
        """
        frames = self.table.frames_of(self._doubtful(right, until)).unique()
        if not len(frames):
            return frames, until
        steps = [self._step(t) for t in frames.tolist()]
        bits = torch.stack(steps).flatten(0, -2)
        self.checked += len(steps)
        new = self._changed(self.table.rows_of(frames), bits)
        # The first frame that changed is right now, and the next one has something new before it.
        return new, int(self.table.frames_of(new).min()) if len(new) else until

    def _doubtful(self, first: int, until: int) -> Tensor:
        """Rows with a bit that another order of summation, here or in the loop, might change.

        They are found by a bound that holds whatever lies before a row, and where that does not
        decide, by sums in double precision and the bound for what does lie before it.

        Args:
            first: the first frame that is looked at.
            until: the frame after the last one.
        """
        bound = self._bound(self.weight.shape[1], self.weight.abs().sum(1))
        sure = ((self.sums - self.limits).abs_() > bound).sum(-1)
        rows = (sure < self.weight.shape[0]).nonzero()[:, 0]
        frames = self.table.frames_of(rows)
        rows = rows[(frames >= first) & (frames < until)]
        past, weight = self.table.past(rows).double(), self.weight.double().T
        gaps = (past @ weight - self.limits.index_select(0, rows)).abs_()
        bound = self._bound(past.sum(-1, keepdim=True), past @ weight.abs())
        return rows[~(gaps > bound).all(-1)]

    def _bound(self, terms: Tensor | int, size: Tensor) -> Tensor:
        r"""How far apart the noise and the log-odds must be for no rounding to matter.

        The loop rounds a sum of m terms of size :math:`A = \sum |w|` by at most (m - 1) u A, and
        its sum with the drive by u (A + |d|). A sweep rounds the sum as much, and the noise less
        the drive by u A where it is close to the sum.
        """
        unit = torch.finfo(self.weight.dtype).eps / 2
        return 1.01 * unit * ((2 * terms + 3) * size + self.largest_drive)
