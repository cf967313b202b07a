"""Deep Markov models: a chain of continuous latents with nonlinear transitions and emissions."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any, ClassVar, final

from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Site
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.conditional import Conditional
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.layers import LayerSizes
from pyrodgm.networks.transitions import GatedTransition

Size = Annotated[int, Field(ge=1)]


@final
class DMM(StepModel):
    r"""The deep Markov model.

    .. math::
        z_t &\sim \mathcal N(\mu(z_{t-1}, u_t), \mathrm{diag}\, \sigma^2(z_{t-1}, u_t)) \\
        x_t &\sim \text{emission}(f(z_t, u_t))

    where :math:`\mu` and :math:`\sigma` are a `GatedTransition`, :math:`z_0` is learned, f is a
    network of rectified units, and u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        latent_dim: size of a frame's latent vector, J.
        transition_dim: rectified units of the transition's networks.
        hidden_dim: rectified units of every hidden layer of the emission's network.
        emission: distribution of a frame; "auto" follows from the data.
        nade_dim: hidden units of the emission "nade", 100 if not given.

    Shapes: sites ``z`` (B, T, J) and ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Krishnan, Shalit and Sontag, Structured inference networks for nonlinear state space
    models, 2017, equations 5 and 6, with the sizes of their music models.
    """

    traits: ModelTraits = ModelTraits(latents="continuous", sequential=True, conditions=True)
    prior_modules = ("transition",)
    companions: ClassVar[Companions] = Companions("smoothing-gaussian", "elbo", "jsb")
    fit_defaults: ClassVar[Mapping[str, Any]] = MappingProxyType({"lr": 1e-3, "batch_size": 20})

    def __init__(
        self,
        info: DataInfo,
        *,
        latent_dim: Size = 100,
        transition_dim: Size = 200,
        hidden_dim: LayerSizes = (100, 100),
        emission: EmissionName = "auto",
        nade_dim: Size | None = None,
    ) -> None:
        super().__init__(info)
        self.history = 1
        self.latents = {"z": Site(latent_dim, "continuous")}
        self.observed = {"x": info.dim}
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        given, start = self.conditions.dim, self.emission.start(info)
        self.transition = GatedTransition(latent_dim, transition_dim, given)
        self.decoder = Conditional(latent_dim + given, self.emission, hidden_dim, start=start)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the latents of the frame before it."""
        z = draw("z", self.transition(past["z"], t, encoded))
        draw("x", self.decoder(z if encoded is None else join(z, encoded)))
