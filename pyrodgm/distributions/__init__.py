"""Distributions that torch and Pyro lack."""

from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.categorical import CategoricalVector, Symbols
from pyrodgm.distributions.counts import CountVector
from pyrodgm.distributions.mixture import Mixture
from pyrodgm.distributions.nade import NADE
from pyrodgm.distributions.normal import LowRankNormal, NormalVector
from pyrodgm.distributions.partial import Partial, partial

__all__ = [
    "NADE",
    "BernoulliVector",
    "CategoricalVector",
    "CountVector",
    "LowRankNormal",
    "Mixture",
    "NormalVector",
    "Partial",
    "Symbols",
    "partial",
]
