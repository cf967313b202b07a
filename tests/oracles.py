"""Exact answers that the library is tested against, written from the formulas and not from it.

A sequence with T frames of J binary latents has 2^(T J) paths; for T J <= 12 every expectation
under a guide is a finite sum, and autograd of that sum is the exact gradient.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence

import torch
from scipy.stats import t as student
from torch import Tensor, nn

from pyrodgm.engine.sites import sizes

FALSE_POSITIVE_RATE = 2e-5


def all_paths(length: int, dim: int) -> Tensor:
    """Every binary path, (2^(T J), T, J)."""
    assert length * dim <= 12
    bits = torch.tensor(list(itertools.product([0.0, 1.0], repeat=length * dim)))
    return bits.reshape(len(bits), length, dim).double()


def bernoulli(logits: Tensor, value: Tensor) -> Tensor:
    """log p(value) summed over the last dimension, cross-entropy for grey values."""
    p = torch.sigmoid(logits)
    return (value * torch.log(p) + (1 - value) * torch.log(1 - p)).sum(-1)


def gaussian(numbers: Tensor, value: Tensor) -> Tensor:
    """Normal log-density by mean and log-variance, standard deviations from 0.001 to 2.001."""
    mean, log_variance = numbers.chunk(2, -1)
    sigma = (torch.exp(-log_variance) + 1 / 2**2) ** -0.5 + 1e-3
    return (
        -0.5 * ((value - mean) / sigma) ** 2 - torch.log(sigma) - 0.5 * math.log(2 * math.pi)
    ).sum(-1)


def multinomial(logits: Tensor, value: Tensor) -> Tensor:
    """Counts by a softmax, without the coefficient."""
    p = torch.exp(logits) / torch.exp(logits).sum(-1, keepdim=True)
    return (value * torch.log(p)).sum(-1)


def categorical(symbols: Sequence[Sequence[int]]) -> Callable[[Tensor, Tensor], Tensor]:
    """Symbols of independent features, each by a softmax of its own."""

    def score(numbers: Tensor, value: Tensor) -> Tensor:
        total, start = numbers.new_zeros(()), 0
        for d, own in enumerate(symbols):
            p = torch.exp(numbers[..., start : start + len(own)])
            p = p / p.sum(-1, keepdim=True)
            hot = torch.stack([value[..., d] == symbol for symbol in own], -1)
            total, start = total + torch.log((p * hot).sum(-1)), start + len(own)
        return total

    return score


def nade(weight_in: Tensor, weight_out: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """One bit after the other, hidden units from the bits before."""

    def score(numbers: Tensor, value: Tensor) -> Tensor:
        dim = len(weight_in)
        total = numbers.new_zeros(numbers.shape[:-1])
        before = numbers[..., dim:]
        for d in range(dim):
            logit = numbers[..., d] + (torch.sigmoid(before) * weight_out[d]).sum(-1)
            p = torch.sigmoid(logit)
            total = total + value[..., d] * torch.log(p) + (1 - value[..., d]) * torch.log(1 - p)
            before = before + value[..., d : d + 1] * weight_in[d]
        return total

    return score


def linear_bits(weight: Tensor) -> Callable[[Tensor, Tensor], Tensor]:
    """One bit after the other, log-odds linear in the bits before."""

    def score(bias: Tensor, value: Tensor) -> Tensor:
        total = 0.0
        for d in range(len(weight)):
            logit = bias[..., d]
            for i in range(d):
                logit = logit + weight[d, i] * value[..., i]
            total = total + bernoulli(logit[..., None], value[..., d : d + 1])
        return total

    return score


Score = Callable[[Tensor, Tensor], Tensor]
Look = Callable[[Tensor], Tensor]  # observations as networks see them
Paths = dict[str, Tensor]


def as_it_is(x: Tensor) -> Tensor:
    """Bits and grey values enter networks unchanged."""
    return x


def _past(values: Tensor, t: int, layer: nn.Linear | None, history: int) -> Tensor | float:
    """Sum over the lags that exist at frame t of W_lag v_{t-lag}; values (..., T, D)."""
    if layer is None:
        return 0.0
    weight, dim = layer.weight, values.shape[-1]
    total = values.new_zeros(*values.shape[:-2], weight.shape[0])
    for lag in range(1, min(t, history) + 1):
        total = total + values[..., t - lag, :] @ weight[:, (lag - 1) * dim : lag * dim].T
    return total


def _past_seen(seen: Tensor, t: int, layer: nn.Linear | None, history: int, look: Look) -> Tensor:
    """The same of observations; lags but the first are changes where `look` has `per_step`."""
    per_step = getattr(look, "per_step", None)
    if layer is None or per_step is None:
        return _past(seen, t, layer, history)
    weight, dim = layer.weight, seen.shape[-1]
    total = seen.new_zeros(weight.shape[0])
    for lag in range(1, min(t, history) + 1):
        value = seen[t - 1] if lag == 1 else (seen[t - lag + 1] - seen[t - lag]) * per_step
        total = total + value @ weight[:, (lag - 1) * dim : lag * dim].T
    return total


def _now(value: Tensor | None, layer: nn.Module | None) -> Tensor | float:
    """What a layer adds: linear, or by one layer of rectified units."""
    if isinstance(layer, nn.Sequential):
        first, _, last = layer
        return torch.relu(value @ first.weight.T + first.bias) @ last.weight.T
    return 0.0 if layer is None else value @ layer.weight.T


def _given(conditions: Tensor | None, t: int, layer: nn.Linear | None) -> Tensor | float:
    """What the standardised conditions of frame t add, conditions (T, U)."""
    return 0.0 if conditions is None else conditions[t] @ layer.weight.T


def layered_log_p(
    model: nn.Module,
    x: Tensor,
    z: Paths,
    score: Score = bernoulli,
    look: Look = as_it_is,
    given: Tensor | None = None,
) -> Tensor:
    """log p(x_t, z_t | past) of every path and frame, (S, T); x (T, D), every z (S, T, J).

    For every model whose layers are all stochastic: the TSBN, the HMSBN, the deep ones, the SBN.
    """
    n, names, frames, seen = model.history, list(z), [], look(x)
    for t in range(len(x)):
        total, above = 0.0, None
        for l in reversed(range(len(names))):
            layer, below = model.layers[l], seen if l == 0 else z[names[l - 1]]
            own, past = _past(z[names[l]], t, layer.own, n), _past(below, t, layer.past, n)
            if l == 0:
                past = _past_seen(seen, t, layer.past, n, look)
            logits = own + past
            logits = logits + _now(above, layer.now) + layer.bias.bias[min(t, n)]
            logits = logits + _given(given, t, layer.given)
            above = z[names[l]][:, t]
            total = total + bernoulli(logits, above)
        numbers = _now(above, model.x_from_z) + _past_seen(seen, t, model.x_from_x, n, look)
        numbers = numbers + _given(given, t, model.x_from_given)
        frames.append(total + score(numbers + model.x_bias.bias[min(t, n)], x[t]))
    return torch.stack(frames, -1)


def deterministic_log_p(
    model: nn.Module,
    x: Tensor,
    z: Paths,
    score: Score = bernoulli,
    look: Look = as_it_is,
    given: Tensor | None = None,
) -> Tensor:
    """The same for the model with a deterministic recurrent layer."""
    n, z, layer, seen = model.history, z["z"], model.layer, look(x)
    h = z.new_zeros(len(z), 0, model.cell.dim)
    frames = []
    for t in range(len(x)):
        logits = _past(z, t, layer.own, n) + layer.bias.bias[min(t, n)]
        log_z = bernoulli(logits + _given(given, t, layer.given), z[:, t])
        drive = z[:, t] @ model.h_from_z.weight.T + model.h_from_z.bias
        drive = (
            drive
            + _past_seen(seen, t, model.h_from_x, n, look)
            + _past(h, t, model.cell.recurrent, n)
            + _given(given, t, model.h_from_given)
        )
        h = torch.cat([h, drive.clamp(min=0)[:, None]], 1)
        numbers = h[:, t] @ model.x_from_h.weight.T + _past_seen(seen, t, model.x_from_x, n, look)
        numbers = numbers + _given(given, t, model.x_from_given)
        frames.append(log_z + score(numbers + model.x_bias.bias[min(t, n)], x[t]))
    return torch.stack(frames, -1)


def layered_log_q(
    guide: nn.Module, x: Tensor, z: Paths, look: Look = as_it_is, given: Tensor | None = None
) -> Tensor:
    """log q(z_t | z before t, x to t) of every path and frame, (S, T)."""
    n, frames = guide.history, []
    y = deterministic_features(guide, look(x), given) if hasattr(guide, "cell") else look(x)
    for t in range(len(x)):
        total, below = 0.0, y
        for layer, path in zip(guide.layers, z.values(), strict=True):
            logits = recognition_logits(layer, below, path, t, n)
            logits = logits + _given(given, t, layer.given)
            total, below = total + bernoulli(logits, path[:, t]), path
        frames.append(total)
    return torch.stack(frames, -1)


def recognition_logits(layer: nn.Module, below: Tensor, own: Tensor, t: int, n: int) -> Tensor:
    """Log-odds of a layer of a guide in frame t, (S, J), from the paths below it and of its own."""
    logits = _now(below[..., t, :], layer.now) + _past(below, t, layer.past, n)
    return logits + _past(own, t, layer.own, n) + layer.bias.bias[min(t, n)]


def deterministic_features(guide: nn.Module, x: Tensor, given: Tensor | None) -> Tensor:
    """Rectified recurrent units of a guide, (T, G)."""
    n, dim = guide.history, x.shape[-1]
    g = x.new_zeros(0, guide.cell.dim)
    for t in range(len(x)):
        drive = guide.drive.bias + x[t] @ guide.drive.weight[:, :dim].T
        for lag in range(1, min(t, n) + 1):
            drive = drive + x[t - lag] @ guide.drive.weight[:, lag * dim : (lag + 1) * dim].T
        drive = drive + _past(g, t, guide.cell.recurrent, n)
        drive = drive + _given(given, t, guide.drive_given)
        g = torch.cat([g, drive.clamp(min=0)[None]])
    return g


def tsbn_log_p(model: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """`layered_log_p` of a single layer, z (S, T, J)."""
    return layered_log_p(model, x, {"z": z})


def recurrent_log_q(guide: nn.Module, x: Tensor, z: Tensor) -> Tensor:
    """`layered_log_q` of a single layer, z (S, T, J)."""
    return layered_log_q(guide, x, {"z": z})


class Enumerated:
    """A model with binary latents and its guide on one sequence x (T, D), over all paths."""

    def __init__(
        self,
        model: nn.Module,
        guide: nn.Module,
        x: Tensor,
        score: Score = bernoulli,
        look: Look = as_it_is,
        given: Tensor | None = None,
    ) -> None:
        paths = all_paths(len(x), sum(sizes(model.latents).values()))
        parts = paths.split(list(sizes(model.latents).values()), -1)
        self.paths: Paths = dict(zip(model.latents, parts, strict=True))
        log_p = deterministic_log_p if hasattr(model, "cell") else layered_log_p
        self.log_p = log_p(model, x, self.paths, score, look, given)
        self.log_q = layered_log_q(guide, x, self.paths, look, given)

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


def ppca_log_prob(weight: Tensor, mean: Tensor, scale: float, x: Tensor) -> Tensor:
    """Log N(x; c, W W' + s^2 I) of rows x (N, D) under probabilistic PCA, W (D, J), c (D,)."""
    covariance = weight @ weight.T + scale**2 * torch.eye(len(weight)).to(weight)
    return torch.distributions.MultivariateNormal(mean, covariance).log_prob(x)


def gradient(scalar: Tensor, parameters: Sequence[Tensor]) -> Tensor:
    """The gradient of a scalar as one vector, zero where it does not depend on a parameter."""
    grads = torch.autograd.grad(scalar, list(parameters), allow_unused=True, retain_graph=True)
    pairs = zip(grads, parameters, strict=True)
    return torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def assert_mean(samples: Tensor, exact: Tensor | float, *, power: float = 0.05) -> None:
    """The mean of independent samples (M, ...) equals the exact value, and the test has power.

    Each coordinate may be off by as many standard errors as keep the rate of false alarms, over all
    coordinates, at 2e-5: by Student's t, since the samples may be few. Along the exact value itself
    an error of `power` (5 %) must be larger than that, so that it would be caught.
    """
    samples = samples.reshape(len(samples), -1)
    exact = torch.as_tensor(exact, dtype=samples.dtype).reshape(-1)
    error = samples.std(0) / math.sqrt(len(samples))
    limit = float(student.isf(FALSE_POSITIVE_RATE / 2 / exact.numel(), len(samples) - 1))
    off = (samples.mean(0) - exact).abs()
    assert bool((off <= limit * error + 1e-9).all()), (
        f"off by {float((off / (error + 1e-12)).max()):.1f} standard errors, limit {limit:.1f}"
    )
    along = samples @ exact / exact.square().sum()
    ratio_error = float(along.std() / math.sqrt(len(along)))
    limit = float(student.isf(FALSE_POSITIVE_RATE / 2, len(samples) - 1))
    assert limit * ratio_error < power, f"no power: a {limit * ratio_error:.0%} error would pass"
    assert abs(float(along.mean()) - 1) <= limit * ratio_error + 1e-9


def sample_gradients(
    loss: Callable[[], Tensor], parameters: Sequence[Tensor], calls: int
) -> Tensor:
    """Gradients of independent evaluations of a loss, (calls, number of parameters)."""
    return torch.stack([gradient(loss(), parameters).detach() for _ in range(calls)])
