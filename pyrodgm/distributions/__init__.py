"""Distributions that torch and Pyro lack."""

from pyrodgm.distributions.autoregressive import AutoregressiveVector
from pyrodgm.distributions.bernoulli import BernoulliVector
from pyrodgm.distributions.categorical import CategoricalVector, Symbols
from pyrodgm.distributions.concrete import (
    ConcreteBits,
    ConcreteOneHots,
    HardConcreteBits,
    HardConcreteOneHots,
    concrete,
    log_gumbel_softmax,
    log_logistic,
    relaxed_log_probs,
)
from pyrodgm.distributions.counts import CountVector
from pyrodgm.distributions.divergence import divergence
from pyrodgm.distributions.flow import FlowVector
from pyrodgm.distributions.implicit import Implicit
from pyrodgm.distributions.linear_bits import LinearBits
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
    ReinMaxOneHots,
    StraightThroughBits,
    StraightThroughOneHots,
    logits_given,
    logits_of,
    reinmax,
    straight_through,
)

__all__ = [
    "MOST_BITS",
    "NADE",
    "AutoregressiveVector",
    "BernoulliVector",
    "CategoricalVector",
    "ConcreteBits",
    "ConcreteOneHots",
    "CountVector",
    "FlowVector",
    "HardConcreteBits",
    "HardConcreteOneHots",
    "Implicit",
    "LinearBits",
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
    "ReinMaxOneHots",
    "StraightThroughBits",
    "StraightThroughOneHots",
    "Symbols",
    "bit_vectors",
    "concrete",
    "divergence",
    "is_bits",
    "log_gumbel_softmax",
    "log_logistic",
    "logits_given",
    "logits_of",
    "numbered",
    "partial",
    "reinmax",
    "relaxed_log_probs",
    "straight_through",
]
