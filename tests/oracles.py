"""Exact answers that the library is tested against, written from the formulas and not from it.

A sequence with T frames of J binary latents has 2^(T J) paths; for T J <= 12 every expectation
under a guide is a finite sum, and autograd of that sum is the exact gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from scipy.stats import norm
from torch import Tensor, nn

FALSE_POSITIVE_RATE = 2e-5


def all_paths(length: int, dim: int) -> Tensor:
    """Every binary path, (2^(T J), T, J)."""
    assert length * dim <= 12
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=length * dim)))
    return bits.reshape(-1, length, dim).double()


def _bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    """log p(value) summed over the last dimension, cross-entropy for grey values."""
    p = torch.sigmoid(logits)
    return (value * torch.log(p) + (1 - value) * torch.log(1 - p)).sum(-1)


def _past(values: Tensor, t: int, weight: Tensor, history: int) -> Tensor:
    """Sum over the lags that exist at frame t of W_lag v_{t-lag}; values (..., T, D)."""
    dim = values.shape[-1]
    total = values.new_zeros(*values.shape[:-2], weight.shape[0])
    for lag in range(1, min(t, history) + 1):
        total = total + values[..., t - lag, :] @ weight[:, (lag - 1) * dim : lag * dim].T
    return total


def tsbn_log_p(model: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """log p(x_t, z_t | past) of every path and frame, (S, T); x (T, D), z (S, T, J)."""
    m, n = model, model.history
    frames = []
    for t in range(len(x)):
        first = min(t, n)
        prior = _past(z, t, m.z_from_z.weight, n) + _past(x, t, m.z_from_x.weight, n)
        emission = z[:, t] @ m.x_from_z.weight.T + _past(x, t, m.x_from_x.weight, n)
        log_z = _bernoulli(prior + m.z_bias.bias[first], z[:, t])
        frames.append(log_z + _bernoulli(emission + m.x_bias.bias[first], x[t]))
    return torch.stack(frames, -1)


def recurrent_log_q(guide: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """log q(z_t | z before t, x to t) of every path and frame, (S, T)."""
    g, n = guide, guide.history
    frames = []
    for t in range(len(x)):
        logits = x[t] @ g.z_from_now.weight.T + _past(x, t, g.z_from_past.weight, n)
        logits = logits + _past(z, t, g.z_from_z.weight, n) + g.z_bias.bias[min(t, n)]
        frames.append(_bernoulli(logits, z[:, t]))
    return torch.stack(frames, -1)


class Enumerated:
    """A TSBN and its recurrent guide on one sequence x (T, D), over all paths."""

    def __init__(self, model: nn.Module, guide: nn.Module, x: Tensor) -> None:
        self.paths = all_paths(len(x), model.latents["z"])
        self.log_p = tsbn_log_p(model, x, self.paths)
        self.log_q = recurrent_log_q(guide, x, self.paths)

    @property
    def q(self) -> Tensor:
        """Probability of every path under the guide, (S,)."""
        return self.log_q.sum(-1).exp()

    @property
    def log_w(self) -> Tensor:
        """Log importance weight of every path, (S,)."""
        return (self.log_p - self.log_q).sum(-1)

    def evidence(self) -> Tensor:
        """log p(x)."""
        return self.log_p.sum(-1).logsumexp(0)

    def elbo(self) -> Tensor:
        """E_q[log p - log q]."""
        return (self.q * self.log_w).sum()

    def iwae(self, particles: int) -> Tensor:
        """E[log mean of K weights], by summing over all K-tuples of paths."""
        total = self.log_w.new_zeros(())
        for draw in itertools.product(range(len(self.q)), repeat=particles):
            index = torch.tensor(draw)
            bound = self.log_w[index].logsumexp(0) - math.log(particles)
            total = total + self.q[index].prod() * bound
        return total

    def score_surrogate(self, discount: float) -> Tensor:
        """A scalar whose gradient is the mean score gradient with discounted future costs.

        E_q[sum_t s_t grad log q_t + grad log p] with s_t = sum_{u >= t} discount^(u-t) l_u.
        """
        cost = (self.log_p - self.log_q).detach()
        length = cost.shape[-1]
        ahead = torch.stack(
            [
                sum(discount ** (u - t) * cost[:, u] for u in range(t, length))
                for t in range(length)
            ],
            -1,
        )
        q = self.q.detach()
        return (q * (ahead * self.log_q + self.log_p).sum(-1)).sum()


def gradient(scalar: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The gradient of a scalar as one vector, zero where it does not depend on a parameter."""
    grads = torch.autograd.grad(scalar, list(parameters), allow_unused=True, retain_graph=True)
    pairs = zip(grads, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def assert_mean(samples: Tensor, exact: Tensor | float, *, power: float = 0.05) -> None:
    """The mean of independent samples (M, ...) equals the exact value, and the test has power.

    Each coordinate may be off by as many standard errors as keep the chance of a false alarm, over
    all coordinates, at 2e-5. Along the exact value itself an error of `power` (5 %) must be larger
    than that, so that it would be caught.
    """
    samples = samples.reshape(len(samples), -1)
    exact = torch.as_tensor(exact, dtype=samples.dtype).reshape(-1)
    error = samples.std(0) / math.sqrt(len(samples))
    limit = float(norm.isf(FALSE_POSITIVE_RATE / 2 / exact.numel()))
    off = (samples.mean(0) - exact).abs()
    assert bool((off <= limit * error + 1e-9).all()), (
        f"off by {float((off / (error + 1e-12)).max()):.1f} standard errors, limit {limit:.1f}"
    )
    along = samples @ exact / exact.square().sum()
    ratio_error = float(along.std() / math.sqrt(len(along)))
    limit = float(norm.isf(FALSE_POSITIVE_RATE / 2))
    assert limit * ratio_error < power, f"no power: a {limit * ratio_error:.0%} error would pass"
    assert abs(float(along.mean()) - 1) <= limit * ratio_error + 1e-9


def sample_gradients(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], calls: int
) -> Tensor:
    """Gradients of independent evaluations of a loss, (calls, number of parameters)."""
    return torch.stack([gradient(loss(), parameters).detach() for _ in range(calls)])
