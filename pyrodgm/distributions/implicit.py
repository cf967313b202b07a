"""Draws whose density is not known."""

from __future__ import annotations

from pyro.distributions import Delta
from torch import Tensor

from pyrodgm.errors import CompatibilityError


class Implicit(Delta):
    """A value that a program has drawn in a way of its own, so that its density is not known.

    As `pyro.distributions.Delta`, which Pyro's objectives take for a certain value of
    log-probability zero; this one refuses to be scored.

    Args:
        v: the value; carries gradients where it has any.
        event_dim: dimensions of the event, on the right.

    Raises:
        CompatibilityError: its log-probability is evaluated.
    """

    def log_prob(self, x: Tensor) -> Tensor:
        """There is none."""
        del x
        raise CompatibilityError(
            "the log-probability of a draw from an implicit guide is not known; estimate it by a "
            "critic: pyrodgm.objectives.CriticELBO"
        )
