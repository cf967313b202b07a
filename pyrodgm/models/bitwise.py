"""Sampling and enumeration of rows of bits for any potential, one bit at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

MOST_BITS = 16  # of a row, whose states are enumerated
ROWS_AT_ONCE = 2**12  # states enumerated together: bounds memory

Potential = Callable[[Tensor], Tensor]


def sweep(potential: Potential, x: Tensor) -> Tensor:
    r"""Draw every bit of a row given the others, one after the other in a random order.

    .. math:: p(x_d = 1 \mid x_{-d}) = \sigma\big(\phi(x^{d=1}) - \phi(x^{d=0})\big)

    The order is the same for all rows. An order and its reverse have equal probability, so the
    sweep satisfies detailed balance. It evaluates the potential D times, for two states per row.

    Args:
        potential: unnormalised log-density :math:`\phi`, (..., D) to (...), in nats.
        x: rows of bits, (..., D).

    Reference: Geman and Geman, Stochastic relaxation, Gibbs distributions, and the Bayesian
    restoration of images, 1984.
    """
    x = x.clone()
    for bit in torch.randperm(x.shape[-1]).tolist():
        both = torch.stack([x, x])
        both[0, ..., bit], both[1, ..., bit] = 0.0, 1.0
        off, on = potential(both)
        x[..., bit] = (on - off).sigmoid().bernoulli()
    return x


def log_sum(potential: Potential, like: Tensor) -> Tensor:
    r"""The exact log Z of rows of bits, in nats, in double precision, a scalar.

    .. math:: \log \sum_{x \in \{0,1\}^D} e^{\phi(x)}

    Args:
        potential: unnormalised log-density, (S, D) to (S,), in nats.
        like: a row, (D,), of the wanted dtype and device.
    """
    parts = [potential(states).double().logsumexp(0) for states in states_of_bits(like)]
    return torch.stack(parts).logsumexp(0)


def states_of_bits(like: Tensor) -> Iterator[Tensor]:
    """All rows of bits in portions, (S, D).

    Args:
        like: a row, (D,), of the wanted dtype and device.

    >>> [states.tolist() for states in states_of_bits(torch.zeros(1))]
    [[[0.0], [1.0]]]
    """
    bits = torch.arange(len(like), device=like.device)
    for numbers in torch.arange(2 ** len(like), device=like.device).split(ROWS_AT_ONCE):
        yield ((numbers[:, None] >> bits) & 1).to(like)


@dataclass(frozen=True)
class BitwisePath:
    r"""Annealing of rows of bits from independent bits to any potential.

    .. math:: \phi_\beta(x) = (1 - \beta)\, a^\top x + \beta\, \phi(x)

    Args:
        potential: unnormalised log-density :math:`\phi` of the end, (..., D) to (...), in nats.
        base: log-odds a of the start, (D,).
    """

    potential: Potential
    base: Tensor

    def log_normaliser(self) -> Tensor:
        """Log Z of the independent bits."""
        return F.softplus(self.base.double()).sum()

    def start(self, num: int) -> Tensor:
        """Independent bits, (num, D)."""
        return self.base.sigmoid().expand(num, -1).bernoulli()

    def log_ratio(self, x: Tensor, low: float, high: float) -> Tensor:
        """The potential at beta = high minus that at beta = low, of rows (num, D), (num,)."""
        return (high - low) * (self.potential(x) - x @ self.base)

    def move(self, x: Tensor, beta: float) -> Tensor:
        """One sweep over the bits of rows (num, D)."""
        return sweep(lambda x: (1 - beta) * (x @ self.base) + beta * self.potential(x), x)
