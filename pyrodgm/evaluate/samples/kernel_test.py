"""A test of whether two sets of rows have one distribution, by their maximum mean discrepancy."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyrodgm.display import json_number
from pyrodgm.errors import UsageError
from pyrodgm.seeds import numpy_generator
from pyrodgm.tables import Measured

PERMUTATIONS = 500
ROUNDING = 1e-12  # of the largest squared distance, and of kernels


@dataclass(frozen=True)
class KernelTest:
    """The result of a two-sample test.

    Args:
        discrepancy: the unbiased estimate of the squared maximum mean discrepancy, which may be
            negative, with its standard error.
        p_value: share of permutations of the rows with an estimate at least as large.
        bandwidth: of the kernel, the median distance of two rows.
        rows: of each set.
    """

    discrepancy: Measured
    p_value: float
    bandwidth: float
    rows: int

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {
            "mmd_squared": self.discrepancy.value,
            "standard_error": json_number(self.discrepancy.error),
            "p_value": self.p_value,
            "bandwidth": self.bandwidth,
            "rows": self.rows,
        }


def kernel_test(
    x: np.ndarray, y: np.ndarray, *, permutations: int = PERMUTATIONS, seed: int = 0
) -> KernelTest:
    r"""Test whether x and y are draws of one distribution.

    .. math:: \widehat{\mathrm{MMD}}^2 = \frac1{n (n - 1)} \sum_{i \ne j}
        \big[ k(x_i, x_j) + k(y_i, y_j) \big] - \frac2{n^2} \sum_{ij} k(x_i, y_j), \qquad
        k(a, b) = e^{-\lVert a - b \rVert^2 / 2 h^2}

    with h the median distance of two rows of either set. The estimate is unbiased for the given h.
    Its mean is zero if the distributions are the same, and positive otherwise. The permutation
    test is exact: if they are the same, the p-value is below a with probability at most a.

    Args:
        x: independent rows, (n, D).
        y: as many, (n, D).
        permutations: of the rows of both sets, for the p-value.
        seed: of the permutations.

    Raises:
        UsageError: sets of different size, or with fewer than two rows.

    Reference: Gretton et al., A kernel two-sample test, 2012, equation 3.
    """
    n = len(x)
    if n < 2 or x.shape != y.shape:
        raise UsageError(
            f"the kernel test compares two sets of rows of one size, at least 2; got {x.shape} "
            f"and {y.shape}"
        )
    both = torch.from_numpy(np.concatenate([x, y]).astype(np.float64))
    kernel, bandwidth = gram(both)
    rng = numpy_generator(seed, "kernel test")
    first = np.zeros((2 * n, 1 + permutations))
    first[:n, 0] = 1
    for column in range(1, 1 + permutations):
        first[rng.permutation(2 * n)[:n], column] = 1
    found = _estimates(kernel, torch.from_numpy(first), n)
    extreme = int((found[1:] >= found[0] - 1e-12).sum())
    error = _standard_error(kernel, n)
    p_value = (1 + extreme) / (1 + permutations)
    return KernelTest(Measured(float(found[0]), error), p_value, bandwidth, n)


def gram(rows: Tensor) -> tuple[Tensor, float]:
    """The kernel of all pairs of rows, (N, N) with zeros on the diagonal, and its bandwidth.

    The bandwidth is the median distance, or the mean where most rows are equal.
    """
    rows = rows - rows.mean(0)  # distances are then precise
    squared = torch.cdist(rows, rows).square()
    squared = squared.where(squared > ROUNDING * squared.max(), 0.0)
    apart = squared[torch.triu(torch.ones_like(squared, dtype=torch.bool), 1)].sqrt()
    bandwidth = float(apart.median()) or float(apart.mean()) or 1.0
    kernel = torch.exp(-squared / (2 * bandwidth**2))
    return kernel.fill_diagonal_(0), bandwidth


def _estimates(kernel: Tensor, first: Tensor, n: int) -> Tensor:
    """The unbiased estimate for every choice of a first set, (P,), from indicators (2n, P)."""
    within = (first * (kernel @ first)).sum(0)
    of_first = kernel.sum(1) @ first
    across = of_first - within
    others = kernel.sum() - 2 * of_first + within
    return (within + others) / (n * (n - 1)) - 2 * across / n**2


def _standard_error(kernel: Tensor, n: int) -> float:
    """Of the estimate, from the contributions of single pairs of rows (x_i, y_i)."""
    xx, yy, xy = kernel[:n, :n], kernel[n:, n:], kernel[:n, n:]
    each = (xx.sum(1) + yy.sum(1) - xy.sum(1) - xy.sum(0)) / n
    error = 2 * float(each.std()) / math.sqrt(n)
    return error if error > ROUNDING else 0.0  # of sets of the same rows
