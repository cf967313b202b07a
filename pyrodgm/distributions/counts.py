"""Vectors of counts with a given total, such as the words of a document."""

from __future__ import annotations

import torch
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.distributions.dot import dot
from pyrodgm.distributions.multinomial import multinomial


class CountVector(TorchDistribution):
    r"""N tokens of D kinds, scored as a sequence of tokens: without the multinomial coefficient.

    .. math:: \log p(x) = \sum_d x_d \log \mathrm{softmax}(l)_d

    The coefficient depends on the data alone; without it, values are nats per token and comparable
    between documents.

    Args:
        logits: l, (..., D).
        total: tokens N of a draw, at least 1.

    >>> CountVector(torch.zeros(2, 4), 10).log_prob(torch.tensor([1.0, 2.0, 0.0, 0.0])).shape
    torch.Size([2])
    """

    arg_constraints = {"logits": constraints.real_vector}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.nonnegative_integer, 1)  # pyright: ignore[reportAssignmentType]

    def __init__(self, logits: Tensor, total: int) -> None:
        self.logits = logits
        self.total = total
        super().__init__(logits.shape[:-1], logits.shape[-1:], validate_args=False)

    @property
    def probs(self) -> Tensor:
        """Probability of each kind, (..., D)."""
        return self.logits.softmax(-1)

    @property
    def mean(self) -> Tensor:
        """Expected counts, (..., D)."""
        return self.total * self.probs

    @property
    def variance(self) -> Tensor:
        """Variances of the counts, (..., D)."""
        return self.total * self.probs * (1 - self.probs)

    def expand(self, batch_shape: torch.Size, _instance: None = None) -> CountVector:
        """The same over a larger batch."""
        return CountVector(
            self.logits.expand(torch.Size(batch_shape) + self.event_shape), self.total
        )

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., D), counts."""
        logits = self._as_exact_as(value)
        # The normaliser is computed once per set of logits, not once per value.
        return dot(value, logits) - logits.logsumexp(-1) * value.sum(-1)

    def log_prob_seen(self, value: Tensor, seen: Tensor) -> Tensor:
        """Nats of the counts seen, given their total: a multinomial over the kinds seen."""
        logits, value = self._as_exact_as(value), value * seen
        # Finite, so that a completely missing frame has a gradient of zero and not NaN.
        normaliser = logits.masked_fill(~seen, -1e9).logsumexp(-1)
        return dot(value, logits) - normaliser * value.sum(-1)

    def sample_seen(self, seen: Tensor) -> Tensor:
        """Counts of the kinds seen, and zero of others, (..., D).

        Their total has the same distribution for all logits, as in `log_prob_seen`: every token of
        a draw among the kinds seen is kept with a probability of the share of these among all.

        Args:
            seen: which kinds, (..., D).
        """
        logits = self.logits.detach().masked_fill(~seen, -1e9)
        counts = CountVector(logits, self.total).sample() * seen
        return torch.binomial(counts, seen.to(counts.dtype).mean(-1, keepdim=True) * seen)

    def _as_exact_as(self, value: Tensor) -> Tensor:
        """The logits in the value's precision; rounding errors would be multiplied by the total."""
        return self.logits.to(torch.promote_types(self.logits.dtype, value.dtype))

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Counts that add up to the total, sample_shape + (..., D)."""
        probs = self.probs.detach()
        return multinomial(self.total, probs.expand(self._extended_shape(sample_shape)))
