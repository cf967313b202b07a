"""The distribution of a restricted Boltzmann machine with normal visible units."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.distributions import NormalVector
from pyrodgm.errors import CompatibilityError
from pyrodgm.models.machine import MOST_BITS, bits, log_sum


@dataclass(frozen=True)
class GaussianMachine:
    r"""A restricted Boltzmann machine of real numbers and hidden bits.

    .. math::
        p(v, h) = \frac1Z \exp\Big(-\sum_i \frac{(v_i - b_i)^2}{2 \sigma_i^2}
            + c^\top h + h^\top W (v / \sigma)\Big)

    so that :math:`v \mid h \sim \mathcal N(b + \sigma \, W^\top h, \sigma^2)`.

    Args:
        weight: W, (H, D).
        visible: b, (D,).
        hidden: c, (H,).
        log_scale: :math:`\log \sigma`, (D,).
    """

    weight: Tensor
    visible: Tensor
    hidden: Tensor
    log_scale: Tensor

    def potential(self, v: Tensor) -> Tensor:
        """Minus the free energy, (...), of rows (..., D)."""
        distance = (v - self.visible) * torch.exp(-self.log_scale)
        hidden = F.softplus(self.hidden_log_odds(v)).sum(-1)
        return hidden - 0.5 * distance.square().sum(-1)

    def hidden_log_odds(self, v: Tensor) -> Tensor:
        """Log-odds of the hidden units given the visible ones, (..., H), of rows (..., D)."""
        return F.linear(v * torch.exp(-self.log_scale), self.weight, self.hidden)

    def given_hidden(self, h: Tensor) -> NormalVector:
        """The distribution of rows given hidden units, (..., H)."""
        scale = torch.exp(self.log_scale)
        mean = self.visible + scale * (h @ self.weight)
        return NormalVector(mean, scale.expand_as(mean))

    def gibbs(self, v: Tensor) -> Tensor:
        """All hidden units given the visible ones, then all visible units given these."""
        return self.given_hidden(bits(self.hidden_log_odds(v))).sample()

    @property
    def enumerable(self) -> bool:
        """Whether there are at most 20 hidden units."""
        return len(self.hidden) <= MOST_BITS

    def log_normaliser(self) -> Tensor:
        r"""The exact log Z, in double precision, a scalar, with :math:`m = W^\top h`.

        .. math:: Z = \prod_i \sigma_i \sqrt{2 \pi} \;
            \sum_h \exp\Big(c^\top h + \sum_i b_i m_i / \sigma_i + m_i^2 / 2\Big)

        Raises:
            CompatibilityError: there are more than 20 hidden units.
        """
        if not self.enumerable:
            raise CompatibilityError(
                f"this RBM has {len(self.hidden)} hidden units, but log Z of real numbers can be "
                f"enumerated only with at most {MOST_BITS}; use --estimator ais"
            )
        ratio = self.visible.double() * torch.exp(-self.log_scale.double())

        def summed_out(moved: Tensor) -> Tensor:
            return moved @ ratio + 0.5 * moved.square().sum(-1)

        weight, hidden = self.weight.double(), self.hidden.double()
        return log_sum(weight, hidden, torch.zeros_like(ratio), summed_out) + self.log_volume()

    def annealing(self) -> GaussianPath:
        """From independent normal numbers to this machine."""
        return GaussianPath(self)

    def log_volume(self) -> Tensor:
        """Log Z of the visible units without hidden ones, in double precision."""
        return (self.log_scale.double() + 0.5 * math.log(2 * math.pi)).sum()


@dataclass(frozen=True)
class GaussianPath:
    r"""Annealing of a machine of real numbers from independent normal numbers.

    .. math::
        \phi_\beta(v) = -\sum_i \frac{(v_i - b_i)^2}{2 \sigma_i^2}
            + \sum_j \mathrm{softplus}(\beta (c_j + W_j (v / \sigma)))

    Args:
        machine: the end of the path.
    """

    machine: GaussianMachine

    def log_normaliser(self) -> Tensor:
        """Log Z of normal numbers, with a factor of two for every hidden unit."""
        return self.machine.log_volume() + len(self.machine.hidden) * math.log(2)

    def start(self, num: int) -> Tensor:
        """Independent normal numbers, (num, D)."""
        nothing = torch.zeros_like(self.machine.hidden)
        return self.machine.given_hidden(nothing.expand(num, -1)).sample()

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, of rows (num, D), (num,)."""
        log_odds = self.machine.hidden_log_odds(x)
        return (F.softplus(high * log_odds) - F.softplus(low * log_odds)).sum(-1)

    def move(self, x: Tensor, beta: float) -> Tensor:
        """Hidden units given rows (num, D), then rows given these."""
        h = bits(beta * self.machine.hidden_log_odds(x))
        return self.machine.given_hidden(beta * h).sample()
