"""Transitions of continuous latents: the distribution of a vector given the one before it."""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor, nn

from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import join
from pyrodgm.networks.conditional import softplus_scale


@final
class GatedTransition(nn.Module):
    r"""A normal distribution whose mean is, unit by unit, between a linear map and a network.

    .. math::
        g &= \sigma(G_2\, \mathrm{relu}(G_1 v)), \qquad
        m = M_2\, \mathrm{relu}(M_1 v), \qquad v = (z_{t-1}, u_t) \\
        z_t &\sim \mathcal N\big((1 - g) \odot (W z_{t-1} + b) + g \odot m, \;
            \mathrm{diag}\, \mathrm{softplus}(S\, \mathrm{relu}(m))^2\big)

    with biases in every map. W starts as the identity and b as zero; :math:`z_0` is learned.

    Args:
        dim: latents J.
        hidden_dim: rectified units of the gate and of the mean's network.
        given_dim: conditions u of a frame.

    Reference: Krishnan, Shalit and Sontag, Structured inference networks for nonlinear state space
    models, 2017, equation 6 and section 5.
    """

    def __init__(self, dim: int, hidden_dim: int, given_dim: int = 0) -> None:
        super().__init__()
        self.dim = dim
        self.first = nn.Linear(dim + given_dim, 2 * hidden_dim)  # of both networks, side by side
        self.gate = nn.Linear(hidden_dim, dim)
        self.mean = nn.Linear(hidden_dim, dim)
        self.linear = nn.Linear(dim, dim)
        self.scale = nn.Linear(dim, dim)
        nn.init.eye_(self.linear.weight)
        nn.init.zeros_(self.linear.bias)
        self.start = nn.Parameter(torch.zeros(dim))

    def forward(self, z: Tensor, t: Tensor, given: Tensor | None = None) -> NormalVector:
        """The distribution of a frame's latents, (..., J).

        Args:
            z: latents of the frame before, (..., J), zero before the first frame.
            t: frame number from zero, a scalar or (T,).
            given: conditions of the frame, (..., U).
        """
        z = z + (t == 0)[..., None] * self.start
        features = z if given is None else join(z, given)
        for_gate, for_mean = self.first(features).relu().chunk(2, -1)
        gate, mean = self.gate(for_gate).sigmoid(), self.mean(for_mean)
        middle = torch.lerp(self.linear(z), mean, gate)
        return NormalVector(middle, softplus_scale(self.scale(mean.relu())))
