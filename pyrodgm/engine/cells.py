"""Cells: what moves a program on by one frame, with noise and without."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.engine.sampler import SiteSampler


class Cell(Protocol):
    """A recurrence without noise: what a step carries from frame to frame.

    Args:
        dim: size of its output, which is the first part of its state.
        state_dim: numbers that it carries.
    """

    dim: int
    state_dim: int

    def __call__(self, drive: Tensor, state: Tensor) -> Tensor:
        """The next state (..., S) from this frame's input (..., E) and the state before."""
        ...

    def outputs(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The outputs of all frames, (..., T, H), from all inputs (..., T, E).

        Args:
            drive: the inputs.
            start: the state before the first frame, (..., S), without gradient; zeros if not given.
        """
        ...

    def states(self, drive: Tensor, start: Tensor | None = None) -> Tensor:
        """The states of all frames, (..., T, S); arguments as for `outputs`."""
        ...


class StochasticCell:
    r"""How a site is drawn that depends on its own last n values, for `Past.chain`.

    .. math:: z_t \sim p(z_t \mid d_t, z_{t-n:t-1})

    A subclass defines `distribution`. It may also define `path`, where all frames can be drawn
    faster than one after the other; the values must be those of the loop. Where a function of one
    frame is all there is, take `FunctionCell`.
    """

    @abstractmethod
    def distribution(self, drive: Tensor, own: Tensor) -> TorchDistribution:
        """The distribution of a frame, or of all frames at once: leading dimensions broadcast.

        Args:
            drive: what else the site depends on, (..., E).
            own: the site's last n values side by side, newest first, (..., n D).
        """

    def path(self, drive: Tensor, start: Tensor, sampler: SiteSampler) -> Tensor:
        """Draw all frames, (*leading, T, D), one after the other.

        Args:
            drive: of all frames, (..., T, E).
            start: the values before the first frame, newest first, (*leading, n, D).
            sampler: draws a frame.
        """
        frames, lags = sampler.frames(drive), start.shape[-2]
        before = Windows(start, len(frames)) if lags > 1 else Newest(start)
        self.draw_frames(frames, before, sampler)
        return before.values()

    def draw_frames(
        self,
        drive: Sequence[Tensor],
        before: Newest | Windows,
        sampler: SiteSampler,
        first: int = 0,
    ) -> None:
        """Draw frames one after the other, from `first` on, onto what lies before them."""
        for t in range(first, len(drive)):
            before.push(sampler(t, self.distribution(drive[t], before.last())))


@dataclass(frozen=True)
class FunctionCell(StochasticCell):
    """A stochastic cell given by its distribution alone.

    Args:
        function: the distribution of a frame from its drive and from its last n values, as
            `StochasticCell.distribution` takes them.
    """

    function: Callable[[Tensor, Tensor], TorchDistribution]

    def distribution(self, drive: Tensor, own: Tensor) -> TorchDistribution:
        """The distribution of a frame."""
        return self.function(drive, own)


class Windows:
    """The last n values before the frame that is next, newest first, without copying them.

    A path is written from the end of its memory to the beginning, so that the n values before any
    frame lie side by side in the order wanted.

    Args:
        start: the last n values before the first frame, (..., n, D).
        length: frames that will come, T.
    """

    def __init__(self, start: Tensor, length: int) -> None:
        *leading, self.lags, dim = start.shape
        self.path = start.new_empty(*leading, length + self.lags, dim)
        self.path[..., length:, :] = start
        self.frames = self.path.unbind(-2)
        self.place = length

    def last(self) -> Tensor:
        """The last n values, (..., n D)."""
        return self.path[..., self.place : self.place + self.lags, :].flatten(-2)

    def push(self, value: Tensor) -> None:
        """Let a new value come in, (..., D)."""
        self.place -= 1
        self.frames[self.place].copy_(value)

    def values(self) -> Tensor:
        """All values that came in, in the order of frames, (..., T, D)."""
        return self.path[..., : -self.lags, :].flip(-2)


class Newest:
    """The last value before the frame that is next, for windows of one value or of none.

    Args:
        start: the value before the first frame, (..., n, D), where n is 1 or 0.
    """

    def __init__(self, start: Tensor) -> None:
        self.now = start.flatten(-2)
        self.lags = start.shape[-2]
        self.frames: list[Tensor] = []

    def last(self) -> Tensor:
        """The last value, (..., n D)."""
        return self.now

    def push(self, value: Tensor) -> None:
        """Let a new value come in, (..., D)."""
        self.frames.append(value)
        self.now = value if self.lags else self.now

    def values(self) -> Tensor:
        """All values that came in, (..., T, D)."""
        return torch.stack(self.frames, -2)


def scan(cell: Cell, drive: Tensor, start: Tensor | None = None) -> Tensor:
    """The states of a recurrence in all frames, (..., T, S); arguments as for `Cell.outputs`."""
    state = drive.new_zeros(*drive.shape[:-2], cell.state_dim) if start is None else start
    states = []
    for now in drive.unbind(-2):
        state = cell(now, state)
        states.append(state)
    return torch.stack(states, -2)
