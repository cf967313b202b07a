"""Normal vectors whose covariance is a few factors plus a diagonal."""

from __future__ import annotations

import math

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor


class LowRankNormal(TorchDistribution):
    r"""A normal vector with covariance :math:`F F^T + \mathrm{diag}(d)`.

    Args:
        loc: mean, (..., D).
        factor: F, (..., D, S).
        diagonal: d, (..., D).
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(self, loc: Tensor, factor: Tensor, diagonal: Tensor) -> None:
        self.loc, self.factor, self.diagonal = loc, factor, diagonal
        super().__init__(loc.shape[:-1], loc.shape[-1:], validate_args=False)

    @property
    def mean(self) -> Tensor:
        """Means, (..., D)."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances, (..., D)."""
        return (self.factor.square().sum(-1) + self.diagonal).expand(self.loc.shape)

    def scaled(self, centre: Tensor, scale: Tensor) -> LowRankNormal:
        """The law of centre + scale x, both (D,)."""
        return LowRankNormal(
            centre + scale * self.loc, scale[:, None] * self.factor, scale.square() * self.diagonal
        )

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> LowRankNormal:
        """The same over a larger batch."""
        loc = self.loc.expand(torch.Size(batch_shape) + self.event_shape)
        return LowRankNormal(loc, self.factor, self.diagonal)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event."""
        return self._normal(self.factor, self.diagonal).log_prob(value)

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the features that were seen: the others become standard normal at their mean."""
        factor = self.factor * seen[..., None]
        diagonal = torch.where(seen, self.diagonal, 1.0)
        nats = self._normal(factor, diagonal).log_prob(torch.where(seen, value, self.loc))
        return nats + 0.5 * math.log(2 * math.pi) * (~seen).to(nats.dtype).sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, sample_shape + (..., D)."""
        return self._normal(self.factor, self.diagonal).sample(sample_shape)

    def _normal(self, factor: Tensor, diagonal: Tensor) -> dist.LowRankMultivariateNormal:
        return dist.LowRankMultivariateNormal(self.loc, factor, diagonal, validate_args=False)
