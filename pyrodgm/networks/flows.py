"""Normalising flows whose parameters are given by a network, each with its inverse."""

from __future__ import annotations

import math
import warnings
from typing import Literal, cast

import torch
from pyro.distributions.conditional import ConditionalTransformModule
from pyro.distributions.transforms import (
    ConditionalAffineAutoregressive,
    ConditionalSplineAutoregressive,
)
from pyro.distributions.transforms.planar import ConditionedPlanar
from pyro.distributions.transforms.radial import ConditionedRadial
from pyro.nn import ConditionalAutoRegressiveNN
from torch import Tensor, nn
from torch.distributions import Transform
from torch.nn.functional import softplus

from pyrodgm.distributions import FlowVector, NormalVector
from pyrodgm.networks.conditional import Normals

FlowName = Literal["iaf", "spline", "planar", "radial"]
BISECTIONS = 50  # halvings of an interval, to the rounding of its middle
BINS = 8  # pieces of a spline
SHRINK = 0.1  # of the usual initial weights of autoregressive networks, for maps near the identity


class Planar(ConditionedPlanar):
    r"""A planar map, with its inverse.

    .. math:: y = x + u \tanh(w^T x + b), \qquad s = w^T x + b \text{ solves }
        s + w^T u \tanh s = w^T y + b

    Args:
        params: b (..., 1), u before the constraint :math:`w^T u > -1`, and w, both (..., D).

    Reference: Rezende and Mohamed, Variational inference with normalizing flows, 2015, equation 10
    and appendix A.1.
    """

    def _inverse(self, y: Tensor) -> Tensor:
        bias, raw, w = self._params
        u = self.u_hat(raw, w)
        slope = (u * w).sum(-1, keepdim=True)
        target = (w * y).sum(-1, keepdim=True) + bias
        return y - u * planar_root(slope, target).tanh()


def planar_root(slope: Tensor, target: Tensor) -> Tensor:
    r"""The solution s of :math:`s + a \tanh s = t` with a > -1, and its gradient.

    Bisection finds it between t - \|a\| and t + \|a\|; one step of Newton's method then has the
    gradient of the implicit function.

    Args:
        slope: a.
        target: t, of a shape that broadcasts with it.

    >>> s = planar_root(torch.tensor(2.0), torch.tensor(1.0))
    >>> s + 2 * s.tanh()
    tensor(1.)
    """
    with torch.no_grad():
        low, high = target - slope.abs(), target + slope.abs()
        for _ in range(BISECTIONS):
            middle = (low + high) / 2
            above = middle + slope * middle.tanh() > target
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        s = (low + high) / 2
        derivative = 1 + slope * (1 - s.tanh().square())
    return s - (s + slope * s.tanh() - target) / derivative


class Radial(ConditionedRadial):
    r"""A radial map, with its inverse.

    .. math:: y = x + \frac{\beta}{\alpha + r} (x - c), \quad r = |x - c|, \qquad
        r^2 + (\alpha + \beta - R)\, r = \alpha R, \quad R = |y - c|

    Args:
        params: c (..., D), and alpha and alpha + beta before softplus, both (..., 1).

    Reference: Rezende and Mohamed, Variational inference with normalizing flows, 2015, equation 14
    and appendix A.2.
    """

    def _inverse(self, y: Tensor) -> Tensor:
        centre, raw_alpha, raw_sum = self._params
        alpha, total = softplus(raw_alpha), softplus(raw_sum)
        distance = (y - centre).norm(dim=-1, keepdim=True)
        half = (total - distance) / 2
        root = (half.square() + alpha * distance).sqrt()
        # Two forms of the positive solution, each where it has no difference of equal numbers.
        r = torch.where(half > 0, alpha * distance / (root + half.clamp(min=0)), root - half)
        return centre + (y - centre) * (alpha + r) / (total + r)


class PlanarLayer(nn.Module):
    """Planar maps of D numbers, given all their parameters.

    Args:
        dim: numbers D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = [1, dim, dim]
        self.size = sum(self.sizes)

    def start(self) -> Tensor:
        """Parameters of the identity, at which w is not zero, (2 D + 1,)."""
        w = torch.full((self.sizes[1],), self.sizes[1] ** -0.5)
        return torch.cat([torch.zeros(1), math.log(math.expm1(1.0)) * w, w])

    def forward(self, numbers: Tensor) -> Transform:
        """The map with these parameters (..., 2 D + 1)."""
        return Planar(numbers.split(self.sizes, -1))


class RadialLayer(nn.Module):
    """Radial maps of D numbers, given all their parameters.

    Args:
        dim: numbers D.
    """

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.sizes = [dim, 1, 1]
        self.size = sum(self.sizes)

    def start(self) -> Tensor:
        """Parameters of the identity, (D + 2,)."""
        return torch.zeros(self.size)

    def forward(self, numbers: Tensor) -> Transform:
        """The map with these parameters (..., D + 2)."""
        return Radial(numbers.split(self.sizes, -1))


class AutoregressiveLayer(nn.Module):
    r"""Maps of each number by a network of those before it and of features.

    .. math:: y_i = \sigma_i x_i + \mu_i \quad \text{or} \quad y_i = \text{spline}_i(x_i),
        \qquad \text{parameters a function of } x_{<i}, v

    All numbers are mapped at once, and mapped back one after the other.

    Args:
        dim: numbers D.
        units: hidden units of the network, at least D, and size of the features v.
        backward: whether the order of the numbers is reversed.
        spline: monotone rational splines on [-3, 3], and the identity outside, in the place of
            affine functions.

    Reference: Kingma et al., Improving variational inference with inverse autoregressive flow,
    2016, equations 9 and 10; Dolatabadi, Erfani and Leckie, Invertible generative modeling using
    linear rational splines, 2020.
    """

    def __init__(self, dim: int, units: int, *, backward: bool, spline: bool) -> None:
        super().__init__()
        order = torch.arange(dim)
        with warnings.catch_warnings():  # of a single number, which has no others before it
            warnings.simplefilter("ignore", UserWarning)
            network = ConditionalAutoRegressiveNN(
                dim,
                units,
                [units],
                param_dims=[BINS, BINS, BINS - 1, BINS] if spline else [1, 1],
                permutation=cast("torch.LongTensor", order.flip(0) if backward else order),
            )
        with torch.no_grad():
            for parameter in network.layers[-1].parameters():
                parameter.mul_(SHRINK)
        self.size = units
        self.given: ConditionalTransformModule = (
            ConditionalSplineAutoregressive(dim, network, count_bins=BINS)
            if spline
            else ConditionalAffineAutoregressive(network)
        )

    def start(self) -> Tensor:
        """Features that are zero, (units,)."""
        return torch.zeros(self.size)

    def forward(self, numbers: Tensor) -> Transform:
        """The map given these features (..., units)."""
        return self.given.condition(numbers)


Layer = PlanarLayer | RadialLayer | AutoregressiveLayer


class Flow(nn.Module):
    """A normal vector of J numbers followed by a flow, by all its parameters.

    Args:
        dim: numbers J.
        name: of the flow.
        layers: maps in a row.
        units: of the networks of "iaf" and "spline".
        spread: initial standard deviation of the normal numbers.
    """

    def __init__(
        self, dim: int, name: FlowName, layers: int, units: int, *, spread: float = 1.0
    ) -> None:
        super().__init__()
        self.normals = Normals(dim, spread=spread)
        made = [make_layer(name, dim, units, backward=bool(n % 2)) for n in range(layers)]
        self.layers = nn.ModuleList(made)
        self.sizes = [self.normals.size, *(layer.size for layer in made)]
        self.size = sum(self.sizes)
        self._start = torch.cat([self.normals.start(), *(layer.start() for layer in made)])

    def start(self) -> Tensor:
        """Parameters of about the standard normal distribution, (size,)."""
        return self._start

    def forward(self, numbers: Tensor) -> FlowVector:
        """The distribution with these parameters (..., size), event (J,)."""
        return FlowVector(self.parts, numbers)

    def parts(self, numbers: Tensor) -> tuple[NormalVector, list[Transform]]:
        """The normal vector and the maps, the first one first."""
        first, *others = numbers.split(self.sizes, -1)
        pairs = zip(self.layers, others, strict=True)
        return self.normals(first), [layer(own) for layer, own in pairs]


def make_layer(name: FlowName, dim: int, units: int, *, backward: bool) -> Layer:
    """One map of a flow."""
    if name == "planar":
        return PlanarLayer(dim)
    if name == "radial":
        return RadialLayer(dim)
    return AutoregressiveLayer(dim, units, backward=backward, spline=name == "spline")
