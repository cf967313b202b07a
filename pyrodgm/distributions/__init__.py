"""Distributions that torch and Pyro lack."""

from pyrodgm.distributions.autoregressive import AutoregressiveVector
from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.categorical import CategoricalVector, Symbols
from pyrodgm.distributions.concrete import ConcreteBits, HardConcreteBits, log_logistic
from pyrodgm.distributions.counts import CountVector
from pyrodgm.distributions.flow import FlowVector
from pyrodgm.distributions.implicit import Implicit
from pyrodgm.distributions.mixture import Mixture
from pyrodgm.distributions.nade import NADE
from pyrodgm.distributions.normal import LowRankNormal, NormalVector
from pyrodgm.distributions.numbered import MOST_BITS, bit_vectors, is_bits, numbered
from pyrodgm.distributions.one_hot import OneHotVector
from pyrodgm.distributions.partial import Partial, partial
from pyrodgm.distributions.rates import NegativeBinomialVector, PoissonVector, RateVector
from pyrodgm.distributions.surrogates import (
    MeanFieldBits,
    ReinMaxBits,
    StraightThroughBits,
    logits_of,
)

__all__ = [
    "MOST_BITS",
    "NADE",
    "AutoregressiveVector",
    "BernoulliVector",
    "CategoricalVector",
    "ConcreteBits",
    "CountVector",
    "FlowVector",
    "HardConcreteBits",
    "Implicit",
    "LowRankNormal",
    "MeanFieldBits",
    "Mixture",
    "NegativeBinomialVector",
    "NormalVector",
    "OneHotVector",
    "Partial",
    "PoissonVector",
    "RateVector",
    "ReinMaxBits",
    "StraightThroughBits",
    "Symbols",
    "bit_vectors",
    "is_bits",
    "log_logistic",
    "logits_of",
    "numbered",
    "partial",
]
