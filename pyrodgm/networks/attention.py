"""Self-attention between the places of a picture."""

from __future__ import annotations

import torch
from torch import Tensor, nn

FEWER = 8  # times as many channels of a map as of what is compared


class SelfAttention(nn.Module):
    r"""Every place of a map takes something from all others, at first nothing.

    .. math::
        y_i = x_i + \gamma\, W_o \sum_j \beta_{ij} W_h x_j, \qquad
        \beta_{ij} = \mathrm{softmax}_j \big( (W_f x_i)^\top W_g x_j \big)

    with :math:`\gamma = 0` at the start.

    Args:
        channels: of the maps.

    Reference: Zhang et al., Self-attention generative adversarial networks, 2019, section 3.

    >>> attention = SelfAttention(8)
    >>> x = torch.randn(2, 8, 3, 3)
    >>> torch.equal(attention(x), x)
    True
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        fewer = max(1, channels // FEWER)
        self.query, self.key = (nn.Conv2d(channels, fewer, 1, bias=False) for _ in range(2))
        half = max(1, channels // 2)
        self.value = nn.Conv2d(channels, half, 1, bias=False)
        self.output = nn.Conv2d(half, channels, 1, bias=False)
        self.weight = nn.Parameter(torch.zeros(()))

    def forward(self, maps: Tensor) -> Tensor:
        """Maps of the same shape, (N, C, H, W)."""
        query, key, value = (f(maps).flatten(2) for f in (self.query, self.key, self.value))
        share = (query.transpose(1, 2) @ key).softmax(-1)  # (N, HW, HW), of place i from place j
        taken = (value @ share.transpose(1, 2)).unflatten(2, maps.shape[2:])
        return maps + self.weight * self.output(taken)
