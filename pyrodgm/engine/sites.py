"""Declarations of random variables: dimension and kind of every site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, get_args

from torch import Tensor

from pyrodgm.errors import UsageError, did_you_mean

Kind = Literal["binary", "categorical", "continuous"]
Latents = Kind | Literal["none"] | tuple[Kind, ...]


@dataclass(frozen=True)
class Site:
    """A latent variable of one frame.

    Args:
        dim: its dimension, D: how many numbers its value has.
        kind: "binary" for {0,1}, "categorical" for symbols, "continuous" for real numbers.
        scored: whether a continuous draw carries no gradient, so that its gradient is taken by the
            score; others never carry one.
        classes: C of a categorical site whose value is the one-hot coding of D / C variables, end
            to end; None if its value is the symbols themselves, whole numbers from zero.

    Raises:
        UsageError: an unknown kind; classes of another kind, fewer than two, or not a divisor of
            the dimension.

    >>> Site(3, "continuous").pathwise, Site(3, "binary").pathwise
    (True, False)
    >>> Site(12, "categorical", classes=4).variables
    3
    """

    dim: int
    kind: Kind
    scored: bool = False
    classes: int | None = None

    def __post_init__(self) -> None:
        kinds(self.kind)
        classes = self.classes
        if classes is None:
            return
        if self.kind != "categorical" or classes < 2 or self.dim % classes:
            raise UsageError(
                f"a {self.kind} site of {self.dim} numbers has classes={classes}; only a "
                "categorical site has classes, at least 2, and its numbers are a multiple of them"
            )

    @property
    def words(self) -> str:
        """Its kind, and its classes if it has any."""
        return f"{self.kind} of {self.classes} classes" if self.classes else self.kind

    @property
    def variables(self) -> int:
        """How many random variables the value codes, J."""
        return self.dim // (self.classes or 1)

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

    Raises:
        UsageError: an unknown kind.

    >>> sorted(kinds(("binary", "continuous"))), sorted(kinds("none"))
    (['binary', 'continuous'], [])
    """
    if latents == "none":
        return frozenset()
    found = frozenset(latents if isinstance(latents, tuple) else (latents,))
    if unknown := found - set(get_args(Kind)):
        raise UsageError(
            f"latents are of kind {', '.join(map(repr, unknown))}; "
            f"{did_you_mean(str(min(unknown)), get_args(Kind))}"
        )
    return found


def in_order(latents: Mapping[str, Tensor], sites: Iterable[str]) -> list[Tensor]:
    """Values of latents in the order of the model's sites; a guide may draw them in another one.

    >>> from torch import ones, zeros
    >>> in_order({"z2": ones(1), "z1": zeros(1)}, ["z1", "z2"])
    [tensor([0.]), tensor([1.])]
    """
    return [latents[name] for name in sites]
