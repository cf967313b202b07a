"""Vectors of independent Bernoulli variables, the workhorse of sigmoid belief networks."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor


class BernoulliVector(TorchDistribution):
    r"""D independent Bernoulli variables as one event; grey values score by cross-entropy.

    .. math:: \log p(x) = \sum_d x_d \log\sigma(l_d) + (1 - x_d) \log\sigma(-l_d)

    For x in {0,1} this is the Bernoulli log-probability; for x in [0,1] it is minus the
    cross-entropy between x and the mean, the likelihood of the published video experiments.

    Args:
        logits: log-odds l, (..., D).

    >>> BernoulliVector(torch.zeros(2, 3)).log_prob(torch.ones(2, 3)).shape
    torch.Size([2])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.unit_interval, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, *, validate_args: bool | None = False) -> None:
        self.logits = logits
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=validate_args)

    @property
    def mean(self) -> Tensor:
        """Probabilities of one, (..., D)."""
        return self.logits.sigmoid()

    @property
    def variance(self) -> Tensor:
        """Variances, (..., D)."""
        return self.mean * (1 - self.mean)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> BernoulliVector:
        """The same variables over a larger batch."""
        logits = self.logits.expand(torch.Size(batch_shape) + self.event_shape)
        return BernoulliVector(logits)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., D) in [0,1]."""
        if self._validate_args:
            self._validate_sample(value)
        logits, value = torch.broadcast_tensors(self.logits.to(value.dtype), value)
        return -F.binary_cross_entropy_with_logits(logits, value, reduction="none").sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Zeros and ones, sample_shape + (..., D)."""
        with torch.no_grad():
            return self.from_noise(self.noise(self._extended_shape(sample_shape), self.logits))

    @staticmethod
    def noise(shape: torch.Size, like: Tensor) -> Tensor:
        """Standard logistic noise, drawn ahead of a loop that consumes it step by step.

        Never below single precision: a uniform number of eight bits would bias the draws.
        """
        dtype = torch.promote_types(like.dtype, torch.float32)
        return torch.rand(shape, dtype=dtype, device=like.device).logit_()

    def from_noise(self, noise: Tensor) -> Tensor:
        """The value that this noise stands for: one where the log-odds exceed it."""
        return (self.logits > noise).to(noise.dtype)

    def entropy(self) -> Tensor:
        """Nats per event."""
        return -self.log_prob(self.mean)
