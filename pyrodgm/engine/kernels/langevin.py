"""Langevin dynamics of real numbers: SGLD, SGHMC, and MALA, which is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrodgm.engine.kernels.base import (
    Moved,
    Potential,
    all_accepted,
    metropolis,
    over_state,
    with_slope,
)
from pyrodgm.errors import UsageError


@dataclass(frozen=True)
class SGLD:
    r"""A step along the gradient with noise, without a correction.

    .. math:: x' = x + a \nabla \phi(x) + \sigma \epsilon, \qquad \epsilon \sim \mathcal N(0, I)

    With the usual noise, :math:`\sigma = \sqrt{2 a}`, the stationary distribution is that of the
    potential for :math:`a \to 0`; at a finite step it is wider. With less noise it is about the
    distribution of :math:`\phi / \tau` at temperature :math:`\tau = \sigma^2 / (2 a)`.

    Args:
        step: a.
        noise: :math:`\sigma`; None for the usual one.

    Raises:
        UsageError: the step is not positive, or the noise is negative.

    Reference: Welling and Teh, Bayesian learning via stochastic gradient Langevin dynamics, 2011.
    """

    step: float
    noise: float | None = None

    def __post_init__(self) -> None:
        refuse_sizes(self.step, self.noise)

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One step of every chain."""
        _, slope = with_slope(potential, x)
        noise = usual_noise(self.step) if self.noise is None else self.noise
        new = x.add(slope, alpha=self.step).add(torch.randn_like(x), alpha=noise)
        return Moved(new, all_accepted(x))


@dataclass(frozen=True)
class SGHMC:
    r"""Steps along a velocity that follows the gradient, with friction and noise.

    .. math::
        v_l = (1 - f)\, v_{l-1} + a \nabla \phi(x_{l-1}) + \sigma \epsilon_l, \qquad
        x_l = x_{l-1} + v_l, \qquad
        v_0 \sim \mathcal N\Big(0, \frac{\sigma^2}{1 - (1 - f)^2} I\Big)

    where :math:`v_0` is as in a constant potential. With the usual noise,
    :math:`\sigma = \sqrt{2 a f}`, long paths have the distribution of the potential for
    :math:`a \to 0`; of a standard normal one, paths of ten steps with friction 0.1 have 0.93 of the
    variance. With friction one this is `SGLD`.

    Args:
        step: a.
        friction: f, in (0, 1].
        leaps: steps of a path, L, in one move; each evaluates the gradient.
        noise: :math:`\sigma`; None for the usual one.

    Raises:
        UsageError: a size is out of its range.

    Reference: Chen, Fox and Guestrin, Stochastic gradient Hamiltonian Monte Carlo, 2014, equation
    15; as the sampler of neural random fields, Song and Ou, Learning neural random fields with
    inclusive auxiliary generators, 2018.
    """

    step: float
    friction: float = 0.1
    leaps: int = 10
    noise: float | None = None

    def __post_init__(self) -> None:
        refuse_sizes(self.step, self.noise)
        if not 0 < self.friction <= 1 or self.leaps < 1:
            raise UsageError(
                f"friction is {self.friction} and leaps is {self.leaps}; give a friction above 0 "
                "and at most 1, and at least one leap"
            )

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One path of every chain, with a new velocity."""
        keep = 1 - self.friction
        noise = math.sqrt(2 * self.step * self.friction) if self.noise is None else self.noise
        velocity = noise / math.sqrt(1 - keep**2) * torch.randn_like(x)
        for _ in range(self.leaps):
            _, slope = with_slope(potential, x)
            velocity = keep * velocity + self.step * slope + noise * torch.randn_like(x)
            x = x + velocity
        return Moved(x, all_accepted(x))


@dataclass(frozen=True)
class MALA:
    r"""A step of Langevin dynamics as a proposal, accepted by the rule of Metropolis and Hastings.

    .. math:: x' = x + a \nabla \phi(x) + \sqrt{2 a}\, \epsilon, \qquad
        \epsilon \sim \mathcal N(0, I)

    It satisfies detailed balance at any step.

    Args:
        step: a; a number, or one per chain, (...).

    Raises:
        UsageError: the step is not positive.

    Reference: Roberts and Tweedie, Exponential convergence of Langevin distributions and their
    discrete approximations, 1996.
    """

    step: float | Tensor

    def __post_init__(self) -> None:
        if not isinstance(self.step, Tensor):
            refuse_sizes(self.step, None)

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One proposal for every chain."""
        before, slope = with_slope(potential, x)
        step = over_state(torch.as_tensor(self.step, dtype=x.dtype, device=x.device), x)
        proposed = x + step * slope + (2 * step).sqrt() * torch.randn_like(x)
        after, slope_there = with_slope(potential, proposed)
        forth = (proposed - x - step * slope).square() / (4 * step)
        back = (x - proposed - step * slope_there).square() / (4 * step)
        return metropolis(
            x, proposed, after - before + (forth - back).flatten(before.dim()).sum(-1)
        )


def usual_noise(step: float) -> float:
    """Noise of Langevin dynamics with a step."""
    return math.sqrt(2 * step)


def refuse_sizes(step: float, noise: float | None) -> None:
    """Raise unless a step is positive and a noise at least zero.

    Raises:
        UsageError: it is not so.
    """
    if not step > 0 or (noise is not None and not noise >= 0):
        raise UsageError(f"step is {step} and noise is {noise}; give a step above 0, noise >= 0")
