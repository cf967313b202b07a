"""The floors: one training step written by hand in PyTorch, as fast as plain torch allows.

Same models, guides and estimator as the library's `nvil` with signal "future", without Pyro and
without masks: noise is drawn ahead, what does not depend on draws is computed for all frames at
once, a layer's path is drawn in a loop of two operations a frame, and everything is scored at
once. Nothing in the library imports this file; tests/test_floors.py shows that it computes the
same thing.

W, U and the biases are named as in Gan et al., Deep temporal sigmoid belief networks, 2015.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn


def weight(*shape: int) -> nn.Parameter:
    return nn.Parameter(0.01 * torch.randn(*shape))


def biases(order: int, dim: int) -> nn.Parameter:
    """One for each of the first n frames, and one for those after."""
    return nn.Parameter(torch.zeros(order + 1, dim))


def over_time(bias: Tensor, length: int) -> Tensor:
    """The biases of all frames, (T, J)."""
    order = len(bias) - 1
    return torch.cat([bias[:order], bias[order:].expand(length - order, -1)])


def lags(value: Tensor, order: int) -> Tensor:
    """The last n values before each frame, newest first, (B, T, n D)."""
    length = value.shape[1]
    padded = F.pad(value, (0, 0, order, -1))
    shifted = [padded[:, order - lag : order - lag + length] for lag in range(1, order + 1)]
    return padded if order == 1 else torch.cat(shifted, -1)


def bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    return -F.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)


@torch.no_grad()
def draw(drive: Tensor, own: Tensor) -> Tensor:
    """A path of bits with log-odds drive_t + own z_{t-n:t-1}, (B, T, J)."""
    size, length, dim = drive.shape
    order = own.shape[1] // dim
    noise = torch.rand(length, size, dim, dtype=drive.dtype, device=drive.device).logit_()
    # Oldest first, so that the past of a frame is a slice of the path.
    moved = own.unflatten(1, (order, dim)).flip(1).flatten(1).T
    path = drive.new_zeros(size, order + length, dim)
    for t, (now, threshold) in enumerate(zip(drive.unbind(1), noise, strict=True)):
        past = path[:, t : t + order].flatten(1)
        torch.gt(torch.addmm(now, past, moved), threshold, out=path[:, order + t])
    return path[:, order:].contiguous()


class Bits(nn.Module):
    """Frames of D bits."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.dim = self.size = dim

    def look(self, x: Tensor) -> Tensor:
        """Observations as networks see them."""
        return x

    def log_prob(self, numbers: Tensor, x: Tensor) -> Tensor:
        """Nats per frame of x (B, T, D), from the numbers (B, T, size) that a model computes."""
        return bernoulli(numbers, x)


class Counts(Bits):
    """Frames of tokens of D kinds."""

    def look(self, x: Tensor) -> Tensor:
        return x.log1p()

    def log_prob(self, numbers: Tensor, x: Tensor) -> Tensor:
        return (x * numbers.log_softmax(-1)).sum(-1)


class Reals(Bits):
    """Frames of D real numbers, normal with mean and log-variance in standardised units."""

    def __init__(self, mean: Tensor, std: Tensor) -> None:
        super().__init__(len(mean))
        self.size = 2 * self.dim
        self.register_buffer("mean", mean)
        self.register_buffer("std", std)
        self.constant = 0.5 * self.dim * math.log(2 * math.pi) + float(std.log().sum())

    def look(self, x: Tensor) -> Tensor:
        return (x - self.mean) / self.std

    def log_prob(self, numbers: Tensor, x: Tensor) -> Tensor:
        mean, log_variance = numbers.chunk(2, -1)
        scale = (log_variance.neg().exp() + 0.25).rsqrt() + 1e-3
        error = (self.look(x) - mean) / scale
        return -(0.5 * error.square() + scale.log()).sum(-1) - self.constant


class HandWritten(nn.Module, ABC):
    """NVIL with one draw, the signal "future" and a tanh baseline, for a p and q by hand."""

    def __init__(self, frame: Bits, baseline_dim: int = 100) -> None:
        super().__init__()
        self.frame = frame
        self.baseline = nn.Sequential(
            nn.Linear(frame.dim, baseline_dim), nn.Tanh(), nn.Linear(baseline_dim, 1)
        )
        self.mean, self.variance = torch.tensor(0.0), torch.tensor(1.0)

    @abstractmethod
    def trace(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """A path of every layer, the lowest first, and log p and log q of its frames, (B, T).

        Args:
            x: observations, (B, T, D).
            y: the same as networks see them.
        """

    def forward(self, x: Tensor) -> Tensor:
        """Surrogate loss for x (B, T, D)."""
        y = self.frame.look(x)
        _, log_p, log_q = self.trace(x, y)
        cost = (log_p - log_q).detach()
        predicted = self.baseline(y).squeeze(-1)
        left = cost - predicted.detach() - self.mean
        signal = left.flip(-1).cumsum(-1).flip(-1)
        scale = self.variance.sqrt().clamp(min=1)
        surrogate = (log_p + signal / scale * log_q).sum(1).mean()
        fit = (cost - self.mean - predicted).square().sum(1).mean()
        self.mean = 0.8 * self.mean + 0.2 * (cost - predicted.detach()).mean()
        self.variance = 0.8 * self.variance + 0.2 * signal.var(correction=0)
        return fit - surrogate


class HandWrittenTSBN(HandWritten):
    """TSBN of order n with one or more stochastic layers: `tsbn` and `dtsbn-s`.

    Lists hold a parameter per layer, the lowest first; W2[0] and W4 give the observation.
    """

    def __init__(self, frame: Bits, hidden_dims: Sequence[int], order: int = 1) -> None:
        super().__init__(frame)
        self.order = order
        n, sizes = order, [frame.dim, *hidden_dims]
        pairs = list(zip(sizes, hidden_dims, strict=False))  # each layer's units and those below
        self.W1 = nn.ParameterList(weight(J, n * J) for J in hidden_dims)
        self.W2 = nn.ParameterList(
            weight(frame.size if layer == 0 else D, J) for layer, (D, J) in enumerate(pairs)
        )
        self.W3 = nn.ParameterList(weight(J, n * D) for D, J in pairs)
        self.W4 = weight(frame.size, n * frame.dim)
        self.U1 = nn.ParameterList(weight(J, n * J) for J in hidden_dims)
        self.U2 = nn.ParameterList(weight(J, D) for D, J in pairs)
        self.U3 = nn.ParameterList(weight(J, n * D) for D, J in pairs)
        self.b = nn.ParameterList(biases(n, J) for J in hidden_dims)
        self.c = biases(n, frame.size)
        self.d = nn.ParameterList(biases(n, J) for J in hidden_dims)

    def trace(self, x: Tensor, y: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Layer by layer: no layer of the guide looks at those above."""
        values = [y]
        pasts = [lags(values[0], self.order)]
        log_q = x.new_zeros(())
        for U1, U2, U3, d in zip(self.U1, self.U2, self.U3, self.d, strict=True):
            drive = F.linear(values[-1], U2) + F.linear(pasts[-1], U3)
            drive = drive + over_time(d, x.shape[1])
            z = draw(drive, U1)
            values.append(z)
            pasts.append(lags(z, self.order))
            log_q = log_q + bernoulli(drive + F.linear(pasts[-1], U1), z)
        return values[1:], self.log_p(x, values, pasts), log_q

    def log_p(self, x: Tensor, values: list[Tensor], pasts: list[Tensor]) -> Tensor:
        """Observation and latents given what is above and before them."""
        length = x.shape[1]
        numbers = F.linear(values[1], self.W2[0]) + F.linear(pasts[0], self.W4)
        total = self.frame.log_prob(numbers + over_time(self.c, length), x)
        for layer, (W1, W3, b) in enumerate(zip(self.W1, self.W3, self.b, strict=True), start=1):
            odds = F.linear(pasts[layer], W1) + F.linear(pasts[layer - 1], W3)
            odds = odds + over_time(b, length)
            if layer + 1 < len(values):
                odds = odds + F.linear(values[layer + 1], self.W2[layer])
            total = total + bernoulli(odds, values[layer])
        return total
