"""Gibbs with gradients: changes of one bit or one class at a time, as the gradient suggests."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrodgm.engine.kernels.base import Moved, Potential, metropolis, with_slope
from pyrodgm.errors import UsageError


@dataclass(frozen=True)
class GibbsWithGradients:
    r"""A change of one bit, or of one class, that is likely to be accepted.

    .. math:: q(x' \mid x) \propto \exp\big(\tfrac12 (x' - x)^\top \nabla \phi(x)\big)

    over all states x' that differ from x in one bit, or in the class of one feature. The proposal
    is accepted by the rule of Metropolis and Hastings, so that detailed balance holds for any
    potential; the gradient is that of the potential as a function of real numbers.

    Args:
        classes: number of classes of every feature, whose one-hot codings lie end to end in the
            last dimension of a state; None for bits.

    Raises:
        UsageError: no feature has more than one class.

    Reference: Grathwohl et al., Oops I took a gradient: scalable sampling for discrete
    distributions, 2021, algorithm 1 and equation 3.
    """

    classes: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.classes is not None and max(self.classes, default=0) < 2:
            raise UsageError(f"no feature can change: the numbers of classes are {self.classes}")

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One proposal for every chain, with two evaluations of the potential and its gradient."""
        before, slope = with_slope(potential, x)
        event = before.dim()
        forth = self._gains(x, slope).flatten(event) / 2
        # The largest of Gumbel variables around log-probabilities is a draw.
        noise = torch.empty_like(forth).exponential_().log()
        place = (forth - noise).argmax(-1, keepdim=True)
        proposed, back_place = self._changed(x, place, event)
        after, slope = with_slope(potential, proposed)
        back = self._gains(proposed, slope).flatten(event) / 2
        log_ratio = after - before + _log_prob(back, back_place) - _log_prob(forth, place)
        return metropolis(x, proposed, log_ratio)

    def _gains(self, x: Tensor, slope: Tensor) -> Tensor:
        """First-order change of the potential by each change of one variable, as states."""
        if self.classes is None:
            return (1 - 2 * x) * slope
        owner = self._owners(x)
        own = slope.new_zeros(*x.shape[:-1], len(self.classes)).index_add(-1, owner, x * slope)
        return (slope - own[..., owner]).masked_fill(x > 0, -math.inf)

    def _changed(self, x: Tensor, place: Tensor, event: int) -> tuple[Tensor, Tensor]:
        """States with the change at a place, and the place of the change back, each (..., 1)."""
        flat = x.flatten(event)
        if self.classes is None:
            return flat.scatter(-1, place, 1 - flat.gather(-1, place)).view(x.shape), place
        frames = math.prod(x.shape[event:-1])
        owner = torch.arange(frames, device=x.device)[:, None] * len(self.classes)
        owner = (owner + self._owners(x)).flatten()
        same = owner == owner[place]  # (..., S): the classes of the feature that changes
        new = flat.masked_fill(same, 0).scatter(-1, place, 1.0)
        return new.view(x.shape), (flat * same).argmax(-1, keepdim=True)

    def _owners(self, x: Tensor) -> Tensor:
        """The feature of each class, (S,)."""
        sizes = torch.tensor(self.classes, device=x.device)
        return torch.arange(len(sizes), device=x.device).repeat_interleave(sizes)


def _log_prob(logits: Tensor, place: Tensor) -> Tensor:
    """Log-probability of a place, (...), of logits (..., S) and places (..., 1)."""
    return logits.gather(-1, place).squeeze(-1) - logits.logsumexp(-1)
