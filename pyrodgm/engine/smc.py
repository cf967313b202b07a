"""Sequential Monte Carlo: filtered latents, and estimates of the likelihood."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.particles import Particles, systematic
from pyrodgm.engine.past import seen_key
from pyrodgm.engine.sequence_program import SequenceProgram

THRESHOLD = 0.5

Values = dict[str, Tensor]


class Resampling(NamedTuple):
    """The resampling before a frame.

    Args:
        ancestors: of every particle, (K, B); the particle itself without resampling.
        poor: sequences that were resampled, (B,).
    """

    ancestors: Tensor
    poor: Tensor


class ParticleFilter:
    r"""A particle filter: K weighted particles of B sequences, advanced frame by frame.

    .. math::
        z^k_t \sim q(z_t \mid z^k_{<t}, x), \qquad
        W^k_t \propto W^k_{t-1}
        \frac{p(x_t, z^k_t \mid z^k_{<t}, x_{<t})}{q(z^k_t \mid z^k_{<t}, x)}

    If the effective sample size :math:`1 / \sum_k (W^k)^2` falls below a share of K, particles are
    resampled by their weights before the next frame, by systematic resampling. Sequences that have
    ended do not change. In a completely missing frame, latents are drawn from p.

    Args:
        model: a sequence model.
        guide: a sequence guide; if it is not causal, particles depend on later frames.
        batch: B sequences, which may be padded and may have missing features.
        particles: per sequence, K.
        threshold: the share; 0 never resamples, so that weights are those of whole paths.

    Attributes:
        p, q: state of the particles for the model and for the guide.
        log_weights: normalised, (K, B), in double precision.
        increments: :math:`\log \hat p(x_t \mid x_{<t})` of the frames so far, each (B,), in nats;
            zero after a sequence's end.
        log_p, log_q: of every site in the last frame, each (K, B) or less, in nats.
        shared: states of model and guide that are the same recurrence, which runs once.

    Reference: Doucet and Johansen, A tutorial on particle filtering and smoothing, 2009,
    section 3.5.
    """

    def __init__(
        self,
        model: SequenceProgram,
        guide: SequenceProgram,
        batch: Batch,
        particles: int,
        *,
        threshold: float = THRESHOLD,
    ) -> None:
        self.model = extended(model, guide)
        self.batch = batch
        self.threshold = threshold
        self.shape = torch.Size([particles, batch.size])
        self.p = Particles(self.model, batch, particles)
        self.q = Particles(guide, batch, particles)
        self.shared = tuple(name for name in guide.states if name in self.model.states)
        self.log_weights = batch.x.new_full(self.shape, -math.log(particles), dtype=torch.float64)
        self.increments: list[Tensor] = []
        self.log_p: dict[str, Tensor] = {}
        self.log_q: dict[str, Tensor] = {}
        self._whole = batch.shortest  # frames in which no sequence has ended

    @property
    def t(self) -> int:
        """The number of the next frame, from zero."""
        return len(self.increments)

    @property
    def weights(self) -> Tensor:
        """Normalised weights, (K, B)."""
        return self.log_weights.exp()

    def run(self) -> ParticleFilter:
        """Advance to the end; returns itself."""
        while self.t < self.batch.length:
            self.advance()
        return self

    def advance(self) -> None:
        """Resample if needed, and advance by one frame."""
        self.resample()
        self.take_in()

    def take_in(self) -> Values:
        """Draw and weigh one frame; returns the value of every site, each (..., B, D)."""
        alive = self._alive()
        moving = None if self.t < self._whole else alive
        values, log_ratio = self.weigh(self._propose(moving), moving)
        joint = self.log_weights + log_ratio.detach().double().masked_fill(~alive, 0.0)
        increment = joint.logsumexp(0).masked_fill(~alive, 0.0)
        self.log_weights = joint - increment
        self.increments.append(increment)
        self.p.push(values, moving)
        self.q.push(values, moving)
        return values

    def resample(self) -> Resampling | None:
        """Resample sequences with a small effective sample size; None if there are none."""
        weights = self.weights
        # Drawn even if not needed, so that resampling does not change the draws of other frames.
        index = systematic(weights, len(weights))
        effective = 1 / weights.square().sum(0)
        poor = self._alive() & (effective < self.threshold * len(weights))
        if none_set(poor):
            return None
        stay = torch.arange(len(weights), device=index.device)[:, None]
        ancestors = torch.where(poor, index, stay)
        self.choose(ancestors)
        self.log_weights = self.log_weights.masked_fill(poor, -math.log(len(weights)))
        return Resampling(ancestors, poor)

    def choose(self, index: Tensor) -> None:
        """Replace all particles by those of an index (K, B)."""
        self.p, self.q = self.p.chosen(index), self.q.chosen(index)

    def ahead(
        self,
        *,
        values: Mapping[str, Tensor] | None = None,
        windows: Mapping[str, Tensor] | None = None,
    ) -> tuple[Values, TorchDistribution]:
        """Draw the latents of the next frame from p, without advancing.

        Args:
            values: latents to use instead of draws, by site.
            windows: pasts to use instead of the particles' own, by site.

        Returns:
            The latents, each (K, B, J), and the distribution of the frame given them, of batch
            shape (K, B), or less if particles share it.
        """
        particles, drawn, distributions = self.p.fork(), dict(values or {}), {}
        particles.past.update(windows or {})

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            if name in self.model.observed:
                distributions[name] = distribution
                return self.batch.x.new_zeros(distribution.event_shape)  # the frame's last site
            if name not in drawn:
                drawn[name] = distribution.expand(self.shape).sample()
            return drawn[name]

        particles.step(draw, self._frame())
        return drawn, distributions["x"]

    def fed_back(self, distribution: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        """The frame as input of later frames: observed values, and means for missing ones.

        Args:
            distribution: of the frame.
            x: the frame, (B, D).
            seen: True where a feature was observed, (B, D); None where all were.
        """
        del distribution, seen
        return x

    def log_seen(self, distribution: TorchDistribution, x: Tensor, seen: Tensor | None) -> Tensor:
        """Nats of the observed features of the frame, (K, B) or less.

        Args:
            distribution: of the frame.
            x: the frame as it is fed back.
            seen: True where a feature was observed, (B, D); None where all were.
        """
        return partial(distribution, seen).log_prob(x)

    def weigh(self, values: Values, moving: Tensor | None) -> tuple[Values, Tensor]:
        """Values for the windows, and the log-ratio by which this frame is weighed, (K, B).

        Args:
            values: latents from the guide, by site, (K, B, J).
            moving: sequences whose states move, (B,); None for all.
        """
        batch, t = self.batch, self.t
        seen = None if batch.seen is None else batch.seen[:, t]
        blind = None if seen is None else ~seen.any(-1)
        self.log_p = {}

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            if name in self.model.observed:
                values[name] = self.fed_back(distribution, batch.x[:, t], seen)
                self.log_p[name] = self.log_seen(distribution, values[name], seen)
                return values[name]
            if blind is not None:
                fresh = self._draw(name, distribution)
                values[name] = torch.where(blind[:, None], fresh, values[name])
            self.log_p[name] = distribution.log_prob(values[name])
            return values[name]

        moved = {name: self.q.past.states[name] for name in self.shared}
        self.p.step(draw, self._frame(), moving, moved)
        log_ratio = sum(self.log_p.values()) - sum(self.log_q.values(), batch.x.new_zeros(()))
        if seen is not None and blind is not None:
            log_ratio = log_ratio.masked_fill(blind, 0.0)
            values |= {seen_key(name): seen for name in self.model.observed}
        return values, log_ratio

    def _frame(self) -> Tensor:
        return torch.full((), self.t, device=self.batch.x.device)

    def _alive(self) -> Tensor:
        """Sequences that have not ended, (B,); all of them after the last frame."""
        at_end = self.t == self.batch.length
        return torch.ones_like(self.batch.mask[:, 0]) if at_end else self.batch.mask[:, self.t]

    def _propose(self, moving: Tensor | None) -> Values:
        """Latents of this frame from the guide."""
        values: Values = {}
        self.log_q = {}

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            values[name] = self._draw(name, distribution)
            self.log_q[name] = distribution.log_prob(values[name])
            return values[name]

        self.q.step(draw, self._frame(), moving)
        return values

    def _draw(self, name: str, distribution: TorchDistribution) -> Tensor:
        """Draws of a site for all particles, with gradients where the guide's carry some."""
        here = distribution.expand(self.shape)
        pathwise = torch.is_grad_enabled() and self.q.program.latents[name].pathwise
        return here.rsample() if pathwise and here.has_rsample else here.sample()


def frame_evidence(
    model: SequenceProgram,
    guide: SequenceProgram,
    batch: Batch,
    particles: int,
    *,
    threshold: float = THRESHOLD,
) -> Tensor:
    r"""Estimates of :math:`\log p(x_t \mid x_{<t})` by a particle filter, (B, T), in nats.

    Their sum over frames is :math:`\log \hat Z` with :math:`E[\hat Z] = p(x)`, a lower bound on
    the log-likelihood in expectation; zero where a frame is padding. See `ParticleFilter`.

    Reference: Maddison et al., Filtering variational objectives, 2017, equation 6.
    """
    found = ParticleFilter(model, guide, batch, particles, threshold=threshold).run()
    return torch.stack(found.increments, -1)


def none_set(flags: Tensor) -> bool:
    """Whether no flag is set, as far as the host knows: on a GPU it would wait for the answer."""
    return not flags.is_cuda and not bool(flags.any())
