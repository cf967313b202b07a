"""Markov kernels of observations: the interface, and the Metropolis-Hastings rule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

Potential = Callable[[Tensor], Tensor]


class Moved(NamedTuple):
    """States after a move.

    Args:
        x: the next states, of the shape of the states before.
        accepted: the probability with which each proposal was accepted, (...), or one number for
            all chains: one for kernels that do not reject.
    """

    x: Tensor
    accepted: Tensor


class Kernel(Protocol):
    r"""A Markov kernel of states x, of which each of (...) is a chain of its own.

    The shape of the potential says which dimensions of a state are those of one chain: states
    (..., D) with a potential (...) are rows, states (B, T, D) with a potential (B,) are sequences.
    Values that the potential does not depend on, such as padding, may change.
    """

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """The next states.

        Args:
            x: states, (..., D).
            potential: the unnormalised log-density of states, (..., D) to (...), in nats;
                differentiable where the kernel uses its gradient.
        """
        ...


@dataclass(frozen=True)
class Gibbs:
    """Exact conditional draws that a model has of its own, as a kernel.

    Args:
        sweep: draws states given states, and leaves the density unchanged.
    """

    sweep: Callable[[Tensor], Tensor]

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One sweep; the potential is not evaluated."""
        del potential
        with torch.no_grad():
            new = self.sweep(x)
        return Moved(new, all_accepted(x))


def all_accepted(x: Tensor) -> Tensor:
    """The acceptance of kernels that do not reject: one, a scalar of the type of states."""
    return torch.ones((), dtype=x.dtype, device=x.device)


def with_slope(potential: Potential, x: Tensor) -> tuple[Tensor, Tensor]:
    """The potential of states, (...), and its gradient, (..., D), without a graph."""
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        nats = potential(x)
        (slope,) = torch.autograd.grad(nats, x, torch.ones_like(nats))
    return nats.detach(), slope


def over_state(numbers: Tensor, x: Tensor) -> Tensor:
    """One number per chain, (...), to be broadcast over its state, (..., 1)."""
    return numbers.reshape(*numbers.shape, *(1,) * (x.dim() - numbers.dim()))


def acceptance(log_ratio: Tensor) -> Tensor:
    r"""The probability :math:`\min(1, e^r)` of each proposal; zero where r is undefined."""
    return log_ratio.exp().clamp(max=1.0).nan_to_num(0.0)


def metropolis(x: Tensor, proposed: Tensor, log_ratio: Tensor) -> Moved:
    r"""Proposals where they are accepted, with probability :math:`\min(1, e^r)`.

    Proposals with an undefined ratio r are rejected.

    Args:
        x: states before, (..., D).
        proposed: proposals, (..., D).
        log_ratio: r, (...), in nats.
    """
    probability = acceptance(log_ratio)
    accept = torch.rand_like(probability) < probability
    return Moved(torch.where(over_state(accept, x), proposed, x), probability)
