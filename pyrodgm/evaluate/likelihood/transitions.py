"""Markov transitions of latents that leave a density unchanged: Hamiltonian, and flips of bits."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

LEAPS = 10  # leapfrog steps of a Hamiltonian transition
JITTER = 0.2  # relative range of its step sizes: equal ones can return to where they started

LogDensity = Callable[[Tensor], Tensor]
Moved = tuple[Tensor, Tensor]
Transition = Callable[[LogDensity, Tensor, Tensor, Tensor], Moved]


def hamiltonian(log_density: LogDensity, z: Tensor, moving: Tensor, log_step: Tensor) -> Moved:
    r"""A transition of real numbers along a trajectory of Hamiltonian dynamics.

    .. math:: H(z, r) = -\log f(z) + \tfrac12 \|r\|^2, \qquad r \sim \mathcal N(0, I)

    approximated by ten leapfrog steps and accepted with probability
    :math:`\min(1, e^{H(z, r) - H(z', r')})`. A trajectory that becomes infinite is rejected.

    Args:
        log_density: log f of states (K, B, T, J), in nats, (K, B).
        z: states of K chains for B sequences, (K, B, T, J).
        moving: one for every variable that moves and zero for others, (J,).
        log_step: logarithm of the step size, (B,).

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


def flips(log_density: LogDensity, z: Tensor, moving: Tensor, log_step: Tensor) -> Moved:
    r"""A transition of bits that flips several of them, as gradients suggest.

    .. math:: P(\text{flip } j) = \sigma\big(\tfrac12 (1 - 2 z_j)\, \partial_j \log f(z) + s\big)

    independently of each other, and accepted by the rule of Metropolis and Hastings. For
    :math:`s \to -\infty` at most one bit flips, as in Gibbs with gradients (Grathwohl
    et al., 2021).

    Args:
        log_density: log f of states (K, B, T, J), in nats, (K, B); differentiable.
        z: states of K chains for B sequences, (K, B, T, J).
        moving: one for every variable that moves and zero for others, (J,).
        log_step: s, (B,); at most 0 is used, where a fair coin is drawn anew.

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


TRANSITIONS: dict[str, Transition] = {"continuous": hamiltonian, "binary": flips}


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
