"""Bits that depend on each other in an order, each on those before it."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor

from pyrodgm.distributions.dot import dot


class AutoregressiveVector(TorchDistribution):
    r"""D binary variables, each given those before it.

    .. math:: \log p(x) = \sum_d \log \mathrm{Bern}(x_d; \sigma(l_d(x_{<d})))

    A subclass defines the log-odds l: of all variables for a given event, `conditional_logits`, and
    of one variable after the other for draws, by `begin`, `logit` and `push`.

    The mean has no closed form; average draws instead.

    Args:
        batch_shape: of the distribution.
        dim: variables D.
        order: the features of an event in the order of the variables, (D,); None where variable d
            is feature d.
    """

    arg_constraints = {}  # noqa: RUF012 # pyright: ignore[reportAssignmentType]
    support = constraints.independent(constraints.boolean, 1)  # pyright: ignore[reportAssignmentType]
    has_mean = False

    def __init__(self, batch_shape: torch.Size, dim: int, order: Tensor | None = None) -> None:
        self.order = order
        super().__init__(batch_shape, torch.Size([dim]), validate_args=False)

    @abstractmethod
    def expand(self, batch_shape: torch.Size, _instance: None = None) -> Self:
        """The same over a larger batch."""

    @abstractmethod
    def conditional_logits(self, value: Tensor) -> Tensor:
        """Log-odds of every variable given those before it in `value`, (..., D), in their order."""

    @abstractmethod
    def begin(self, shape: torch.Size) -> Any:
        """What the log-odds of the first variable are computed from, for draws of a batch shape."""

    @abstractmethod
    def logit(self, state: Any, d: int) -> Tensor:
        """Log-odds of variable d, given what those before it have left."""

    @abstractmethod
    def push(self, state: Any, d: int, value: Tensor) -> Any:
        """What variable d leaves, given its value (...)."""

    def log_prob(self, value: Tensor) -> Tensor:
        """Nats per event; value (..., D) in {0,1}."""
        value = self._by_variable(value)
        logits = self.conditional_logits(value)
        return dot(value, logits) - F.softplus(logits).sum(-1)

    def logits_given(self, value: Tensor) -> Tensor:
        """Log-odds of every feature given those before it in the event `value`, (..., D)."""
        logits = self.conditional_logits(self._by_variable(value))
        return logits if self.order is None else logits[..., self.order.argsort()]

    def log_prob_of_completion(self, value: Tensor, seen: Tensor) -> Tensor:
        r"""The log weight of an event whose missing features were drawn as by `complete`.

        .. math:: \log w = \sum_{d \text{ seen}} \log p(x_d \mid x_{<d}), \qquad
            E\, w = p(x_\text{seen})

        Args:
            value: the completed event, (..., D).
            seen: True where a feature was observed, (..., D).
        """
        value, seen = self._by_variable(value), self._by_variable(seen)
        logits = self.conditional_logits(value)
        return ((value * logits - F.softplus(logits)) * seen).sum(-1)

    def sample(self, sample_shape: torch.Size = torch.Size()) -> Tensor:  # noqa: B008
        """Zeros and ones, sample_shape + (..., D)."""
        return self._drawn(self._extended_shape(sample_shape))

    def complete(self, value: Tensor, seen: Tensor) -> Tensor:
        """An event whose missing features are drawn, each given all those before it, (..., D).

        Observed features act on those after them only; `log_prob_of_completion` is the weight that
        makes up for it.

        Args:
            value: the event; its numbers where nothing was observed have no effect.
            seen: True where a feature was observed, (..., D).
        """
        shape = torch.broadcast_shapes(self.batch_shape + self.event_shape, value.shape, seen.shape)
        known, seen = (self._by_variable(each).expand(shape) for each in (value, seen))
        return self._drawn(shape, known.unbind(-1), seen.unbind(-1))

    def _drawn(
        self, shape: torch.Size, known: tuple[Tensor, ...] = (), seen: tuple[Tensor, ...] = ()
    ) -> Tensor:
        """Draws of a shape, where observed variables keep their values."""
        with torch.no_grad():
            state = self.begin(shape[:-1])
            noise = self._noise(shape).movedim(-1, 0).contiguous()  # variables first
            drawn = []
            for d in range(shape[-1]):
                value = (self.logit(state, d) > noise[d]).to(noise.dtype)
                value = torch.where(seen[d], known[d], value) if seen else value
                state = self.push(state, d, value)
                drawn.append(value)
            found = torch.stack(drawn, -1)
            return found if self.order is None else found[..., self.order.argsort()]

    @abstractmethod
    def _noise(self, shape: torch.Size) -> Tensor:
        """Standard logistic noise."""

    def _by_variable(self, value: Tensor) -> Tensor:
        """An event in the order of the variables."""
        return value if self.order is None else value[..., self.order]


def logistic_noise(shape: torch.Size, like: Tensor) -> Tensor:
    """Standard logistic numbers, of the dtype and device of a tensor."""
    return torch.rand(shape, dtype=like.dtype, device=like.device).logit_()
