"""Several draws of every frame given one path, for local learning signals."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import partial
from pyrodgm.engine.rollout import Rollout, SequenceProgram
from pyrodgm.engine.terms import Terms


def frame_terms(
    model: SequenceProgram, guide: SequenceProgram, batch: Batch, particles: int
) -> Terms:
    r"""Log-probabilities of K fresh draws of every frame, all given the past on a single path.

    .. math:: \tilde z \sim q(z \mid x), \qquad
        z^k_t \sim q(z_t \mid \tilde z_{<t}, x), \qquad
        \log p(x_t, z^k_t \mid \tilde z_{<t}, x_{<t}) - \log q(z^k_t \mid \tilde z_{<t}, x)

    Every pair of a frame and its past has the same distribution as on a path, so the mean over
    draws of the sum over frames is the evidence lower bound. The loop over time runs for one path
    only, and everything that depends on the past alone is computed once.

    Args:
        model: a sequence model.
        guide: a sequence guide over its latents.
        batch: B sequences of T frames.
        particles: draws of each frame, K.

    Returns:
        Log-probabilities (K, B, T); `values` holds the draws, (K, B, T, D), not the path.
    """
    shape = torch.Size([particles, batch.size, batch.length])
    observed = dict.fromkeys(model.observed, batch.x)
    proposal = Rollout.over(guide, batch, {})
    joint = Rollout.over(model, batch, {**proposal.draw(), **observed})
    values: dict[str, Tensor] = dict(observed)
    log_q: dict[str, Tensor] = {}
    log_p: dict[str, Tensor] = {}

    def propose(name: str, distribution: TorchDistribution) -> Tensor:
        shared = distribution.batch_shape == shape[1:]
        values[name] = (
            distribution.sample(shape[:1]) if shared else distribution.expand(shape).sample()
        )
        log_q[name] = _masked(distribution.log_prob(values[name]), batch.mask)
        return values[name]

    def look_up(name: str, distribution: TorchDistribution) -> Tensor:
        scored = partial(distribution, batch.seen if name in model.observed else None)
        log_p[name] = _masked(scored.log_prob(values[name]), batch.mask)
        return values[name]

    proposal.visit(propose, proposal.states() if guide.states else None)
    joint.visit(look_up, joint.states() if model.states else None)
    shaped = {name: nats.expand(shape) for name, nats in log_p.items()}
    return Terms(
        p=shaped,
        q=log_q,
        path={},
        score=log_q,
        values={name: values[name] for name in guide.latents},
        mask=batch.mask,
        x=batch.x,
    )


def _masked(nats: Tensor, mask: Tensor) -> Tensor:
    """Zero where a frame is padding."""
    return nats.masked_fill(~mask, 0.0)
