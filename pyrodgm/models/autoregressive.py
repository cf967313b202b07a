"""Models without latent variables: every frame given those before it, with exact likelihood."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.data.base import DataInfo
from pyrodgm.errors import UsageError
from pyrodgm.models.base import Companions, ModelTraits, SequenceModel
from pyrodgm.networks.cells import CellName, make_cell
from pyrodgm.networks.emissions import (
    AutoregressiveBits,
    Emission,
    EmissionName,
    Inputs,
    make_emission,
)
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.past import Past
from pyrodgm.sequences import Draw

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
NadeDim = Size | None

_EXACT = ModelTraits(latents="none", sequential=True)


@final
class AR(SequenceModel):
    r"""Autoregression of order n, linear or with hidden layers.

    .. math:: p(x_t \mid x_{<t}) = \text{emission}(W x_{t-n:t-1} + V f(x_{t-n:t-1}) + c)

    Args:
        info: the data's facts; its features are D.
        history: order n; 0 makes frames independent.
        hidden_dim: rectified units of every hidden layer of f; 0 leaves f out.
        hidden_layers: how many hidden layers f has.
        coupling: "all" features of the past predict each feature, or only its "own" past, which at
            order 1 and with bits is a two-state Markov chain per feature.
        emission: as of `pyrodgm.models.TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        dropout: share of hidden units left out at random in training.

    Shapes: site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.
        UsageError: coupling "own" with hidden layers or with the emission "nade".

    Reference: the rows without latent variables of Gan et al., Deep temporal sigmoid belief
    networks, 2015, published code. The first n frames have biases c of their own. A ridge
    regression is `fit.weight_decay` with a Gaussian emission.
    """

    traits: ClassVar[ModelTraits] = _EXACT
    companions: ClassVar[Companions] = Companions("none", "ml", "balls")

    def __init__(
        self,
        info: DataInfo,
        *,
        history: Annotated[int, Field(ge=0)] = 1,
        hidden_dim: Annotated[int, Field(ge=0)] = 0,
        hidden_layers: Size = 1,
        coupling: Literal["all", "own"] = "all",
        emission: EmissionName = "auto",
        nade_dim: NadeDim = None,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        self.history = history
        self.latents = {}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.emission = make_emission(emission, info, nade_dim)
        if coupling == "own":
            _check_own(self.emission, hidden_dim)
        size = self.emission.size
        self.x_bias = FirstSteps(size, history, init=self.emission.start(info))
        self.linear: nn.Module | None = None
        if history:
            whole = coupling == "all"
            self.linear = (
                _small(history * info.dim, size) if whole else OwnPast(info.dim, size, history)
            )
        self.network: nn.Module | None = None
        if history and hidden_dim:
            sizes = [history * info.dim, *[hidden_dim] * hidden_layers]
            layers = [
                nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))
                for a, b in pairwise(sizes)
            ]
            self.network = nn.Sequential(*layers, _small(hidden_dim, size))

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the n before it."""
        del encoded
        numbers = self.x_bias(t)
        seen = self.inputs.past(past["x"], t)
        for part in (self.linear, self.network):
            if part is not None:
                numbers = numbers + part(seen)
        draw("x", self.emission(numbers.expand(*seen.shape[:-1], -1)))


def _check_own(emission: Emission, hidden_dim: int) -> None:
    if isinstance(emission, AutoregressiveBits):
        raise UsageError(
            'coupling "own" needs an emission of independent features, and a NADE is none'
        )
    if hidden_dim:
        raise UsageError(
            f"hidden_dim is {hidden_dim}, and hidden layers see all features: leave it at 0 with "
            'coupling "own"'
        )


class OwnPast(nn.Module):
    """Linear in each feature's own past.

    Args:
        dim: features D.
        size: numbers that the emission takes, one or more per feature, side by side.
        history: lags n.
    """

    def __init__(self, dim: int, size: int, history: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(size // dim, history, dim))

    def forward(self, past: Tensor) -> Tensor:
        """(..., n D) to (..., size)."""
        lags = past.unflatten(-1, self.weight.shape[1:])
        return (lags[..., None, :, :] * self.weight).sum(-2).flatten(-2)


class RecurrentNetwork(SequenceModel):
    r"""A recurrent network whose output parametrises the next frame.

    .. math:: h_t = f(h_{t-1}, x_{t-1}), \qquad p(x_t \mid x_{<t}) = \text{emission}(W h_t + c)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: recurrent units H.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: what a frame is made of.
        dropout: share of inputs and of recurrent units left out at random in training.
    """

    traits: ClassVar[ModelTraits] = _EXACT
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
        super().__init__()
        self.history = 1
        self.latents = {}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.dropout = dropout
        self.emission = emission
        self.cell = make_cell(cell, info.dim, hidden_dim)
        self.x_from_h = _small(hidden_dim, emission.size)
        self.x_bias = FirstSteps(emission.size, 0, init=emission.start(info))

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given all before it."""
        del encoded
        drive = F.dropout(self.inputs.past(past["x"], t), self.dropout, self.training)
        h = F.dropout(past.carry("h", drive, self.cell), self.dropout, self.training)
        draw("x", self.emission(self.x_from_h(h) + self.x_bias(t)))


@final
class RNN(RecurrentNetwork):
    r"""A recurrent network whose output parametrises the next frame, features independent.

    .. math:: h_t = f(h_{t-1}, x_{t-1}), \qquad p(x_t \mid x_{<t}) = \text{emission}(W h_t + c)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: recurrent units H.
        cell: "gru", "lstm", or "relu" started as the identity.
        emission: "bernoulli", "gaussian" or "multinomial"; "auto" fits the data.
        dropout: share of inputs and of recurrent units left out at random in training.

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
        emission: Literal["auto", "bernoulli", "gaussian", "multinomial"] = "auto",
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

    .. math:: h_t = f(h_{t-1}, x_{t-1}), \qquad
        p(x_t \mid x_{<t}) = \text{NADE}(b = W_1 h_t + c_1, \; c = W_2 h_t + c_2)

    Args:
        info: the data's facts; its features are D.
        hidden_dim: recurrent units H.
        cell: "gru", "lstm", or "relu" started as the identity.
        nade_dim: hidden units of the NADE.
        dropout: share of inputs and of recurrent units left out at random in training.

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


def _small(in_dim: int, out_dim: int) -> nn.Linear:
    """A linear map without bias that starts near zero."""
    layer = nn.Linear(in_dim, out_dim, bias=False)
    nn.init.normal_(layer.weight, std=0.01)
    return layer
