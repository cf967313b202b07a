"""Recurrent networks: every frame given all before it, without latent variables."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, final

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.engine.past import Past, join
from pyrodgm.engine.programs import Draw
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.cells import CellName, make_cell
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import Emission, make_emission
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import plus, small_linear, weights

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]

RowEmission = Literal[
    "auto",
    "bernoulli",
    "categorical",
    "gaussian",
    "multinomial",
    "negative-binomial",
    "poisson",
]

_EXACT = ModelTraits(latents="none", sequential=True, conditions=True)


class RecurrentNetwork(StepModel):
    r"""A recurrent network whose output parametrises the next frame.

    .. math:: h_t = f(h_{t-1}, x_{t-1}, u_t), \qquad
        p(x_t \mid x_{<t}) = \text{emission}(W h_t + V u_t + c)

    where u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: recurrent units H.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: distribution of a frame.
        dropout: share of inputs and of recurrent units dropped at random in training.
    """

    traits: ModelTraits = _EXACT
    companions: ClassVar[Companions] = Companions("none", "ml", "jsb")
    states = ("h",)

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: int,
        cell: CellName,
        emission: Emission,
        dropout: float,
    ) -> None:
        super().__init__(info)
        self.history = 1
        self.latents = {}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.dropout = dropout
        self.emission = emission
        self.cell = make_cell(cell, self.inputs.dim + self.conditions.dim, hidden_dim)
        self.x_from_h = small_linear(hidden_dim, emission.size)
        self.x_bias = FirstSteps(emission.size, 0, init=emission.start(info))
        self.x_from_given = weights(self.conditions.dim, emission.size, 0.01)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given all before it."""
        drive = F.dropout(self.inputs.past(past["x"], t), self.dropout, self.training)
        drive = drive if encoded is None else join(drive, encoded)
        h = F.dropout(past.carry("h", drive, self.cell), self.dropout, self.training)
        draw(
            "x", self.emission(self.x_from_h(h) + plus(self.x_bias(t), self.x_from_given, encoded))
        )


@final
class RNN(RecurrentNetwork):
    r"""A recurrent network whose output parametrises the next frame, features independent.

    .. math:: h_t = f(h_{t-1}, x_{t-1}, u_t), \qquad
        p(x_t \mid x_{<t}) = \text{emission}(W h_t + V u_t + c)

    where u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: recurrent units H.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: "bernoulli", "categorical", "gaussian", "multinomial", "negative-binomial" or
            "poisson"; "auto" follows from the data.
        dropout: share of inputs and of recurrent units dropped at random in training.

    Shapes: site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.

    Reference: Gan, slides of 2015, equations 1 and 2.
    """

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Size = 200,
        cell: CellName = "gru",
        emission: RowEmission = "auto",
        dropout: Share = 0.0,
    ) -> None:
        super().__init__(
            info,
            hidden_dim=hidden_dim,
            cell=cell,
            emission=make_emission(emission, info),
            dropout=dropout,
        )


@final
class RNNNADE(RecurrentNetwork):
    r"""A recurrent network whose output sets the biases of a NADE over the next frame's bits.

    .. math:: h_t = f(h_{t-1}, x_{t-1}, u_t), \qquad
        p(x_t \mid x_{<t}) = \text{NADE}(b = W_1 h_t + V_1 u_t + c_1, \;
        c = W_2 h_t + V_2 u_t + c_2)

    where u are conditions, if any.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: recurrent units H.
        cell: "gru", "lstm", or "relu" started as the identity.
        nade_dim: hidden units of the NADE.
        dropout: share of inputs and of recurrent units dropped at random in training.

    Shapes: site ``x`` (B, T, D), bits.

    Raises:
        DataError: the data is not binary.

    Reference: Boulanger-Lewandowski, Bengio and Vincent, Modeling temporal dependencies in
    high-dimensional sequences, 2012, section 5; there f is a plain recurrence with a state of its
    own.
    """

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Size = 200,
        cell: CellName = "gru",
        nade_dim: Size = 100,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__(
            info,
            hidden_dim=hidden_dim,
            cell=cell,
            emission=make_emission("nade", info, nade_dim),
            dropout=dropout,
        )
