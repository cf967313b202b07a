"""Restricted Boltzmann machines of binary rows."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.energy import EnergyModel
from pyrodgm.models.machine import MOST_BITS, Machine, MachinePath
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means


def log_odds_of_bits(info: DataInfo, name: str) -> Tensor:
    """Log-odds of the training data's features, (D,).

    Raises:
        DataError: the data is not binary, or has missing values.
    """
    if info.kind != "binary" or info.has_missing:
        what = "has missing values" if info.kind == "binary" else f"has {info.kind} values"
        raise DataError(
            f"'{info.name}' {what}; {name} scores frames of zeros and ones without missing values"
        )
    return means(info).clamp(LEAST_RATE, 1 - LEAST_RATE).logit()


@final
class RBM(EnergyModel):
    r"""A restricted Boltzmann machine of independent rows.

    .. math::
        p(v, h) = \frac1Z \exp(b^\top v + c^\top h + h^\top W v), \qquad
        \log p(v) = b^\top v + \sum_j \mathrm{softplus}(c_j + W_j v) - \log Z

    Visible biases b start at the log-odds of the data.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H.
        init_scale: standard deviation of the initial weights.

    Shapes: ``x`` (B, T, D). Frames of a sequence count as independent rows.

    Raises:
        DataError: the data is not binary, or has missing values.

    Reference: Smolensky, Information processing in dynamical systems, 1986; Salakhutdinov and
    Murray, On the quantitative analysis of deep belief networks, 2008.
    """

    traits: ModelTraits = ModelTraits(latents="none", sequential=False, density="unnormalised")
    companions: ClassVar[Companions] = Companions("none", "pcd", "mnist")
    base: Tensor

    def __init__(
        self,
        info: DataInfo,
        *,
        hidden_dim: Annotated[int, Field(ge=1)] = 200,
        init_scale: Annotated[float, Field(ge=0)] = 0.01,
    ) -> None:
        super().__init__(info)
        log_odds = log_odds_of_bits(info, "RBM")
        self.weight = nn.Parameter(init_scale * torch.randn(hidden_dim, info.dim))
        self.visible = nn.Parameter(log_odds.clone())
        self.hidden = nn.Parameter(torch.zeros(hidden_dim))
        self.register_buffer("base", log_odds)

    @property
    def machine(self) -> Machine:
        """The distribution of a row."""
        return Machine(self.weight, self.visible, self.hidden, self.base)

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """Minus the free energy, (..., B, T), of rows (..., B, T, D)."""
        del batch
        return self.machine.potential(x)

    def gibbs(self, x: Tensor, batch: Batch) -> Tensor:
        """All hidden units given the visible ones, then all visible units given these."""
        del batch
        return self.machine.gibbs(x)

    @property
    def enumerable(self) -> bool:
        """Whether the smaller layer has at most 20 units."""
        return min(self.weight.shape) <= MOST_BITS

    def log_normaliser(self) -> Tensor:
        """The exact log Z: the smaller layer is enumerated, the other one summed out.

        Raises:
            CompatibilityError: both layers have more than 20 units.
        """
        return self.machine.log_normaliser()

    def annealing(self) -> MachinePath:
        """From independent bits at the log-odds of the data to this model."""
        return self.machine.annealing()
