"""A Langevin kernel of bits and classes, which changes several of them at once."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from pyrodgm.engine.kernels.base import Moved, Potential, metropolis, over_state, with_slope


@dataclass(frozen=True)
class DiscreteLangevin:
    r"""A change of several bits or classes at once, as the gradient suggests.

    .. math:: q(x'_d \mid x) \propto \exp\big(\tfrac12 (x'_d - x_d)^\top \nabla_d \phi(x)
        + s\, [x'_d \ne x_d]\big)

    independently for every variable d, and accepted by the rule of Metropolis and Hastings. For
    :math:`s \to -\infty` at most one changes, as in `GibbsWithGradients`.

    Args:
        log_step: s, a number or one per chain, (...); at most 0 is used.
        classes: number of classes of every feature, as in `GibbsWithGradients`; None for bits.

    Reference: Zhang, Liu and Liu, A Langevin-like sampler for discrete distributions, 2022,
    equation 4.
    """

    log_step: float | Tensor
    classes: tuple[int, ...] | None = None

    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One proposal for every chain, with two evaluations of the potential and its gradient."""
        before, slope = with_slope(potential, x)
        forth = self._log_odds(x, slope, before)
        change = _drawn(forth, self.classes)
        proposed = x + change * (1 - 2 * x) if self.classes is None else change
        after, slope = with_slope(potential, proposed)
        back = self._log_odds(proposed, slope, after)
        target = change if self.classes is None else x
        log_ratio = _log_prob(back, target, self.classes) - _log_prob(forth, change, self.classes)
        return metropolis(x, proposed, after - before + log_ratio.flatten(before.dim()).sum(-1))

    def _log_odds(self, x: Tensor, slope: Tensor, nats: Tensor) -> Tensor:
        """Log-odds that each bit changes, or logits of the next classes."""
        step = torch.as_tensor(self.log_step, dtype=x.dtype, device=x.device).clamp(max=0.0)
        offset = over_state(step.expand(nats.shape), x)
        if self.classes is None:
            return (0.5 - x) * slope + offset
        return slope / 2 + offset * (1 - x)


def _drawn(log_odds: Tensor, classes: tuple[int, ...] | None) -> Tensor:
    """Which bits change, or the next classes as codings."""
    if classes is None:
        return log_odds.sigmoid().nan_to_num(0.0).bernoulli()
    parts = []
    for logits in log_odds.split(classes, -1):
        noise = torch.empty_like(logits).exponential_().log()
        place = (logits - noise).argmax(-1, keepdim=True)
        parts.append(torch.zeros_like(logits).scatter(-1, place, 1.0))
    return torch.cat(parts, -1)


def _log_prob(log_odds: Tensor, value: Tensor, classes: tuple[int, ...] | None) -> Tensor:
    """Log-probability of every bit, or of every class that is taken."""
    if classes is None:
        return F.logsigmoid(torch.where(value > 0, log_odds, -log_odds))
    parts = [logits.log_softmax(-1) for logits in log_odds.split(classes, -1)]
    return value * torch.cat(parts, -1)
