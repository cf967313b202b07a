"""Normal vectors with independent features, and with a low-rank plus diagonal covariance."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pyro.distributions as dist
import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.distributions.dot import at_least_single, dot


class NormalVector(TorchDistribution):
    r"""Independent normal numbers, scored as one event (D,).

    .. math:: \log p(x) = -\tfrac12 \sum_d z_d^2 - \sum_d \log \sigma_d - \tfrac D2 \log 2 \pi,
        \qquad z = (x - \mu) / \sigma

    The same as a `Normal` with `to_event(1)`, in about half as many passes over the data.

    Args:
        loc: means, (..., D).
        scale: standard deviations, (..., D), positive.
        constant: features whose draws equal their mean for any scale, (D,); see `Gaussian` of
            `pyrodgm.networks.emissions`.

    >>> NormalVector(torch.zeros(2), torch.ones(2)).log_prob(torch.zeros(3, 2)).shape
    torch.Size([3])
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]
    has_rsample = True

    def __init__(self, loc: Tensor, scale: Tensor, constant: Tensor | None = None) -> None:
        # A sampling loop makes one of these per frame: what the base class does, without its cost.
        self.loc, self.scale, self.constant = loc, scale, constant
        self._batch_shape, self._event_shape = loc.shape[:-1], loc.shape[-1:]
        self._validate_args = False

    @property
    def mean(self) -> Tensor:
        """Means, (..., D)."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        """Variances, (..., D)."""
        return self.scale.square()

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> NormalVector:
        """The same over a larger batch."""
        shape = torch.Size(batch_shape) + self.event_shape
        return NormalVector(self.loc.expand(shape), self.scale.expand(shape), self.constant)

    @classmethod
    def over_time(cls, frames: Sequence[NormalVector]) -> NormalVector:
        """The distributions of T frames (..., D) as one, of batch shape (..., T)."""
        loc = torch.stack([frame.loc for frame in frames], -2)
        scale = torch.stack([frame.scale for frame in frames], -2)
        return cls(loc, scale, frames[0].constant)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event."""
        value, loc, scale = at_least_single(value, self.loc, self.scale)
        z = (value - loc) / scale
        constant = 0.5 * math.log(2 * math.pi) * value.shape[-1]
        return -0.5 * dot(z, z) - scale.log().sum(-1) - constant

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the observed features."""
        value, loc, scale = at_least_single(value, self.loc, self.scale)
        z = (value - loc) / scale
        each = 0.5 * z.square() + scale.log() + 0.5 * math.log(2 * math.pi)
        return -(each * seen).sum(-1)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws that carry gradients, sample_shape + (..., D)."""
        return self.from_noise(self.noise(torch.Size(sample_shape) + self.loc.shape))

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard normal noise, drawn before a loop that uses it frame by frame."""
        return torch.randn(shape, dtype=self.loc.dtype, device=self.loc.device)

    def from_noise(self, noise: Tensor) -> Tensor:
        """The draws with this noise, (..., D); they carry gradients."""
        if self.constant is not None:
            noise = noise.masked_fill(self.constant, 0)
        return self.loc + self.scale * noise

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws without gradients."""
        with torch.no_grad():
            return self.rsample(sample_shape)


class LowRankNormal(TorchDistribution):
    r"""A normal vector with covariance :math:`F F^T + \mathrm{diag}(d)`.

    Args:
        loc: mean, (..., D).
        factor: F, (..., D, S).
        diagonal: d, (..., D).
        constant: features whose draws equal their mean, (D,), as in `NormalVector`.
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.real_vector  # pyright: ignore[reportAssignmentType]

    def __init__(
        self, loc: Tensor, factor: Tensor, diagonal: Tensor, constant: Tensor | None = None
    ) -> None:
        self.loc, self.factor, self.diagonal, self.constant = loc, factor, diagonal, constant
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
        """The distribution of centre + scale x, both (D,)."""
        return LowRankNormal(
            centre + scale * self.loc,
            scale[:, None] * self.factor,
            scale.square() * self.diagonal,
            self.constant,
        )

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> LowRankNormal:
        """The same over a larger batch."""
        loc = self.loc.expand(torch.Size(batch_shape) + self.event_shape)
        return LowRankNormal(loc, self.factor, self.diagonal, self.constant)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event."""
        return self._normal(self.factor, self.diagonal).log_prob(value)

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the observed features; the others count as standard normal at their mean."""
        factor = self.factor * seen[..., None]
        diagonal = torch.where(seen, self.diagonal, 1.0)
        nats = self._normal(factor, diagonal).log_prob(torch.where(seen, value, self.loc))
        return nats + 0.5 * math.log(2 * math.pi) * (~seen).to(nats.dtype).sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Draws, sample_shape + (..., D)."""
        drawn = self._normal(self.factor, self.diagonal).sample(sample_shape)
        return drawn if self.constant is None else torch.where(self.constant, self.loc, drawn)

    def _normal(self, factor: Tensor, diagonal: Tensor) -> dist.LowRankMultivariateNormal:
        return dist.LowRankMultivariateNormal(self.loc, factor, diagonal, validate_args=False)
