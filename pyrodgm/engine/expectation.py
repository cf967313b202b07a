"""Means of frames, from draws where there is no closed form."""

from __future__ import annotations

import math

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

MEAN_DRAWS = 100  # draws over all particles to estimate a mean without closed form


def expected(distribution: TorchDistribution, shape: torch.Size) -> Tensor:
    """The mean of a frame for every particle, (K, B, D), from draws if it has no closed form.

    Args:
        distribution: of a frame, batch shape (K, B) or less.
        shape: (K, B).
    """
    if getattr(distribution, "has_mean", True):
        return distribution.mean.expand(*shape, -1)
    distribution = distribution.expand(shape)
    draws = math.ceil(MEAN_DRAWS / shape[0])
    return sum((distribution.sample() for _ in range(draws)), torch.zeros(())) / draws
