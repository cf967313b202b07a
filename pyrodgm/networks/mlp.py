"""Feed-forward networks."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, final

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.networks.layers import Connect, LayerSizes, layer_sizes, weights

Leak = Annotated[float, Field(ge=0, lt=1)]
LEAK = 0.3  # of networks of rows, as Shi et al., Gradient estimation with Stein operators, 2022


def tanh_network(dim: int | None, hidden_dim: int) -> nn.Sequential:
    """One hidden tanh layer to one number that starts at zero, as used for learned baselines.

    Args:
        dim: size of the input, D; None to infer it from the first input.
        hidden_dim: hidden units.
    """
    head = nn.Linear(hidden_dim, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    first = nn.LazyLinear(hidden_dim) if dim is None else nn.Linear(dim, hidden_dim)
    return nn.Sequential(first, nn.Tanh(), head)


def relu_network(
    dim: int,
    hidden_dim: int | tuple[int, ...],
    out_dim: int,
    *,
    bias: bool = True,
    batch_norm: bool = False,
) -> nn.Sequential:
    """Hidden layers of rectified units, and a linear output layer.

    Args:
        dim: size of the input.
        hidden_dim: units of every hidden layer, the lowest first; a number is a single layer.
        out_dim: size of the output.
        bias: whether the output has a bias.
        batch_norm: whether units are normalised over the batch before they are rectified.
    """
    sizes = (dim, *layer_sizes(hidden_dim))
    hidden: list[nn.Module] = []
    for below, above in pairwise(sizes):
        norm = [FrameNorm(above)] if batch_norm else []
        hidden += [nn.Linear(below, above), *norm, nn.ReLU()]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], out_dim, bias=bias))


def leaky(leak: float, *, smooth: bool = False) -> nn.Module:
    """Rectified units whose slope below zero is `leak`, or smooth ones with the same asymptotes."""
    if smooth:
        return SmoothLeaky(leak)
    return nn.LeakyReLU(leak) if leak else nn.ReLU()


@final
class SmoothLeaky(nn.Module):
    r"""Units with a slope that rises smoothly from that below zero to one.

    .. math:: h = l\, a + (1 - l) \log(1 + e^a)

    Args:
        leak: the slope l far below zero.

    >>> SmoothLeaky(0.2)(Tensor([-50.0, 50.0]))
    tensor([-10.,  50.])
    """

    def __init__(self, leak: float) -> None:
        super().__init__()
        self.leak = leak

    def forward(self, a: Tensor) -> Tensor:
        """Units of any shape."""
        return self.leak * a + (1 - self.leak) * F.softplus(a)


class FrameNorm(nn.BatchNorm1d):
    r"""Batch normalisation of units over all leading dimensions.

    .. math:: a' = \gamma\, \frac{a - \bar a}{\sqrt{\mathrm{var}\, a + 10^{-5}}} + \beta

    Mean and variance are those of the batch in training, and running averages afterwards, or where
    the batch is a single frame.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalised units, (..., F)."""
        rows = input.reshape(-1, self.num_features)
        if self.training and len(rows) > 1:
            return super().forward(rows).view_as(input)
        found = (self.running_mean, self.running_var, self.weight, self.bias)
        return F.batch_norm(rows, *found, eps=self.eps).view_as(input)


def connection(layer_dim: LayerSizes | None) -> Connect:
    """What makes the contribution of one layer to another: linear, or by rectified units.

    Args:
        layer_dim: rectified units of every hidden layer between the two, the lowest first, which
            is next to the input; None for a linear map.

    >>> linear, network = connection(None)(3, 2, 0.01), connection(5)(3, 2, 0.01)
    >>> linear, [type(part).__name__ for part in network]
    (Linear(in_features=3, out_features=2, bias=False), ['Linear', 'ReLU', 'Linear'])
    """
    if layer_dim is None:
        return weights

    def network(in_dim: int, out_dim: int, scale: float) -> nn.Module | None:
        if in_dim == 0:
            return None
        made = relu_network(in_dim, layer_dim, out_dim, bias=False)
        nn.init.normal_(made[-1].get_parameter("weight"), std=scale)
        return made

    return network
