"""State of K particles of B sequences, and operations on particles."""

from __future__ import annotations

from collections.abc import Mapping
from copy import copy, deepcopy
from dataclasses import replace
from types import MappingProxyType

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import Symbols
from pyrodgm.engine.past import Past, push, seen_key
from pyrodgm.engine.programs import Draw, SequenceProgram
from pyrodgm.engine.sites import sizes
from pyrodgm.lags import Lags

ROUNDING = 1e-6  # tolerance for sums of weights


class Particles:
    """A sequence program run frame by frame for K particles of B sequences.

    Args:
        program: a sequence model or a sequence guide.
        batch: the B sequences, with features, dtype and device.
        count: particles per sequence, K.

    Attributes:
        past: windows and states. Those of latents are (K, B, ...); those of observations, and
            states that follow from them alone, lack the dimension of particles as long as all
            particles share them.
    """

    def __init__(self, program: SequenceProgram, batch: Batch, count: int) -> None:
        self.program = program
        self.encoded = program.encode(batch)
        self.dims = program.dims
        self.first = batch.before.frames
        history, known = program.history, batch.before.windows

        def window(name: str, like: Tensor, dim: int, *leading: int) -> Tensor:
            if name in known:
                return known[name][:, :history].flatten(-2).expand(*leading, -1)
            return like.new_zeros(*leading, history * dim)

        windows = {
            name: window(name, batch.x, dim, count, batch.size)
            for name, dim in sizes(program.latents).items()
        }
        for name, dim in program.observed.items():
            windows[name] = window(name, batch.x, dim, batch.size)
            if batch.seen is not None:
                key = seen_key(name)
                windows[key] = window(key, batch.seen, dim, batch.size)
                self.dims[key] = dim
        self.past = Past(windows, batch.before.states)

    def fork(self) -> Particles:
        """A copy of the particles that can be continued independently."""
        other = copy(self)
        other.past = Past(self.past, self.past.start)
        other.past.states = dict(self.past.states)
        return other

    def chosen(self, index: Tensor) -> Particles:
        """The particles of an index (K', B), each with its own past."""
        other = self.fork()
        other.past.update({name: of_ancestors(value, index) for name, value in self.past.items()})
        other.past.states = {name: of_ancestors(s, index) for name, s in self.past.states.items()}
        return other

    def step(
        self,
        draw: Draw,
        t: Tensor,
        alive: Tensor | None = None,
        moved: Mapping[str, Tensor] = MappingProxyType({}),
    ) -> None:
        """One frame of every particle.

        Args:
            draw: as for a program.
            t: the frame of the batch, a scalar, or one of every sequence, (B,).
            alive: sequences (B,) whose states move; None for all.
            moved: states in this frame that are known; their recurrence does not run.
        """
        before, self.past.moved = dict(self.past.states), moved
        self.program.step(draw, self.past, self._encoded(t), t + self.first if self.first else t)
        for name, state in self.past.states.items():
            self.past.states[name] = _moved(before.get(name), state, alive)

    def _encoded(self, t: Tensor) -> Tensor | None:
        """Features of frame t, (B, E); None where the program has none."""
        if self.encoded is None:
            return None
        if t.dim() == 0:
            return self.encoded.index_select(1, t).squeeze(1)  # [:, t] would read it from a GPU
        return self.encoded[torch.arange(len(t), device=t.device), t]

    def push(self, values: Mapping[str, Tensor], alive: Tensor | None = None) -> None:
        """Add the values of a frame, each (B, D) or (K, B, D), to the windows.

        Values of sites that the program does not have are ignored.
        """
        for name, dim in self.dims.items():
            value, old = values[name], self.past[name]
            if value.shape != old.shape:
                leading = torch.broadcast_shapes(value.shape[:-1], old.shape[:-1])
                value, old = value.expand(*leading, -1), old.expand(*leading, -1)
            self.past[name] = _moved(old, push(old, value, dim), alive)


def of_ancestors(value: Tensor, index: Tensor) -> Tensor:
    """The values (K, B, S) selected by an index (K', B); unchanged if all particles share them."""
    if value.dim() < 3:
        return value
    return value[index, torch.arange(index.shape[1], device=index.device)]


def _moved(old: Tensor | None, new: Tensor, alive: Tensor | None) -> Tensor:
    """The new value for sequences that are alive, the old one for others."""
    return new if alive is None or old is None else torch.where(alive[:, None], new, old)


def systematic(weights: Tensor, count: int) -> Tensor:
    r"""Ancestors by systematic resampling: one uniform number per sequence, equal steps from it.

    .. math:: a_i = \min\{k : \textstyle\sum_{j \le k} W_j > (i + u) / K'\}

    Particle k is chosen :math:`K' W_k` times on average, and the number differs by less than one.

    Args:
        weights: normalised, (K, B), in double precision.
        count: number of ancestors, K'.

    Returns:
        Indices (K', B), ascending.

    Reference: Kitagawa, Monte Carlo filter and smoother for non-Gaussian nonlinear state space
    models, 1996, appendix.

    >>> weights = torch.tensor([[0.5], [0.0], [0.5]], dtype=torch.float64)
    >>> systematic(weights, 4).T.tolist()
    [[0, 0, 2, 2]]
    """
    steps = torch.arange(count, device=weights.device, dtype=weights.dtype)
    uniform = torch.rand(weights.shape[1], 1, device=weights.device, dtype=weights.dtype)
    places = (steps + uniform) / count
    reached = weights.T.contiguous().cumsum(-1)
    return torch.searchsorted(reached, places, right=True).clamp(max=len(weights) - 1).T


def symbols_of(model: object) -> Symbols | None:
    """The symbols of a model of categorical frames, from its emission; None for other models.

    They are on the CPU, where predictions are compared with data.
    """
    known = getattr(getattr(model, "emission", None), "symbols", None)
    return deepcopy(known).cpu() if isinstance(known, Symbols) else None


def weighted_quantiles(x: Tensor, weights: Tensor, levels: Tensor) -> Tensor:
    """Weighted quantiles of K values: the smallest value whose cumulative weight is the level.

    Args:
        x: values, (K, B, D).
        weights: normalised, (K, B).
        levels: (Q,).

    Returns:
        (Q, B, D).

    >>> x = torch.tensor([3.0, 1.0, 2.0]).view(3, 1, 1)
    >>> weights = torch.tensor([[0.2], [0.5], [0.3]])
    >>> weighted_quantiles(x, weights, torch.tensor([0.5, 0.6])).flatten().tolist()
    [1.0, 2.0]
    """
    if not len(levels):
        return x.new_empty(0, *x.shape[1:])
    ordered, order = x.sort(0)
    reached = weights.to(x)[..., None].expand_as(x).gather(0, order).cumsum(0)
    below = torch.stack([(reached < level - ROUNDING).sum(0) for level in levels.tolist()])
    return ordered.gather(0, below.clamp(max=len(x) - 1))


def beginning(batch: Batch, lengths: Tensor) -> Batch:
    """The first frames of every sequence, without any information on later frames.

    The conditions of later frames, which are known, are masked too.

    Args:
        batch: B sequences.
        lengths: frames to keep, (B,), at least one.
    """
    start = batch.first(int(lengths.max()))
    mask = start.mask & (torch.arange(start.length, device=lengths.device) < lengths[:, None])
    seen = None if start.seen is None else start.seen & mask[..., None]
    if seen is not None and torch.equal(seen.all(-1), mask):
        seen = None  # what is missing comes later
    x = start.x * mask[..., None]
    return replace(start, x=x, mask=mask, seen=seen, host_lengths=None, lags=Lags())
