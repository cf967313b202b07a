"""Emissions: maps from parameters computed by a model to a distribution over x_t."""

from __future__ import annotations

import math
from typing import Annotated, Literal, final

import torch
from pydantic import Field
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyrodgm.data.base import DataInfo, Kind
from pyrodgm.data.kinds import taken_for
from pyrodgm.distributions import (
    BernoulliVector,
    CategoricalVector,
    Mixture,
    NormalVector,
    Symbols,
)
from pyrodgm.errors import DataError, UsageError, did_you_mean
from pyrodgm.networks.autoregressive_emissions import DARNBits, NADEBits
from pyrodgm.networks.conditional import MOST_SCALE, bounded_scale
from pyrodgm.networks.count_emissions import Multinomial, NegativeBinomial, Poisson
from pyrodgm.networks.emission import LEAST_RATE, Emission
from pyrodgm.networks.inputs import means, spread, varying

COMPONENTS = 10  # of a mixture whose name gives no number
MixtureName = Annotated[str, Field(pattern=r"^gaussian-mixture:[1-9]\d*$")]
EmissionName = (
    Literal[
        "auto",
        "bernoulli",
        "categorical",
        "darn",
        "gaussian",
        "gaussian-mixture",
        "multinomial",
        "nade",
        "negative-binomial",
        "poisson",
    ]
    | MixtureName
)


@final
class Bernoulli(Emission):
    """Independent bits, parametrised by log-odds; grey values are scored by cross-entropy."""

    kinds = ("binary", "unit")

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.size = info.dim

    def start(self, info: DataInfo) -> Tensor:
        """Log-odds of the means."""
        return means(info).clamp(LEAST_RATE, 1 - LEAST_RATE).logit()

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """Bits with these log-odds."""
        return BernoulliVector(numbers)


@final
class Gaussian(Emission):
    r"""Independent real numbers, parametrised by mean and log-variance.

    .. math:: x_t \sim \mathcal N(\mu_t, \mathrm{diag}\, \sigma_t^2), \qquad
        \sigma_t = (e^{-l_t} + 2^{-2})^{-1/2} + 10^{-3}

    The parameters are :math:`(\mu_t, l_t)`, both in the units of a standardised feature.

    Reference: Gan et al., Deep temporal sigmoid belief networks, 2015, equations 12 and 13 of the
    slides, where l is the log-variance itself. There the data is standardised, here the emission
    does it. The bounds are ours: without them, forecasts that feed back their own draws would
    diverge, because l is linear in the frames before. A feature that is constant in training is
    scored as normal about that constant with standard deviation one, for every model and predictor,
    so that it does not affect comparisons. Its draws equal the constant.
    """

    kinds = ("real",)
    centre: Tensor
    scale: Tensor
    varies: Tensor | None

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        self.size = 2 * info.dim
        self.register_buffer("centre", means(info))
        self.register_buffer("scale", spread(info))
        self.register_buffer("varies", varying(info), persistent=False)

    def start(self, info: DataInfo) -> Tensor:
        """Parameters for the mean and the variance of the data."""
        log_variance = -math.log1p(-(MOST_SCALE**-2))
        return torch.tensor([0.0, log_variance]).repeat_interleave(info.dim)

    def forward(self, numbers: Tensor) -> NormalVector:
        """Independent normal numbers."""
        mean, log_variance = numbers.chunk(2, -1)
        loc = torch.addcmul(self.centre, self.scale, mean)
        scale = self.scale * bounded_scale(log_variance)
        if self.varies is None:
            return NormalVector(loc, scale)
        loc, scale = loc.where(self.varies, self.centre), scale.where(self.varies, 1.0)
        return NormalVector(loc, scale, constant=~self.varies)


@final
class GaussianMixture(Emission):
    r"""A mixture of C vectors of independent real numbers, with one component for a whole frame.

    .. math:: x_t \sim \sum_c w_{tc}\, \mathcal N(\mu_{tc}, \mathrm{diag}\, \sigma_{tc}^2), \qquad
        w_t = \mathrm{softmax}(a_t)

    The parameters are :math:`a_t` and those of `Gaussian` for every component. All components start
    at the mean of the data, with variances that differ by a factor of up to :math:`e^2`. Missing
    features are summed out within each component.

    Args:
        info: the data's facts.
        components: C.

    Reference: Chung et al., A recurrent latent variable model for sequential data, 2015, section 4,
    VRNN-GMM.
    """

    kinds = ("real",)
    by_feature = False

    def __init__(self, info: DataInfo, components: int = COMPONENTS) -> None:
        super().__init__()
        self.each = Gaussian(info)
        self.components = components
        self.size = components * (1 + self.each.size)

    def start(self, info: DataInfo) -> Tensor:
        """Equal weights, the mean of the data, and variances around that of the data."""
        spread = (
            torch.linspace(-1.0, 1.0, self.components) if self.components > 1 else torch.zeros(1)
        )
        of_each = self.each.start(info).repeat(self.components, 1)
        of_each[:, info.dim :] += spread[:, None]
        return torch.cat([torch.zeros(self.components), of_each.flatten()])

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """A mixture with these weights, means and log-variances."""
        weights, of_each = numbers.split_with_sizes(
            (self.components, self.size - self.components), -1
        )
        return Mixture(weights, self.each(of_each.unflatten(-1, (self.components, -1))))


@final
class Categorical(Emission):
    """Independent symbols, parametrised by logits."""

    kinds = ("categorical",)
    by_feature = False

    def __init__(self, info: DataInfo) -> None:
        super().__init__()
        if all(len(own) == 1 for own in info.symbols):
            raise DataError(
                f"every feature of '{info.name}' has a single symbol in all splits, so there is "
                "nothing to fit"
            )
        self.symbols = Symbols(info.symbols)
        self.size = self.symbols.size

    def start(self, info: DataInfo) -> Tensor:
        """Log-frequencies; symbols that never occur in training keep a positive probability."""
        return torch.tensor(info.frequencies).clamp(min=LEAST_RATE).log()

    def forward(self, numbers: Tensor) -> TorchDistribution:
        """Symbols with these logits."""
        return CategoricalVector(numbers, self.symbols)


EMISSIONS: dict[str, type[Emission]] = {
    "bernoulli": Bernoulli,
    "categorical": Categorical,
    "darn": DARNBits,
    "gaussian": Gaussian,
    "gaussian-mixture": GaussianMixture,
    "multinomial": Multinomial,
    "nade": NADEBits,
    "negative-binomial": NegativeBinomial,
    "poisson": Poisson,
}
DEFAULTS: dict[Kind, str] = {
    "binary": "bernoulli",
    "unit": "bernoulli",
    "categorical": "categorical",
    "count": "multinomial",
    "real": "gaussian",
}


def _default(info: DataInfo) -> str:
    """The default emission; for counts of one feature, only the total can be scored."""
    return "poisson" if (info.kind, info.dim) == ("count", 1) else DEFAULTS[info.kind]


def make_emission(name: EmissionName, info: DataInfo, nade_dim: int | None = None) -> Emission:
    """The emission with a name; "auto" is the default for the data.

    Args:
        name: "bernoulli", "categorical", "darn", "gaussian", "gaussian-mixture", "multinomial",
            "nade", "negative-binomial", "poisson", or "auto"; for counts with one feature, "auto"
            is "poisson". "gaussian-mixture:C" gives the number of components, 10 if not given.
        info: the data's facts.
        nade_dim: hidden units of a NADE, 100 if not given.

    Raises:
        DataError: it cannot score such data.
        UsageError: there is no such emission, or `nade_dim` is given for another.
    """
    chosen, _, number = (_default(info) if name == "auto" else name).partition(":")
    if chosen not in EMISSIONS:
        raise UsageError(f"unknown emission '{chosen}'; {did_you_mean(chosen, EMISSIONS)}")
    refuse_unless_fitting(chosen, info)
    emission = EMISSIONS[chosen]
    if nade_dim is not None and emission is not NADEBits:
        raise UsageError(f"nade_dim is for emission 'nade', but this one is '{chosen}'")
    if emission is NADEBits:
        return NADEBits(info, nade_dim or 100)
    if emission is GaussianMixture:
        return GaussianMixture(info, int(number or COMPONENTS))
    return emission(info)


def refuse_unless_fitting(name: str, info: DataInfo) -> None:
    """Raise unless the emission with a name can score the data.

    Raises:
        DataError: it scores other kinds of values, or the data has missing features.
    """
    emission = EMISSIONS[name]
    if info.kind not in emission.kinds:
        fitting = ", ".join(n for n, e in EMISSIONS.items() if info.kind in e.kinds)
        raise DataError(
            f"emission '{name}' scores {' or '.join(emission.kinds)} values, but the data "
            f"'{info.name}' has {info.kind} values; emissions that fit: {fitting}"
            f"{taken_for(info.kind, emission.kinds)}"
        )
    if info.has_missing and not emission.scores_missing:
        raise DataError(
            f"emission '{name}' cannot score frames with missing features, but '{info.name}' has "
            "such frames; fill them in, or choose another emission"
        )
