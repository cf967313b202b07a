"""Sequential networks with a deterministic recurrence below a chain of continuous latents."""

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
from pyrodgm.networks.conditional import SMALL, Conditional, normal_conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.forward import forward_states
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import weights

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]


@final
class SRNN(StepModel):
    r"""The stochastic recurrent neural network with separate layers.

    .. math::
        d_t &= f(d_{t-1}, \varphi(x_{t-1}), u_t) \\
        z_t &\sim \mathcal N(\mu(z_{t-1}, d_t), \mathrm{diag}\, \sigma^2(z_{t-1}, d_t)) \\
        x_t &\sim \text{emission}(g(z_t, d_t) + S x_{t-1})

    where u are conditions, if any, and S is zero without `skip`. The recurrence depends on no
    latents, so that it runs once over all frames, for this model and for the guide "srnn".

    Args:
        info: the data's facts; its features are D.
        latent_dim: size of a frame's latent vector, J.
        hidden_dim: recurrent units H.
        feature_dim: rectified units of every hidden layer: of x, of the prior and of the decoder.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: distribution of a frame; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        dropout: share, dropped at random in training, of the features that the recurrence sees, and
            of its units that the prior and the decoder see; the guide sees all units.
        skip: whether the frame before also enters the emission by a linear map.

    Shapes: sites ``z`` (B, T, J) and ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Fraccaro, Sønderby, Paquet and Winther, Sequential neural models with stochastic
    layers, 2016, equations 3 to 5.
    """

    traits: ModelTraits = ModelTraits(
        latents="continuous", sequential=True, conditions=True, recurrence="srnn"
    )
    prior_modules = ("prior",)
    companions: ClassVar[Companions] = Companions("srnn", "elbo", "jsb")
    states = ("d",)

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
        self.cell = make_cell(cell, feature_dim + self.conditions.dim, hidden_dim)
        self.prior = normal_conditional(
            latent_dim + hidden_dim, latent_dim, feature_dim, gain=SMALL
        )
        self.emission = make_emission(emission, info, nade_dim)
        start = self.emission.start(info)
        self.decoder = Conditional(latent_dim + hidden_dim, self.emission, feature_dim, start=start)
        self.x_from_past = weights(self.inputs.dim, self.emission.size, 0.01) if skip else None

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def deterministic(self, batch: Batch, features: Tensor) -> Tensor:
        """The states of the recurrence in all frames, (B, T, S), the first H numbers its units.

        Args:
            batch: B sequences of T frames.
            features: of the frames, (B, T, E).
        """
        blank = self.features_x(self.inputs.before(batch))
        before = torch.cat([blank.expand(batch.size, -1, -1), features[:, :-1]], 1)
        before = self.dropped(before)
        given = self.conditions(batch)
        drive = before if given is None else torch.cat([before, given], -1)
        return forward_states("d", self.cell, drive, batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the observations before it and the latents of the frame before."""

        def drive() -> Tensor:
            features = self.dropped(self.features_x(self.inputs.past(past["x"], t)))
            return features if encoded is None else join(features, encoded)

        d = self.dropped(past.carry("d", drive, self.cell))
        z = draw("z", self.prior(join(past["z"], d)))
        numbers = self.decoder.numbers(join(z, d))
        if self.x_from_past is not None:
            numbers = numbers + self.x_from_past(self.inputs.past(past["x"], t))
        draw("x", self.emission(numbers))
