"""Metropolis independence sampling: proposals that do not depend on the state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from pyrodgm.engine.kernels.base import Moved, Potential, metropolis


@dataclass(frozen=True)
class Independence:
    r"""Proposals from a distribution q, accepted by their importance weights.

    .. math:: x' \sim q, \qquad a = \min\Big(1, \frac{w(x')}{w(x)}\Big), \qquad
        w(x) = \frac{e^{\phi(x)}}{q(x)}

    Args:
        draw: independent draws from q in the shape of states, (..., D) to (..., D).
        log_prob: :math:`\log q` of states, (..., D) to (...), in nats; an unnormalised one will do.

    Reference: Tierney, Markov chains for exploring posterior distributions, 1994; as the sampler of
    random fields, Wang and Ou, Language modeling with neural trans-dimensional random fields, 2017.
    """

    draw: Callable[[Tensor], Tensor]
    log_prob: Callable[[Tensor], Tensor]

    @torch.no_grad()
    def move(self, x: Tensor, potential: Potential) -> Moved:
        """One proposal for every chain."""
        proposed = self.draw(x)
        weights = (potential(each) - self.log_prob(each) for each in (x, proposed))
        before, after = weights
        # A state of weight zero is left at once; a proposal of weight zero is never accepted.
        return metropolis(x, proposed, after - before)
