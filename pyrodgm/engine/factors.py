"""Draws of a program, and the factors of its joint density at them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property

from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.errors import CompatibilityError


@dataclass(frozen=True)
class Factor:
    """One site's factor of a joint density, in all frames of K draws.

    Args:
        value: what was drawn or observed, (K, B, T, D).
        distribution: of every frame, given what the draws before it were.
        log_prob: nats, (K, B, T), zero where a frame is padding.
        log_score: the same without the scale of a subsampled plate or of `poutine.scale`.
        pathwise: whether gradients flow through the draw.
    """

    value: Tensor
    distribution: TorchDistribution
    log_prob: Tensor
    log_score: Tensor
    pathwise: bool


Factors = dict[str, Factor]


@dataclass(frozen=True)
class Draws:
    """K draws of every site of a program on a batch.

    Args:
        values: of every site that was drawn, (K, B, T, D).
        noise: that they are a function of, (K, B, T, D), by site, where it was kept: standard
            logistic for binary sites, see `noise` of the distribution.
        states: deterministic states along the draws, (K, B, T, S), by name; only of draws that
            carry gradients, whose recurrence need not run again.
        factors_of: gives the factors of all sites.
        encoded: features of the batch that a sequence program computed for them, (B, T, E), with
            units dropped as they were; None if there are none.
    """

    values: Mapping[str, Tensor]
    noise: Mapping[str, Tensor]
    states: Mapping[str, Tensor]
    factors_of: Callable[[], Factors]
    encoded: Tensor | None = None

    @cached_property
    def factors(self) -> Factors:
        """The factor of every site, computed at the first use."""
        return self.factors_of()

    @property
    def log_probs(self) -> dict[str, Tensor]:
        """Nats of every site, (K, B, T), zero where a frame is padding."""
        return {name: factor.log_prob for name, factor in self.factors.items()}


def refuse_other_sites(latent: set[str], given: set[str]) -> None:
    """Raise unless the sites that are given are a program's latent sites.

    Raises:
        CompatibilityError: they are others.
    """
    if latent != given:
        raise CompatibilityError(
            f"the guide draws {sorted(given - latent) or 'nothing'} that the model does not "
            f"know, and the model draws {sorted(latent - given) or 'nothing'} that the guide "
            "does not; both must draw the same sites"
        )


def num_draws(values: Mapping[str, Tensor]) -> int:
    """How many draws there are of every site; one where there are no sites."""
    return max((len(value) for value in values.values()), default=1)
