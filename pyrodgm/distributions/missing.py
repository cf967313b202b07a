"""Distributions of missing features given the observed ones."""

from __future__ import annotations

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.categorical import CategoricalVector
from pyrodgm.distributions.mixture import Mixture
from pyrodgm.distributions.normal import LowRankNormal, NormalVector
from pyrodgm.distributions.partial import partial
from pyrodgm.distributions.rates import RateVector
from pyrodgm.errors import CompatibilityError

INDEPENDENT = (BernoulliVector, CategoricalVector, NormalVector, RateVector, Independent)


def given_seen(distribution: TorchDistribution, value: Tensor, seen: Tensor) -> TorchDistribution:
    r"""The distribution of missing features given the observed ones.

    .. math:: p(x_{\text{missing}} \mid x_{\text{seen}})

    An event of the result is a whole vector (D,), but only its missing features may be used: the
    observed features of a draw do not equal those of `value`.

    Args:
        distribution: of an event (D,); it has independent features, or is a mixture of such
            distributions, or normal.
        value: the vector, (..., D); its numbers where nothing was observed have no effect.
        seen: True where a feature was observed, (..., D).

    Raises:
        CompatibilityError: the conditional distribution is not available.

    Reference: for the normal distribution, Tipping and Bishop, Probabilistic principal component
    analysis, 1999, equation 6, with noise of one variance per feature.

    >>> import pyro.distributions as dist
    >>> components = dist.Normal(torch.tensor([[0.0, 0.0], [9.0, 9.0]]), 1.0).to_event(1)
    >>> mixed = Mixture(torch.zeros(2), components)
    >>> conditional = given_seen(mixed, torch.tensor([9.0, 0.0]), torch.tensor([True, False]))
    >>> round(float(conditional.mean[1]), 3)
    9.0
    """
    if isinstance(distribution, INDEPENDENT):
        return distribution
    if isinstance(distribution, Mixture):
        component = partial(distribution.components, seen[..., None, :]).log_prob(
            value[..., None, :]
        )
        return Mixture(distribution.log_weights + component, distribution.components)
    if isinstance(distribution, LowRankNormal):
        return _factors_given(distribution, value, seen)
    if bool((seen.all(-1) | ~seen.any(-1)).all()):
        return distribution
    raise CompatibilityError(
        f"{type(distribution).__name__} cannot draw some features of a frame given the others; for "
        "missing values within counts use the model hmm, for bits the emission bernoulli"
    )


def _factors_given(distribution: LowRankNormal, value: Tensor, seen: Tensor) -> LowRankNormal:
    r"""The distribution of :math:`x = m + F u + e` with u given the observed features."""
    weight = seen[..., None] * distribution.factor / distribution.diagonal[..., None]  # R^-1 F
    eye = torch.eye(distribution.factor.shape[-1], dtype=value.dtype, device=value.device)
    precision = eye + distribution.factor.mT @ weight
    rest = torch.where(seen, value - distribution.loc, 0.0)
    u = torch.linalg.solve(precision, (weight.mT @ rest[..., None]))
    loc = distribution.loc + (distribution.factor @ u).squeeze(-1)
    spread = torch.linalg.cholesky(torch.linalg.inv(precision))
    return LowRankNormal(
        loc, distribution.factor @ spread, distribution.diagonal, distribution.constant
    )
