"""Distributions that torch and Pyro lack."""

from pyrodgm.distributions.bernoulli import BernoulliVector

__all__ = ["BernoulliVector"]
