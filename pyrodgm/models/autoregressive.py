"""Autoregression: every frame given the n before it, without latent variables."""

from __future__ import annotations

from itertools import pairwise
from typing import Annotated, ClassVar, Literal, final

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import Symbols
from pyrodgm.engine.past import Past
from pyrodgm.engine.programs import Draw
from pyrodgm.errors import UsageError
from pyrodgm.models.base import Companions, ModelTraits, StepModel
from pyrodgm.networks.autoregressive_emissions import DependentBits
from pyrodgm.networks.conditions import Conditions
from pyrodgm.networks.emissions import (
    Emission,
    EmissionName,
    make_emission,
)
from pyrodgm.networks.first_steps import FirstSteps
from pyrodgm.networks.inputs import Inputs
from pyrodgm.networks.layers import plus, small_linear, weights

Size = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, lt=1)]
NadeDim = Size | None

_EXACT = ModelTraits(latents="none", sequential=True, conditions=True)


@final
class AR(StepModel):
    r"""Autoregression of order n, linear or with hidden layers.

    .. math:: p(x_t \mid x_{<t}) = \text{emission}(W x_{t-n:t-1} + V f(x_{t-n:t-1}) + U u_t + c)

    where u are conditions, if any: a linear regression on them, whose residuals have no effect on
    later frames.

    Args:
        info: the data's facts; its features are D.
        history: order n; 0 makes frames independent.
        hidden_dim: rectified units of every hidden layer of f; 0 omits f.
        hidden_layers: number of hidden layers of f.
        coupling: "all" features of the past predict each feature, or only its "own" past, which at
            order 1 and with bits is a two-state Markov chain per feature.
        emission: as in `pyrodgm.models.TSBN`.
        nade_dim: hidden units of the emission "nade", 100 if not given.
        dropout: share of hidden units dropped at random in training.

    Shapes: site ``x`` (B, T, D).

    Raises:
        DataError: the emission cannot score such data.
        UsageError: coupling "own" with hidden layers or with the emission "nade" or "darn", or
            options of hidden layers without any.

    Reference: the rows without latent variables of Gan et al., Deep temporal sigmoid belief
    networks, 2015, published code. The first n frames have their own biases c. For a ridge
    regression, use `fit.weight_decay` with a Gaussian emission.
    """

    traits: ModelTraits = _EXACT
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
        super().__init__(info)
        self.history = history
        self.latents = {}
        self.observed = {"x": info.dim}
        self.inputs = Inputs(info)
        self.conditions = Conditions(info)
        self.emission = make_emission(emission, info, nade_dim)
        if coupling == "own":
            _check_own(self.emission, hidden_dim)
        if not hidden_dim and (hidden_layers, dropout) != (1, 0.0):
            raise UsageError(
                f"hidden_layers is {hidden_layers} and dropout {dropout:g} without hidden units; "
                "give hidden_dim too"
            )
        size = self.emission.size
        self.x_bias = FirstSteps(size, history, init=self.emission.start(info))
        self.linear: nn.Module | None = None
        if history and coupling == "all":
            self.linear = small_linear(history * self.inputs.dim, size)
        elif history:
            own = OwnSymbols if info.kind == "categorical" else OwnPast
            self.linear = own(info, size, history)
        self.network: nn.Module | None = None
        if history and hidden_dim:
            sizes = [history * self.inputs.dim, *[hidden_dim] * hidden_layers]
            layers = [
                nn.Sequential(nn.Linear(a, b), nn.ReLU(), nn.Dropout(dropout))
                for a, b in pairwise(sizes)
            ]
            self.network = nn.Sequential(*layers, small_linear(hidden_dim, size))
        self.x_from_given = weights(self.conditions.dim, size, 0.01)

    def encode(self, batch: Batch) -> Tensor | None:
        """The conditions of every frame, (B, T, U); None if there are none."""
        return self.conditions(batch)

    def step(self, draw: Draw, past: Past, encoded: Tensor | None, t: Tensor) -> None:
        """One frame given the n before it."""
        numbers = plus(self.x_bias(t), self.x_from_given, encoded)
        seen = self.inputs.past(past["x"], t)
        for part in (self.linear, self.network):
            if part is not None:
                numbers = numbers + part(seen)
        leading = torch.broadcast_shapes(seen.shape[:-1], numbers.shape[:-1])
        draw("x", self.emission(numbers.expand(*leading, -1)))


def _check_own(emission: Emission, hidden_dim: int) -> None:
    if isinstance(emission, DependentBits):
        raise UsageError(
            'coupling "own" needs an emission with independent features, which '
            "DARN and NADE are not"
        )
    if hidden_dim:
        raise UsageError(
            f"hidden_dim is {hidden_dim}, but hidden layers combine all features: leave it at 0 "
            'with coupling "own"'
        )


class OwnPast(nn.Module):
    """Linear in each feature's own past.

    Args:
        info: the data's facts; its features are D.
        size: number of parameters of the emission, one or more per feature, side by side.
        history: lags n.
    """

    def __init__(self, info: DataInfo, size: int, history: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(0.01 * torch.randn(size // info.dim, history, info.dim))

    def forward(self, past: Tensor) -> Tensor:
        """(..., n D) to (..., size)."""
        lags = past.unflatten(-1, self.weight.shape[1:])
        return (lags[..., None, :, :] * self.weight).sum(-2).flatten(-2)


class OwnSymbols(nn.Module):
    """Logits of each feature's symbols, linear in the feature's past symbols.

    Args:
        info: the data's facts; its symbols are S in all.
        size: S.
        history: lags n.
    """

    own: Tensor

    def __init__(self, info: DataInfo, size: int, history: int) -> None:
        super().__init__()
        owner = Symbols(info.symbols).owner
        same = (owner[:, None] == owner).to(torch.get_default_dtype())
        self.register_buffer("own", same.repeat(1, history), persistent=False)
        self.weight = nn.Parameter(0.01 * torch.randn(size, history * size))

    def forward(self, past: Tensor) -> Tensor:
        """(..., n S) to (..., S)."""
        return F.linear(past, self.weight * self.own)
