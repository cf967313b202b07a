"""Mixtures of distributions over whole frames."""

from __future__ import annotations

from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.distributions.partial import partial


class Mixture(TorchDistribution):
    r"""One of C components, :math:`\log p(x) = \log \sum_c w_c\, p_c(x)`.

    Args:
        log_weights: logarithms of w, (..., C), normalised here.
        components: batch shape (..., C), event (D,).
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]

    def __init__(self, log_weights: Tensor, components: TorchDistribution) -> None:
        self.log_weights = log_weights.log_softmax(-1)
        self.components = components
        super().__init__(log_weights.shape[:-1], components.event_shape, validate_args=False)

    @property
    def support(self) -> Any:
        """The support of the components."""
        return self.components.support

    @property
    def mean(self) -> Tensor:
        """The weighted means, (..., D)."""
        return (self.log_weights.exp()[..., None] * self.components.mean).sum(-2)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Mixture:
        """The same over a larger batch."""
        weights = self.log_weights.expand(torch.Size(batch_shape) + self.log_weights.shape[-1:])
        return Mixture(weights, self.components)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event."""
        return (self.log_weights + self.components.log_prob(value[..., None, :])).logsumexp(-1)

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the observed features."""
        distribution = partial(self.components, seen[..., None, :])
        return (self.log_weights + distribution.log_prob(value[..., None, :])).logsumexp(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """A frame drawn from a component drawn by its weight."""
        return self._chosen(self.components.expand(self.log_weights.shape).sample(sample_shape))

    def sample_mean(self, sample_shape: torch.Size) -> Tensor:
        """The mean of a component drawn by its weight."""
        shape = torch.Size(sample_shape) + self.log_weights.shape
        return self._chosen(self.components.mean.expand(*shape, *self.event_shape))

    def _chosen(self, values: Tensor) -> Tensor:
        """The value, (..., D), of one component drawn by its weight, among values (..., C, D)."""
        leading = values.shape[: values.ndim - self.log_weights.ndim - 1]
        chosen = torch.distributions.Categorical(logits=self.log_weights).sample(leading)
        place = chosen[..., None, None].expand(*chosen.shape, 1, values.shape[-1])
        return values.gather(-2, place).squeeze(-2)
