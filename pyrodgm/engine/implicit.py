"""Programs that compute the values of their sites from noise, whose density is not known."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from pyrodgm.batch import Batch
from pyrodgm.distributions import NormalVector

NOISE = "noise"


class NoiseProgram:
    r"""A program whose sites are a function of standard normal noise.

    .. math:: v_t = g(\epsilon, x)_t, \qquad \epsilon_t \sim \mathcal N(0, I)

    Attributes:
        noise_dim: noise variables of a frame, N.
    """

    noise_dim: int

    @abstractmethod
    def values(self, noise: Tensor, batch: Batch) -> Mapping[str, Tensor]:
        """The values of every site, (..., B, T, D), from noise (..., B, T, N)."""

    def noise(self, batch: Batch, particles: int = 1) -> Tensor:
        """Standard normal noise in the shape of a batch, (K, B, T, N)."""
        shape = particles, batch.size, batch.length, self.noise_dim
        return standard_normal(self.noise_dim, batch).noise(torch.Size(shape))


def standard_normal(dim: int, batch: Batch) -> NormalVector:
    """The standard normal distribution of a frame's numbers, on the device of a batch."""
    zeros = batch.x.new_zeros(dim)
    return NormalVector(zeros, torch.ones_like(zeros))
