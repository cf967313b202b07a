"""Conditional distributions given features, for models and guides."""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Literal, Protocol

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution
from torch import Tensor, nn

from pyrodgm.distributions import (
    BernoulliVector,
    CategoricalVector,
    NormalVector,
    OneHotVector,
    Symbols,
)
from pyrodgm.engine.cells import StochasticCell
from pyrodgm.engine.sites import Site
from pyrodgm.errors import CompatibilityError
from pyrodgm.networks.layers import layer_sizes
from pyrodgm.networks.mlp import leaky
from pyrodgm.networks.pictures import PictureDecoder

LEAST_SCALE = 1e-3  # lower bound of standard deviations, which keeps densities finite
# Gains of initial weights of hidden layers; the second is that of torch, with which VRNN learns
# faster.
RECTIFIED, SMALL = math.sqrt(2), math.sqrt(1 / 3)
MOST_SCALE = 2.0  # upper bound of bounded ones, which keeps forecasts from diverging


class Family(Protocol):
    """A map from parameters to a distribution; emissions are instances too.

    Args:
        size: number of parameters.
    """

    size: int

    def __call__(self, numbers: Tensor) -> TorchDistribution:
        """The distribution given numbers (..., size)."""
        ...


class Bits:
    """Independent bits, parametrised by their log-odds.

    Args:
        dim: bits J.
    """

    def __init__(self, dim: int) -> None:
        self.size = dim

    def __call__(self, numbers: Tensor) -> BernoulliVector:
        """Bits with these log-odds, event (J,)."""
        return BernoulliVector(numbers)

    def start(self) -> Tensor:
        """Parameters of fair bits, (J,)."""
        return torch.zeros(self.size)


class Categories(nn.Module):
    """Independent symbols 0 .. C-1, parametrised by logits.

    Args:
        dim: symbols per frame J.
        number: of values of each, C.
    """

    def __init__(self, dim: int, number: int) -> None:
        super().__init__()
        self.symbols = Symbols([range(number)] * dim)
        self.size = dim * number

    def forward(self, numbers: Tensor) -> CategoricalVector:
        """Symbols with these logits (..., J C), event (J,)."""
        return CategoricalVector(numbers, self.symbols)

    def start(self) -> Tensor:
        """Parameters of uniform symbols, (J C,)."""
        return torch.zeros(self.size)


class OneHots:
    """Independent variables of C classes as one-hot codings, parametrised by logits.

    Args:
        dim: numbers of all codings, J C.
        classes: C.
    """

    def __init__(self, dim: int, classes: int) -> None:
        self.size, self.classes = dim, classes

    def __call__(self, numbers: Tensor) -> OneHotVector:
        """Codings with these logits, event (J C,)."""
        return OneHotVector(numbers, self.classes)

    def start(self) -> Tensor:
        """Parameters of uniform classes, (J C,)."""
        return torch.zeros(self.size)


class Normals:
    r"""Independent normal numbers, by their means and their scales before a bound.

    .. math:: s = \mathrm{softplus}(l) + 10^{-3} \qquad \text{or} \qquad
        s = (e^{-l} + 2^{-2})^{-1/2} + 10^{-3}

    Args:
        dim: numbers J.
        scale: "softplus", or "bounded" with l a log-variance.
        spread: standard deviation that `start` has, below 2 if bounded.
    """

    def __init__(
        self,
        dim: int,
        scale: Literal["softplus", "bounded"] = "softplus",
        *,
        spread: float = 1.0,
    ) -> None:
        self.size = 2 * dim
        self.scale = scale
        self.spread = spread

    def __call__(self, numbers: Tensor) -> NormalVector:
        """Normal numbers, event (J,)."""
        mean, raw = numbers.chunk(2, -1)
        return NormalVector(mean, SCALES[self.scale](raw))

    def start(self) -> Tensor:
        """Parameters of means zero and standard deviations `spread`, up to the least scale."""
        if self.scale == "softplus":
            raw = math.log(math.expm1(self.spread))
        else:
            raw = -math.log(self.spread**-2 - MOST_SCALE**-2)
        return torch.tensor([0.0, raw]).repeat_interleave(self.size // 2)


def softplus_scale(raw: Tensor) -> Tensor:
    """Standard deviations above `LEAST_SCALE`."""
    return F.softplus(raw) + LEAST_SCALE


def bounded_scale(log_variance: Tensor) -> Tensor:
    """Standard deviations between `LEAST_SCALE` and `MOST_SCALE` beyond it."""
    most = 2 * math.log(MOST_SCALE)
    return (0.5 * (most - F.softplus(most - log_variance))).exp() + LEAST_SCALE


SCALES = {"softplus": softplus_scale, "bounded": bounded_scale}


class Conditional(nn.Module):
    r"""A distribution given features, through hidden layers.

    .. math:: p(z \mid v) = \text{family}(A h^L + a), \qquad
        h^l = r(C^l h^{l-1} + c^l), \qquad h^0 = v, \qquad
        r(a) = \max(a, 0) + \lambda \min(a, 0)

    Args:
        input_dim: features v.
        family: from numbers to a distribution, such as ``Normals(J)`` or an emission.
        hidden_dim: units of every hidden layer; a number is a single layer.
        start: numbers a that it starts from, up to the weights A; zeros if not given.
        shrink: factor on the usual initial weights A, by which it starts near these numbers.
        output: network instead of the linear map A, with its own bias a; `shrink` has no
            effect on it.
        gain: of the initial weights C. By default units keep their variance from layer to layer
            (He et al., Delving deep into rectifiers, 2015); `SMALL` is torch's own.
        leak: slope :math:`\lambda` of units below zero.
    """

    def __init__(
        self,
        input_dim: int,
        family: Family,
        hidden_dim: int | tuple[int, ...],
        *,
        start: Tensor | None = None,
        shrink: float = 0.1,
        output: PictureDecoder | None = None,
        gain: float = RECTIFIED,
        leak: float = 0.0,
    ) -> None:
        super().__init__()
        self.family = family
        sizes = layer_sizes(hidden_dim)
        self.first = nn.Linear(input_dim, sizes[0])
        self.rectified = leaky(leak)
        self.between = nn.Sequential(
            *(part for i, o in pairwise(sizes) for part in (nn.Linear(i, o), leaky(leak)))
        )
        self.last = output or nn.Linear(sizes[-1], family.size)
        with torch.no_grad():
            for layer in (self.first, *self.between):
                if isinstance(layer, nn.Linear):
                    layer.weight.mul_(gain / SMALL / math.sqrt(1 + leak**2))
            if isinstance(self.last, nn.Linear):
                self.last.weight.mul_(shrink)
            self.last.bias.copy_(torch.zeros(family.size) if start is None else start)

    def forward(self, features: Tensor) -> TorchDistribution:
        """The distribution given features (..., E)."""
        return self.of_hidden(self.first(features))

    def of_hidden(self, hidden: Tensor) -> TorchDistribution:
        """The same given C^1 v + c^1, (..., H), parts of which may be precomputed."""
        return self.family(self._numbers(hidden))

    def numbers(self, features: Tensor) -> Tensor:
        """The parameters of the distribution, (..., size)."""
        return self._numbers(self.first(features))

    def _numbers(self, hidden: Tensor) -> Tensor:
        return self.last(self.between(self.rectified(hidden)))


class OfNumbers(StochasticCell):
    """How a site is drawn that depends on its parameters alone, for `Past.chain`.

    Args:
        family: from parameters to the distribution.
    """

    def __init__(self, family: Family) -> None:
        self.family = family

    def distribution(self, drive: Tensor, own: Tensor) -> TorchDistribution:
        """The distribution of a frame given its parameters."""
        del own
        return self.family(drive)


def family_of(site: Site, *, spread: float = 1.0) -> Bits | Normals | OneHots:
    """The family of a latent site with independent parts, by its kind.

    Args:
        site: a latent site.
        spread: initial standard deviation of numbers.

    Raises:
        CompatibilityError: a categorical site that does not say its classes.
    """
    if site.kind == "continuous":
        return Normals(site.dim, spread=spread)
    if site.kind == "binary":
        return Bits(site.dim)
    if site.classes is None:
        raise CompatibilityError(
            "a categorical site does not say how many classes its variables have; declare "
            'Site(variables * classes, "categorical", classes=classes), whose values are one-hot'
        )
    return OneHots(site.dim, site.classes)


def normal_conditional(
    input_dim: int,
    dim: int,
    hidden_dim: int | tuple[int, ...],
    *,
    shrink: float = 0.1,
    spread: float = 1.0,
    gain: float = RECTIFIED,
    leak: float = 0.0,
) -> Conditional:
    """A normal distribution of J numbers given features.

    Args:
        input_dim: features.
        dim: numbers J.
        hidden_dim: units of every hidden layer.
        shrink: factor on the usual initial weights of the output; means start near zero.
        spread: initial standard deviation.
        gain: of the initial weights of hidden layers, see `Conditional`.
        leak: slope of units below zero.
    """
    family = Normals(dim, spread=spread)
    return Conditional(
        input_dim, family, hidden_dim, start=family.start(), shrink=shrink, gain=gain, leak=leak
    )
