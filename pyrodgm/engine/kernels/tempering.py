"""Parallel tempering: copies of chains at several temperatures that exchange their states."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from pyrodgm.engine.kernels.base import Kernel, Moved, Potential, metropolis, over_state
from pyrodgm.errors import UsageError


@dataclass(frozen=True)
class Tempering:
    r"""Copies of every chain at several inverse temperatures, which exchange neighbouring states.

    .. math:: x_r \sim p_r \propto e^{\beta_r \phi}, \quad 1 = \beta_1 > \dots > \beta_R > 0,
        \qquad a = \min\Big(1, e^{(\beta_r - \beta_{r+1})(\phi(x_{r+1}) - \phi(x_r))}\Big)

    Every copy makes a move of its own at its temperature. Then pairs of neighbours exchange their
    states with probability a: pairs that begin at an odd, or at an even r, by a fair coin. The
    product of all distributions is left unchanged; the first copy has that of the potential.

    Args:
        kernel: of the moves at each temperature; it leaves any potential's density unchanged.
        betas: inverse temperatures :math:`\beta`, R of them, from one downwards.

    Raises:
        UsageError: the betas are not a decreasing sequence from one to above zero.

    Reference: Swendsen and Wang, Replica Monte Carlo simulation of spin glasses, 1986; for random
    fields, Desjardins et al., Tempered Markov chain Monte Carlo for training of restricted
    Boltzmann machines, 2010.
    """

    kernel: Kernel
    betas: tuple[float, ...]

    def __post_init__(self) -> None:
        refuse_betas(self.betas)

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """A move of every copy and one round of exchanges.

        Args:
            x: states of R copies of every chain, (R, ..., D).
            potential: as in `Kernel`, (R, ..., D) to (R, ...).

        Returns:
            The next states, and how the first copy's own move was accepted, (...).
        """
        betas = torch.tensor(self.betas, dtype=x.dtype, device=x.device)

        def tempered(x: Tensor) -> Tensor:
            nats = potential(x)
            return nats * over_state(betas, nats)

        x, accepted = self.kernel.move(x, tempered)
        with torch.no_grad():
            own = accepted if accepted.dim() == 0 else accepted[0]
            return Moved(_exchanged(x, potential(x), betas), own)


def _exchanged(x: Tensor, nats: Tensor, betas: Tensor) -> Tensor:
    """States after one round of exchanges; every second pair of neighbours takes part."""
    first = int(torch.randint(2, ()))
    pairs = torch.arange(first, len(betas) - 1, 2, device=x.device)
    gap = over_state(betas[pairs] - betas[pairs + 1], nats[pairs])
    lower, upper = x[pairs], x[pairs + 1]
    log_ratio = gap * (nats[pairs + 1] - nats[pairs])
    taken, _ = metropolis(torch.zeros_like(nats[pairs]), torch.ones_like(nats[pairs]), log_ratio)
    swap = over_state(taken, lower) > 0
    x = x.clone()
    x[pairs], x[pairs + 1] = torch.where(swap, upper, lower), torch.where(swap, lower, upper)
    return x


def refuse_betas(betas: tuple[float, ...]) -> None:
    """Raise unless inverse temperatures decrease from one to above zero.

    Raises:
        UsageError: they do not.
    """
    falls = sorted(set(betas), reverse=True) == list(betas)
    if not falls or betas[0] != 1.0 or betas[-1] <= 0:
        raise UsageError(
            f"inverse temperatures are {betas}; give decreasing numbers above 0, the first one 1"
        )
