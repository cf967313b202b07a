"""A step function carried over time: the path is drawn frame by frame and scored all at once.

The loop here draws all sites of a frame together. Others remain for what it does not do: a cell
draws, or carries, one site over all frames (`engine.cells`); particle filters resample between
frames (`engine.smc`, `engine.filtered`); and `pyro.markov` states every frame to Pyro
(`engine.programs`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.chains import ChainPast, only_chains
from pyrodgm.engine.expectation import expected
from pyrodgm.engine.past import Draw, Past, PathStates, ShiftedPast
from pyrodgm.engine.recorded import FrameRecord, ScoredPath
from pyrodgm.engine.sampler import Absent, Sampler
from pyrodgm.engine.sequence_program import SequenceProgram, seen_values
from pyrodgm.lags import Lags

Surrogate = Callable[[TorchDistribution], TorchDistribution]


class Rollout:
    """A step function carried over the T frames of a batch.

    Args:
        program: the sequence program.
        encoded: its features, (B, T, E) or None.
        known: values given in advance, site name to (..., T, D).
        leading: shape of everything drawn in front of time, usually (K, B) or (B,).
        length: number of frames T.
        like: a tensor with the dtype and device of the result.
        expected: sites that take their mean instead of a draw.
        lags: gives the lags of a site, and what lies before the first frame; those of a batch are
            shared by all programs on it.
        states: deterministic states along the known paths, (..., T, S), by name.

    Attributes:
        sampler: that the unknown sites were drawn by.
    """

    def __init__(
        self,
        program: SequenceProgram,
        encoded: Tensor | None,
        known: Mapping[str, Tensor],
        *,
        leading: torch.Size,
        length: int,
        like: Tensor,
        expected: Collection[str] = (),
        lags: Lags | None = None,
        states: Mapping[str, Tensor] | None = None,
    ) -> None:
        self.program = program
        self.encoded = encoded
        self.given = frozenset(known)
        self.values = dict(known)
        self.leading = leading
        self.length = length
        self.like = like
        self.expected = expected
        self.lags = lags or Lags()
        self.before = self.lags.before
        self.states_along = dict(states or {})
        self.sampler = Sampler(leading, length)
        self._scored = ScoredPath({}, dict)

    @classmethod
    def over(
        cls,
        program: SequenceProgram,
        batch: Batch,
        known: Mapping[str, Tensor],
        particles: int | None = None,
        states: Mapping[str, Tensor] | None = None,
        encoded: Tensor | None = None,
    ) -> Rollout:
        """A rollout over the frames of a batch, of K draws or of one without a dimension.

        Features of the batch, (B, T, E), are computed if they are not given.
        """
        draws = [] if particles is None else [particles]
        return cls(
            program,
            program.encode(batch) if encoded is None else encoded,
            {**known, **seen_values(program, batch)},
            leading=torch.Size([*draws, batch.size]),
            length=batch.length,
            like=batch.x,
            lags=batch.lags,
            states=states,
        )

    def draw(
        self,
        *,
        pathwise: bool = True,
        noise: Mapping[str, Tensor] | None = None,
        keep_noise: bool = False,
        surrogate: Surrogate | None = None,
        absent: Absent | None = None,
    ) -> dict[str, Tensor]:
        """Draw every unknown site frame by frame, (*leading, T, D), and remember the paths.

        Args:
            pathwise: whether gradients flow through draws that can carry them.
            noise: what draws are made from, (*leading, T, D), by site; the rest is drawn.
            keep_noise: whether `sampler` keeps the noise that it draws.
            surrogate: what sites whose draws carry no gradients are drawn from in place of their
                distribution, so that they do.
            absent: features that are not drawn, see `Sampler`.
        """
        program = self.program
        sampler = Sampler(self.leading, self.length, noise, keep_noise=keep_noise, absent=absent)
        self.sampler = sampler
        start = {
            name: self._window(name, dim).expand(*sampler.leading, -1, -1)
            for name, dim in program.dims.items()
            if name not in self.values
        }
        if surrogate is not None:
            self._draw_frames(start, sampler, keep=True, surrogate=surrogate)
        elif program.chained and not (program.reparameterised or absent):
            self._draw_chains(start, sampler)
        elif program.reparameterised and pathwise:
            self._draw_frames(start, sampler, keep=True)
        else:
            with torch.no_grad():
                self._draw_frames(start, sampler)
        return self.values

    def _window(self, name: str, dim: int) -> Tensor:
        """The last n values of a site before the first frame, newest first, (..., n, D)."""
        history, known = self.program.history, self.before.windows.get(name)
        if known is None:
            return self.like.new_zeros(history, dim)
        return known[:, :history]

    @property
    def _frames(self) -> Tensor:
        """The number of every frame in its sequence, (T,)."""
        first = self.before.frames
        return torch.arange(first, first + self.length, device=self.like.device)

    def _draw_chains(self, start: Mapping[str, Tensor], sampler: Sampler) -> None:
        """One site after the other; what drives each is also what scores it."""
        past = ChainPast(self.values, self.program.history, start, sampler, self.lags)
        self._step(only_chains, past)
        self._scored = ScoredPath(dict(self.values), past.distributions)

    def _draw_frames(
        self,
        start: Mapping[str, Tensor],
        sampler: Sampler,
        *,
        keep: bool = False,
        surrogate: Surrogate | None = None,
    ) -> None:
        """One frame after the other, all its sites together.

        Args:
            start: values of every unknown site before the first frame, (*leading, n, D).
            sampler: draws a frame.
            keep: whether states, and distributions that can be put side by side, are kept: they
                carry gradients, and need not be computed again where the path is scored.
            surrogate: what sites without path gradients are drawn from, as in `draw`.
        """
        program, record = self.program, FrameRecord(start, keep=keep)
        past = Past({name: value.flatten(-2) for name, value in start.items()}, self.before.states)
        given = ShiftedPast(self.values, program.history, lags=self.lags)
        given_past = {name: given[name].unbind(-2) for name in self.values}
        known = {name: value.unbind(-2) for name, value in self.values.items()}
        encoded = None if self.encoded is None else self.encoded.unbind(-2)
        frames = self._frames.unbind(0)
        scored = program.scored if program.reparameterised or surrogate else ()
        latent = program.latents
        t = 0

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            if name in known:
                return known[name][t]
            if name in self.expected:
                value = expected(distribution, sampler.leading)
            elif surrogate and (name in scored or not (name in latent or distribution.has_rsample)):
                value = sampler(t, name, surrogate(distribution))
            else:
                value = sampler(t, name, distribution)
                value = value.detach() if name in scored else value
            record.add(name, value, distribution)
            return value

        for t in range(self.length):
            for name, steps in given_past.items():
                past[name] = steps[t]
            program.step(draw, past, None if encoded is None else encoded[t], frames[t])
            record.end_frame(past)
        self.values |= {name: sampler.path(path) for name, path in record.paths.items()}
        self.states_along |= {name: sampler.path(path) for name, path in record.states.items()}
        if not known and record.can_score:
            self._scored = ScoredPath(dict(self.values), record.distributions)

    def visit(self, draw: Draw, path_states: Mapping[str, Tensor] | None = None) -> None:
        """Run the step for all frames at once, each with its past on the paths drawn so far."""

        def lags(name: str, value: Tensor, history: int) -> Tensor:
            return self._aligned(self.lags(name, value, history))

        history, known, start = self.program.history, self.states_along, self.before.states
        self._step(draw, ShiftedPast(self.values, history, path_states, lags, known, start))

    def states(self) -> dict[str, Tensor]:
        """Every deterministic state along the paths drawn so far, each (*leading, T, S)."""
        start = self.before.states
        past = PathStates(self.values, self.program.history, lags=self.lags, start=start)
        self._step(lambda name, _: self.values[name], past)
        return past.states

    def _step(self, draw: Draw, past: Past) -> None:
        encoded = None if self.encoded is None else self._aligned(self.encoded)
        self.program.step(draw, past, encoded, self._frames)

    def _aligned(self, value: Tensor) -> Tensor:
        """With the dimension of a single particle, over which gradients then need no sum."""
        single = self.leading[0] == 1 and value.dim() == len(self.leading) + 1
        return value[None] if single else value

    def score(self) -> dict[str, TorchDistribution]:
        """Every site's distribution at every frame, given the paths; batch shape (*leading, T)."""
        if not self._scored.holds(self.values):
            found: dict[str, TorchDistribution] = {}

            def draw(name: str, distribution: TorchDistribution) -> Tensor:
                found[name] = distribution
                return self.values[name]

            self.visit(draw)
            self._scored = ScoredPath(dict(self.values), lambda: found)
        return self._scored.distributions
