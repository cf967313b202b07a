"""Diagnostics of the guide per sequence: Pareto k-hat, effective sample size, variational gap."""

from __future__ import annotations

import math

import numpy as np
from torch import Tensor

from pyrodgm.errors import UsageError

THRESHOLD = 0.7  # above, the error of importance sampling decreases too slowly with K
MIN_DRAWS = 25  # below, the tail has fewer than five draws
RELIABLE_DRAWS = 1000
SMALL_EFFICIENCY = 0.1  # effective share of draws below which a tail of ties has infinite k-hat
FEWEST_BEYOND = 5  # different weights beyond the cutoff that a fit of the tail needs
SHARE_BEYOND = 0.1  # of the tail that must be beyond the cutoff
NEGLIGIBLE = 1e-100  # relative to the largest weight
SAME = 0.01  # nats between the smallest and the largest weight that count as equal
SHOWN = 8  # sequences that a verdict lists

Weights = np.ndarray | Tensor


def pareto_k(log_w: Weights) -> np.ndarray:
    r"""Pareto k-hat of the importance weights of every sequence, (N,).

    .. math:: P(w > u) \propto u^{-1/k} \; (u \to \infty), \qquad w = \frac{p(x, z)}{q(z \mid x)}

    Weights have a finite variance if k < 0.5 and a finite mean if k < 1; estimates up to k = 0.7
    are usable in practice. A small k-hat means that importance weights can correct posterior
    expectations under the guide.

    Args:
        log_w: log importance weights of K draws, (K, N), for example from
            `pyrodgm.evaluate.likelihood.bounds.importance_weights`; a thousand draws or more.

    Returns:
        k-hat, (N,). It is 0 if all weights are equal to one percent, as for the exact posterior.
        If the tail consists of ties, it is 0 for an effective sample size of at least K / 10, and
        else infinity. It is infinity if a weight is not a number.

    Raises:
        UsageError: not (K, N), or fewer than 25 draws.

    Reference: Vehtari, Simpson, Gelman, Yao and Gabry, Pareto smoothed importance sampling, 2024;
    for guides: Yao, Vehtari, Simpson and Gelman, Yes, but did it work?, 2018.

    >>> pareto_k(np.zeros((100, 2)))
    array([0., 0.])
    """
    log_w = _checked(log_w)
    return np.array([_pareto_k(column) for column in log_w.T])


def effective_sample_size(log_w: Weights) -> np.ndarray:
    r"""Effective sample size of K weighted draws, (N,), between 1 and K.

    .. math:: \Big(\sum_k w_k\Big)^2 \Big/ \sum_k w_k^2

    Args:
        log_w: log importance weights, (K, N).

    >>> effective_sample_size(np.log([[1.0, 1.0], [1.0, 1e-9]])).round(3)
    array([2., 1.])
    """
    log_w = _checked(log_w, at_least=1)
    w = np.exp(log_w - log_w.max(0))
    return w.sum(0) ** 2 / (w**2).sum(0)


def gap_per_frame(log_w: Weights, lengths: np.ndarray) -> np.ndarray:
    r"""Lower estimate of the divergence between guide and posterior, in nats per frame, (N,).

    .. math:: \frac1T \Big( \log \frac1K \sum_k w_k - \frac1K \sum_k \log w_k \Big)
        \;\lesssim\; \frac1T \, \mathrm{KL}(q \,\|\, p(z \mid x))

    In expectation this is a lower bound on the divergence. It converges to it with K, and is zero
    if the guide is exact.

    Args:
        log_w: log importance weights, (K, N).
        lengths: frames of each sequence, (N,).

    >>> gap_per_frame(np.zeros((3, 1)), np.array([7]))
    array([0.])
    """
    log_w = _checked(log_w, at_least=1)
    highest = log_w.max(0)
    iwae = highest + np.log(np.exp(log_w - highest).mean(0))
    return np.maximum(iwae - log_w.mean(0), 0) / lengths


def verdict(
    k: np.ndarray,
    *,
    draws: int | None = None,
    rows: np.ndarray | None = None,
    over_time: bool = True,
) -> str:
    """k-hat in words: on how many sequences the guide can be trusted, the others, and advice.

    Args:
        k: k-hat of every sequence, (N,).
        draws: importance draws K; if given, the text warns of too few.
        rows: numbers of the sequences, (N,); 0, 1, 2 and so on if not given.
        over_time: whether they have several frames, which a particle filter weights one by one.

    >>> verdict(np.array([0.2, 0.9, 0.1]))  # doctest: +ELLIPSIS
    'The guide can be trusted on 2 of 3 sequences; k-hat > 0.7 on: 1. There, estimates of ...'
    """
    bad = np.flatnonzero(~(k <= THRESHOLD))
    good = len(k) - len(bad)
    text = f"The guide can be trusted on {good} of {len(k)} sequences"
    if len(bad):
        named = "all of them" if good == 0 else _listed(bad if rows is None else rows[bad])
        text += f"; k-hat > {THRESHOLD} on: {named}. {_advice(len(bad) / len(k), over_time)}"
    else:
        text += f" (k-hat at most {k.max():.2f})."
    if draws is not None and draws < RELIABLE_DRAWS:
        text += (
            f" These values of k-hat are from {draws} draws, and are unreliable below"
            f" {RELIABLE_DRAWS} draws; use more."
        )
    return text


def _advice(share: float, over_time: bool) -> str:
    if share <= 0.5:
        return (
            "There, estimates of posterior means are unreliable, and estimates of log-likelihoods "
            "are only lower bounds. More draws hardly help; a richer guide or longer training may."
        )
    common, likelihood = "", "many draws (iwae) or annealed importance sampling (ais)"
    if over_time:
        common = ", which is common for long sequences"
        likelihood = "the bound by a particle filter (fivo), which weights frame by frame"
    return (
        f"Importance weights cannot correct posterior means there{common}. The ELBO is still a "
        "valid bound, and the gap per frame estimates how far it is below the log-likelihood. Try "
        "a richer guide or longer training; for the likelihood alone, use "
        f"{likelihood}."
    )


def _listed(rows: np.ndarray) -> str:
    shown = ", ".join(str(row) for row in rows[:SHOWN])
    return shown if len(rows) <= SHOWN else f"{shown} and {len(rows) - SHOWN} more"


def refuse_few(draws: int, at_least: int = MIN_DRAWS) -> None:
    """Refuse a number of draws that is too small to fit a tail.

    Raises:
        UsageError: there are too few draws.
    """
    if draws < at_least:
        raise UsageError(
            f"{draws} draws per sequence are too few; give at least {at_least}, "
            f"and {RELIABLE_DRAWS} or more for a reliable k-hat"
        )


def _checked(log_w: Weights, at_least: int = MIN_DRAWS) -> np.ndarray:
    log_w = np.asarray(log_w, dtype=np.float64)
    if log_w.ndim != 2:
        raise UsageError(f"log weights have shape {log_w.shape}; expected (draws, sequences)")
    refuse_few(len(log_w), at_least)
    return log_w


def _pareto_k(log_w: np.ndarray) -> float:
    """k-hat of the weights of one sequence, (K,)."""
    if np.isnan(log_w).any() or not np.isfinite(log_w.max()):
        return math.inf
    if np.ptp(log_w) < SAME:
        return 0.0
    ordered = np.exp(np.sort(log_w) - log_w.max())
    cutoff, tail = np.split(ordered[-_tail_draws(len(log_w)) - 1 :], [1])
    beyond = (tail - cutoff)[tail - cutoff > NEGLIGIBLE]
    few = len(np.unique(beyond)) < FEWEST_BEYOND or len(beyond) < SHARE_BEYOND * len(tail)
    if few:  # a discrete guide ties, and has no shape of a tail
        efficiency = effective_sample_size(log_w[:, None])[0] / len(log_w)
        return 0.0 if efficiency >= SMALL_EFFICIENCY else math.inf
    return _shape(beyond)


def _shape(y: np.ndarray) -> float:
    r"""Shape k of the generalised Pareto distribution of positive numbers y in ascending order.

    .. math:: p(y) \propto (1 - \theta y)^{-1 - 1/k}, \qquad
        k(\theta) = \tfrac1n \sum_i \log(1 - \theta y_i)

    with :math:`\theta` averaged over its profile likelihood, and ten observations of k = 0.5 as a
    prior. Equal to `arviz_stats` if all weights differ. That code treats ties with the cutoff as
    zeros; if they are a quarter of the tail, it returns the prior, which looks like a good tail.

    Reference: Zhang and Stephens, A new and efficient estimation method for the generalized Pareto
    distribution, 2009; the prior is that of Vehtari et al., 2024.
    """
    n, m = len(y), 30 + math.isqrt(len(y))
    steps = 1 - np.sqrt(m / (np.arange(m) + 0.5))
    theta = 1 / y[-1] + steps / (3 * y[int(n / 4 + 0.5) - 1])
    k = np.log1p(-theta[:, None] * y).mean(1)
    profile = n * (np.log(-theta / k) - k - 1)
    weights = np.exp(profile - profile.max())
    best = weights @ theta / weights.sum()
    return (n * float(np.log1p(-best * y).mean()) + 10 * 0.5) / (n + 10)


def _tail_draws(draws: int) -> int:
    """Number of largest weights to which the tail is fitted, as in arviz."""
    return math.floor(3 * math.sqrt(draws)) if draws > 225 else draws // 5
