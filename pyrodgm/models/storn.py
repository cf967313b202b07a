"""Stochastic recurrent networks: independent latents that drive a recurrence."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import NormalVector
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Site
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.cells import CellName, make_cell
from pyrodgm.networks.conditional import Conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.inputs import Inputs

Size = Annotated[int, Field(ge=1)]


@final
class STORN(StepModel):
    r"""The stochastic recurrent network.

    .. math::
        z_t &\sim \mathcal N(0, I) \\
        h_t &= f(h_{t-1}, \varphi(x_{t-1}), z_t, u_t) \\
        x_t &\sim \text{emission}(g(h_t))

    where u are conditions, if any. Latents are independent a priori, and so of the same
    distribution in every frame.

    Args:
        info: the data's facts; its features are D.
        latent_dim: size of a frame's latent vector, J.
        hidden_dim: recurrent units H.
        feature_dim: rectified units of the features of x and of the decoder's hidden layer.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: distribution of a frame; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.

    Shapes: sites ``z`` (B, T, J) and ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Bayer and Osendorfer, Learning stochastic recurrent networks, 2014, equations 5 to 7,
    whose recurrence has sigmoid or tanh units.
    """

    traits: ModelTraits = ModelTraits(latents="continuous", sequential=True, conditions=True)
    prior_modules = ()
    companions: ClassVar[Companions] = Companions("smoothing-gaussian", "elbo", "jsb")
    states = ("h",)

    def __init__(
        self,
        info: DataInfo,
        *,
        latent_dim: Size = 32,
        hidden_dim: Size = 128,
        feature_dim: Size = 64,
        cell: CellName = "gru",
        emission: EmissionName = "auto",
        nade_dim: Size | None = None,
    ) -> None:
        super().__init__(info)
        self.history = 1
        self.latents = {"z": Site(latent_dim, "continuous")}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.features_x = nn.Sequential(nn.Linear(self.inputs.dim, feature_dim), nn.ReLU())
        self.cell = make_cell(cell, feature_dim + latent_dim + self.conditions.dim, hidden_dim)
        self.emission = make_emission(emission, info, nade_dim)
        start = self.emission.start(info)
        self.decoder = Conditional(hidden_dim, self.emission, feature_dim, start=start)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: its latents, the recurrence, and the observation."""
        zeros = self.decoder.last.bias.new_zeros(self.latents["z"].dim)
        z = draw("z", NormalVector(zeros, torch.ones_like(zeros)))
        features = self.features_x(self.inputs.past(past["x"], t))
        drive = join(features, z) if encoded is None else join(features, z, encoded)
        draw("x", self.decoder(past.carry("h", drive, self.cell)))
