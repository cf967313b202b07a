"""Declarations of random variables: dimension and kind of every site."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Kind = Literal["binary", "categorical", "continuous"]
Latents = Kind | Literal["none"] | tuple[Kind, ...]


@dataclass(frozen=True)
class Site:
    """A latent variable of one frame.

    Args:
        dim: its dimension, D.
        kind: "binary" for {0,1}, "categorical" for whole numbers from zero that stand for symbols,
            "continuous" for real numbers.
        scored: whether a continuous draw carries no gradient, so that its gradient is taken by the
            score; others never carry one.

    >>> Site(3, "continuous").pathwise, Site(3, "binary").pathwise
    (True, False)
    """

    dim: int
    kind: Kind
    scored: bool = False

    @property
    def pathwise(self) -> bool:
        """Whether gradients flow through a draw."""
        return self.kind == "continuous" and not self.scored


def sizes(sites: Mapping[str, Site]) -> dict[str, int]:
    """Name and dimension of sites.

    >>> sizes({"z": Site(3, "binary")})
    {'z': 3}
    """
    return {name: site.dim for name, site in sites.items()}


def kinds(latents: Latents) -> frozenset[Kind]:
    """The kinds that a trait names: one, several, or "none".

    >>> sorted(kinds(("binary", "continuous"))), sorted(kinds("none"))
    (['binary', 'continuous'], [])
    """
    if latents == "none":
        return frozenset()
    return frozenset(latents if isinstance(latents, tuple) else (latents,))
