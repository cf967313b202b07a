"""Variational recurrent networks: a latent vector in every frame, and a recurrence over all."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Site
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.cells import CellName, make_cell
from pyrodgm.networks.conditional import SMALL, normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import plus, small_linear, weights

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


@final
class VRNN(StepModel):
    r"""The variational recurrent neural network.

    .. math::
        h_t &= f(h_{t-1}, \varphi_x(x_{t-1}), \varphi_z(z_{t-1}), u_t) \\
        z_t &\sim \mathcal N(\mu(h_t), \mathrm{diag}\, \sigma^2(h_t)) \\
        x_t &\sim \text{emission}(W \rho(h_t, \varphi_z(z_t)) + V u_t + S x_{t-1} + c)

    where u are conditions, if any, and S is zero without `skip`. The recurrence depends on frames
    and latents before t, so it is known when frame t is drawn; the reference writes it as h_{t-1}.

    Args:
        info: the data's facts; its features are D.
        latent_dim: size of a frame's latent vector, J.
        hidden_dim: recurrent units H.
        feature_dim: units of every feed-forward layer: of x, of z, of the prior and of the decoder.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: distribution of a frame; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        dropout: share, dropped at random in training, of the features that the recurrence sees, and
            of its units that the prior and the decoder see; the guide sees all units.
        skip: whether the frame before also enters the emission by a linear map.

    Shapes: sites ``z`` (B, T, J) and ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Chung et al., A recurrent latent variable model for sequential data, 2015, equations
    5 to 7. There, features of x and z have up to four layers; here they have one.
    """

    traits: ModelTraits = ModelTraits(
        latents="continuous", sequential=True, conditions=True, recurrence="vrnn"
    )
    prior_modules = ("prior",)
    companions: ClassVar[Companions] = Companions("vrnn", "elbo", "jsb")
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
        dropout: Share = 0.0,
        skip: bool = False,
    ) -> None:
        super().__init__(info)
        self.history = 1
        self.latents = {"z": Site(latent_dim, "continuous")}
        self.observed = {"x": info.dim}
        self.feature_dim = feature_dim
        self.dropped = nn.Dropout(dropout)
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.features_x = nn.Sequential(nn.Linear(self.inputs.dim, feature_dim), nn.ReLU())
        self.features_z = nn.Sequential(nn.Linear(latent_dim, feature_dim), nn.ReLU())
        self.cell = make_cell(cell, 2 * feature_dim + self.conditions.dim, hidden_dim)
        self.prior = normal_conditional(hidden_dim, latent_dim, feature_dim, gain=SMALL)
        self.decoder = nn.Sequential(nn.Linear(hidden_dim + feature_dim, feature_dim), nn.ReLU())
        self.emission = make_emission(emission, info, nade_dim)
        self.x_from_features = small_linear(feature_dim, self.emission.size)
        self.x_bias = FirstSteps(self.emission.size, 0, init=self.emission.start(info))
        self.x_from_given = weights(self.conditions.dim, self.emission.size, 0.01)
        self.x_from_past = weights(self.inputs.dim, self.emission.size, 0.01) if skip else None

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def before(self, batch: Batch) -> Tensor:
        """Inputs of the recurrence besides latents, (B, T, F + U)."""
        features = self.features_x(self.inputs(batch.x))
        blank = self.features_x(self.inputs.before(batch))
        shifted = torch.cat([blank.expand(batch.size, -1, -1), features[:, :-1]], 1)
        shifted = self.dropped(shifted)
        given = self.conditions(batch)
        return shifted if given is None else torch.cat([shifted, given], -1)

    def moved(self, past: Past, before: Tensor) -> Tensor:
        """The recurrent state of a frame, (..., H), from the latents before and from `before`."""
        return past.carry("h", lambda: join(self.features_z(past["z"]), before), self.cell)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given all before it."""

        def drive() -> Tensor:
            features = self.dropped(self.features_x(self.inputs.past(past["x"], t)))
            parts = (self.features_z(past["z"]), features)
            return join(*parts) if encoded is None else join(*parts, encoded)

        h = self.dropped(past.carry("h", drive, self.cell))
        z = draw("z", self.prior(h))
        numbers = self.x_from_features(self.decoder(join(h, self.features_z(z))))
        bias = plus(self.x_bias(t), self.x_from_given, encoded)
        if self.x_from_past is not None:
            bias = bias + self.x_from_past(self.inputs.past(past["x"], t))
        draw("x", self.emission(numbers + bias))
