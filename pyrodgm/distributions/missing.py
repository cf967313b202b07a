"""Distributions of missing features given the observed ones."""

from __future__ import annotations

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from pyrodgm.distributions.autoregressive import AutoregressiveVector
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
            distributions, or normal. Autoregressive bits are not drawn from the conditional
            distribution, but need the weight of `completion_log_prob`.
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
        components, value, seen = distribution.components, value[..., None, :], seen[..., None, :]
        nats = partial(components, seen).log_prob(value)
        if isinstance(components, Mixture):
            components = given_seen(components, value, seen)
        return Mixture(distribution.log_weights + nats, components)
    if isinstance(distribution, LowRankNormal):
        return _factors_given(distribution, value, seen)
    if isinstance(distribution, AutoregressiveVector):
        return Completed(distribution, value, seen)
    if bool((seen.all(-1) | ~seen.any(-1)).all()):
        return distribution
    raise CompatibilityError(
        f"{type(distribution).__name__} cannot draw some features of a frame given the others; for "
        "missing values within counts use the model hmm, for bits the emission bernoulli"
    )


class Completed(TorchDistribution):
    """Events of autoregressive bits whose missing features are drawn one after the other.

    Args:
        bits: the distribution of whole events.
        value: the observed features, (..., D).
        seen: True where a feature was observed, (..., D).
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    has_mean = False

    def __init__(self, bits: AutoregressiveVector, value: Tensor, seen: Tensor) -> None:
        self.bits, self.value, self.seen = bits, value, seen
        super().__init__(bits.batch_shape, bits.event_shape, validate_args=False)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Completed:
        """The same over a larger batch."""
        return Completed(self.bits.expand(batch_shape), self.value, self.seen)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Completed events, sample_shape + (..., D)."""
        shape = torch.Size(sample_shape) + self.batch_shape
        return self.bits.expand(shape).complete(self.value, self.seen)


def completion_log_prob(distribution: TorchDistribution, value: Tensor, seen: Tensor) -> Tensor:
    r"""The log weight of an event that was completed by a draw of `given_seen`, (...).

    .. math:: \log p(x_\text{seen}) \quad \text{or, for autoregressive bits,} \quad
        \sum_{d \text{ seen}} \log p(x_d \mid x_{<d})

    Args:
        distribution: of the whole event (D,).
        value: the completed event, (..., D).
        seen: True where a feature was observed, (..., D).
    """
    if isinstance(distribution, AutoregressiveVector):
        return distribution.log_prob_of_completion(value, seen)
    return partial(distribution, seen).log_prob(value)


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
