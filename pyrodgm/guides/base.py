"""What a guide is: a Pyro program q over the latent sites of a model, and its traits."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw, SequenceProgram, fused
from pyrodgm.schema import Checked

Latents = Literal["binary", "categorical", "continuous", "none"]


@dataclass(frozen=True)
class GuideTraits:
    """What a model or an objective may ask of a guide.

    Args:
        latents: the kind of latent variables it draws.
        reparameterised: whether gradients flow through its draws.
        has_density: whether the log-probability of a draw can be computed.
        sequential: whether it runs over time.
        causal: whether it never looks at frames after the one it draws, so that what it draws for
            a sequence it also draws for every beginning of it.
    """

    latents: Latents
    sequential: bool
    reparameterised: bool = False
    has_density: bool = True
    causal: bool = False


class Guide(Checked, nn.Module):
    """An approximate posterior q(z | x): `forward(batch)` is a Pyro program over `latents`."""

    traits: ClassVar[GuideTraits]
    latents: dict[str, int]

    @abstractmethod
    def forward(self, batch: Batch) -> None:
        """Sample every latent site, each of batch shape (B, T)."""


class SequenceGuide(SequenceProgram, Guide):
    """A guide given by `encode`, once over all of time, and `step`, frame by frame.

    `step` must be cheap: whatever does not depend on earlier draws belongs into `encode`. Where
    layers build on each other, `past.chain` draws one after the other; see `pyrodgm.engine.past`.
    """

    @property
    def observed(self) -> dict[str, int]:
        """A guide observes nothing."""
        return {}

    @property
    def reparameterised(self) -> bool:
        """Whether gradients flow through its draws."""
        return self.traits.reparameterised

    @abstractmethod
    def encode(self, batch: Batch) -> Tensor:
        """Features of the whole batch, (B, T, E)."""

    @abstractmethod
    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """Draw the latents of one frame from its features and the latents before it."""

    def forward(self, batch: Batch) -> None:
        """The fused program."""
        fused(self)(batch)
