"""Deep temporal sigmoid belief networks with a deterministic layer."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import BernoulliVector
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.engine.sites import Site
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.models.tsbn import NadeDim, Order, Scale
from pyrodgm.networks.cells import ReLUCell
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import EmissionName, make_emission
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import SigmoidLayer, plus, weights


@final
class DTSBND(StepModel):
    r"""Deep temporal sigmoid belief network with a deterministic recurrent layer.

    .. math::
        p(z_t = 1 \mid z_{<t}) &= \sigma(W_1 z_{t-n:t-1} + V_1 u_t + b) \\
        h_t &= \max(0, W_5 z_t + W_6 h_{t-n:t-1} + W_7 x_{t-n:t-1} + V_2 u_t + a) \\
        p(x_t \mid \cdot) &= \text{emission}(W_2 h_t + W_4 x_{t-n:t-1} + V_3 u_t + c)

    where u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: latent variables per frame, J.
        layer_dim: deterministic rectified units, H.
        history: order n, the number of earlier frames in the past.
        emission: as in `TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        dropout: share of rectified units dropped at random in training.
        init_scale: standard deviation of the initial weights, except those into and out of the
            rectified units.

    Shapes: site ``z`` (K, B, T, J), site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, section 3.3, with the
    connections of the published code. Deviation: weights into and out of the rectified units are
    initialised as in `torch.nn.Linear`, so that signals neither vanish nor grow; in the published
    code all weights start at 0.001 N(0, 1).
    """

    traits: ModelTraits = ModelTraits(latents="binary", sequential=True, conditions=True)
    companions: ClassVar[Companions] = Companions("recurrent-deterministic", "rloo-local", "balls")
    states = ("h",)

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 100,
        layer_dim: Annotated[int, Field(ge=1)] = 100,
        history: Order = 1,
        emission: EmissionName = "auto",
        nade_dim: NadeDim = None,
        dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0,
        init_scale: Scale = 0.01,
    ) -> None:
        super().__init__(info)
        self.history = history
        self.latents = {"z": Site(hidden_dim, "binary")}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.dropout = dropout
        self.emission = make_emission(emission, info, nade_dim)
        size, past = self.emission.size, history * self.inputs.dim
        self.layer = SigmoidLayer(
            hidden_dim,
            history * hidden_dim,
            0,
            0,
            history=history,
            scale=init_scale,
            given_dim=self.conditions.dim,
        )
        self.h_from_z = nn.Linear(hidden_dim, layer_dim)
        self.h_from_x = nn.Linear(past, layer_dim, bias=False)
        self.cell = ReLUCell(layer_dim, history, init_scale)
        self.x_from_h = nn.Linear(layer_dim, size, bias=False)
        self.x_from_x = nn.Linear(past, size, bias=False)
        nn.init.normal_(self.x_from_x.weight, std=init_scale)
        self.x_bias = FirstSteps(size, history, init=self.emission.start(info))
        self.h_from_given = weights(self.conditions.dim, layer_dim, init_scale)
        self.x_from_given = weights(self.conditions.dim, size, init_scale)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame: the latents, the rectified units that they drive, the observation."""
        seen = self.inputs.past(past["x"], t)
        bias = self.layer.biases(t, encoded)
        z = draw("z", BernoulliVector(self.layer(past["z"], seen, None, bias)))
        drive = self.h_from_z(z) + plus(self.h_from_x(seen), self.h_from_given, encoded)
        h = F.dropout(past.carry("h", drive, self.cell), self.dropout, self.training)
        shared = plus(self.x_from_x(seen) + self.x_bias(t), self.x_from_given, encoded)
        draw("x", self.emission(self.x_from_h(h) + shared))
