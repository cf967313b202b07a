"""The guide of models without latent variables."""

from __future__ import annotations

from typing import ClassVar, final

from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.guides.base import GuideTraits, StepGuide, Target


@final
class NoGuide(StepGuide):
    """An empty guide, for models without latent variables.

    Args:
        model: the model p, which has no latent variables.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(latents="none", sequential=None, causal=True)
    history = 0

    def __init__(self, model: Target) -> None:
        super().__init__(model)
        self.latents = {}

    def encode(self, batch: Batch) -> Tensor:
        """The observations, which are not used."""
        return batch.x

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """Draw nothing."""
        del draw, past, encoded, t
