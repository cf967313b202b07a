"""Vectors of categorical variables as one-hot codings."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.distributions.dot import dot


class OneHotVector(TorchDistribution):
    r"""J independent variables of C classes as one event; a value is their one-hot coding.

    .. math:: \log p(z) = \sum_j \sum_c z_{jc} \log \mathrm{softmax}(l_j)_c

    Codings lie end to end, so that a network reads a value as it is. For probabilities in the place
    of a coding, the result is minus the cross-entropy. `CategoricalVector` has the symbols
    themselves as values, and variables of different sizes.

    Args:
        logits: l of all classes, end to end, (..., J C).
        classes: C.

    >>> die = OneHotVector(torch.zeros(6), 6)
    >>> round(float(die.log_prob(torch.eye(6)[2]).exp() * 6), 5)
    1.0
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.nonnegative_integer, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, classes: int) -> None:
        # One is made per frame of a sampling loop; the base class's __init__ would be too slow.
        self.logits, self.classes = logits, classes
        self._batch_shape, self._event_shape = logits.shape[:-1], logits.shape[-1:]
        self._validate_args = False

    def rows(self, numbers: Tensor) -> Tensor:
        """Numbers of all classes (..., J C) with a row for every variable, (..., J, C)."""
        return numbers.unflatten(-1, (-1, self.classes))

    @property
    def probs(self) -> Tensor:
        """Probability of every class of every variable, (..., J C)."""
        return self.rows(self.logits).softmax(-1).flatten(-2)

    @property
    def mean(self) -> Tensor:
        """The probabilities, (..., J C)."""
        return self.probs

    @property
    def variance(self) -> Tensor:
        """Variances of the numbers of the coding, (..., J C)."""
        return self.probs * (1 - self.probs)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> OneHotVector:
        """The same variables over a larger batch."""
        logits = self.logits.expand(torch.Size(batch_shape) + self.event_shape)
        return OneHotVector(logits, self.classes)

    @classmethod
    def over_time(cls, frames: Sequence[OneHotVector]) -> OneHotVector:
        """The distributions of T frames (..., J C) as one, of batch shape (..., T)."""
        logits = torch.stack([frame.logits for frame in frames], -2)
        return OneHotVector(logits, frames[0].classes)

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., J C)."""
        logits = self.logits.to(torch.promote_types(self.logits.dtype, value.dtype))
        return dot(value, self.rows(logits).log_softmax(-1).flatten(-2))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """One-hot codings, sample_shape + (..., J C)."""
        return self.from_noise(self.noise(self._extended_shape(sample_shape)))

    def noise(self, shape: torch.Size) -> Tensor:
        """Standard Gumbel noise, finite, drawn before a loop that uses it frame by frame."""
        dtype = torch.promote_types(self.logits.dtype, torch.float32)
        exponential = torch.empty(shape, dtype=dtype, device=self.logits.device).exponential_()
        return exponential.clamp_(min=torch.finfo(dtype).tiny).log_().neg_()

    def from_noise(self, noise: Tensor) -> Tensor:
        """The coding of the classes whose logit plus noise is largest, (..., J C)."""
        return self.hardest(self.logits.detach() + noise)

    def hardest(self, scores: Tensor) -> Tensor:
        """The coding of the class with the highest score of every variable, (..., J C)."""
        rows = self.rows(scores)
        chosen = rows.argmax(-1, keepdim=True)
        return torch.zeros_like(rows).scatter_(-1, chosen, 1.0).flatten(-2)

    def entropy(self) -> Tensor:
        """Nats per event."""
        return -self.log_prob(self.probs)
