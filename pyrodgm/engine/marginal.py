r"""Marginal particle filters: weights of the latents of a frame alone, whatever their ancestors.

A filter of a Markov model draws from the mixture of its proposals over the ancestors a,
:math:`\sum_a W^a_{t-1} q(z_t \mid z^a_{t-1}, x)`, and its weights are

.. math::
    v_t(z) = \frac{\sum_a W^a_{t-1} p(x_t, z \mid z^a_{t-1}, x_{<t})}
        {\sum_a W^a_{t-1} q(z \mid z^a_{t-1}, x)}

where W are the weights before resampling. Where particles are resampled, they have less variance
than the ratio given a particle's own ancestor, which is drawn; they cost K times as much. With
weights :math:`\bar W_{t-1}` after resampling, 1/K or W,
:math:`E \prod_t \sum_k \bar W^k_{t-1} v_t(z^k_t) = p(x)`.

Reference: Klaas, de Freitas and Doucet, Toward practical N^2 Monte Carlo: the marginal particle
filter, 2005; Lai, Domke and Sheldon, Variational marginal particle filters, 2022.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial
from pyrodgm.engine.filtered import (
    Filtered,
    LineagePast,
    blind_frames,
    over_time,
    scores,
    windows,
)
from pyrodgm.engine.particles import Particles
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.smc import THRESHOLD, ParticleFilter, Resampling, Values
from pyrodgm.errors import CompatibilityError


class MarginalFilter(ParticleFilter):
    """A particle filter with marginal weights; options are those of `ParticleFilter`.

    Attributes:
        parents: the particles of model and guide before resampling, and their log-weights (K, B).

    Raises:
        CompatibilityError: the model looks at more than the latents of one frame before.
    """

    parents: tuple[Particles, Particles, Tensor]

    def resample(self) -> Resampling | None:
        """As of `ParticleFilter`; what was there before is kept."""
        self.parents = self.p.fork(), self.q.fork(), self.log_weights
        return super().resample()

    def weigh(self, values: Values, moving: Tensor | None) -> tuple[Values, Tensor]:
        """As of `ParticleFilter`, with the ratio of mixtures over all ancestors."""
        values, _ = super().weigh(values, moving)
        refuse_states(self.p, self.q)
        p, q, before = self.parents
        log_p, log_q = (self._pairs(each, values) for each in (p, q))
        ratio = mixture(before, log_p) - mixture(before, log_q)
        seen = None if self.batch.seen is None else self.batch.seen[:, self.t]
        return values, ratio if seen is None else ratio.masked_fill(~seen.any(-1), 0.0)

    def _pairs(self, parents: Particles, values: Values) -> Tensor:
        """Log-probabilities of this frame of every particle given every ancestor, (K, K, B)."""
        batch, t = self.batch, self.t
        seen = None if batch.seen is None else batch.seen[:, t]
        nats = batch.x.new_zeros(())

        def draw(name: str, distribution: TorchDistribution) -> Tensor:
            nonlocal nats
            scored = partial(distribution, seen if name in parents.program.observed else None)
            nats = nats + scored.log_prob(values[name])
            return values[name]

        parents.past.update(_as_ancestors(parents.past, parents.program.latents))
        parents.step(draw, self._frame())
        return nats


def run_marginal_filter(
    model: SequenceProgram,
    guide: SequenceProgram,
    batch: Batch,
    particles: int,
    *,
    threshold: float = THRESHOLD,
) -> Filtered:
    """Run a marginal particle filter, and score all its frames at once, with gradients.

    As `pyrodgm.engine.filtered.run_filter`, with K^2 log-probabilities in every frame.

    Args:
        model: a sequence model, Markov in its latents.
        guide: a sequence guide over its latents.
        batch: B sequences of T frames.
        particles: per sequence, K.
        threshold: particles are resampled where the effective sample size falls below this share
            of K; 0 never resamples, more than 1 always does.

    Raises:
        CompatibilityError: the model looks at more than the latents of one frame before.
    """
    refuse_history(model)
    resamplings: list[Resampling | None] = []
    p, q, drawn = [], [], []
    found = MarginalFilter(model, guide, batch, particles, threshold=threshold)
    with torch.set_grad_enabled(torch.is_grad_enabled() and guide.reparameterised):
        while found.t < batch.length:
            p.append(dict(found.p.past))
            q.append(dict(found.q.past))
            resamplings.append(found.resample())
            drawn.append(found.take_in())
    values = {name: over_time([now[name] for now in drawn]) for name in guide.latents}
    blind = blind_frames(batch)
    log_p, log_q = (
        _pair_scores(each, batch, values, windows(pasts))
        for each, pasts in ((found.p, p), (found.q, q))
    )
    all_p, all_q = (torch.stack([*each.values()]).sum(0) for each in (log_p, log_q))
    return Filtered(
        values=values,
        log_p={name: _own(nats, resamplings) for name, nats in log_p.items()},
        log_q={name: _own(nats, resamplings) for name, nats in log_q.items()},
        log_ratios=marginal_ratios(all_p, all_q, resamplings, blind),
        blind=blind,
        resamplings=resamplings,
        mask=batch.mask,
    )


def _pair_scores(
    each: Particles,
    batch: Batch,
    values: Mapping[str, Tensor],
    pasts: Mapping[str, Tensor],
) -> dict[str, Tensor]:
    """Log-probabilities of every particle given every ancestor by site, (K, K, B, T)."""
    particles = len(next(iter(values.values())))
    shape = torch.Size([particles, particles, *batch.mask.shape])
    # States that follow from observations alone are those of all particles.
    shared: list[Resampling | None] = [None] * batch.length
    past = LineagePast(_as_ancestors(pasts, values), shared, batch.before.states)
    return {name: nats.expand(shape) for name, nats in scores(each, batch, values, past).items()}


def _as_ancestors(pasts: Mapping[str, Tensor], latents: Collection[str]) -> dict[str, Tensor]:
    """Windows of latents (K, 1, ...), against which values are (K, ...); others as they are."""
    return {name: past[:, None] if name in latents else past for name, past in pasts.items()}


def refuse_history(model: SequenceProgram) -> None:
    """Raise if a frame of a model depends on latents before those of the last frame.

    Raises:
        CompatibilityError: it does.
    """
    if model.history > 1:
        raise CompatibilityError(
            f"{type(model).__name__} looks at {model.history} frames before each, and a marginal "
            "filter keeps the latents of one; take history=1, or marginal=false"
        )


def refuse_states(*programs: Particles) -> None:
    """Raise if a program has a state that differs between particles.

    Raises:
        CompatibilityError: it has.
    """
    for each in programs:
        if own := [name for name, state in each.past.states.items() if state.dim() > 2]:
            raise CompatibilityError(
                f"{type(each.program).__name__} carries the state {', '.join(own)}, which depends "
                "on all latents so far, and a marginal filter keeps those of the last frame; take "
                "marginal=false, or a Markov model, such as dmm, srnn or tsbn"
            )


def mixture(log_weights: Tensor, log_pairs: Tensor) -> Tensor:
    r"""Log of :math:`\sum_a W^a p(z^k \mid z^a)`, (K, B).

    Args:
        log_weights: of the ancestors a, (K, B).
        log_pairs: of the particle k given the ancestor a, (K, K, B), ancestors first.
    """
    return (log_weights[:, None] + log_pairs).logsumexp(0)


def marginal_ratios(
    log_p: Tensor, log_q: Tensor, resamplings: Sequence[Resampling | None], blind: Tensor | None
) -> Tensor:
    """The logarithms of marginal weights v of all frames, (K, B, T).

    Args:
        log_p: of every particle given every ancestor, (K, K, B, T), ancestors first.
        log_q: the same of the guide.
        resamplings: before each frame.
        blind: frames without any observation, (B, T), whose weights are one.
    """
    even = -math.log(len(log_p))
    now, ratios = torch.full_like(log_p[0, ..., 0], even), []
    for t, resampling in enumerate(resamplings):
        ratio = mixture(now, log_p[..., t]) - mixture(now, log_q[..., t])
        ratios.append(ratio if blind is None else ratio.masked_fill(blind[:, t], 0.0))
        after = now if resampling is None else now.masked_fill(resampling.poor, even)
        now = (after + ratios[-1]).log_softmax(0)
    return torch.stack(ratios, -1)


def _own(log_pairs: Tensor, resamplings: Sequence[Resampling | None]) -> Tensor:
    """Log-probabilities given each particle's own ancestor, (K, B, T)."""
    stay = torch.arange(len(log_pairs), device=log_pairs.device)[:, None]
    stay = stay.expand(-1, log_pairs.shape[2])
    ancestors = torch.stack([stay if r is None else r.ancestors for r in resamplings], -1)
    return log_pairs.gather(0, ancestors[None]).squeeze(0)
