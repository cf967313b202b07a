"""Emissions of counts: given the total of a frame, or with a distribution of the total."""

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
from pyrodgm.networks.emission import LEAST_RATE, Emission
from pyrodgm.networks.inputs import means, spread

MOST = 100.0  # bound on rates, in units of mean plus standard deviation plus one
LOG_SHAPES = (math.log(1e-2), math.log(1e4))  # bounds on shapes of a negative binomial


@final
class Multinomial(Emission):
    """Counts of D kinds of tokens, parametrised by logits, given the total of a frame.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, equation 14 of the slides.
    """

    kinds = ("count",)

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        if info.dim == 1:
            raise DataError(
                f"emission 'multinomial' is conditional on the total of a frame, but '{info.name}' "
                "has one feature, so every model would score 0; use emission 'poisson' or "
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
    r"""Independent Poisson counts, parametrised by log-rates.

    .. math:: x_{td} \sim \mathrm{Poisson}(e^{\eta_{td}}), \qquad
        \eta = m - \log(1 + e^{m - l})

    The parameter is l. The bound m, a hundred times the usual value in training, keeps forecasts
    from diverging when they feed back their own draws; it has no effect far below.
    """

    kinds = ("count",)
    scores_totals = True
    most: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.size = info.dim
        self.register_buffer("most", _most(info))

    def start(self, info: DataInfo) -> Tensor:
        """Log-rates of the means."""
        return _unbounded(_log_means(info), _most(info))

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """Counts with these rates."""
        return PoissonVector(_bounded(numbers, self.most))


@final
class NegativeBinomial(Emission):
    r"""Independent negative binomial counts, parametrised by log-mean and log-shape.

    .. math:: \mathrm{var}(x_{td}) = \mu_{td} + \mu_{td}^2 / r_{td}

    The parameters are :math:`\log \mu` and then :math:`\log r`; means are bounded as in `Poisson`,
    shapes are between 0.01 and 10,000.
    """

    kinds = ("count",)
    scores_totals = True
    most: Tensor

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.size = 2 * info.dim
        self.register_buffer("most", _most(info))

    def start(self, info: DataInfo) -> Tensor:
        """Parameters for the means of the data, and for its variances if these are greater."""
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
    return mean.clamp(min=LEAST_RATE * float(mean.mean())).log()


def _most(info: DataInfo) -> Tensor:
    """Bounds on log-rates, (D,)."""
    return (MOST * (means(info) + spread(info) + 1)).log()


def _bounded(numbers: Tensor, most: Tensor) -> Tensor:
    return most - F.softplus(most - numbers)


def _unbounded(log_rates: Tensor, most: Tensor) -> Tensor:
    """The inverse of `_bounded`."""
    return most - (most - log_rates).expm1().log()
