"""Layers of bits that depend on each other: linearly, as in DARN, or as in NADE."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from pyrodgm.distributions import NADE, LinearBits
from pyrodgm.networks.layers import plus, weights

BitsKind = Literal["darn", "nade"]


class LinearFamily(nn.Module):
    """Bits with log-odds linear in those before them, by their biases (..., J).

    Args:
        dim: bits J.
        scale: standard deviation of the initial weights.
    """

    def __init__(self, dim: int, scale: float) -> None:
        super().__init__()
        self.size = dim
        self.weight = nn.Parameter(scale * torch.randn(dim, dim).tril(-1))

    def forward(self, numbers: Tensor) -> LinearBits:
        """The bits with these biases."""
        return LinearBits(numbers, self.weight)


class NADEFamily(nn.Module):
    """Bits of a NADE, by the biases of the bits and of the hidden units, (..., J + H).

    Args:
        dim: bits J.
        hidden_dim: hidden units H.
        scale: standard deviation of the initial weights.
        order: the bits from the first to the last, (J,); bit j is the j-th if not given.
    """

    order: Tensor | None

    def __init__(
        self, dim: int, hidden_dim: int, scale: float, order: Tensor | None = None
    ) -> None:
        super().__init__()
        self.register_buffer("order", order, persistent=False)
        self.split = [dim, hidden_dim]
        self.size = dim + hidden_dim
        self.weight_in = nn.Parameter(scale * torch.randn(dim, hidden_dim))
        self.weight_out = nn.Parameter(scale * torch.randn(dim, hidden_dim))

    def forward(self, numbers: Tensor) -> NADE:
        """A NADE with these biases."""
        visible, hidden = numbers.split(self.split, -1)
        if self.order is None:
            return NADE(visible, hidden, self.weight_in, self.weight_out)
        into, out = self.weight_in[self.order], self.weight_out[self.order]
        return NADE(visible[..., self.order], hidden, into, out, self.order)


class AutoregressiveLayer(nn.Module):
    r"""Bits z that depend on each other and, linearly, on a neighbouring layer v.

    .. math:: z \sim \text{family}(U v + V u + b)

    Args:
        family: of the bits, from their biases.
        input_dim: size of the neighbouring layer v; 0 leaves the term out.
        given_dim: size of the conditions u of a row; 0 leaves the term out.
        scale: standard deviation of the initial weights.
    """

    def __init__(
        self, family: LinearFamily | NADEFamily, input_dim: int, given_dim: int, scale: float
    ) -> None:
        super().__init__()
        self.family = family
        self.bias = nn.Parameter(torch.zeros(family.size))
        self.now = weights(input_dim, family.size, scale)
        self.given = weights(given_dim, family.size, scale)

    def numbers(self, value: Tensor | None, given: Tensor | None) -> Tensor:
        """The parameters of the family given the neighbouring layer (..., E), (..., size)."""
        return plus(plus(self.bias, self.given, given), self.now, value)

    def forward(self, value: Tensor | None, given: Tensor | None) -> LinearBits | NADE:
        """The distribution of the bits given the neighbouring layer (..., E)."""
        return self.family(self.numbers(value, given))
