"""Markov transitions of latents that leave a density unchanged, for every kind of latents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.distributions import OneHotVector
from pyrodgm.engine.sites import Kind, Site

LEAPS = 10  # leapfrog steps of a Hamiltonian transition
JITTER = 0.2  # relative range of its step sizes: equal ones can return to where they started

LogDensity = Callable[[Tensor], Tensor]
Moved = tuple[Tensor, Tensor]
Transition = Callable[[LogDensity, Tensor, Tensor], Moved]


def transition(kind: Kind, sites: Sequence[Site], like: Tensor) -> Transition:
    """The transition of all latents of a kind given the others.

    Args:
        kind: of the latents that move.
        sites: all latent sites, in the order of a state.
        like: has the type and the device of a state.
    """
    if kind == "categorical":
        return partial(switches, sites=sites)
    moving = torch.cat([like.new_full((site.dim,), float(site.kind == kind)) for site in sites])
    return partial(hamiltonian if kind == "continuous" else flips, moving=moving)


def hamiltonian(log_density: LogDensity, z: Tensor, log_step: Tensor, moving: Tensor) -> Moved:
    r"""A transition of real numbers along a trajectory of Hamiltonian dynamics.

    .. math:: H(z, r) = -\log f(z) + \tfrac12 \|r\|^2, \qquad r \sim \mathcal N(0, I)

    approximated by ten leapfrog steps and accepted with probability
    :math:`\min(1, e^{H(z, r) - H(z', r')})`. A trajectory that becomes infinite is rejected.

    Args:
        log_density: log f of states (K, B, T, J), in nats, (K, B).
        z: states of K chains for B sequences, (K, B, T, J).
        log_step: logarithm of the step size, (B,).
        moving: one for every variable that moves and zero for others, (J,).

    Returns:
        The next states, and the probability with which each was accepted, (K, B).

    Reference: Neal, MCMC using Hamiltonian dynamics, 2011.
    """
    jitter = 1 + JITTER * (2 * torch.rand(z.shape[:2], device=z.device, dtype=z.dtype) - 1)
    step = (log_step.exp() * jitter)[..., None, None] * moving
    before, slope = _with_slope(log_density, z)
    r = torch.randn_like(z) * moving
    start, new, after = _energy(r), z, before
    for _ in range(LEAPS):
        r = r + step / 2 * slope
        new = new + step * r
        after, slope = _with_slope(log_density, new)
        r = r + step / 2 * slope
    return _accepted(z, new, after - _energy(r) - before + start)


def flips(log_density: LogDensity, z: Tensor, log_step: Tensor, moving: Tensor) -> Moved:
    r"""A transition of bits that flips several of them, as gradients suggest.

    .. math:: P(\text{flip } j) = \sigma\big(\tfrac12 (1 - 2 z_j)\, \partial_j \log f(z) + s\big)

    independently of each other, and accepted by the rule of Metropolis and Hastings. For
    :math:`s \to -\infty` at most one bit flips, as in Gibbs with gradients (Grathwohl
    et al., 2021).

    Args:
        log_density: log f of states (K, B, T, J), in nats, (K, B); differentiable.
        z: states of K chains for B sequences, (K, B, T, J).
        log_step: s, (B,); at most 0 is used, where a fair coin is drawn anew.
        moving: one for every variable that moves and zero for others, (J,).

    Returns:
        The next states, and the probability with which each was accepted, (K, B).

    Reference: Zhang, Liu and Liu, A Langevin-like sampler for discrete distributions, 2022.
    """
    offset = log_step.clamp(max=0.0)[:, None, None]
    before, slope = _with_slope(log_density, z)
    forth = (0.5 - z) * slope + offset
    flip = forth.sigmoid().bernoulli() * moving
    new = z + flip * (1 - 2 * z)
    after, slope = _with_slope(log_density, new)
    back = (0.5 - new) * slope + offset
    proposals = (_log_prob(back, flip) - _log_prob(forth, flip)) * moving
    return _accepted(z, new, after - before + proposals.sum((-2, -1)))


def switches(log_density: LogDensity, z: Tensor, log_step: Tensor, sites: Sequence[Site]) -> Moved:
    r"""A transition of categorical variables that changes several of them, as gradients suggest.

    .. math:: P(z'_j = e_c) \propto \exp\big(\tfrac12 (e_c - z_j) \cdot \nabla_j \log f(z)
        + s\, [e_c \ne z_j]\big)

    independently of each other, and accepted by the rule of Metropolis and Hastings. It is `flips`
    for classes; s is minus the inverse of their step size.

    Args:
        log_density: log f of states (K, B, T, J), in nats, (K, B); differentiable.
        z: states of K chains for B sequences, (K, B, T, J); one-hot codings where classes move.
        log_step: s, (B,); at most 0 is used.
        sites: all latent sites, in the order of a state; those with classes move.

    Returns:
        The next states, and the probability with which each was accepted, (K, B).

    Reference: Zhang, Liu and Liu, A Langevin-like sampler for discrete distributions, 2022,
    equation 4.
    """
    before, slope = _with_slope(log_density, z)
    forth = _proposals(z, slope, log_step, sites)
    parts = z.split([site.dim for site in sites], -1)
    new = torch.cat([forth[i].sample() if i in forth else part for i, part in enumerate(parts)], -1)
    after, slope = _with_slope(log_density, new)
    back = _proposals(new, slope, log_step, sites)
    log_ratio = after - before
    for i, part in enumerate(new.split([site.dim for site in sites], -1)):
        if i in forth:
            log_ratio = log_ratio + (back[i].log_prob(parts[i]) - forth[i].log_prob(part)).sum(-1)
    return _accepted(z, new, log_ratio)


def _proposals(
    z: Tensor, slope: Tensor, log_step: Tensor, sites: Sequence[Site]
) -> dict[int, OneHotVector]:
    """Distributions of the next classes, by the place of their site."""
    found, dims = {}, [site.dim for site in sites]
    offset = log_step.clamp(max=0.0)[:, None, None, None]
    for i, (part, of_part) in enumerate(zip(z.split(dims, -1), slope.split(dims, -1), strict=True)):
        if classes := sites[i].classes:
            chosen, gain = (each.unflatten(-1, (-1, classes)) for each in (part, of_part))
            gain = gain - (chosen * gain).sum(-1, keepdim=True)
            found[i] = OneHotVector((gain / 2 + offset * (1 - chosen)).flatten(-2), classes)
    return found


def _with_slope(log_density: LogDensity, z: Tensor) -> Moved:
    """The log-density of states, (K, B), and its gradient, (K, B, T, J)."""
    with torch.enable_grad():
        z = z.detach().requires_grad_()
        nats = log_density(z)
        (slope,) = torch.autograd.grad(nats.sum(), z)
    return nats.detach(), slope


def _energy(r: Tensor) -> Tensor:
    """Kinetic energy of momenta, (K, B)."""
    return r.square().sum((-2, -1)) / 2


def _log_prob(logits: Tensor, bits: Tensor) -> Tensor:
    """Log-probability of every bit."""
    return -F.binary_cross_entropy_with_logits(logits, bits, reduction="none")


def _accepted(old: Tensor, new: Tensor, log_ratio: Tensor) -> Moved:
    """New states where they are accepted, with the probability of it; NaN is rejected."""
    probability = log_ratio.exp().clamp(max=1.0).nan_to_num(0.0)
    accept = torch.rand_like(probability) < probability
    return torch.where(accept[..., None, None], new, old), probability
