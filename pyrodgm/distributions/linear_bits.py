"""Bits with log-odds that are linear in the bits before them: a layer of DARN."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.distributions.autoregressive import AutoregressiveVector, logistic_noise


class LinearBits(AutoregressiveVector):
    r"""D binary variables, each with log-odds that are linear in those before it.

    .. math:: \log p(x) = \sum_d \log \mathrm{Bern}\Big(x_d;
        \sigma\big(b_d + \textstyle\sum_{i<d} W_{di} x_i\big)\Big)

    A fully visible sigmoid belief network; with b from the layer above or below, a layer of DARN.
    The log-probability of an event takes one matrix product, a draw D steps.

    Args:
        bias: b, (..., D).
        weight: W, (D, D); only the part below the diagonal is used.

    Reference: Gregor, Danihelka, Mnih, Blundell and Wierstra, Deep autoregressive networks, 2014,
    section 3; Neal, Connectionist learning of belief networks, 1992.

    >>> bits = LinearBits(torch.zeros(3), torch.ones(3, 3))
    >>> bits.conditional_logits(torch.tensor([1.0, 1.0, 0.0])).tolist()
    [0.0, 1.0, 2.0]
    """

    def __init__(self, bias: Tensor, weight: Tensor) -> None:
        self.bias, self.weight = bias, weight
        super().__init__(bias.shape[:-1], bias.shape[-1])

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> LinearBits:
        """The same over a larger batch."""
        bias = self.bias.expand(torch.Size(batch_shape) + self.event_shape)
        return LinearBits(bias, self.weight)

    def conditional_logits(self, value: Tensor) -> Tensor:
        """Log-odds of every variable given those before it in `value`, (..., D)."""
        return self.bias + F.linear(value, self.weight.tril(-1))

    def begin(self, shape: torch.Size) -> Tensor:
        """The event before its first variable is drawn: zeros, (..., D)."""
        return self.weight.new_zeros(shape + self.event_shape)

    def logit(self, state: Tensor, d: int) -> Tensor:
        """Log-odds of variable d, (...)."""
        return self.bias[..., d] + state[..., :d] @ self.weight[d, :d]

    def push(self, state: Tensor, d: int, value: Tensor) -> Tensor:
        """The event up to variable d, written in place."""
        state[..., d] = value
        return state

    def _noise(self, shape: torch.Size) -> Tensor:
        """In the precision of the weights."""
        return logistic_noise(shape, self.weight)
