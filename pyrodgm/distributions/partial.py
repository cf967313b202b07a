"""Distributions of observations with missing features."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import Independent, TorchDistribution
from torch import Tensor

from pyrodgm.errors import CompatibilityError


def partial(distribution: TorchDistribution, seen: Tensor | None) -> TorchDistribution:
    """The same distribution, whose log-probability counts only observed features.

    Args:
        distribution: of an event (D,). If its features are independent, the sum is over the
            observed ones; otherwise it must have a method ``log_prob_seen(value, seen)``.
        seen: True where a feature was observed, (..., D); None if all were.

    Raises:
        CompatibilityError: the distribution does not support missing features.
    """
    return distribution if seen is None else Partial(distribution, seen)


class Partial(TorchDistribution):
    r"""A vector with missing features, :math:`\log p(x_{\text{seen}})`.

    Args:
        base: the distribution of the whole vector.
        seen: True where a feature was observed, (..., D).

    >>> import pyro.distributions as dist
    >>> pair = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    >>> seen = Partial(pair, torch.tensor([True, False])).log_prob(torch.tensor([0.3, 9.0]))
    >>> bool(seen == dist.Normal(0.0, 1.0).log_prob(torch.tensor(0.3)))
    True
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]

    def __init__(self, base: TorchDistribution, seen: Tensor) -> None:
        self.base = base
        self.seen = seen
        shape = torch.broadcast_shapes(base.batch_shape, seen.shape[:-1])
        super().__init__(shape, base.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the whole vector."""
        return self.base.support

    @property
    def has_rsample(self) -> bool:
        """Whether draws carry gradients."""
        return self.base.has_rsample

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Partial:
        """The same over a larger batch."""
        shape = torch.Size(batch_shape)
        return Partial(self.base.expand(shape), self.seen.expand(shape + self.event_shape))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A whole vector."""
        return self.base.expand(self.batch_shape).sample(sample_shape)

    def rsample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A whole vector, with gradients."""
        return self.base.expand(self.batch_shape).rsample(sample_shape)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats of the observed features."""
        base: Any = self.base
        if hasattr(base, "log_prob_seen"):
            return base.log_prob_seen(value, self.seen)
        if isinstance(base, Independent) and base.reinterpreted_batch_ndims == 1:
            return (base.base_dist.log_prob(value) * self.seen).sum(-1)
        raise CompatibilityError(
            f"{type(base).__name__} cannot score a frame with missing features; fill them in, or "
            "choose another emission"
        )
