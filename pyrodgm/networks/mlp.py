"""Feed-forward networks."""

from __future__ import annotations

from itertools import pairwise

from torch import nn

from pyrodgm.networks.layers import layer_sizes


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
    dim: int, hidden_dim: int | tuple[int, ...], out_dim: int, *, bias: bool = True
) -> nn.Sequential:
    """Hidden layers of rectified units, and a linear output layer.

    Args:
        dim: size of the input.
        hidden_dim: units of every hidden layer, the lowest first; a number is a single layer.
        out_dim: size of the output.
        bias: whether the output has a bias.
    """
    sizes = (dim, *layer_sizes(hidden_dim))
    hidden = [part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), nn.ReLU())]
    return nn.Sequential(*hidden, nn.Linear(sizes[-1], out_dim, bias=bias))
