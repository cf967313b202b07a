"""The verb `run_filter`: a particle filter whose weights can be differentiated."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial as seen_part
from pyrodgm.engine.cells import Cell
from pyrodgm.engine.particles import Particles, of_ancestors
from pyrodgm.engine.past import Drive, Past, computed
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.smc import THRESHOLD, ParticleFilter, Resampling, Values
from pyrodgm.engine.twist import Twist, TwistedFilter, log_twist, twist_changes


@dataclass(frozen=True)
class Filtered:
    r"""K particles of B sequences in all frames, and their log-probabilities with gradients.

    Particle k of frame t continues the path of its ancestor, along which all its past lies.

    Args:
        values: what was drawn, by latent site, (K, B, T, D).
        log_p: log-probability of every site of the model, (K, B, T), in nats, zero where a frame is
            padding.
        log_q: the same of the guide.
        log_ratios: by which every frame is weighed, (K, B, T): log p - log q given the particle's
            past; with a twist, with its change.
        blind: frames without any observation, (B, T). Their latents are drawn from the model, so
            their weights are one; None if there are no such frames.
        resamplings: what was resampled before each frame, T of them; None where nothing was.
        mask: True where a frame is data, (B, T).
    """

    values: Mapping[str, Tensor]
    log_p: Mapping[str, Tensor]
    log_q: Mapping[str, Tensor]
    log_ratios: Tensor
    blind: Tensor | None
    resamplings: Sequence[Resampling | None]
    mask: Tensor

    def log_drawn(self, sites: Sequence[str]) -> Tensor:
        """Log-probability of draws of some latents by what they were drawn from, (K, B, T).

        That is the guide, and the model in blind frames.
        """
        log_p, log_q = (
            sum((of[name] for name in sites), torch.zeros(())) for of in (self.log_p, self.log_q)
        )
        return log_q if self.blind is None else torch.where(self.blind, log_p, log_q)

    def log_weights(self, *, stop_gradient: bool = False) -> Tensor:
        r"""Normalised log-weights before each frame, after resampling, (K, B, T).

        .. math:: W_t \propto W_{t-1} e^{l_t}, \qquad
            W = \frac1K \text{ or } \frac1K \frac{W_a}{\bot W_a} \text{ where it was resampled}

        Args:
            stop_gradient: whether particles that were resampled keep the gradient of their
                ancestor's weight, the second form, in which :math:`\bot` stops the gradient.

        Reference: Scibior and Wood, Differentiable particle filtering without modifying the
        forward pass, 2021, algorithm 2.
        """
        ratios = self.log_ratios
        even = -math.log(len(ratios))
        now = torch.full_like(ratios[..., 0], even)
        before = []
        for step, resampling in zip(ratios.unbind(-1), self.resamplings, strict=True):
            if resampling is not None:
                inherited = of_ancestors(now[..., None], resampling.ancestors)[..., 0]
                gradient = inherited - inherited.detach() if stop_gradient else 0.0
                now = torch.where(resampling.poor, even + gradient, now)
            before.append(now)
            now = (now + step).log_softmax(0)
        return torch.stack(before, -1)

    def increments(self, *, stop_gradient: bool = False) -> Tensor:
        r"""Estimates of :math:`\log p(x_t \mid x_{<t})`, (B, T), zero where a frame is padding.

        Their sum over frames is :math:`\log \hat Z` with :math:`E[\hat Z] = p(x)`.
        """
        joint = self.log_weights(stop_gradient=stop_gradient) + self.log_ratios
        return joint.logsumexp(0).masked_fill(~self.mask, 0.0)


def run_filter(
    model: SequenceProgram,
    guide: SequenceProgram,
    batch: Batch,
    particles: int,
    *,
    threshold: float = THRESHOLD,
    twist: Twist | None = None,
    pathwise: bool = True,
) -> Filtered:
    """Run a particle filter whose weights carry gradients.

    The loop over time draws, weighs and resamples. If draws carry gradients it records them, and
    those of all log-probabilities. If none does it records no gradients; log-probabilities are then
    computed for all frames together from the pasts that the particles had, and only deterministic
    recurrences run along the ancestors once more.

    Args:
        model: a sequence model.
        guide: a sequence guide over its latents.
        batch: B sequences of T frames.
        particles: per sequence, K.
        threshold: particles are resampled where the effective sample size falls below this share
            of K; 0 never resamples, more than 1 always does.
        twist: of the weights, by what follows every frame; see `pyrodgm.engine.twist`.
        pathwise: whether gradients flow through draws that can carry them.
    """
    wanted = torch.is_grad_enabled()
    recorded = wanted and guide.reparameterised and pathwise
    found, run = _filter(model, guide, batch, particles, threshold, twist), _Record()
    with torch.set_grad_enabled(recorded):
        while found.t < batch.length:
            run.advance(found)
    values = {name: over_time([now[name] for now in run.values]) for name in guide.latents}
    if recorded or not wanted:
        log_p, log_q = (_table(nats, found.shape, batch) for nats in (run.log_p, run.log_q))
    else:
        lineage = partial(LineagePast, resamplings=run.resamplings, start=batch.before.states)
        log_p = scores(found.p, batch, values, lineage(windows(run.p)))
        log_q = scores(found.q, batch, values, lineage(windows(run.q)))
    blind = blind_frames(batch)
    ratios = difference(log_p, log_q, blind)
    if twist is not None:
        ratios = ratios + twist_changes(log_twist(twist, batch, values), run.resamplings)
    return Filtered(
        values=values,
        log_p=log_p,
        log_q=log_q,
        log_ratios=ratios,
        blind=blind,
        resamplings=run.resamplings,
        mask=batch.mask,
    )


def _filter(
    model: SequenceProgram,
    guide: SequenceProgram,
    batch: Batch,
    particles: int,
    threshold: float,
    twist: Twist | None,
) -> ParticleFilter:
    """The filter that draws, with a twist or without one."""
    if twist is None:
        return ParticleFilter(model, guide, batch, particles, threshold=threshold)
    return TwistedFilter(model, guide, batch, particles, threshold=threshold, twist=twist)


class _Record:
    """What a filter had before each frame, drew in it, and its log-probabilities."""

    def __init__(self) -> None:
        self.resamplings: list[Resampling | None] = []
        self.p: list[Values] = []
        self.q: list[Values] = []
        self.values: list[Values] = []
        self.log_p: list[Values] = []
        self.log_q: list[Values] = []

    def advance(self, found: ParticleFilter) -> None:
        """One frame of the filter."""
        self.resamplings.append(found.resample())
        self.p.append(dict(found.p.past))
        self.q.append(dict(found.q.past))
        self.values.append(found.take_in())
        self.log_p.append(found.log_p)
        self.log_q.append(found.log_q)


def _table(frames: Sequence[Values], shape: torch.Size, batch: Batch) -> dict[str, Tensor]:
    """(K, B, T) by site of the numbers of every frame, (K, B) or less; zero in padding."""
    every = {name: [now[name].expand(shape) for now in frames] for name in frames[0]}
    return {name: torch.stack(e, -1).where(batch.mask, 0.0) for name, e in every.items()}


def blind_frames(batch: Batch) -> Tensor | None:
    """Frames without any observation, (B, T); None if all features of all frames were seen."""
    return None if batch.seen is None else batch.mask & ~batch.seen.any(-1)


def difference(
    log_p: Mapping[str, Tensor], log_q: Mapping[str, Tensor], blind: Tensor | None
) -> Tensor:
    """The sum of log p over its sites less that of log q, zero in frames without observations."""
    ratios = sum(log_p.values(), torch.zeros(())) - sum(log_q.values(), torch.zeros(()))
    return ratios if blind is None else ratios.masked_fill(blind, 0.0)


class LineagePast(Past):
    """The past of all frames at once, where each particle's past is that of its ancestors.

    Args:
        windows: the last n values of every site before each frame, (..., B, T, n D).
        resamplings: before each frame.
        start: states before the first frame, (B, S), by name; zeros for others.
    """

    def __init__(
        self,
        windows: Mapping[str, Tensor],
        resamplings: Sequence[Resampling | None],
        start: Mapping[str, Tensor],
    ) -> None:
        super().__init__(windows, start)
        self.resamplings = resamplings

    def carry(self, name: str, drive: Drive, cell: Cell) -> Tensor:
        """The outputs of a deterministic state in all frames along the ancestors, (..., T, H)."""
        inputs = computed(drive)
        state = inputs.new_zeros(*inputs.shape[:-2], cell.state_dim)
        state = state + self.start[name] if name in self.start else state
        outputs = []
        for now, resampling in zip(inputs.unbind(-2), self.resamplings, strict=True):
            if resampling is not None:
                state = of_ancestors(state, resampling.ancestors)
            state = cell(now, state)
            outputs.append(state[..., : cell.dim])
        return torch.stack(outputs, -2)


def scores(
    particles: Particles, batch: Batch, values: Mapping[str, Tensor], past: Past
) -> dict[str, Tensor]:
    """Log-probabilities of every site in all frames, (..., B, T), each given a past of its own.

    Args:
        particles: of a program, whose features of the batch are used again.
        batch: B sequences of T frames.
        values: of every latent site, (..., B, T, J).
        past: of all frames at once, with leading dimensions that broadcast with those of values.
    """
    program, nats = particles.program, dict[str, Tensor]()
    zero = batch.x.new_zeros(())

    def draw(name: str, distribution: TorchDistribution) -> Tensor:
        observed = name in program.observed
        value = batch.x if observed else values[name]
        scored = seen_part(distribution, batch.seen if observed else None)
        nats[name] = torch.where(batch.mask, scored.log_prob(value), zero)
        return value

    program.step(draw, past, particles.encoded, batch.frames)
    return nats


def windows(pasts: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """The windows before all frames, (..., T, n D) by site, of those before each, (..., n D)."""
    return {name: over_time([past[name] for past in pasts]) for name in pasts[0]}


def over_time(frames: Sequence[Tensor]) -> Tensor:
    """(..., T, D) of T frames (..., D), some of which may lack the dimension of particles."""
    shape = torch.broadcast_shapes(*(frame.shape for frame in frames))
    return torch.stack([frame.expand(shape) for frame in frames], -2)
