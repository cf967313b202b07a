"""Vectors of independent Bernoulli variables, as used by sigmoid belief networks."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor
from torch.overrides import has_torch_function

from pyrodgm.distributions.dot import dot
from pyrodgm.errors import CompatibilityError


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
    support = constraints.independent(constraints.boolean, 1)  # pyright: ignore[reportAssignmentType]
    has_enumerate_support = True

    def __init__(self, logits: Tensor, *, validate_args: bool | None = False) -> None:
        # One is made per frame of a sampling loop; the base class's __init__ would be too slow.
        self.logits = logits
        self._batch_shape, self._event_shape = logits.shape[:-1], logits.shape[-1:]
        self._validate_args = bool(validate_args)

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
        if self._validate_args and not bool(((value >= 0) & (value <= 1)).all()):
            raise ValueError(
                "values must be within the support: zeros, ones, or grey values between"
            )
        logits = self.logits.to(value.dtype)
        if has_torch_function((logits, value)):
            # Tensor subclasses, such as those by which Pyro's TraceGraph_ELBO tracks dependencies,
            # do not survive a custom gradient.
            return _cross_entropy(logits, value)
        return _CrossEntropy.apply(logits, value)

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the observed features; seen (..., D)."""
        logits = self.logits.to(value.dtype)
        each = value * logits - F.softplus(logits)
        return (each * seen).sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Zeros and ones, sample_shape + (..., D)."""
        noise = torch.rand(
            self._extended_shape(sample_shape), dtype=self._noise_dtype, device=self.logits.device
        )
        return (self.logits.detach().to(noise.dtype).sigmoid() - noise).gt_(0)

    @property
    def _noise_dtype(self) -> torch.dtype:
        """At least single precision: uniform numbers with eight bits would bias the draws."""
        return torch.promote_types(self.logits.dtype, torch.float32)

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard logistic noise, drawn before a loop that uses it frame by frame."""
        return torch.rand(shape, dtype=self._noise_dtype, device=self.logits.device).logit_()

    def from_noise(self, noise: Tensor) -> Tensor:
        """One where the log-odds exceed this noise, else zero; overwrites the noise."""
        logits = self.logits.detach() if torch.is_grad_enabled() else self.logits
        return noise.lt_(logits)

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """Refused: parts of Pyro's enumeration read the features of a vector as a batch.

        Raises:
            CompatibilityError: always.
        """
        del expand
        raise CompatibilityError(
            f"a vector of {self.event_shape[0]} bits cannot be enumerated directly; use "
            "pyrodgm.engine.programs.unrolled(program, enumerable=True), or in your own program "
            "sample its number, with pyrodgm.distributions.numbered"
        )

    def entropy(self) -> Tensor:
        """Nats per event."""
        return -self.log_prob(self.mean)


def _cross_entropy(logits: Tensor, value: Tensor) -> Tensor:
    """sum_d x_d l_d - softplus(l_d); the softplus is computed once for values that share logits."""
    return dot(value, logits) - F.softplus(logits).sum(-1)


class _CrossEntropy(torch.autograd.Function):
    """`_cross_entropy` with a gradient that costs a third of torch's: x - sigmoid(l), and l."""

    @staticmethod
    def forward(ctx: Any, logits: Tensor, value: Tensor) -> Tensor:
        ctx.save_for_backward(logits, value)
        return _cross_entropy(logits, value)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None]:
        logits, value = ctx.saved_tensors
        grad = grads[0].unsqueeze(-1)
        grad_logits = grad_value = None
        if ctx.needs_input_grad[0] and grad.shape[:-1] == logits.shape[:-1]:
            grad_logits = (value - logits.sigmoid()).mul_(grad)
        elif ctx.needs_input_grad[0]:
            mean = grad.sum_to_size(*logits.shape[:-1], 1) * logits.sigmoid()
            grad_logits = (value * grad).sum_to_size(logits.shape) - mean
        if ctx.needs_input_grad[1]:
            grad_value = (logits * grad).sum_to_size(value.shape)
        return grad_logits, grad_value
