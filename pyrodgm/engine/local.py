"""Several draws of every frame given a path, for local learning signals."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import BernoulliVector, logits_of, partial
from pyrodgm.engine.auxiliary import extended
from pyrodgm.engine.past import Draw
from pyrodgm.engine.rollout import Rollout
from pyrodgm.engine.sequence_program import SequenceProgram
from pyrodgm.engine.terms import Terms


def frame_terms(
    model: SequenceProgram,
    guide: SequenceProgram,
    batch: Batch,
    particles: int,
    *,
    leaves: bool = False,
) -> Terms:
    r"""Log-probabilities of K fresh draws of every frame, all given the past on a single path.

    .. math:: \tilde z \sim q(z \mid x), \qquad
        z^k_t \sim q(z_t \mid \tilde z_{<t}, x), \qquad
        \log p(x_t, z^k_t \mid \tilde z_{<t}, x_{<t}) - \log q(z^k_t \mid \tilde z_{<t}, x)

    Every pair of a frame and its past has the same distribution as on a path, so the mean over
    draws of the sum over frames is the evidence lower bound. No gradient flows through the path or
    the draws. The loop over time runs for one path only, and everything that depends on the past
    alone is computed once.

    Args:
        model: a sequence model.
        guide: a sequence guide over its latents.
        batch: B sequences of T frames.
        particles: draws of each frame, K.
        leaves: whether the draws are leaves that require gradients, for derivatives with respect to
            them; these are of the frame itself, because later frames are given the path.

    Returns:
        Log-probabilities (K, B, T); `values` holds the draws, (K, B, T, D), not the path.
    """
    shape = torch.Size([particles, batch.size, batch.length])
    proposal = Rollout.over(guide, batch, {})
    known = proposal.draw(pathwise=False) | dict.fromkeys(model.observed, batch.x)
    joint = Rollout.over(extended(model, guide), batch, known)

    def redraw(_: str, distribution: TorchDistribution) -> Tensor:
        shared = distribution.batch_shape == shape[1:]
        value = distribution.sample(shape[:1]) if shared else distribution.expand(shape).sample()
        return value.requires_grad_(leaves)

    return _given_paths(joint, proposal, batch, redraw, shape)


def antithetic_terms(
    model: SequenceProgram, guide: SequenceProgram, batch: Batch, particles: int
) -> Terms:
    r"""Log-probabilities of K paths, and of an antithetic draw of every site of every frame.

    A path is drawn from logistic noise, :math:`z_t = [\varepsilon_t < l_t]`. Its own draws are the
    first branch. The branch of a site has, in every frame, the path's draws of the sites before it,
    the antithetic draw :math:`[-\varepsilon_t < l_t]` of the site itself, and draws of the sites
    after it from the noise of the path, given those. All are given the past on the path, and
    distributed as the guide's draws of the frame. The loop over time runs for the paths only, and
    everything that depends on the past alone is computed once.

    Args:
        model: a sequence model.
        guide: a sequence guide over its binary latents.
        batch: B sequences of T frames.
        particles: number of paths, K.

    Returns:
        Log-probabilities ((L + 1) K, B, T) for L sites: K draws of the path, K of the branch of the
        first site, and so on. `drawn_from` has the distributions of the path's draws alone.
    """
    branches = 1 + len(guide.latents)
    shape = torch.Size([branches, particles, batch.size, batch.length])
    turned = dict(zip(guide.latents, range(1, branches), strict=True))  # the branch of a site
    proposal = Rollout.over(guide, batch, {}, particles)
    paths = proposal.draw(pathwise=False, keep_noise=True)
    noise = proposal.sampler.noise
    joint = Rollout.over(model, batch, paths | dict.fromkeys(model.observed, batch.x), particles)

    def redraw(name: str, distribution: TorchDistribution) -> Tensor:
        logits = logits_of(distribution).expand(*shape, -1)
        sign = logits.new_ones(branches, 1, 1, 1, 1)
        sign[turned[name]].fill_(-1)
        return BernoulliVector(logits).from_noise(sign * noise[name])

    found = _given_paths(joint, proposal, batch, redraw, shape)
    return replace(
        found,
        p=_side_by_side(found.p),
        q=_side_by_side(found.q),
        score=_side_by_side(found.score),
        values=_side_by_side(found.values),
        drawn_from={
            name: BernoulliVector(logits_of(bits).expand(*shape, -1)[0])
            for name, bits in found.drawn_from.items()
        },
    )


def _given_paths(
    joint: Rollout, proposal: Rollout, batch: Batch, redraw: Draw, shape: torch.Size
) -> Terms:
    """Log-probabilities of new draws of every frame, given the past on paths.

    Args:
        joint: the model on the paths.
        proposal: the guide on the paths.
        batch: B sequences of T frames.
        redraw: gives the draws of a site in all frames, (*shape, D), from its distributions there.
        shape: of the log-probabilities, (..., B, T).
    """
    model, guide = joint.program, proposal.program
    values: dict[str, Tensor] = dict.fromkeys(model.observed, batch.x)
    log_q: dict[str, Tensor] = {}
    log_p: dict[str, Tensor] = {}
    drawn_from: dict[str, TorchDistribution] = {}

    def propose(name: str, distribution: TorchDistribution) -> Tensor:
        drawn_from[name] = distribution
        values[name] = redraw(name, distribution)
        log_q[name] = _masked(distribution.log_prob(values[name]), batch.mask)
        return values[name]

    def look_up(name: str, distribution: TorchDistribution) -> Tensor:
        scored = partial(distribution, batch.seen if name in model.observed else None)
        log_p[name] = _masked(scored.log_prob(values[name]), batch.mask)
        return values[name]

    proposal.visit(propose, proposal.states() if guide.states else None)
    joint.visit(look_up, joint.states() if model.states else None)
    return Terms(
        p={name: nats.expand(shape) for name, nats in log_p.items()},
        q=log_q,
        path={},
        score=log_q,
        values={name: values[name] for name in guide.latents},
        mask=batch.mask,
        x=batch.x,
        drawn_from=drawn_from,
    )


def _masked(nats: Tensor, mask: Tensor) -> Tensor:
    """Zero where a frame is padding."""
    return nats.masked_fill(~mask, 0.0)


def _side_by_side(of_branches: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Branches (L + 1, K, ...) as draws of one dimension, ((L + 1) K, ...)."""
    return {name: value.flatten(0, 1) for name, value in of_branches.items()}
