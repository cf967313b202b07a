"""A program of sequences: what happens in one frame, given the frames before it."""

from __future__ import annotations

from abc import abstractmethod

from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Draw, Past, seen_key
from pyrodgm.engine.sites import Site, sizes


class SequenceProgram:
    """A program given by what happens in one frame; sequence models and sequence guides are these.

    Attributes:
        history: how many past frames a step may look at, n.
        latents: name, dimension and kind of every site that is drawn.
        observed: name and dimension of every site whose values the batch gives.
        states: names of the deterministic states that a step carries.
        chained: whether every site is drawn by ``past.chain``, given nothing but observations and
            the paths of sites before it.
    """

    history: int
    latents: dict[str, Site]
    observed: dict[str, int]
    states: tuple[str, ...] = ()
    chained: bool = False

    @property
    def dims(self) -> dict[str, int]:
        """Name and dimension of every site, latents first."""
        return sizes(self.latents) | self.observed

    @property
    def reparameterised(self) -> bool:
        """Whether gradients flow through some of the draws."""
        return any(site.pathwise for site in self.latents.values())

    @property
    def scored(self) -> frozenset[str]:
        """The latent sites whose draws carry no gradients."""
        return frozenset(name for name, site in self.latents.items() if not site.pathwise)

    def carries_gradients(self, name: str) -> bool:
        """Whether gradients flow through the draw of a site; of an observed one, if through any."""
        site = self.latents.get(name)
        return self.reparameterised if site is None else site.pathwise

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor | None:
        """Features of the whole batch, (B, T, E), computed once; None where there are none."""

    @abstractmethod
    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """Draw every site of one frame, or of all frames at once: leading dimensions broadcast.

        Args:
            draw: ``draw(name, distribution)`` returns the value of a site.
            past: ``past[name]`` holds the last n values of a site side by side, (..., n D), newest
                first, zero before the first frame of a sequence; ``past.carry(name, drive, cell)``
                moves a deterministic state on, see `pyrodgm.engine.past.Past.carry`.
            encoded: this frame's features, (..., E).
            t: frame number from zero, a scalar or (T,).
        """


def seen_values(program: SequenceProgram, batch: Batch) -> dict[str, Tensor]:
    """Masks of the observed features, by site, for `Past.seen`; empty if all were observed."""
    if batch.seen is None:
        return {}
    return {seen_key(name): batch.seen for name in program.observed}
