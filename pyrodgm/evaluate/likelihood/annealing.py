"""Annealed importance sampling along any path: weights of forward and of reverse chains."""

from __future__ import annotations

from torch import Tensor

from pyrodgm.evaluate.passes import Progress, silent
from pyrodgm.models.energies import Annealing


def forward_weights(
    path: Annealing, chains: int, temperatures: int, *, progress: Progress = silent
) -> Tensor:
    r"""Log importance weights of chains from the start of a path to its end, (M, ...).

    .. math::
        \log w = \log Z_0 + \sum_{k=1}^n \phi_{\beta_k}(x_{k-1}) - \phi_{\beta_{k-1}}(x_{k-1}),
        \qquad x_0 \sim p_0, \quad x_k \sim T_{\beta_k}(x_{k-1})

    with :math:`\beta_k = k/n`. The weights are unbiased, :math:`\mathrm{E}\, w = Z`. So the log of
    their mean is below log Z in expectation, and exceeds it by a nats with probability at most
    :math:`e^{-a}`.

    Args:
        path: from a known distribution to an unnormalised density.
        chains: independent ones, M.
        temperatures: intermediate steps n.
        progress: called with the share done, in [0, 1].

    Reference: Neal, Annealed importance sampling, 2001.
    """
    x, log_w = path.start(chains), path.log_normaliser()
    for k in range(1, temperatures + 1):
        log_w = log_w + path.log_ratio(x, (k - 1) / temperatures, k / temperatures).double()
        if k < temperatures:
            x = path.move(x, k / temperatures)
        progress(k / temperatures)
    return log_w


def reverse_weights(
    path: Annealing, x: Tensor, temperatures: int, *, progress: Progress = silent
) -> Tensor:
    r"""Log importance weights of chains from given states back to the start of a path, (M, ...).

    .. math::
        \log w = \log Z_0 + \sum_{k=n}^1 \phi_{\beta_k}(x_{k-1}) - \phi_{\beta_{k-1}}(x_{k-1}),
        \qquad x_{n-1} = x, \quad x_{k-1} \sim T_{\beta_k}(x_k)

    For any row :math:`\mathrm{E}\, e^{\phi(x)} / w` is the probability of x as the last state of a
    forward chain, which approximates p(x). Its log is above :math:`\phi(x) - \mathrm{E} \log w`.
    For rows drawn from p, :math:`\mathrm{E}\, 1/w = 1/Z`, and log w is above log Z in expectation.

    Args:
        path: from a known distribution to an unnormalised density.
        x: initial states of the chains, (M, ..., D).
        temperatures: intermediate steps n.
        progress: called with the share done, in [0, 1].

    Reference: Burda, Grosse and Salakhutdinov, Accurate and conservative estimates of MRF
    log-likelihood using reverse annealing, 2015.
    """
    log_w = path.log_normaliser()
    for k in range(temperatures, 0, -1):
        log_w = log_w + path.log_ratio(x, (k - 1) / temperatures, k / temperatures).double()
        if k > 1:
            x = path.move(x, (k - 1) / temperatures)
        progress(1 - (k - 1) / temperatures)
    return log_w


def annealed_draws(path: Annealing, num: int, *, sweeps: int = 2000) -> Tensor:
    """Draws from a model, each by its own Markov chain, (num, D).

    The first half of the sweeps follows the path, the second half samples the model itself.

    Args:
        path: from a known distribution to the model.
        num: draws, each by a chain of its own.
        sweeps: moves of each chain.
    """
    x = path.start(num)
    for k in range(1, sweeps + 1):
        x = path.move(x, min(1.0, 2 * k / sweeps))
    return x
