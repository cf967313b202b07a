"""Integrals of functions of one or two real numbers over a grid."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor

from pyrodgm.errors import QuadratureWarning

EDGE = 8.0  # limit of the grid in every variable; a standard normal has mass 1e-15 outside
COARSEST, FINEST = 64, 512  # cells along every variable
TOLERANCE = 0.01  # largest change of a result, in nats, when the width of cells is halved
POINTS_AT_ONCE = 4096  # bounds memory, not results

LogDensity = Callable[[Tensor], Tensor]


def log_integral(log_density: LogDensity, dim: int, *, finest: int = FINEST) -> Tensor:
    r"""The logarithm of the integral of functions of one or two variables, (N,).

    .. math:: \log \int e^{f_n(z)} dz \approx \log \sum_i h^J e^{f_n(z_i)}

    on a grid of :math:`[-8, 8]^J`, whose cells are halved until no result changes by more than
    0.01.

    Args:
        log_density: f of all N functions at S points, from (S, J) to (S, N).
        dim: number of variables J.
        finest: cells along a variable that it ends with.

    Warns:
        QuadratureWarning: results still change on the finest grid.

    >>> normal = torch.distributions.Normal(torch.zeros(1), 1.0)
    >>> log_integral(normal.log_prob, 1).abs() < 1e-6
    tensor([True])
    """
    of_cells = partial(on_grid, log_density, dim)
    return refined(of_cells, "the log-likelihood of a row", finest=finest)


def refined(of_cells: Callable[[int], Tensor], what: str, *, finest: int = FINEST) -> Tensor:
    """Sums over a grid whose cells are halved until none changes by more than 0.01 nats.

    Args:
        of_cells: the sums on a grid of so many cells along every variable.
        what: name of a sum, in the warning.
        finest: cells along a variable that it ends with.

    Warns:
        QuadratureWarning: sums still change on the finest grid.
    """
    cells, before, change = COARSEST, of_cells(COARSEST), math.inf
    while cells < finest and change > TOLERANCE:
        cells *= 2
        now = of_cells(cells)
        change = float((now - before).nan_to_num(0.0).abs().max())
        before = now
    if change > TOLERANCE and finest == FINEST:
        warnings.warn(
            f"{what} still changes by {change:.2g} nats from {cells // 2} to "
            f"{cells} grid cells per variable: the integrand is too narrow for the grid",
            QuadratureWarning,
            stacklevel=3,
        )
    return before


def points(dim: int, cells: int) -> Tensor:
    """The points of a grid, (S, J)."""
    line = torch.linspace(-EDGE, EDGE, cells + 1)
    return torch.cartesian_prod(*[line] * dim).reshape(-1, dim)


def on_grid(log_density: LogDensity, dim: int, cells: int) -> Tensor:
    """The sum over one grid, (N,), in double precision."""
    with torch.no_grad():
        parts = [log_density(z).double() for z in points(dim, cells).split(POINTS_AT_ONCE)]
        total = torch.stack([part.logsumexp(0) for part in parts]).logsumexp(0)
    return total + log_volume(dim, cells)


def log_volume(dim: int, cells: int) -> float:
    """The logarithm of the volume of a cell."""
    return dim * math.log(2 * EDGE / cells)
