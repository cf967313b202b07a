"""Feed-forward networks."""

from __future__ import annotations

from torch import nn


def tanh_network(dim: int | None, hidden_dim: int) -> nn.Sequential:
    """One hidden tanh layer to one number that starts at zero, the shape of learned baselines.

    Args:
        dim: size of the input, D; None where the first input will tell.
        hidden_dim: hidden units.
    """
    head = nn.Linear(hidden_dim, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    first = nn.LazyLinear(hidden_dim) if dim is None else nn.Linear(dim, hidden_dim)
    return nn.Sequential(first, nn.Tanh(), head)
