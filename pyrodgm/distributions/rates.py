"""Vectors of independent counts without a given total: Poisson and negative binomial."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor


class RateVector(TorchDistribution):
    """D independent counts as one event; subclasses define the method `each`.

    Log-probabilities are computed in double precision, because terms as large as the logarithm of
    the factorial of a count cancel.

    Args:
        log_mean: logarithms of the means, (..., D).
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.nonnegative_integer, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, log_mean: Tensor) -> None:
        self.log_mean = log_mean
        super().__init__(log_mean.shape[:-1], log_mean.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Means, (..., D)."""
        return self.log_mean.exp()

    @abstractmethod
    def each(self, value: Tensor) -> Tensor:
        """Nats of every count, (..., D), in double precision; value in double precision."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., D), counts."""
        return self.each(value.double()).sum(-1).to(self._dtype(value))

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the observed counts; seen (..., D)."""
        each = self.each(torch.where(seen, value, 0).double())
        return (each * seen).sum(-1).to(self._dtype(value))

    def _dtype(self, value: Tensor) -> torch.dtype:
        both = torch.promote_types(self.log_mean.dtype, value.dtype)
        return torch.promote_types(both, torch.float32)

    def _wide(self, *tensors: Tensor) -> list[Tensor]:
        """Parameters without gradients for draws, in single precision at least."""
        dtype = torch.promote_types(self.log_mean.dtype, torch.float32)
        return [tensor.detach().to(dtype) for tensor in tensors]


class PoissonVector(RateVector):
    r"""D independent Poisson counts as one event.

    .. math:: \log p(x) = \sum_d x_d \eta_d - e^{\eta_d} - \log x_d!

    Args:
        log_mean: logarithms of the rates, :math:`\eta`, (..., D).

    >>> import pyro.distributions as dist
    >>> ours = PoissonVector(torch.tensor([0.0])).log_prob(torch.tensor([2.0]))
    >>> bool(ours == dist.Poisson(1.0).log_prob(torch.tensor(2.0)))
    True
    """

    @property
    def variance(self) -> Tensor:
        """Variances, (..., D)."""
        return self.mean

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> PoissonVector:
        """The same counts over a larger batch."""
        return PoissonVector(self.log_mean.expand(torch.Size(batch_shape) + self.event_shape))

    def each(self, value: Tensor) -> Tensor:
        """Nats of every count."""
        log_mean = self.log_mean.double()
        return value * log_mean - log_mean.exp() - torch.lgamma(value + 1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Counts, sample_shape + (..., D)."""
        (log_mean,) = self._wide(self.log_mean)
        return torch.poisson(log_mean.exp().expand(self._extended_shape(sample_shape)))


class NegativeBinomialVector(RateVector):
    r"""D independent negative binomial counts as one event: Poisson of a gamma-distributed rate.

    .. math:: \log p(x) = \sum_d \log \frac{\Gamma(x_d + r_d)}{\Gamma(r_d)\, x_d!}
        + r_d \log \frac{r_d}{r_d + \mu_d} + x_d \log \frac{\mu_d}{r_d + \mu_d}, \qquad
        \mathrm{var}(x_d) = \mu_d + \mu_d^2 / r_d

    Args:
        log_mean: logarithms of the means :math:`\mu`, (..., D).
        log_shape: logarithms of the shapes r of the gamma distributions, (..., D); the larger, the
            closer to a Poisson distribution.

    >>> count = NegativeBinomialVector(torch.zeros(1), torch.zeros(1))
    >>> round(float(count.log_prob(torch.tensor([2.0])).exp()), 6)  # (1/2)^3, geometric
    0.125
    """

    def __init__(self, log_mean: Tensor, log_shape: Tensor) -> None:
        self.log_shape = log_shape
        super().__init__(log_mean)

    @property
    def variance(self) -> Tensor:
        """Variances, (..., D)."""
        return self.mean + self.mean.square() / self.log_shape.exp()

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> NegativeBinomialVector:
        """The same counts over a larger batch."""
        shape = torch.Size(batch_shape) + self.event_shape
        return NegativeBinomialVector(self.log_mean.expand(shape), self.log_shape.expand(shape))

    def each(self, value: Tensor) -> Tensor:
        """Nats of every count."""
        log_shape = self.log_shape.double()
        shape, log_ratio = log_shape.exp(), self.log_mean.double() - log_shape
        ways = torch.lgamma(value + shape) - torch.lgamma(shape) - torch.lgamma(value + 1)
        return ways - shape * F.softplus(log_ratio) - value * F.softplus(-log_ratio)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Counts, sample_shape + (..., D)."""
        log_mean, log_shape = self._wide(self.log_mean, self.log_shape)
        shape = log_shape.exp().expand(self._extended_shape(sample_shape))
        gamma: Any = torch._standard_gamma(shape)
        return torch.poisson(gamma * (log_mean - log_shape).exp())
