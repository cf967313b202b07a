"""Emissions of counts: given how many there are in a frame, or with a total of its own."""

from __future__ import annotations

import math
from typing import final

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.data.base import DataInfo
from pyrodgm.distributions import CountVector, NegativeBinomialVector, PoissonVector
from pyrodgm.errors import DataError
from pyrodgm.networks.emission import RATE_FLOOR, Emission
from pyrodgm.networks.inputs import means, spread

MOST = 100.0  # rates stay below so many times the mean plus a standard deviation plus one
LOG_SHAPES = (math.log(1e-2), math.log(1e4))  # between which a negative binomial has its shape


@final
class Multinomial(Emission):
    """Counts of D kinds of tokens, by logits, given how many tokens a frame has.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, equation 14 of the slides.
    """

    kinds = ("count",)

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        if info.dim == 1:
            raise DataError(
                f"emission 'multinomial' is given how many tokens a frame has, and '{info.name}' "
                "has one feature, so that every model would score 0; take emission 'poisson' or "
                "'negative-binomial', or data.kind=categorical for symbols"
            )
        self.size = info.dim
        self.total = max(1, round(sum(info.mean)))

    def start(self, info: DataInfo) -> Tensor:
        """Logarithms of the mean counts."""
        return _log_means(info)

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """Tokens with these logits."""
        return CountVector(numbers, self.total)


@final
class Poisson(Emission):
    r"""Independent Poisson counts by the logarithms of their rates.

    .. math:: x_{td} \sim \mathrm{Poisson}(e^{\eta_{td}}), \qquad
        \eta = m - \log(1 + e^{m - l})

    Takes l; the bound m, a hundred times what is usual in training, keeps forecasts that are fed by
    their own draws from running away, and changes nothing far below it.
    """

    kinds = ("count",)
    scores_totals = True
    most: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.size = info.dim
        self.register_buffer("most", _most(info))

    def start(self, info: DataInfo) -> Tensor:
        """Rates that are the means."""
        return _unbounded(_log_means(info), _most(info))

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """Counts with these rates."""
        return PoissonVector(_bounded(numbers, self.most))


@final
class NegativeBinomial(Emission):
    r"""Independent negative binomial counts by the logarithms of mean and shape.

    .. math:: \mathrm{var}(x_{td}) = \mu_{td} + \mu_{td}^2 / r_{td}

    Takes numbers for :math:`\log \mu` and then for :math:`\log r`; means are bounded as those of
    `Poisson`, shapes lie between 0.01 and 10,000.
    """

    kinds = ("count",)
    scores_totals = True
    most: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.size = 2 * info.dim
        self.register_buffer("most", _most(info))

    def start(self, info: DataInfo) -> Tensor:
        """The means and the variances of the data, where these are greater."""
        mean, variance = means(info), spread(info).square()
        low, high = LOG_SHAPES
        shape = mean.square() / (variance - mean).clamp(min=1e-6)
        share = ((shape.clamp(min=1e-6).log() - low) / (high - low)).clamp(0.05, 0.95)
        return torch.cat([_unbounded(_log_means(info), _most(info)), share.logit()])

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """Counts with these means and shapes."""
        log_mean, log_shape = numbers.chunk(2, -1)
        low, high = LOG_SHAPES
        return NegativeBinomialVector(
            _bounded(log_mean, self.most), low + (high - low) * log_shape.sigmoid()
        )


def _log_means(info: DataInfo) -> Tensor:
    mean = means(info)
    return mean.clamp(min=RATE_FLOOR * float(mean.mean())).log()


def _most(info: DataInfo) -> Tensor:
    """Logarithms that rates stay below, (D,)."""
    return (MOST * (means(info) + spread(info) + 1)).log()


def _bounded(numbers: Tensor, most: Tensor) -> Tensor:
    return most - F.softplus(most - numbers)


def _unbounded(log_rates: Tensor, most: Tensor) -> Tensor:
    """The inverse of `_bounded`."""
    return most - (most - log_rates).expm1().log()
