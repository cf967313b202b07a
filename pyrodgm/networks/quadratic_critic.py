"""A critic that has the log ratio of two normal distributions as a part."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import join
from pyrodgm.engine.sites import Site, in_order, sizes
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import layer_sizes
from pyrodgm.networks.mlp import relu_network


class QuadraticCritic(nn.Module):
    r"""A quadratic function of the latents, and the inner product of two networks.

    .. math::
        T(x, z) = (A f(x, u) + b)^\top \psi(z) + f(x, u)^\top g(\psi(z)), \qquad
        \psi(z) = (z_i,\; z_i z_j : i \le j)

    where u are conditions, if any. The log ratio of two normal distributions is of this form with a
    constant g: g has to find only how far the distributions are from normal. T grows with the
    square of a distant z, as log ratios of normal distributions do; a rectified network of z alone
    grows linearly. There are J (J + 3) / 2 products.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: rectified units of every hidden layer of f and of g, whose last is also the size
            of f and g; a number is a single layer.

    No reference is known.
    """

    def __init__(
        self, info: DataInfo, latents: Mapping[str, Site], hidden_dim: int | tuple[int, ...]
    ) -> None:
        super().__init__()
        self.sites = tuple(latents)
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        dim, size = sum(sizes(latents).values()), layer_sizes(hidden_dim)[-1]
        count = dim * (dim + 3) // 2
        self.of_x = relu_network(self.inputs.dim + self.conditions.dim, hidden_dim, size)
        self.of_z = relu_network(count, hidden_dim, size)
        self.coefficients = nn.Linear(size, count)

    def forward(self, batch: Batch, **latents: Tensor) -> Tensor:
        """Of frames (B, T, D) and latents (K, B, T, J) by site, (K, B, T)."""
        given, z = self.conditions(batch), products(join(*in_order(latents, self.sites)))
        f = self.of_x(join(self.inputs(batch.x), *([] if given is None else [given])))
        return (self.coefficients(f) * z).sum(-1) + (f * self.of_z(z)).sum(-1)


def products(z: Tensor) -> Tensor:
    """Numbers and their products, (..., J) to (..., J (J + 3) / 2).

    >>> products(torch.tensor([2.0, 3.0]))
    tensor([2., 3., 4., 6., 9.])
    """
    first, second = torch.triu_indices(z.shape[-1], z.shape[-1], device=z.device)
    return torch.cat([z, z[..., first] * z[..., second]], -1)
