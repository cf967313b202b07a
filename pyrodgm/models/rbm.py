"""Restricted Boltzmann machines of rows of bits, of symbols, or of real numbers."""

from __future__ import annotations

from typing import Annotated, ClassVar, final

import torch
from pydantic import Field
from torch import Tensor, nn

from pyrodgm.batch import Batch
from pyrodgm.data.base import DataInfo
from pyrodgm.errors import DataError
from pyrodgm.models.base import Companions, ModelTraits
from pyrodgm.models.energies import Annealing
from pyrodgm.models.energy import EnergyModel
from pyrodgm.models.gaussian_machine import GaussianMachine
from pyrodgm.models.machine import Machine
from pyrodgm.models.symbol_machine import SymbolMachine
from pyrodgm.networks.emission import LEAST_RATE
from pyrodgm.networks.inputs import means
from pyrodgm.networks.lengths import LogNormaliser
from pyrodgm.networks.marginals import Marginals, refuse_other_data


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

    The kind of the data sets the visible units. Bits are as above. Of symbols, v are their one-hot
    codings, and each symbol has a softmax given the hidden units (`SymbolMachine`). Real numbers
    are normal given the hidden units (`GaussianMachine`). Visible biases b start at the log-odds,
    log frequencies or means of the data, and standard deviations at those of the data.

    Args:
        info: the data's facts; its features are D.
        hidden_dim: hidden units H.
        init_scale: standard deviation of the initial weights.
        learn_scale: whether standard deviations of visible units are learned; for real numbers.

    Shapes: ``x`` (B, T, D). Frames of a sequence count as independent rows.

    Raises:
        DataError: values are neither bits, nor symbols, nor real numbers, or some are missing.

    Reference: Smolensky, Information processing in dynamical systems, 1986; Salakhutdinov and
    Murray, On the quantitative analysis of deep belief networks, 2008; for symbols Salakhutdinov,
    Mnih and Hinton, Restricted Boltzmann machines for collaborative filtering, 2007; for real
    numbers Welling, Rosen-Zvi and Hinton, Exponential family harmoniums with an application to
    information retrieval, 2005, with variances as in Cho, Ilin and Raiko, Improved learning of
    Gaussian-Bernoulli restricted Boltzmann machines, 2011.
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
        learn_scale: bool = True,
    ) -> None:
        super().__init__(info)
        refuse_other_data(info, "RBM", Marginals.kinds)
        marginals = Marginals(info).numbers
        start = marginals[0] if info.kind == "real" else marginals
        self.weight = nn.Parameter(init_scale * torch.randn(hidden_dim, self.codes.size))
        self.visible = nn.Parameter(start.clone())
        self.hidden = nn.Parameter(torch.zeros(hidden_dim))
        self.register_buffer("base", start)
        self.log_scale = None
        if info.kind == "real":
            self.log_scale = nn.Parameter(marginals[1].log(), requires_grad=learn_scale)

    @property
    def machine(self) -> Machine | SymbolMachine | GaussianMachine:
        """The distribution of a row."""
        if self.log_scale is not None:
            return GaussianMachine(self.weight, self.visible, self.hidden, self.log_scale)
        units = Machine(self.weight, self.visible, self.hidden, self.base)
        return units if self.codes.symbols is None else SymbolMachine(units, self.codes.symbols)

    def potential(self, x: Tensor, batch: Batch) -> Tensor:
        """Minus the free energy, (..., B, T), of rows (..., B, T, D)."""
        del batch
        return self.machine.potential(x)

    def potential_of_codes(self, codes: Tensor, batch: Batch) -> Tensor:
        """The same of codes (..., B, T, S): of symbols, a function of numbers between codings."""
        machine = self.machine
        if isinstance(machine, SymbolMachine):
            return machine.units.potential(codes)
        return super().potential_of_codes(codes, batch)

    def gibbs(self, x: Tensor, batch: Batch) -> Tensor:
        """All hidden units given the visible ones, then all visible units given these."""
        del batch
        return self.machine.gibbs(x)

    @property
    def enumerable(self) -> bool:
        """Whether a layer has few enough states to enumerate them."""
        return self.machine.enumerable

    def log_normaliser(self) -> Tensor:
        """The exact log Z: a layer is enumerated, the other one summed out.

        Raises:
            CompatibilityError: there are too many states to enumerate.
        """
        return self.machine.log_normaliser()

    def free_log_normaliser(self) -> LogNormaliser:
        """Log Z as a parameter, which starts at that of units without weights."""
        return LogNormaliser(float(self.annealing().log_normaliser().detach()))

    def annealing(self) -> Annealing:
        """From independent visible units to this model."""
        return self.machine.annealing()
