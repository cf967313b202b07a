"""Critics: networks that compare draws of two distributions, and what bounds their slope."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import join
from pyrodgm.engine.sites import Site, sizes
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.mlp import relu_network


class Critic(nn.Module):
    """A number for every frame, from rectified layers over standardised features.

    There is no bias on top: only differences of these numbers are looked at.

    Args:
        info: the data's facts.
        hidden_dim: units of every hidden layer; a number is a single layer.
    """

    def __init__(self, info: DataInfo, hidden_dim: int | tuple[int, ...]) -> None:
        super().__init__()
        self.inputs = Inputs(info)
        self.network = relu_network(self.inputs.dim, hidden_dim, 1, bias=False)

    def of_inputs(self, inputs: Tensor) -> Tensor:
        """Of standardised features, (..., D) to (...)."""
        return self.network(inputs).squeeze(-1)

    def forward(self, x: Tensor) -> Tensor:
        """Of frames as batches hold them, (..., D) to (...)."""
        return self.of_inputs(self.inputs(x))


class JointCritic(nn.Module):
    r"""A number T(x, z) for every frame and its latents, from rectified layers over both together.

    Args:
        info: the data's facts.
        latents: the latent sites.
        hidden_dim: units of every hidden layer; a number is a single layer.
    """

    def __init__(
        self, info: DataInfo, latents: Mapping[str, Site], hidden_dim: int | tuple[int, ...]
    ) -> None:
        super().__init__()
        self.inputs, self.conditions = Inputs(info), Conditions(info)
        dim = self.inputs.dim + self.conditions.dim + sum(sizes(latents).values())
        self.network = relu_network(dim, hidden_dim, 1)

    def forward(self, batch: Batch, **latents: Tensor) -> Tensor:
        """Of frames (B, T, D) and latents (K, B, T, J) by site, (K, B, T)."""
        given = self.conditions(batch)
        parts = [self.inputs(batch.x), *([] if given is None else [given])]
        return self.network(join(*parts, *latents.values())).squeeze(-1)


def slope(function: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    r"""The norm of the gradient of a function of points, (..., D) to (...).

    .. math:: \lVert \nabla_x f(x) \rVert_2

    It carries gradients to the parameters of the function.

    Args:
        function: f, of each point alone, (..., D) to (...).
        x: the points.

    >>> slope(lambda x: 3 * x[..., 0] - 4 * x[..., 1], torch.zeros(2, 2))
    tensor([5., 5.])
    """
    with torch.enable_grad():
        x = x.detach().requires_grad_()
        (gradient,) = torch.autograd.grad(function(x).sum(), x, create_graph=True)
    return gradient.norm(dim=-1)


def clip_weights(module: nn.Module, most: float) -> None:
    """Set every parameter that is beyond a bound to the bound."""
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.clamp_(-most, most)
