"""Feed-forward networks."""

from __future__ import annotations

from torch import nn


def tanh_network(dim: int, hidden_dim: int) -> nn.Sequential:
    """One hidden tanh layer to one number that starts at zero, the shape of learned baselines.

    Args:
        dim: size of the input, D.
        hidden_dim: hidden units.
    """
    head = nn.Linear(hidden_dim, 1)
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    return nn.Sequential(nn.Linear(dim, hidden_dim), nn.Tanh(), head)
