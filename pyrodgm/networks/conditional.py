"""Conditional distributions, of a model or a guide: from features to a distribution."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from pyrodgm.distributions import NormalVector

LEAST_SCALE = 1e-3  # standard deviations stay above, so that no density blows up


class GaussianConditional(nn.Module):
    r"""A diagonal normal distribution given features, through one hidden layer.

    .. math:: p(z \mid v) = \mathcal N(A h + a, \mathrm{diag}\, s^2), \qquad
        s = \mathrm{softplus}(B h + b) + 10^{-3}, \qquad h = \mathrm{relu}(C v + c)

    It starts near the standard normal distribution.

    Args:
        input_dim: features v.
        dim: size of z, J.
        hidden_dim: units of the hidden layer.
    """

    def __init__(self, input_dim: int, dim: int, hidden_dim: int) -> None:
        super().__init__()
        self.first = nn.Linear(input_dim, hidden_dim)
        self.last = nn.Linear(hidden_dim, 2 * dim)
        with torch.no_grad():
            self.last.weight.mul_(0.1)
            self.last.bias[:dim] = 0.0
            self.last.bias[dim:] = torch.ones(dim).expm1().log()  # softplus of it is one

    def forward(self, features: Tensor) -> NormalVector:
        """The distribution of z given features (..., E), event (J,)."""
        return self.of_hidden(self.first(features))

    def of_hidden(self, hidden: Tensor) -> NormalVector:
        """The same given C v + c, (..., H), parts of which may have been computed ahead."""
        loc, scale = self.last(hidden.relu()).chunk(2, -1)
        return NormalVector(loc, F.softplus(scale) + LEAST_SCALE)
