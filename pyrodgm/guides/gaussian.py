"""The recognition network of variational autoencoders: independent normal latents of a row."""

from __future__ import annotations

from typing import ClassVar, final

import torch
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import sizes
from pyrodgm.guides.base import GuideTraits, StepGuide, Target
from pyrodgm.networks.conditional import normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import LayerSizes


@final
class DiagonalNormal(StepGuide):
    r"""Independent normal latents, with parameters from networks of the row.

    .. math:: q(z^l \mid x) = \mathcal N(\mu^l(x, u), \mathrm{diag}\, \sigma^l(x, u)^2)

    for every latent site l, where u are conditions, if any.

    Args:
        model: the model p, whose latent sites are continuous.
        hidden_dim: rectified units of every hidden layer; a number is a single layer.

    Reference: Kingma and Welling, Auto-encoding variational Bayes, 2014.
    """

    traits: ClassVar[GuideTraits] = GuideTraits(
        latents="continuous", sequential=False, reparameterised=True, causal=True
    )

    def __init__(self, model: Target, *, hidden_dim: LayerSizes = (200, 200)) -> None:
        super().__init__(model)
        self.history = 0
        self.inputs = Inputs(model.info)
        self.conditions = Conditions(model.info)
        features = self.inputs.dim + self.conditions.dim
        self.posteriors = nn.ModuleDict(
            {
                name: normal_conditional(features, dim, hidden_dim, shrink=1.0)
                for name, dim in sizes(self.latents).items()
            }
        )

    def encode(self, batch: Batch) -> Tensor:
        """Inputs of the networks from rows and their conditions, (B, T, D + U)."""
        seen, given = self.inputs(batch.x), self.conditions(batch)
        return seen if given is None else torch.cat([seen, given], -1)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """The latents of one row."""
        del past, t
        for name, posterior in self.posteriors.items():
            draw(name, posterior(encoded))
